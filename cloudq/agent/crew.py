"""The crew: the threads that work on jobs, each job in one pair of hands at a time."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import Optional, Protocol, Union

from cloudq.errors import CloudQError

logger = logging.getLogger(__name__)

PATIENCE = 5.0
"""Seconds that the rest of a piece of work waits for a worker."""


class Rest(Protocol):
    """What remains to be done of a piece of work, and is less urgent than what others wait for."""

    def __call__(self) -> Optional[Next]: ...


@dataclass(frozen=True)
class Transfer:
    """What remains to be done of a piece of work, and moves files: it may take hours."""

    function: Rest


Next = Union[Rest, Transfer]
Work = Callable[..., Optional[Next]]
"""What the crew is given to do: it may return the rest of it, which may return another."""


class Crew:
    """Threads for work that must not hold up the passes.

    Mostly they wait for the bucket, so there are many workers. A few others, the porters, move files: each
    transfer has threads of its own and takes memory.

    Work may leave a rest: that is done when all that was given before it has been begun. If that takes
    longer than `PATIENCE`, because there is much to begin or all have long work in hand, a thread of its own,
    the clerk, does it.

    Args:
        workers: Number of threads.
        porters: Number of threads for transfers.
    """

    def __init__(self, workers: int, porters: int = 1) -> None:
        self._workers = ThreadPoolExecutor(workers, thread_name_prefix="worker")
        self._porters = ThreadPoolExecutor(porters, thread_name_prefix="porter")
        self._changed = threading.Condition()
        self._in_hand: set[str] = set()
        self._futures: set[Future[object]] = set()
        self._rests: deque[tuple[float, str, Rest]] = deque()
        self._unfinished = 0
        self._clerk: Optional[threading.Thread] = None
        self.stopping = False

    def give(self, key: str, function: Work, *args: object) -> bool:
        """Have a function called by a worker, unless one has this key in hand already.

        A deliberate error is logged as one line, any other with its traceback; neither stops the crew.

        Args:
            key: What is worked on, for instance `job 3f2a`. It is in hand until the rest is done, too.
            function: Does the work.
        """
        with self._changed:
            if self.stopping or key in self._in_hand:
                return False
            self._in_hand.add(key)
            self._begin(self._workers, self._work, key, function, *args)
        return True

    def wait(self, timeout: Optional[timedelta] = None) -> bool:
        """Wait until nothing is in hand, also what work has given rise to; False if that took too long."""
        seconds = None if timeout is None else timeout.total_seconds()
        with self._changed:
            return self._changed.wait_for(lambda: not (self._futures or self._unfinished), seconds)

    def stop(self) -> None:
        """Begin nothing more; what is in hand goes on, with its rest."""
        with self._changed:
            self.stopping = True
            self._changed.notify_all()
        for threads in (self._workers, self._porters):
            threads.shutdown(wait=False, cancel_futures=True)

    def _begin(self, threads: ThreadPoolExecutor, function: Callable[..., object], *args: object) -> None:
        future = threads.submit(function, *args)
        self._futures.add(future)
        future.add_done_callback(self._forget)

    def _work(self, key: str, function: Work, *args: object) -> None:
        self._call(key, function, *args)
        while self.stopping and self._finish_one():
            pass

    def _leave(self, key: str, rest: Rest) -> None:
        """Keep the rest for when all that was given before has been begun, and for the clerk."""
        self._unfinished += 1
        self._rests.append((time.monotonic() + PATIENCE, key, rest))
        if not self.stopping:
            self._begin(self._workers, self._finish_one)
        if self._clerk is None:
            self._clerk = threading.Thread(target=self._finish_overdue, name="clerk", daemon=True)
            self._clerk.start()
        self._changed.notify_all()

    def _finish_one(self) -> bool:
        """Do the rest that waits for the longest time; False if none does."""
        with self._changed:
            if not self._rests:
                return False
            _, key, rest = self._rests.popleft()
        try:
            self._call(key, rest)
        finally:
            with self._changed:
                self._unfinished -= 1
                self._changed.notify_all()
        return True

    def _finish_overdue(self) -> None:
        """Do each rest that nobody has done in time; at the end, all."""
        while True:
            with self._changed:
                while not (self._rests and (self.stopping or self._rests[0][0] <= time.monotonic())):
                    if self.stopping and not (self._futures or self._unfinished):
                        return
                    until = self._rests[0][0] - time.monotonic() if self._rests else None
                    self._changed.wait(until)
            self._finish_one()

    def _call(self, key: str, function: Work, *args: object) -> None:
        rest = None
        try:
            rest = function(*args)
        except CloudQError as error:
            logger.warning("%s: %s", key, error)
        except Exception:  # noqa: BLE001 - a defect shown by one job must not stop the others
            logger.exception("%s: unexpected fault", key)
        finally:
            with self._changed:
                if rest is None or (self.stopping and isinstance(rest, Transfer)):
                    self._in_hand.discard(key)
                elif isinstance(rest, Transfer):
                    self._begin(self._porters, self._work, key, rest.function)
                else:
                    self._leave(key, rest)

    def _forget(self, future: Future[object]) -> None:
        with self._changed:
            self._futures.discard(future)
            self._changed.notify_all()
