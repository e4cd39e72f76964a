"""The translation of a meta script into the script that one system's scheduler runs."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn, Optional, Union

from cloudq.errors import MetaScriptError
from cloudq.job import ArrayRange
from cloudq.metascript.parse import MetaScript
from cloudq.metascript.values import unprintable
from cloudq.system import ANY, System


@dataclass(frozen=True)
class Placement:
    """Where a job is on the agent's host.

    Attributes:
        work_dir: Its working directory, absolute.
        status_file: Where the script writes its exit status, absolute; `.TASK` is appended for a task.
        array_range: All tasks, if it is an array job: for schedulers that tell a task only its own number.
        images: What to take for an image, by its URL: the same image by its digest, or a file.
    """

    work_dir: str
    status_file: str
    array_range: Optional[ArrayRange] = None
    images: Mapping[str, str] = field(default_factory=dict)


def translate(
    script: MetaScript, system: System, placement: Placement, template_dirs: Sequence[Union[str, Path]] = ()
) -> str:
    """Return the script that the system's scheduler runs.

    Templates of the site replace those of CloudQ by name (`slurm.sh`, `parts/modules.sh`,
    `containers/apptainer.sh`); they may build on ours as `cloudq/slurm.sh`.

    Args:
        template_dirs: Directories with templates of the site, the first match counts.

    Raises:
        MetaScriptError: A directive that has no meaning on this system.
        ConfigError: No template for the scheduler or the container runtime, or a faulty one.
    """
    from cloudq.metascript.rendering import render  # Jinja2 takes long to import

    return render(f"{system.scheduler}.sh", _values(script, system, placement), system, template_dirs)


def site_templates(folder: Path) -> tuple[str, ...]:
    """Return the names of the templates in a site's folder, which need not be there."""
    return tuple(sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.sh")))


def container_program(
    system: System, placement: Placement, template_dirs: Sequence[Union[str, Path]] = ()
) -> str:
    """Return the program for `/bin/sh` by which translated scripts find, pull and run images.

    Its arguments: `find REFERENCE`, `fetch REFERENCE` (for another host; both print what was found),
    or `run REFERENCE COMMAND...`.

    Raises:
        ConfigError: No template for the container runtime, or a faulty one.
    """
    values: dict[str, object] = {"system": system, "placement": placement, "gpu": False}
    from cloudq.metascript.rendering import render

    return render(f"containers/{system.container_runtime}.sh", values, system, template_dirs)


def _values(script: MetaScript, system: System, placement: Placement) -> dict[str, object]:
    """Return everything a template may use, by the names it uses."""
    directives = script.directives
    project = _project(script, system)
    resource = _resource(script, system)
    return {
        "body": script.body,
        "directives": directives,
        "fail": lambda directive, problem: _fail(script, directive, problem),
        "gpu": bool(directives.gpus)
        or any("gpu" in text.lower() for text in (resource, *directives.other_options, *script.native_lines)),
        "interpreter": script.interpreter or _interpreter(directives.shell),
        "native_lines": script.native_lines,
        "placement": placement,
        "project": project,
        "resource": resource,
        "resource_words": _resource_words(script, resource),
        "system": system,
    }


def _fail(script: MetaScript, directive: str, problem: str) -> NoReturn:
    line = script.directives.lines.get(directive, 1)
    raise MetaScriptError(script.source, line, f"{directive}: {problem}")


def _project(script: MetaScript, system: System) -> str:
    """Return what to charge; a script that names the system may leave it undefined there, as in 1.2."""
    name, run_on = script.directives.project, script.directives.run_on
    if name and run_on == ANY and name not in system.projects:
        _fail(script, "project", _no_meaning(name, system, system.projects))
    return _definition(script, "project", system.projects.get(name, ""))


def _resource(script: MetaScript, system: System) -> str:
    name = script.directives.resource
    if name and name not in system.resources:
        _fail(script, "resource", _no_meaning(name, system, system.resources))
    return _definition(script, "resource", system.resources.get(name, ""))


def _no_meaning(name: str, system: System, known: Iterable[str]) -> str:
    return (
        f"{name!r} has no meaning on system {system.name} (known there: {', '.join(sorted(known)) or 'none'})"
    )


def _definition(script: MetaScript, directive: str, text: str) -> str:
    """Return a site's word for a name as one line (an INI value may have several)."""
    text = " ".join(line.strip() for line in text.split("\n")).strip()
    if unprintable(text):
        _fail(script, directive, f"expected a definition of printable text, got {text!r}")
    return text


def _resource_words(script: MetaScript, resource: str) -> tuple[str, ...]:
    """Split a definition that is options into words, with `{n}` filled in; a mere name gives none."""
    if not resource.startswith("-"):
        return ()
    try:
        words = shlex.split(resource)
    except ValueError as error:
        _fail(script, "resource", f"the definition {resource!r} cannot be split into options: {error}")
    return tuple(word.replace("{n}", str(script.directives.n_resource)) for word in words)


def _interpreter(shell: str) -> str:
    if shell.startswith("/"):
        return f"#!{shell}"
    return {"": "#!/bin/bash", "sh": "#!/bin/sh"}.get(shell, f"#!/usr/bin/env {shell}")
