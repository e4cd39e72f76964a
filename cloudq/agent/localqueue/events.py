"""Waiting for signals and a pipe at the same time, without losing one and without looking again and again."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterable
from types import TracebackType
from typing import Optional


class Events:
    """Signals, and bytes in a pipe, as something to wait for; only in the main thread.

    Programs started meanwhile get the signals' default effects, as handlers do not outlive exec.

    Args:
        signals: Which signals to wait for instead of obeying them.
        pipe: A descriptor open for reading, whose bytes mean nothing but "wake up".
    """

    def __init__(self, signals: Iterable[signal.Signals], pipe: Optional[int] = None) -> None:
        self._read_end, self._write_end = os.pipe()
        os.set_blocking(self._read_end, False)
        os.set_blocking(self._write_end, False)
        self._watched = [self._read_end] if pipe is None else [self._read_end, pipe]
        self._previous_descriptor = signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)
        self._previous = {number: signal.signal(number, lambda *_: None) for number in signals}

    def __enter__(self) -> Events:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._previous_descriptor)
        os.close(self._read_end)
        os.close(self._write_end)

    def wait(self, seconds: Optional[float]) -> frozenset[int]:
        """Wait for a signal or the pipe, and return the signals that came."""
        ready, _, _ = select.select(self._watched, [], [], seconds)
        received = {descriptor: os.read(descriptor, 4096) for descriptor in ready}
        return frozenset(received.get(self._read_end, b""))
