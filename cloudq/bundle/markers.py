"""Markers: empty objects by which agents see at one listing which jobs they must look at, or hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Optional

from cloudq.bundle.names import key_name
from cloudq.job import Job, is_job_id
from cloudq.store import Entry, Store
from cloudq.system import ANY

INBOX = "agent/.inbox/"
ACTIVE = "agent/.active/"
_REQUESTS = ".requests/"
"""Begins the names of requests in an inbox; no job id does."""


@dataclass(frozen=True)
class Mail:
    """What an inbox has about one job.

    Attributes:
        announced: When somebody last said that the job is to be taken.
        requested: When somebody last asked something of whoever has it; the bundle says what.
    """

    announced: Optional[datetime] = None
    requested: Optional[datetime] = None


@dataclass(frozen=True)
class Markers:
    """The markers of a bucket: notices and requests to a system or `ANY`, and the jobs that a system holds.

    A notice says that a job is to be taken. A request asks whoever has a job to look at its bundle: it is to
    be cancelled, or was requeued. They are different objects, so that whoever has taken a job may remove its
    notice at any time, without a request that came meanwhile.

    Args:
        store: The bucket.
        prefix: Empty, or a key prefix that ends in `/`.
    """

    store: Store
    prefix: str

    def notify(self, job: Job) -> None:
        """Put the marker "take this job" where the agents that may do so will see it."""
        self.store.write(self._marker(INBOX, self.addressee(job), job.id), b"")

    def request(self, job: Job) -> None:
        """Put the marker "something is asked about this job" where whoever has it, or may take it, looks."""
        self.store.write(self._request(self.addressee(job), job.id), b"")

    @staticmethod
    def addressee(job: Job) -> str:
        """Return the system whose agent must look at a job, `ANY` if each may."""
        return job.run_system or job.submit_to or job.run_on or ANY

    def mail(self, system: str) -> dict[str, Mail]:
        """Return all that is in the inbox of a system, or of `ANY`: job id -> notice and request."""
        found: dict[str, Mail] = {}
        for name, modified in self._names(INBOX, system):
            job_id = name.removeprefix(_REQUESTS)
            if is_job_id(job_id):
                mail = found.get(job_id, Mail())
                is_notice = job_id == name
                found[job_id] = (
                    replace(mail, announced=modified) if is_notice else replace(mail, requested=modified)
                )
        return found

    def inbox(self, system: str) -> dict[str, datetime]:
        """Return the jobs that are announced to a system, or to `ANY`: id -> when last."""
        return {job_id: mail.announced for job_id, mail in self.mail(system).items() if mail.announced}

    def remove_notice(self, system: str, job_id: str) -> None:
        """Take back the notice of one job."""
        self.store.delete([self._marker(INBOX, system, job_id)])

    def remove_mail(self, system: str, job_id: str, mail: Mail) -> None:
        """Take back what was seen in an inbox about one job, and nothing that came since."""
        notice = [self._marker(INBOX, system, job_id)] * bool(mail.announced)
        self.store.delete([*notice, *[self._request(system, job_id)] * bool(mail.requested)])

    def remove_all_mail(self, job_ids: Iterable[str], systems: Optional[Iterable[str]] = None) -> None:
        """Take back notices and requests of these jobs to these systems, or to all."""
        found = self.store.list_folders(self.prefix + INBOX) if systems is None else map(key_name, systems)
        tops = [f"{self.prefix}{INBOX}{system}/{kind}" for system in found for kind in ("", _REQUESTS)]
        self.store.delete(f"{top}{job_id}" for job_id in job_ids for top in tops)

    def of_kind(self, kind: str) -> Iterator[tuple[str, str, Entry]]:
        """Yield all markers of a kind, `INBOX` with requests or `ACTIVE`: system, job id, the object."""
        top = f"{self.prefix}{kind}"
        for entry in self.store.list(top):
            system, slash, name = entry.key[len(top) :].partition("/")
            job_id = name.removeprefix(_REQUESTS)
            if slash and is_job_id(job_id):
                yield system, job_id, entry

    def active(self, system: str) -> list[str]:
        """Return the ids of the jobs that a system has marked as held."""
        return [name for name, _ in self._names(ACTIVE, system) if is_job_id(name)]

    def mark_active(self, system: str, job_id: str) -> None:
        """Note that a system holds a job, so that its next start looks at it."""
        self.store.write(self._marker(ACTIVE, system, job_id), b"")

    def unmark_active(self, system: str, job_id: str) -> None:
        """Take that back: the job is another's."""
        self.store.delete([self._marker(ACTIVE, system, job_id)])

    def remove_ended(self, system: str, job_id: str) -> None:
        """Take that back, and what was asked of the system: the job is final."""
        self.store.delete([self._marker(ACTIVE, system, job_id), self._request(system, job_id)])

    def _marker(self, kind: str, system: str, job_id: str) -> str:
        return f"{self.prefix}{kind}{key_name(system)}/{job_id}"

    def _request(self, system: str, job_id: str) -> str:
        return self._marker(INBOX, system, f"{_REQUESTS}{job_id}")

    def _names(self, kind: str, system: str) -> Iterator[tuple[str, datetime]]:
        top = self._marker(kind, system, "")
        return ((entry.key[len(top) :], entry.modified) for entry in self.store.list(top))
