"""The roster: the jobs that an agent holds, shared by its threads."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Optional

from cloudq.agent.workplace import ActiveJob
from cloudq.job import JobKind, JobState
from cloudq.system import ANY

_WAITS = (JobState.INIT, JobState.READY)


class Roster:
    """Active jobs by id. Places for `ANY` jobs that are about to be claimed are counted, too."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: dict[str, ActiveJob] = {}
        self._reserved = 0

    def get(self, job_id: str) -> Optional[ActiveJob]:
        """Return a job, None if it is not held."""
        return self._jobs.get(job_id)

    def all(self) -> list[ActiveJob]:
        """Return all jobs."""
        with self._lock:
            return list(self._jobs.values())

    def add(self, active: ActiveJob) -> None:
        """Add a job, unless it is held already."""
        with self._lock:
            self._jobs.setdefault(active.job.id, active)

    def remove(self, job_id: str) -> None:
        """Remove a job."""
        with self._lock:
            self._jobs.pop(job_id, None)

    def reserve_any(self, limit: int) -> bool:
        """Keep a place for one more `ANY` job, if fewer than `limit` wait in the local queue."""
        with self._lock:
            waiting = sum(_waits_for_any(active) for active in self._jobs.values())
            if waiting + self._reserved >= limit:
                return False
            self._reserved += 1
            return True

    def release_any(self) -> None:
        """Give such a place back: the job is on the roster now, or was not taken."""
        with self._lock:
            self._reserved -= 1

    def counts(self) -> dict[str, int]:
        """Return how many jobs are in each state."""
        return dict(Counter(active.job.state.value for active in self.all() if not active.taken_away))


def _waits_for_any(active: ActiveJob) -> bool:
    job = active.job
    return job.kind is JobKind.META and job.run_on.upper() in ("", ANY) and job.state in _WAITS
