"""Markers: empty objects by which agents see at one listing which jobs they must look at, or hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from cloudq.bundle.names import key_name
from cloudq.job import Job, is_job_id
from cloudq.store import Entry, Store
from cloudq.system import ANY

INBOX = "agent/.inbox/"
ACTIVE = "agent/.active/"


@dataclass(frozen=True)
class Markers:
    """The markers of a bucket: notices to a system, or to `ANY`, and the jobs that a system holds.

    Args:
        store: The bucket.
        prefix: Empty, or a key prefix that ends in `/`.
    """

    store: Store
    prefix: str

    def notify(self, job: Job) -> None:
        """Put the marker "look at this job" where the agents that may act on it will see it."""
        self.store.write(self._marker(INBOX, self.addressee(job), job.id), b"")

    @staticmethod
    def addressee(job: Job) -> str:
        """Return the system whose agent must look at a job, `ANY` if each may."""
        return job.run_system or job.submit_to or job.run_on or ANY

    def inbox(self, system: str) -> dict[str, datetime]:
        """Return the jobs that a system (or `ANY`) was asked to look at: id -> when last asked."""
        return self._marked(INBOX, system)

    def remove_notice(self, system: str, job_id: str) -> None:
        """Take back the marker of one job."""
        self.store.delete([self._marker(INBOX, system, job_id)])

    def remove_all_notices(self, job_ids: Iterable[str]) -> None:
        """Take back the markers of these jobs, to whatever system they speak."""
        systems = list(self.store.list_folders(self.prefix + INBOX))
        top = self.prefix + INBOX
        self.store.delete(f"{top}{system}/{job_id}" for job_id in job_ids for system in systems)

    def of_kind(self, kind: str) -> Iterator[tuple[str, str, Entry]]:
        """Yield all markers of a kind (`INBOX`, `ACTIVE`): system, job id, the object."""
        top = f"{self.prefix}{kind}"
        for entry in self.store.list(top):
            system, slash, job_id = entry.key[len(top) :].partition("/")
            if slash and is_job_id(job_id):
                yield system, job_id, entry

    def active(self, system: str) -> list[str]:
        """Return the ids of the jobs that a system holds, or was about to claim."""
        return list(self._marked(ACTIVE, system))

    def mark_active(self, system: str, job_id: str) -> None:
        """Note that a system is about to claim a job, so that its next start looks at it."""
        self.store.write(self._marker(ACTIVE, system, job_id), b"")

    def unmark_active(self, system: str, job_id: str) -> None:
        """Take that back: the job is final, or another's."""
        self.store.delete([self._marker(ACTIVE, system, job_id)])

    def _marker(self, kind: str, system: str, job_id: str) -> str:
        return f"{self.prefix}{kind}{key_name(system)}/{job_id}"

    def _marked(self, kind: str, system: str) -> dict[str, datetime]:
        top = self._marker(kind, system, "")
        found = {entry.key[len(top) :]: entry.modified for entry in self.store.list(top)}
        return {name: modified for name, modified in found.items() if is_job_id(name)}
