"""The script of a submission: read, changed as the command line says, and what it asks of a system."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cloudq.bundle import Bundles
from cloudq.client.systems.fitness import Demand
from cloudq.config import ClientConfig
from cloudq.errors import InputError
from cloudq.job import Job, JobKind
from cloudq.system import ANY, Definitions, with_system

if TYPE_CHECKING:
    from cloudq.metascript import Directives, MetaScript

MAX_SCRIPT_BYTES = 4 * 1024 * 1024
"""What Slurm takes unless a site says otherwise (`max_script_size` in slurm.conf(5))."""


def read_script(path: Path) -> bytes:
    """Read a script. Raises InputError if there is none, or it is too long."""
    if not path.is_file():
        raise InputError(f"The script file is not found: {path}")
    with path.open("rb") as file:
        script = file.read(MAX_SCRIPT_BYTES + 1)
    if len(script) > MAX_SCRIPT_BYTES:
        raise InputError(
            f"{path}: expected a script of at most {MAX_SCRIPT_BYTES} bytes", hint="send data with --input"
        )
    return script


def rewrite(
    path: Path,
    script: bytes,
    *,
    directives: Mapping[str, str],
    arguments: Sequence[str],
    variables: Mapping[str, str],
) -> bytes:
    """Return the script with what the command line says, which is then the job's script for everybody.

    Raises:
        InputError: It is no shell script in UTF-8, or something cannot be written into it.
    """
    if not (directives or arguments or variables):
        return script
    from cloudq.metascript import with_directives, with_values  # not every script has to be read

    text = with_directives(_decoded(path, script), directives)
    try:
        return with_values(text, arguments, variables).encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(f"expected arguments and values in UTF-8: {error}") from error


def parse_script(path: Path, script: bytes) -> MetaScript:
    """Parse a meta script. Raises InputError."""
    from cloudq.metascript import parse_meta_script

    return parse_meta_script(_decoded(path, script), str(path))


def _decoded(path: Path, script: bytes) -> str:
    try:
        return script.decode("utf-8")
    except UnicodeDecodeError as error:
        line = script[: error.start].count(b"\n") + 1
        raise InputError(f"{path}:{line}: a meta script must be UTF-8 text") from error


def known_definitions(
    bundles: Bundles, config: ClientConfig, directives: Directives
) -> tuple[Definitions, Definitions]:
    """Return what projects and resources mean, by our own files and by what the systems publish.

    The systems are asked only if the script names a project or resource that our files do not have.
    """
    projects, resources = config.projects, config.resources
    wanted = ((directives.project, projects), (directives.resource, resources))
    system = directives.run_on.lower()
    if all(not name or system in definitions.get(name, {}) for name, definitions in wanted):
        return projects, resources
    named = directives.run_on != ANY
    found = [bundles.agents.presence(directives.run_on)] if named else bundles.agents.presences()
    for presence in filter(None, found):
        projects = with_system(projects, presence.system, presence.projects)
        resources = with_system(resources, presence.system, presence.resources)
    return projects, resources


def demand_of(config: ClientConfig, job: Job, script: bytes) -> Demand:
    """Return what a job that was checked asks of a system."""
    if job.kind is JobKind.LOCAL:
        return Demand(job.submit_to)
    directives = parse_script(Path(job.name), script).directives
    return Demand(job.run_on or ANY, directives, config.projects, config.resources)
