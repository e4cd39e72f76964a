"""Bytes that transfers have moved, told to whoever watches: a bar on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Watcher = Callable[[int], None]
"""Called with the number of bytes that were moved since the last call, from any thread."""


def _nobody(_: int) -> None:
    """Watch nothing."""


_WATCHER: ContextVar[Watcher] = ContextVar("watcher", default=_nobody)


@contextmanager
def watching(watcher: Watcher) -> Iterator[None]:
    """Tell a watcher of the transfers that this thread begins in the block."""
    token = _WATCHER.set(watcher)
    try:
        yield
    finally:
        _WATCHER.reset(token)


def current_watcher() -> Watcher:
    """Return who watches the transfers that this thread begins now."""
    return _WATCHER.get()
