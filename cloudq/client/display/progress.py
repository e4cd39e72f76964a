"""Bars for transfers and long waits, on a terminal only; nothing of them is imported elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Optional

from cloudq.store.moved import watching

if TYPE_CHECKING:
    from rich.status import Status

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


class Wait:
    """What is shown while something takes its time: nothing, if there is no terminal."""

    def __init__(self, status: Optional[Status] = None) -> None:
        self._status = status

    def say(self, text: str) -> None:
        """Change the text."""
        if self._status:
            from rich.text import Text

            self._status.update(Text(text))

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Take it from the screen while an answer is printed."""
        if self._status:
            self._status.stop()
        yield
        if self._status:
            self._status.start()


@contextmanager
def waiting(text: str) -> Iterator[Wait]:
    """Show that something takes its time."""
    if not may_draw():
        yield Wait()
        return
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status(Text(text)) as status:
        yield Wait(status)
