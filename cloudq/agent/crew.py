"""The crew: a few threads that work on jobs, each job in one pair of hands at a time."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import timedelta
from typing import Optional, Protocol

from cloudq.errors import CloudQError

logger = logging.getLogger(__name__)

PATIENCE = 5.0
"""The longest time, in seconds, that the rest of a piece of work waits while there is other work to begin."""


class Rest(Protocol):
    """What remains to be done of a piece of work, and is less urgent than what others wait for."""

    def __call__(self) -> Optional[Rest]: ...


class Crew:
    """Threads for work that must not hold up the passes.

    Work may leave a rest: that is done when all that was given before it has been begun, or after `PATIENCE`.

    Args:
        size: Number of threads.
    """

    def __init__(self, size: int) -> None:
        self._workers = ThreadPoolExecutor(size, thread_name_prefix="worker")
        self._lock = threading.RLock()
        self._in_hand: set[str] = set()
        self._futures: set[Future[None]] = set()
        self._rests: deque[tuple[float, str, Rest]] = deque()
        self.stopping = False

    def give(self, key: str, function: Callable[..., Optional[Rest]], *args: object) -> bool:
        """Have a function called by a worker, unless one has this key in hand already.

        A deliberate error is logged as one line, any other with its traceback; neither stops the crew.

        Args:
            key: What is worked on, for instance `job 3f2a`. It is in hand until the rest is done, too.
            function: Does the work; it may return the rest of it, which may return another.
        """
        with self._lock:
            if self.stopping or key in self._in_hand:
                return False
            self._in_hand.add(key)
            self._begin(self._work, key, function, *args)
        return True

    def wait(self, timeout: Optional[timedelta] = None) -> bool:
        """Wait until nothing is in hand, also what work has given rise to; False if that took too long.

        After `stop` it does itself what rests no worker has taken up.
        """
        deadline = None if timeout is None else time.monotonic() + timeout.total_seconds()
        while True:
            with self._lock:
                futures = set(self._futures)
            if not futures:
                self._finish_if_stopping()
                return True
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if wait(futures, timeout=left).not_done:
                return False
            # A future is done a moment before it is forgotten.
            for future in futures:
                self._forget(future)

    def stop(self) -> None:
        """Begin nothing more; what is in hand goes on, with its rest."""
        with self._lock:
            self.stopping = True
        self._workers.shutdown(wait=False, cancel_futures=True)

    def _begin(self, function: Callable[..., None], *args: object) -> None:
        future = self._workers.submit(function, *args)
        self._futures.add(future)
        future.add_done_callback(self._forget)

    def _work(self, key: str, function: Callable[..., Optional[Rest]], *args: object) -> None:
        while self._finish_one(overdue=True):
            pass
        self._call(key, function, *args)
        self._finish_if_stopping()

    def _work_on_rest(self) -> None:
        self._finish_one()
        self._finish_if_stopping()

    def _finish_if_stopping(self) -> None:
        while self.stopping and self._finish_one():
            pass

    def _finish_one(self, *, overdue: bool = False) -> bool:
        """Do the rest that waits for the longest time; False if none does, or is overdue."""
        with self._lock:
            if not self._rests or (overdue and time.monotonic() < self._rests[0][0]):
                return False
            _, key, rest = self._rests.popleft()
        self._call(key, rest)
        return True

    def _call(self, key: str, function: Callable[..., Optional[Rest]], *args: object) -> None:
        rest = None
        try:
            rest = function(*args)
        except CloudQError as error:
            logger.warning("%s: %s", key, error)
        except Exception:  # noqa: BLE001 - a defect shown by one job must not stop the others
            logger.exception("%s: unexpected fault", key)
        with self._lock:
            if rest is None:
                self._in_hand.discard(key)
            else:
                self._rests.append((time.monotonic() + PATIENCE, key, rest))
                if not self.stopping:
                    self._begin(self._work_on_rest)

    def _forget(self, future: Future[None]) -> None:
        with self._lock:
            self._futures.discard(future)
