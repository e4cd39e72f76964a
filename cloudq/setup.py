"""Configuration files, written: commented templates filled with a few values."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Optional, TypeVar

import click

from cloudq.errors import ConfigError, InputError
from cloudq.store.files import appearing

T = TypeVar("T")


@dataclass(frozen=True)
class Question:
    """What a configuration file must be told.

    Attributes:
        name: The `${…}` of the template that it fills; with `-` for `_`, the option.
        text: The question.
        default: The answer where none is given.
        required: Whether it must be given or asked.
    """

    name: str
    text: str
    default: str = ""
    required: bool = False


CLIENT_QUESTIONS = (
    Question("name", "A name for this computer", platform.node().partition(".")[0]),
    Question("endpoint_url", "URL of the S3 server (empty for Amazon S3)", required=True),
    Question("bucket", "Bucket", "cloudq", required=True),
    Question("prefix", "Key prefix in the bucket (empty for the whole bucket)"),
    Question("profile", "Profile of your AWS credentials", "default"),
)
AGENT_QUESTIONS = (
    Question("name", "The name of this system", platform.node().partition(".")[0], required=True),
    Question("type", "Its scheduler (local runs jobs as processes of this host)", "slurm", required=True),
    *CLIENT_QUESTIONS[1:],
    Question("daemon_interval", "Seconds between two looks at the bucket", "5"),
    Question("directory", "Folder of work folders and logs, seen by all nodes", "~/.cloudq"),
)


def answered(
    questions: Sequence[Question], given: Mapping[str, Optional[str]], write: Callable[[Mapping[str, str]], T]
) -> T:
    """Return what `write` makes of the answers. A person whose answers cannot be used is asked again.

    Raises:
        CloudQError: By `write`; or there is nobody to ask.
    """
    asking = any(question.required and given.get(question.name) is None for question in questions)
    while True:
        values = answers(questions, given)
        try:
            return write(values)
        except ConfigError as error:
            if not (asking and sys.stdin.isatty()):
                raise
            click.echo(f"Error: {error}", err=True)
            # An empty default stays: an empty answer means something there.
            questions = [
                replace(question, default=question.default and values[question.name])
                for question in questions
            ]


def answers(questions: Sequence[Question], given: Mapping[str, Optional[str]]) -> dict[str, str]:
    """Return the value for each question: given, else asked on stderr, else the default.

    If all that is required is given, nothing is asked.

    Raises:
        InputError: There is nobody to ask.
    """
    asking = any(question.required and given.get(question.name) is None for question in questions)
    return {question.name: _answer(question, given.get(question.name), asking) for question in questions}


def _answer(question: Question, given: Optional[str], asking: bool) -> str:
    if given is not None or not asking:
        return question.default if given is None else given
    try:
        answer: str = click.prompt(
            question.text, default=question.default, show_default=bool(question.default), err=True
        )
    except click.Abort as error:
        if sys.stdin.isatty():
            raise
        option = "--" + question.name.replace("_", "-")
        raise InputError(f"{option}: expected a value, or somebody to ask for it") from error
    return answer


def write_config(
    file: Path,
    template: str,
    values: Mapping[str, str],
    *,
    force: bool,
    check: Callable[[Path], object],
    beside: Sequence[str] = (),
) -> list[Path]:
    """Write a configuration file, and others beside it where there are none.

    Files have mode 0600, new folders 0700.

    Args:
        file: The file to write.
        template: Name of the packaged template: `client-config.ini`, `agent-config.ini`.
        values: What its `${…}` stand for; `%` is doubled here.
        force: Replace a file that exists.
        check: Reads the new file and raises if it cannot be used; then nothing is replaced.
        beside: Names of further templates, and of the files that they become.

    Returns:
        The files that were written.

    Raises:
        InputError: The file exists, or a value has more than one line.
    """
    refuse_to_replace(file, force=force)
    text = render_template(template, values)
    _make_folder(file.absolute().parent)
    missing = [file.with_name(name) for name in beside if not file.with_name(name).exists()]
    for other in missing:
        _write(other, render_template(other.name, {}))
    new = file.with_name(f"{file.name}.new")
    _write(new, text)
    try:
        check(new)
        new.replace(file)
    except ConfigError as error:
        raise ConfigError(str(error).replace(new.name, file.name), hint=error.hint) from error
    finally:
        new.unlink(missing_ok=True)
    return [file, *missing]


def refuse_to_replace(file: Path, *, force: bool) -> None:
    """Raise InputError if a file exists that is not to be replaced."""
    if file.exists() and not force:
        raise InputError(f"{file}: exists already", hint="--force writes it anew")


def render_template(template: str, values: Mapping[str, str]) -> str:
    """Fill a packaged template. Raises InputError for a value that would not be one line of it."""
    for name, value in values.items():
        if not value.isprintable():
            raise InputError(f"{name}: expected one line of printable text, got {value!r}")
    text = (files("cloudq") / "templates" / template).read_text(encoding="utf-8")
    return Template(text).substitute(
        {name: value.strip().replace("%", "%%") for name, value in values.items()}
    )


def _make_folder(folder: Path) -> None:
    for missing in reversed([path for path in (folder, *folder.parents) if not path.exists()]):
        missing.mkdir(mode=0o700, exist_ok=True)


def _write(file: Path, text: str) -> None:
    with appearing(file) as stream:
        stream.write(text.encode("utf-8"))
