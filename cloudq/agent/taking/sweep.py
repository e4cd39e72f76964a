"""The slow look at the whole bucket, for what carries no marker: jobs and cancels of 1.2 clients."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator

from cloudq.bundle import Bundles, Record
from cloudq.errors import ManifestError, NoSuchJobError

logger = logging.getLogger(__name__)

_NAMES_PER_PAGE = 1000
_LOOKS_AT_OTHERS = 10
"""Each so many looks the jobs are read again that other agents have."""


class Sweep:
    """Finds open jobs that nobody announced; remembers what can never be open again.

    Reads only manifests not known to be final: final manifests never change. What another agent has is
    that agent's affair, and is read again now and then: requeued jobs are announced.

    Args:
        bundles: The bucket.
        system: Whose jobs are read at each look.

    Attributes:
        final: Ids of jobs known to be final.
        pages: How many requests the last look at the names of all jobs took.
    """

    def __init__(self, bundles: Bundles, system: str) -> None:
        self._bundles = bundles
        self._system = system.lower()
        self.final: set[str] = set()
        self.pages = 0
        self._unreadable: set[str] = set()
        self._looks = 0
        self._others: dict[str, int] = {}

    def open_jobs(self, skip: Collection[str]) -> Iterator[Record]:
        """Yield every job that is not final, except those to skip.

        Raises:
            StoreError: The bucket could not be read to the end.
        """
        self._looks += 1
        others, self._others = self._others, {}
        for number, job_id in enumerate(self._bundles.ids()):
            self.pages = number // _NAMES_PER_PAGE + 1
            if job_id in self.final or job_id in skip:
                continue
            if others.get(job_id, 0) > self._looks:
                self._others[job_id] = others[job_id]
                continue
            try:
                record = self._bundles.load(job_id)
            except NoSuchJobError:
                continue
            except ManifestError as error:
                self._complain_once(job_id, error)
                continue
            if record.job.state.final:
                self.final.add(job_id)
                continue
            if record.job.run_system.lower() not in ("", self._system):
                self._others[job_id] = self._looks + _LOOKS_AT_OTHERS
            yield record

    def _complain_once(self, job_id: str, error: ManifestError) -> None:
        if job_id not in self._unreadable:
            self._unreadable.add(job_id)
            logger.warning("job %s: left alone: %s", job_id, error)
