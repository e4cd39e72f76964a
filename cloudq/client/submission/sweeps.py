"""Submissions out of options, one or many: a job for each row of a table or each line of a text."""

from __future__ import annotations

import io
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Optional

from cloudq.bundle import Bundles
from cloudq.client.submission.inputs import parse_input
from cloudq.client.submission.request import Submission, check, parse_expires
from cloudq.client.submission.submit import submit
from cloudq.config import ClientConfig
from cloudq.errors import InputError
from cloudq.job import ArrayRange, Condition, Job

SUBMITTERS = 8
"""Jobs that are submitted at the same time."""


def submission(options: Mapping[str, Any]) -> Submission:
    """Make a submission out of the options of `submit` and `run`. Raises InputError."""
    array_range = options["array_tid"].strip()
    return Submission(
        script=options["script"],
        submit_to=options["submit_to"].strip(),
        submit_options=options["submit_opt"].strip(),
        hold_ids=_ids(options["hold_jid"]),
        conditions={
            Condition.OK: _ids(options["after_ok"]),
            Condition.NOT_OK: _ids(options["after_not_ok"]),
            Condition.CORR: _ids(options["after_corr"]),
        },
        array_range=ArrayRange.parse(array_range) if array_range else None,
        inputs=tuple(map(parse_input, options["inputs"])),
        directives=parse_directives(options["directives"]),
        arguments=tuple(options["arguments"]),
        variables=dict(_parse_variable(text) for text in options["variables"]),
        expires_after=parse_expires(options["expires"]) if options["expires"] else None,
    )


def submissions(
    options: Mapping[str, Any], *, each: Optional[str], each_line: Optional[str]
) -> list[Submission]:
    """Make a submission, or one for each row or line of a file.

    Args:
        each: A CSV file (`-` for stdin): a row's values are variables; `{COLUMN}` in an input is one.
        each_line: A text file: a line's words are further arguments.

    Raises:
        InputError: Something is refused, or the file has no rows.
    """
    if each is not None:
        rows = _rows(_read("--each", each), each)
        return [_with_row(options, row) for row in rows]
    plain = submission(options)
    if each_line is None:
        return [plain]
    lines = [_words(line, each_line) for line in _read("--each-line", each_line).splitlines() if line.strip()]
    if not lines:
        raise InputError(f"--each-line {each_line}: expected at least one line")
    return [replace(plain, arguments=(*plain.arguments, *words)) for words in lines]


def submit_all(
    bundles: Bundles, config: ClientConfig, wanted: Sequence[Submission], *, now: Callable[[], datetime]
) -> Iterator[Job]:
    """Submit jobs, several at a time, and yield them in order; nothing is submitted unless all are right.

    Raises:
        InputError, NoSuchJobError, StoreError: As for one; what was submitted before stays submitted.
    """
    if len(wanted) == 1:
        yield submit(bundles, config, wanted[0], now=now())
        return
    for one in wanted:
        check(bundles, config, one)
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(SUBMITTERS) as pool:
        yield from pool.map(lambda one: submit(bundles, config, one, now=now()), wanted)


def _with_row(options: Mapping[str, Any], row: Mapping[str, str]) -> Submission:
    inputs = options["inputs"]
    for name, value in row.items():
        inputs = [text.replace(f"{{{name}}}", value) for text in inputs]
    plain = submission({**options, "inputs": inputs})
    return replace(plain, variables={**plain.variables, **row})


def _rows(text: str, source: str) -> list[dict[str, str]]:
    import csv

    reader = csv.DictReader(io.StringIO(text), strict=True, skipinitialspace=True)
    try:
        rows = [dict(row) for row in reader]
    except csv.Error as error:
        raise InputError(f"--each {source}: line {reader.line_num}: not CSV: {error}") from error
    if not rows:
        raise InputError(f"--each {source}: expected a line with the names of variables, and rows below it")
    for number, row in enumerate(rows, 1):
        if None in row or None in row.values():
            raise InputError(f"--each {source}: row {number}: expected {len(reader.fieldnames or ())} values")
    return rows


def _read(option: str, source: str) -> str:
    try:
        if source == "-":
            return sys.stdin.read()
        return Path(source).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{option} {source}: expected UTF-8 text: {error}") from error
    except OSError as error:
        raise InputError(f"{option} {source}: {error.strerror}") from error


def _words(line: str, source: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError as error:
        raise InputError(f"--each-line {source}: {line!r}: {error}") from error


def parse_directives(texts: Iterable[str]) -> dict[str, str]:
    """Parse `KEY=VALUE`, each once. Raises InputError."""
    return dict(map(_parse_directive, texts))


def _parse_directive(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"-D {text}: expected KEY=VALUE such as walltime=2:00:00")
    return key.strip(), value.strip()


def _parse_variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if equals:
        return name, value
    if name not in os.environ:
        raise InputError(f"-e {name}: expected NAME=VALUE, or a variable that is set here")
    return name, os.environ[name]


def _ids(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
