"""Pauses between passes that end when the bucket tells of something new."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from queue import Empty, SimpleQueue
from typing import Optional, Protocol, Union

from cloudq.errors import CloudQError
from cloudq.store.sqs import EventQueue

RETRY_AFTER = timedelta(minutes=5)
REST = timedelta(seconds=1)
"""Between two passes at least: a queue that is told of other things must not keep the agent busy."""

_SLICE = 0.5
_LEAST = 1.0  # The queue is asked to wait whole seconds.
_Answer = Union[bool, CloudQError]

logger = logging.getLogger(__name__)


class Queue(Protocol):
    """Where the bucket's events come from."""

    def wait(self, seconds: int) -> bool:
        """Wait at most so long; tell whether there was an event. Raises StoreError."""
        ...


class Events:
    """Waits for events. Without a queue, or while it cannot be asked, only the time counts.

    The queue is asked in a thread of its own, so that neither a signal nor a pass has to wait for it.

    Args:
        url: The queue; empty for none.
        profile: Of the AWS configuration files.
    """

    def __init__(self, url: str, profile: str, open_queue: Callable[[str, str], Queue] = EventQueue) -> None:
        self._open: Callable[[], Queue] = lambda: open_queue(url, profile)
        self._url = url
        self._queue: Optional[Queue] = None
        self._pending: Optional[SimpleQueue[_Answer]] = None
        self._fault = ""
        self._not_before = self._woken = float("-inf")

    def wait(self, pause: timedelta, stop: threading.Event) -> None:
        """Wait so long, or until an event, or until told to stop."""
        deadline = time.monotonic() + pause.total_seconds()
        while self._url and time.monotonic() >= self._not_before and not stop.is_set():
            left = deadline - time.monotonic()
            if left < _LEAST and self._pending is None:
                break
            answer = self._answer(deadline, stop)
            if isinstance(answer, CloudQError):
                self._note_fault(str(answer), pause)
            elif answer is not None:
                self._note_success()
            if answer is True:
                stop.wait(self._woken + REST.total_seconds() - time.monotonic())
                self._woken = time.monotonic()
                return
            if answer is None:
                return
        stop.wait(max(0.0, deadline - time.monotonic()))

    def _answer(self, deadline: float, stop: threading.Event) -> Optional[_Answer]:
        """Return what the queue says; None if it says nothing until then. The question then stays open."""
        if self._pending is None:
            answers: SimpleQueue[_Answer] = SimpleQueue()
            self._pending = answers
            asked = (int(deadline - time.monotonic()), answers)
            threading.Thread(target=self._ask, args=asked, name="events", daemon=True).start()
        while not stop.is_set() and time.monotonic() < deadline:
            try:
                answer = self._pending.get(timeout=min(_SLICE, max(0.01, deadline - time.monotonic())))
            except Empty:
                continue
            self._pending = None
            return answer
        return None

    def _ask(self, seconds: int, answers: SimpleQueue[_Answer]) -> None:
        try:
            self._queue = self._queue or self._open()
            answers.put(self._queue.wait(seconds))
        except CloudQError as error:
            answers.put(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, polling goes on
            answers.put(CloudQError(f"events queue {self._url}: {error!r}"))

    def _note_fault(self, fault: str, pause: timedelta) -> None:
        self._not_before = time.monotonic() + RETRY_AFTER.total_seconds()
        if not self._fault:
            logger.warning("jobs are looked for every %d s only: %s", pause.total_seconds(), fault)
        self._fault = fault

    def _note_success(self) -> None:
        if self._fault:
            logger.info("the events queue answers again")
        self._fault = ""
