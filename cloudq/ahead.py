"""Work that is done side by side, a few steps ahead of who takes the results."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

Result = TypeVar("Result")


def in_order(
    pool: ThreadPoolExecutor, tasks: Iterable[Callable[[], Result]], *, ahead: int
) -> Iterator[Result]:
    """Have a pool do tasks and yield their results in order; end with the first error.

    Args:
        ahead: How many tasks are begun at most before the result of the first one is taken.
    """
    waiting: deque[Future[Result]] = deque()
    upcoming = iter(tasks)
    try:
        waiting.extend(pool.submit(task) for task in islice(upcoming, ahead))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(task) for task in islice(upcoming, 1))
            yield result
    finally:
        # The last one first: a task may wait for what one before it does.
        while waiting:
            waiting.pop().cancel()
