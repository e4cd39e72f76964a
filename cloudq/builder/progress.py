"""What a person sees while AWS works: the step, the last event, failures; on stderr, live on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Optional

from cloudq.builder.stacks import Event


class PlainProgress:
    """One line for each step and failure, for logs and pipes."""

    def step(self, text: str) -> None:
        sys.stderr.write(f"{text} ...\n")
        sys.stderr.flush()

    def event(self, event: Event) -> None:
        if event.status.endswith("_FAILED"):
            sys.stderr.write(f"  {event.status}  {event.resource}  {event.reason}\n")


class LiveProgress:
    """The same on a terminal, with the last event beside a spinner."""

    def __init__(self, console: Any, status: Any) -> None:
        self._console = console
        self._status = status
        self._step = ""
        self._ready = 0

    def step(self, text: str) -> None:
        if self._step:
            self._console.print(f"{self._step}: done")
        self._step, self._ready = text, 0
        self._status.update(text)

    def event(self, event: Event) -> None:
        if event.status.endswith("_FAILED"):
            self._console.print(
                f"{event.status}  {event.resource}  {event.reason}", style="red", markup=False
            )
        self._ready += event.status.endswith("_COMPLETE")
        self._status.update(f"{self._step}: {self._ready} parts ready, {event.resource} {event.status}")


@contextmanager
def shown_progress() -> Iterator[PlainProgress | LiveProgress]:
    """Give somebody to tell: live if stderr is a terminal and rich is installed."""
    console = _terminal()
    if console is None:
        yield PlainProgress()
        return
    with console.status("") as status:
        yield LiveProgress(console, status)


def _terminal() -> Optional[Any]:
    if not sys.stderr.isatty():
        return None
    try:
        from rich.console import Console
    except ImportError:
        return None
    return Console(stderr=True)
