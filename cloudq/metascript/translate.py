"""The translation of a meta script into the script that one system's scheduler runs."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import NoReturn, Optional, Union

from jinja2 import (
    BaseLoader,
    ChoiceLoader,
    Environment,
    FileSystemLoader,
    PackageLoader,
    PrefixLoader,
    StrictUndefined,
    TemplateError,
    TemplateNotFound,
)

from cloudq.errors import ConfigError, MetaScriptError
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
    return _render(f"{system.scheduler}.sh", _values(script, system, placement), system, template_dirs)


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
    return _render(f"containers/{system.container_runtime}.sh", values, system, template_dirs)


def _render(
    name: str, values: dict[str, object], system: System, template_dirs: Sequence[Union[str, Path]]
) -> str:
    environment = _environment(tuple(str(path) for path in template_dirs))
    try:
        text = environment.get_template(name).render(values)
    except TemplateNotFound as error:
        raise ConfigError(_no_template(environment, str(error.name), system)) from error
    except TemplateError as error:
        raise ConfigError(f"template of system {system.name}: {error}") from error
    return text if text.endswith(("\n", "\\")) else text + "\n"


@lru_cache(maxsize=8)
def _environment(template_dirs: tuple[str, ...]) -> Environment:
    own = PackageLoader("cloudq.metascript")
    site: list[BaseLoader] = [FileSystemLoader(path) for path in template_dirs]
    environment = Environment(  # noqa: S701 - the output is a shell script: values pass `quote`
        loader=ChoiceLoader([*site, own, PrefixLoader({"cloudq": own})]),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(quote=shlex.quote, clock=_clock, options=_options, mebibytes=_mebibytes)
    environment.tests["matching"] = lambda text, pattern: re.search(pattern, text) is not None
    return environment


def _no_template(environment: Environment, name: str, system: System) -> str:
    folder = name.rpartition("/")[0]
    known = environment.list_templates(filter_func=lambda other: other.rpartition("/")[0] == folder)
    word = "container_runtime" if folder == "containers" else "type"
    words = sorted(Path(other).stem for other in known if other != "base.sh")
    return f"system {system.name}: no template {name}: expected {word} to be one of {', '.join(words)}"


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


def _clock(time: timedelta) -> str:
    """Write a time as `HH:MM:SS`, its hours unlimited."""
    minutes, seconds = divmod(int(time.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}"


def _mebibytes(size: int) -> int:
    """Write bytes as MiB, rounded up."""
    return -(-size // 2**20)


def _options(words: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Return each option with its values; a word such as `-5` is a value."""
    groups: list[tuple[str, list[str]]] = []
    for word in words:
        if re.match(r"-+[^0-9]", word) or not groups:
            groups.append((word, []))
        else:
            groups[-1][1].append(word)
    return groups
