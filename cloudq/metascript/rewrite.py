"""Scripts changed at submission: directives given on the command line, arguments and variables."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence

from cloudq.errors import InputError
from cloudq.metascript.directives import KEYS, suggestion
from cloudq.metascript.values import BOURNE_SHELLS, interpreter_name

_DIRECTIVE = re.compile(r"[ \t]*#\$[ \t]*(?P<key>[^\s:]+)[ \t]*:")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def with_directives(text: str, values: Mapping[str, str]) -> str:
    """Return a meta script whose head says this, whatever it said before.

    A directive that is there is replaced in its place; others stand below the last one. Nothing is
    checked here but that each is one line.

    Raises:
        InputError: A key is unknown, or a value is more than one line.
    """
    for key, value in values.items():
        if key not in KEYS:
            raise InputError(f"-D {key}: unknown directive: {suggestion(key)}")
        if not value.isprintable() or not value.strip():
            raise InputError(f"-D {key}: expected a value in one line, got {value!r}")
    lines = text.split("\n")
    end = _head_end(lines)
    left, place, index = dict(values), int(text.startswith("#!")), 0
    while index < end:
        match = _DIRECTIVE.match(lines[index])
        span = _span(lines, index) if match else 1
        if match and match["key"] in values:
            # The lines keep their numbers, which messages name.
            lines[index : index + span] = [""] * span
            if match["key"] in left:
                lines[index] = f"#$ {match['key']}: {left.pop(match['key'])}"
        index += span
        place = index if match else place
    lines[place:place] = [f"#$ {key}: {value}" for key, value in left.items()]
    return "\n".join(lines)


def with_values(text: str, arguments: Sequence[str], variables: Mapping[str, str]) -> str:
    """Return a shell script that begins with these positional parameters and exported variables.

    They stand in one line above its first command, so that every agent and scheduler runs them.

    Raises:
        InputError: It is no Bourne shell script, or a name or value cannot be written in one.
    """
    commands = [f"export {_checked_name(name)}={_quoted(value)}" for name, value in variables.items()]
    if arguments:
        commands.append(f"set -- {' '.join(map(_quoted, arguments))}")
    if not commands:
        return text
    lines = text.split("\n")
    if lines[0].startswith("#!") and interpreter_name(lines[0]) not in BOURNE_SHELLS:
        raise InputError(
            f"arguments and variables: expected a shell script, got one for {interpreter_name(lines[0])!r}"
        )
    end = _head_end(lines)
    return "\n".join([*lines[:end], "; ".join(commands), *lines[end:]])


def _head_end(lines: Sequence[str]) -> int:
    """Return the index of the first line that is neither blank nor begins with `#`."""
    index = 0
    while index < len(lines) and lines[index].strip()[:1] in ("", "#"):
        index += _span(lines, index) if _DIRECTIVE.match(lines[index]) else 1
    if index >= len(lines) and lines[-1] == "":
        return len(lines) - 1
    return min(index, len(lines))


def _span(lines: Sequence[str], index: int) -> int:
    """Return how many lines a directive takes: a final backslash continues it."""
    span = 1
    while index + span < len(lines) and lines[index + span - 1].rstrip().endswith("\\"):
        span += 1
    return span


def _checked_name(name: str) -> str:
    if not _VARIABLE.match(name):
        raise InputError(f"-e {name}: expected a name of letters, digits and '_'")
    return name


def _quoted(text: str) -> str:
    if "\0" in text:
        raise InputError(f"expected an argument or value without NUL, got {text!r}")
    return shlex.quote(text)
