"""The directives of a meta script, as values."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from types import MappingProxyType
from typing import Optional

from cloudq.errors import MetaScriptError
from cloudq.metascript.values import (
    parse_image_url,
    parse_memory,
    parse_name,
    parse_named_image,
    parse_number,
    parse_options,
    parse_run_on,
    parse_shell,
    parse_walltime,
    parse_yes_or_no,
    unprintable,
)
from cloudq.system import ANY

_MOST_IMAGES = 100
_NUMBERED = re.compile(r"(CONTAINER_)?IMG([0-9]+)\Z")


@dataclass(frozen=True)
class Image:
    """A container image, and the variable by which the script names it.

    Attributes:
        variable: As the directive gives it: `CONTAINER_IMG0`, `IMG0`, `PYTORCH`.
        url: Where it is; free of blanks and control characters, nothing else is promised.
    """

    variable: str
    url: str

    @property
    def variables(self) -> tuple[str, ...]:
        """All its names: a numbered image has those of both dialects."""
        match = _NUMBERED.match(self.variable)
        return (f"CONTAINER_IMG{match[2]}", f"IMG{match[2]}") if match else (self.variable,)


@dataclass(frozen=True)
class Directives:
    """What the head of a meta script says.

    Attributes:
        run_on: A system's name, or `ANY`.
        project, resource: Abstract names; empty if the script says nothing.
        n_resource: How many units of what the resource means.
        nodes: How many nodes; 0 if the script says nothing.
        cores: Processor cores on each node; 0 if it says nothing.
        gpus: GPUs on each node.
        memory: Bytes on each node; 0 if it says nothing.
        exclusive: Whether the nodes are to be the job's alone.
        walltime: The longest time that the job may run.
        other_options: Scheduler options, split into words.
        images: Container images, in order.
        shell: Name or absolute path of the shell of a script without a `#!` line; may be empty.
        lines: The line of each directive, by key; of each native line, by its text.
    """

    run_on: str = ANY
    project: str = ""
    resource: str = ""
    n_resource: int = 1
    nodes: int = 0
    cores: int = 0
    gpus: int = 0
    memory: int = 0
    exclusive: bool = False
    walltime: Optional[timedelta] = None
    other_options: tuple[str, ...] = ()
    images: tuple[Image, ...] = ()
    shell: str = ""
    lines: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class DirectiveLine:
    """A directive as it is written; continued lines are joined already.

    Attributes:
        key: The text before the first colon.
        value: The text after it, trimmed.
        line: Its (first) line, from 1.
    """

    key: str
    value: str
    line: int


def _with_numbered_image(directives: Directives, text: str) -> Directives:
    number = sum(image.variable.startswith("CONTAINER_IMG") for image in directives.images)
    return _with_image(directives, Image(f"CONTAINER_IMG{number}", parse_image_url(text)))


def _with_named_image(directives: Directives, text: str) -> Directives:
    return _with_image(directives, Image(*parse_named_image(text)))


def _with_image(directives: Directives, image: Image) -> Directives:
    if len(directives.images) >= _MOST_IMAGES:
        raise ValueError(f"expected at most {_MOST_IMAGES} images")
    taken = {name for other in directives.images for name in other.variables}
    for name in image.variables:
        if name in taken:
            raise ValueError(f"another image has the variable {name} already: expected another name")
    return replace(directives, images=(*directives.images, image))


_READERS: Mapping[str, Callable[[Directives, str], Directives]] = MappingProxyType(
    {
        "run_on": lambda read, text: replace(read, run_on=parse_run_on(text)),
        "project": lambda read, text: replace(read, project=parse_name(text)),
        "resource": lambda read, text: replace(read, resource=parse_name(text)),
        "n_resource": lambda read, text: replace(read, n_resource=parse_number(text)),
        "nodes": lambda read, text: replace(read, nodes=parse_number(text)),
        "cores": lambda read, text: replace(read, cores=parse_number(text)),
        "gpus": lambda read, text: replace(read, gpus=parse_number(text)),
        "memory": lambda read, text: replace(read, memory=parse_memory(text)),
        "exclusive": lambda read, text: replace(read, exclusive=parse_yes_or_no(text)),
        "walltime": lambda read, text: replace(read, walltime=parse_walltime(text)),
        "other_opts": lambda read, text: replace(read, other_options=parse_options(text)),
        "container_img": _with_numbered_image,
        "container_image": _with_named_image,
        "shell": lambda read, text: replace(read, shell=parse_shell(text)),
    }
)

KEYS = tuple(_READERS)
"""Every key that a directive may have."""


def parse_directives(written: Sequence[DirectiveLine], source: str) -> Directives:
    """Make the directives out of their lines; a repeated key overrides, images collect.

    Raises:
        MetaScriptError: An unknown key, a value of another form than expected, or `n_resource` alone.
    """
    directives = Directives()
    for directive in written:
        try:
            directives = _read(directives, directive)
        except ValueError as error:
            raise MetaScriptError(source, directive.line, str(error)) from error
    lines = {directive.key: directive.line for directive in written}
    if "n_resource" in lines and not directives.resource:
        raise MetaScriptError(source, lines["n_resource"], "n_resource: expected a resource directive, too")
    if "nodes" in lines and directives.resource:
        problem = "nodes: expected n_resource instead, as there is a resource directive"
        raise MetaScriptError(source, lines["nodes"], problem)
    return replace(directives, lines=MappingProxyType(lines))


def _read(directives: Directives, directive: DirectiveLine) -> Directives:
    key, value = directive.key, directive.value
    if key not in _READERS:
        raise ValueError(f"unknown directive {key!r}: {suggestion(key)}")
    if not value:
        raise ValueError(f"{key}: expected a value after the colon")
    if unprintable(value):
        raise ValueError(f"{key}: expected printable text, got {unprintable(value)!r} in {value!r}")
    try:
        return _READERS[key](directives, value)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from error


def suggestion(key: str) -> str:
    """Say what is near an unknown key, or what there is."""
    from difflib import get_close_matches

    close = get_close_matches(key.lower().replace("-", "_"), KEYS, n=1)
    return f"did you mean {close[0]!r}?" if close else f"expected one of {', '.join(KEYS)}"
