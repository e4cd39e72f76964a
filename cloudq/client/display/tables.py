"""Tables that fit a terminal: the widest columns give way."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from cloudq.client.display.values import visible
from cloudq.job import JobState

_GAP = "  "
_LEAST = 4
_WIDE_ENOUGH_FOR_FILES = 10_000
_COLOURS = {
    JobState.RUN: "green",
    JobState.DONE: "green",
    JobState.READY: "yellow",
    JobState.ERROR: "red",
    JobState.TIMEOUT: "red",
}


def render_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, width: int, yielding: int = 0
) -> str:
    """Write a table, left-aligned; cells that do not fit end in `…`.

    Args:
        width: Characters in a line.
        yielding: How many columns, of the last, give way before the others.
    """
    cells = [list(header), *([visible(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells)]
    while sum(widths) + len(_GAP) * (len(widths) - 1) > width and max(widths) > _LEAST:
        last = widths[len(widths) - yielding :]
        first = len(widths) - yielding if max(last, default=0) > _LEAST else 0
        widths[widths.index(max(widths[first:]), first)] -= 1
    return "\n".join(
        _GAP.join(_fitted(cell, size) for cell, size in zip(row, widths)).rstrip() for row in cells
    )


def coloured(table: str) -> str:
    """Colour the states in a table, and its header; nothing if colours are not wanted."""
    if not wants_colours():
        return table
    head, *rows = table.split("\n")
    return "\n".join([click.style(head, bold=True), *map(_coloured_row, rows)])


def wants_colours() -> bool:
    """Tell whether colours may be used: on a terminal, unless NO_COLOR is set (no-color.org)."""
    return on_terminal() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def dimmed(text: str) -> str:
    """Return a text for stderr, dimmed where colours may be used."""
    return click.style(text, dim=True) if not os.environ.get("NO_COLOR") else text


def on_terminal() -> bool:
    """Tell whether a person reads our stdout."""
    return sys.stdout.isatty()


def terminal_width() -> int:
    """Return how many characters fit into a line of our stdout; any number, if it is no terminal."""
    if not on_terminal():
        return _WIDE_ENOUGH_FOR_FILES
    import shutil

    return shutil.get_terminal_size().columns


def _fitted(cell: str, width: int) -> str:
    return f"{cell:<{width}}" if len(cell) <= width else f"{cell[: width - 1]}…"


def _coloured_row(row: str) -> str:
    for state, colour in _COLOURS.items():
        word = f" {state.value} "
        if word in f"{row} ":
            return row.replace(state.value, click.style(state.value, fg=colour), 1)
    return row
