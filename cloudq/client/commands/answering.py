"""How answers reach stdout: job by job, as JSON, or as bytes that may be anything."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable

import click

from cloudq.cli import report_error
from cloudq.errors import CloudQError, NotFoundError, StoreError


def for_each(find: Callable[[str], str], texts: Iterable[str], act: Callable[[str], str]) -> None:
    """Do something to each job and print what it returns; one that fails does not stop the others.

    Args:
        find: Returns the id that a text stands for.
    """
    exit_status = 0
    for text in texts:
        try:
            click.echo(act(find(text)))
        except CloudQError as error:
            if isinstance(error, StoreError) and not isinstance(error, NotFoundError):
                raise
            report_error(error)
            exit_status = exit_status or error.exit_status
    click.get_current_context().exit(exit_status)


def print_json(value: object) -> None:
    """Print a value as JSON, indented."""
    click.echo(json.dumps(value, indent=4))


def print_bytes(blocks: Iterable[bytes], *, raw: bool) -> None:
    """Print text that may be anything: as it is, but visibly on a terminal."""
    from cloudq.client.display.values import visible_lines

    if raw or not sys.stdout.isatty():
        stream = sys.stdout.buffer
        for block in blocks:
            stream.write(block)
        stream.flush()
        return
    for text in visible_lines(blocks):
        click.echo(text, nl=False)
