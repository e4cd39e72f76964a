"""Bars for transfers and long waits, on a terminal only; nothing of them is imported elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cloudq.store.moved import watching

WORTH_A_BAR = 256 * 1024
"""Bytes from which on a transfer shows a bar."""


def may_draw() -> bool:
    """Tell whether a person looks at our stderr, on a terminal that can be drawn on."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


@contextmanager
def transfer(text: str, size: int) -> Iterator[None]:
    """Show a bar while a block moves about so many bytes."""
    if size < WORTH_A_BAR or not may_draw():
        yield
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.progress import TransferSpeedColumn as SpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), SpeedColumn())
    bar = Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True)
    with bar:
        task = bar.add_task(text, total=size)
        with watching(lambda count: bar.advance(task, count)):
            yield


@contextmanager
def waiting(text: str) -> Iterator[Callable[[str], None]]:
    """Show that something takes its time; yields what changes the text."""
    if not may_draw():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status(Text(text)) as status:
        yield lambda new: status.update(Text(new))
