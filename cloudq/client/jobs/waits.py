"""Waiting: looks at the bucket at a steady pace, until jobs have ended or a time limit is over."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Optional, TypeVar

from cloudq.bundle import Bundles
from cloudq.client.display.durations import render_duration
from cloudq.client.jobs.listing import READERS
from cloudq.errors import StoreUnreachableError, TimeLimitError
from cloudq.job import Job, JobState

POLL = timedelta(seconds=2)
"""Pause between two looks. An agent at work looks every 5 s."""

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Pace:
    """When to look again, and when to give up. A store that cannot be reached is asked again.

    Args:
        limit: The longest time to wait; None for ever.
        interval: Pause between two looks.
        sleep, clock: `time.sleep` and `time.monotonic`; tests have others.
    """

    def __init__(
        self,
        limit: Optional[timedelta] = None,
        *,
        interval: timedelta = POLL,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = limit
        self._interval = interval.total_seconds()
        self._sleep = sleep
        self._clock = clock
        self._end = None if limit is None else clock() + limit.total_seconds()
        self._away = False

    def pause(self) -> None:
        """Sleep until it is time to look again.

        Raises:
            TimeLimitError: The time limit is over.
        """
        seconds = self._interval
        if self._end is not None and self._limit is not None:
            left = self._end - self._clock()
            if left <= 0:
                raise TimeLimitError(f"not ended within {render_duration(self._limit)}")
            seconds = min(seconds, left)
        self._sleep(seconds)

    def ask(self, question: Callable[[], T]) -> Optional[T]:
        """Return an answer; None if the store cannot be reached, which is told once."""
        try:
            answer = question()
        except StoreUnreachableError as error:
            if not self._away:
                logger.warning("trying again: %s", error)
            self._away = True
            return None
        if self._away:
            logger.warning("the store answers again")
        self._away = False
        return answer


def ended_jobs(bundles: Bundles, job_ids: Iterable[str], pace: Pace) -> Iterator[Job]:
    """Yield each of some jobs when it has ended, until all have.

    Raises:
        NoSuchJobError: There is no such job, or it was deleted meanwhile.
        TimeLimitError: The time limit is over.
    """
    left = list(dict.fromkeys(job_ids))
    while True:
        jobs = pace.ask(lambda: load_all(bundles, left)) or []  # noqa: B023 - called at once
        ended = [job for job in jobs if job.state.final]
        yield from ended
        left = [job_id for job_id in left if job_id not in {job.id for job in ended}]
        if not left:
            return
        pace.pause()


def load_all(bundles: Bundles, job_ids: Iterable[str]) -> list[Job]:
    """Read the manifests of some jobs, many at a time. Raises NoSuchJobError, ManifestError, StoreError."""
    ids = tuple(job_ids)
    if len(ids) == 1:
        return [bundles.load(ids[0]).job]
    with ThreadPoolExecutor(READERS) as pool:
        return [record.job for record in pool.map(bundles.load, ids)]


def render_end(job: Job) -> str:
    """Say in a line how a job ended."""
    from cloudq.client.display.values import visible

    why = visible(job.error.rstrip("\n"))
    return f"Job ({job.id}) {visible(job.name)}: {job.state}" + (f": {why}" if why else "")


def exit_status_of(job: Job) -> int:
    """Return the exit status with which a command that stands for a job ends: its own, if it has one."""
    if job.state is JobState.DONE:
        return 0
    return job.exit_code if job.exit_code is not None and 0 < job.exit_code < 256 else 1
