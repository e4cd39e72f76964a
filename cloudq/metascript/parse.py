"""Meta scripts: the head with its directives, and the body."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from cloudq.errors import MetaScriptError
from cloudq.metascript.directives import KEYS, DirectiveLine, Directives, parse_directives
from cloudq.metascript.values import check_interpreter

_BLANKS = " \t"
_LONGEST = 32_768
_DIRECTIVE = re.compile(r"[ \t]*#\$[ \t]*(?P<text>.*)\Z", re.DOTALL)
_KEY_VALUE = re.compile(r"(?P<key>[^\s:]+)[ \t]*:(?P<value>.*)\Z", re.DOTALL)
_KNOWN = re.compile(rf"[ \t]*#\$[ \t]*(?P<key>{'|'.join(KEYS)})[ \t]*:")
# A scheduler's own lines begin so (#SBATCH, #PBS, #BSUB, #PJM); its template picks them out.
_NATIVE = re.compile(r"#[A-Z]{2}|#\$[ \t]*-")


@dataclass(frozen=True)
class MetaScript:
    """A shell script for every system.

    Attributes:
        source: The file it came from, for messages.
        interpreter: Its `#!` line, or an empty text.
        directives: What its head says.
        native_lines: Lines of the head, verbatim, that may be a scheduler's own: those that begin with
            `#$ -` or, like `#SBATCH`, with a `#` and two capitals. The others ignore them.
        body: The text from the first command on, lines ended by newlines; may be empty. Only a final
            backslash has no newline after it if the file has none: it would become a continuation.
        body_line: The line in the source at which the body begins, from 1.
    """

    source: str
    interpreter: str
    directives: Directives
    native_lines: tuple[str, ...]
    body: str
    body_line: int


@dataclass
class _Head:
    """The head while it is read: `end` is the index of the first line that is not read yet."""

    directives: list[DirectiveLine] = field(default_factory=list)
    native_lines: dict[str, int] = field(default_factory=dict)
    end: int = 0


def parse_meta_script(text: str, source: str) -> MetaScript:
    """Parse a meta script of either published dialect.

    The head ends at the first line that is neither blank nor begins with `#`. Line ends may be
    CR LF, and a byte order mark is dropped.

    Raises:
        MetaScriptError: No text, no shell script, or a directive that is unknown, malformed or out
            of place, with its line.
    """
    lines = _split_lines(text, source)
    interpreter = lines[0].rstrip() if lines[0].startswith("#!") else ""
    if interpreter:
        try:
            check_interpreter(interpreter)
        except ValueError as error:
            raise MetaScriptError(source, 1, str(error)) from error
    head = _read_head(lines, source)
    _check_body(lines, head.end, source)
    directives = parse_directives(head.directives, source)
    numbers = MappingProxyType({**head.native_lines, **directives.lines})
    body = "\n".join(lines[head.end :])
    return MetaScript(
        source=source,
        interpreter=interpreter,
        directives=replace(directives, lines=numbers),
        native_lines=tuple(head.native_lines),
        body=body + "\n" * (not body.endswith(("\n", "\\"))) if body else "",
        body_line=head.end + 1,
    )


def _split_lines(text: str, source: str) -> list[str]:
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise MetaScriptError(source, line, "NUL character: expected a text file")
    return [line.rstrip("\r") for line in text.removeprefix("\ufeff").split("\n")]


def _read_head(lines: Sequence[str], source: str) -> _Head:
    head = _Head()
    while head.end < len(lines):
        line = lines[head.end].strip(_BLANKS)
        if line and not line.startswith("#"):
            break
        _read_head_line(head, lines, source)
    return head


def _read_head_line(head: _Head, lines: Sequence[str], source: str) -> None:
    start = head.end
    line = lines[start]
    head.end += 1
    if _NATIVE.match(line):
        head.native_lines[line] = start + 1
        return
    match = _DIRECTIVE.match(line)
    if not match or not match["text"].strip():
        return
    text = match["text"].rstrip()
    while text.endswith("\\") and len(text) <= _LONGEST:
        text = text[:-1] + _continuation(lines, head.end, source)
        head.end += 1
    if len(text) > _LONGEST:
        raise MetaScriptError(source, start + 1, f"a directive of more than {_LONGEST} characters")
    pair = _KEY_VALUE.match(text)
    if not pair:
        raise MetaScriptError(source, start + 1, f"expected '#$ key: value', got {line.strip()!r}")
    head.directives.append(DirectiveLine(pair["key"], pair["value"].strip(), start + 1))


def _continuation(lines: Sequence[str], index: int, source: str) -> str:
    """Return what a line adds to the directive before it, whose last character is a backslash."""
    if index >= len(lines) or not lines[index].strip():
        raise MetaScriptError(source, index, "expected a continuation below the line's final backslash")
    known = _KNOWN.match(lines[index])
    if known:
        problem = f"the backslash makes the directive {known['key']!r} below a part of this one: remove it"
        raise MetaScriptError(source, index, problem)
    return re.sub(r"\A[ \t]*#\$", "", lines[index]).rstrip()


def _check_body(lines: Sequence[str], start: int, source: str) -> None:
    """Refuse directives where nobody would look for them."""
    for number, line in enumerate(lines[start:], start + 1):
        known = _KNOWN.match(line)
        if known:
            problem = f"directive {known['key']!r} below the first command: move it above line {start + 1}"
            raise MetaScriptError(source, number, problem)
