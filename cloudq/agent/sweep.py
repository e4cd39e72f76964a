"""The slow look at the whole bucket, for what carries no marker: jobs and cancels of 1.2 clients."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator

from cloudq.bundle import Bundles, Record
from cloudq.errors import ManifestError, NoSuchJobError

logger = logging.getLogger(__name__)

_NAMES_PER_PAGE = 1000


class Sweep:
    """Finds open jobs that nobody announced; remembers what can never be open again.

    Reads only manifests not known to be final: final manifests never change.

    Attributes:
        final: Ids of jobs known to be final.
        pages: How many requests the last look at the names of all jobs took.
    """

    def __init__(self, bundles: Bundles) -> None:
        self._bundles = bundles
        self.final: set[str] = set()
        self.pages = 0
        self._unreadable: set[str] = set()

    def open_jobs(self, skip: Collection[str]) -> Iterator[Record]:
        """Yield every job that is not final, except those to skip.

        Raises:
            StoreError: The bucket could not be read to the end.
        """
        for number, job_id in enumerate(self._bundles.ids()):
            self.pages = number // _NAMES_PER_PAGE + 1
            if job_id in self.final or job_id in skip:
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
            else:
                yield record

    def _complain_once(self, job_id: str, error: ManifestError) -> None:
        if job_id not in self._unreadable:
            self._unreadable.add(job_id)
            logger.warning("job %s: left alone: %s", job_id, error)
