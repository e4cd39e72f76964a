"""Completion scripts for shells, made of the commands themselves.

Ids and systems they read from the cache folder: without Python they answer at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

import click

_FILES = ("FILE", "PATH", "SCRIPT", "FOLDER")


@dataclass(frozen=True)
class OptionWords:
    """An option, and what may follow it.

    Attributes:
        names: As written: `-f`, `--follow`.
        help: What it does.
        takes: Nothing (empty), or one of `ids`, `systems`, `files`, `words`, `value`.
        words: The words that may follow.
    """

    names: tuple[str, ...]
    help: str
    takes: str
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class CommandWords:
    """A command, its options, and what its arguments are: `ids`, `files` or nothing."""

    name: str
    help: str
    options: tuple[OptionWords, ...]
    takes: str

    @property
    def option_names(self) -> tuple[str, ...]:
        """All names of all options."""
        return tuple(name for option in self.options for name in option.names)


def render_completion(shell: str, commands: Mapping[str, click.Command]) -> str:
    """Write the script that completes `cloudqcli` in a shell: `bash`, `zsh` or `fish`."""
    from jinja2 import Environment, StrictUndefined

    # The output is a shell script, not HTML.
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)  # noqa: S701
    environment.filters["quote"] = _quoted
    text = (files("cloudq") / "templates" / f"completion.{shell}").read_text(encoding="utf-8")
    described = [describe(name, command) for name, command in commands.items() if not command.hidden]
    return environment.from_string(text).render(commands=described) + "\n"


def describe(name: str, command: click.Command) -> CommandWords:
    """Say what may follow a command."""
    options = [param for param in command.params if isinstance(param, click.Option) and not param.hidden]
    arguments = [param for param in command.params if isinstance(param, click.Argument)]
    takes = _kind(arguments[0]) if arguments else ""
    return CommandWords(
        name,
        command.get_short_help_str(60),
        (*map(_describe_option, options), OptionWords(("-h", "--help"), "Show this message and exit.", "")),
        takes if takes in ("ids", "files") else "",
    )


def _describe_option(option: click.Option) -> OptionWords:
    words: tuple[str, ...] = ()
    if isinstance(option.type, click.Choice):
        words = tuple(map(str, option.type.choices))
    takes = "" if option.is_flag else "words" if words else _kind(option)
    return OptionWords(tuple(option.opts), (option.help or "").partition(". ")[0], takes, words)


def _kind(param: click.Parameter) -> str:
    metavar = (param.metavar or "").strip("[].")
    if metavar.startswith("ID"):
        return "ids"
    if metavar.startswith("SYSTEM"):
        return "systems"
    if metavar.startswith(_FILES) or isinstance(param.type, click.Path):
        return "files"
    return "value"


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "'\\''") + "'"
