"""Writes the manual pages of the commands into a folder (man/ if none is given)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

import cloudq
from cloudq.agent.cli import main as cloudqd
from cloudq.cli import EXIT_STATUSES, loaded
from cloudq.client.cli import EXAMPLES
from cloudq.client.cli import main as cloudqcli


def main() -> None:
    """Write cloudqcli.1 and cloudqd.1."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "man")
    folder.mkdir(parents=True, exist_ok=True)
    for name, group, examples in (("cloudqcli", cloudqcli, EXAMPLES), ("cloudqd", cloudqd, {})):
        page = "\n".join(render_page(name, group, examples)) + "\n"
        (folder / f"{name}.1").write_text(page, encoding="utf-8")


def render_page(name: str, group: click.Group, examples: dict[str, str]) -> Iterator[str]:
    """Yield the lines of a page in the man macros (man(7))."""
    yield f'.TH {name.upper()} 1 "" "CloudQ {cloudq.__version__}" "User Commands"'
    yield from (".SH NAME", f"{name} \\- {escaped(group.get_short_help_str(200))}")
    yield from (".SH SYNOPSIS", f".B {name}", "[OPTION]... COMMAND [ARGUMENT]...")
    yield from (".SH DESCRIPTION", escaped(" ".join((group.help or "").split())))
    yield from (".SH OPTIONS", *options_of(group))
    yield ".SH COMMANDS"
    for word, command in loaded(group).items():
        if command.hidden:
            continue
        context = click.Context(command, info_name=word)
        usage = " ".join(command.collect_usage_pieces(context))
        yield from (f".SS {word} {escaped(usage)}", escaped(" ".join((command.help or "").split())))
        yield from options_of(command)
        if word in examples:
            yield from (".PP", "Example:", ".PP", ".nf", f"    {escaped(examples[word])}", ".fi")
    yield ".SH EXIT STATUS"
    for status, meaning in EXIT_STATUSES.items():
        yield from (".TP", f".B {status}", escaped(meaning))
    yield from (".SH FILES", ".TP", f".I ~/.cloudq/{'client' if name == 'cloudqcli' else 'agent'}/config.ini")
    yield "the configuration; CLOUDQ_CONFIG names another"


def options_of(command: click.Command) -> Iterator[str]:
    """Yield the options of a command."""
    for param in command.params:
        if isinstance(param, click.Option) and not param.hidden:
            value = "" if param.is_flag else f" \\fI{escaped(param.metavar or param.type.name.upper())}\\fR"
            names = ", ".join(f"\\fB{escaped(name)}\\fR" for name in param.opts)
            yield from (".TP", names + value, escaped(" ".join((param.help or "").split())))


def escaped(text: str) -> str:
    """Write a text so that troff takes no character of it for a command."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    return f"\\&{text}" if text.startswith((".", "'")) else text


if __name__ == "__main__":
    main()
