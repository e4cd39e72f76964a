"""The crew: a few threads that work on jobs, each job in one pair of hands at a time."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import timedelta
from typing import Optional

from cloudq.errors import CloudQError

logger = logging.getLogger(__name__)


class Crew:
    """Threads for work that must not hold up the passes.

    Args:
        size: Number of threads.
    """

    def __init__(self, size: int) -> None:
        self._workers = ThreadPoolExecutor(size, thread_name_prefix="worker")
        self._lock = threading.Lock()
        self._in_hand: set[str] = set()
        self._futures: set[Future[None]] = set()
        self.stopping = False

    def give(self, key: str, function: Callable[..., None], *args: object) -> bool:
        """Have a function called by a worker, unless one has this key in hand already.

        A deliberate error is logged as one line, any other with its traceback; neither stops the crew.

        Args:
            key: What is worked on, for instance `job 3f2a`.
        """
        with self._lock:
            if self.stopping or key in self._in_hand:
                return False
            self._in_hand.add(key)
            future = self._workers.submit(self._call, key, function, *args)
            self._futures.add(future)
        future.add_done_callback(self._forget)
        return True

    def wait(self, timeout: Optional[timedelta] = None) -> bool:
        """Wait until nothing is in hand, also what work has given rise to; False if that took too long."""
        deadline = None if timeout is None else time.monotonic() + timeout.total_seconds()
        while True:
            with self._lock:
                futures = set(self._futures)
            if not futures:
                return True
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if wait(futures, timeout=left).not_done:
                return False
            # A future is done a moment before it is forgotten.
            for future in futures:
                self._forget(future)

    def stop(self) -> None:
        """Begin nothing more; what is in hand goes on."""
        with self._lock:
            self.stopping = True
        self._workers.shutdown(wait=False, cancel_futures=True)

    def _call(self, key: str, function: Callable[..., None], *args: object) -> None:
        try:
            function(*args)
        except CloudQError as error:
            logger.warning("%s: %s", key, error)
        except Exception:  # noqa: BLE001 - a defect shown by one job must not stop the others
            logger.exception("%s: unexpected fault", key)
        finally:
            with self._lock:
                self._in_hand.discard(key)

    def _forget(self, future: Future[None]) -> None:
        with self._lock:
            self._futures.discard(future)
