"""Every job of a bucket: its manifest, its other objects, the markers that speak of it; and the agents."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Optional

from cloudq.bundle.names import CANCEL, MANIFEST, is_product
from cloudq.errors import (
    ConflictError,
    InputError,
    ManifestError,
    NoSuchJobError,
    NotFoundError,
)
from cloudq.job import Job, is_job_id
from cloudq.manifest import next_revision, parse_manifest, render_manifest
from cloudq.store import Entry, Store
from cloudq.system import ANY

if TYPE_CHECKING:
    from cloudq.bundle.blobs import Blobs
    from cloudq.presence import Presence

_AGENT = "agent/"
SYSTEMS = "agent/.systems/"
INBOX = "agent/.inbox/"
ACTIVE = "agent/.active/"
_PROBE = "agent/.probe/"
_REACHABLE = "agent/.reachable/"  # nothing is ever stored below it


def probe_folder(prefix: str) -> str:
    """Return the key prefix of objects that are made to find out what a store does."""
    return f"{prefix}{_PROBE}"


@dataclass(frozen=True)
class Record:
    """A job as its manifest had it, with the ETag that a later write must still find."""

    job: Job
    etag: str


@dataclass(frozen=True)
class SignsOfLife:
    """Who has left something in a bucket, and when, by the store's clock; names are in lower case.

    Attributes:
        presences: Agents that publish their presence.
        logs: Agents that have a log. Those of CloudQ 1.2 have nothing else.
    """

    presences: Mapping[str, datetime]
    logs: Mapping[str, datetime]


@dataclass(frozen=True)
class Bundles:
    """All bundles and markers in a store, below an optional prefix.

    Args:
        store: The bucket.
        prefix: Empty, or a key prefix that ends in `/`.
        conditional: Whether the store does conditional writes; without them a lost race can go unseen.
    """

    store: Store
    prefix: str = ""
    conditional: bool = True

    def check_reachable(self) -> None:
        """Make sure that the bucket is there and may be listed, by one request with the smallest answer.

        SeaweedFS makes a bucket that is missing when something is written to it, but does not list it.

        Raises:
            StoreError: It cannot be reached, is missing, or may not be listed.
        """
        next(iter(self.store.list(f"{self.prefix}{_REACHABLE}")), None)

    @property
    def probe_folder(self) -> str:
        """Where objects are put to find out what the store does; nothing stays there."""
        return probe_folder(self.prefix)

    @property
    def blobs(self) -> Blobs:
        """The archives of inputs that several jobs share."""
        from cloudq.bundle.blobs import Blobs  # few commands need them

        return Blobs(self.store, self.prefix)

    # Jobs

    def ids(self) -> Iterator[str]:
        """Yield the id of everything in the bucket that looks like a job, in order."""
        return (name for name in self.store.list_folders(self.prefix) if is_job_id(name))

    def find(self, beginning: str) -> str:
        """Return the one job id that is, or begins with, a text.

        Raises:
            NoSuchJobError: There is none.
            InputError: There are several.
        """
        if not is_job_id(beginning):
            raise NoSuchJobError(f"Invalid job ID: {beginning}")
        # Asked first, because "3f-x/" stands before "3f/" in a listing of "3f".
        if next(self.store.list(self._key(beginning, "")), None) is not None:
            return beginning
        found: list[str] = []
        after = ""
        # One listing per folder: jump behind each id found instead of paging through its objects.
        while len(found) < 3:
            entry = next(self.store.list(self.prefix + beginning, after=after), None)
            if entry is None:
                break
            job_id = entry.key[len(self.prefix) :].partition("/")[0]
            after = self._key(job_id, "\U0010ffff")
            if is_job_id(job_id) and "/" in entry.key[len(self.prefix) :]:
                found.append(job_id)
        if not found:
            raise NoSuchJobError(
                f"Invalid job ID: {beginning}",
                hint="`cloudqcli list` shows the jobs of this bucket that are open, `history` the others",
            )
        if len(found) > 1:
            raise InputError(
                f"job id {beginning} is not unique: {', '.join(found[:2])}{', …' * (len(found) > 2)}"
            )
        return found[0]

    def load(self, job_id: str) -> Record:
        """Read a job's manifest.

        Raises:
            NoSuchJobError: There is none.
            ManifestError: It cannot be understood.
        """
        if not is_job_id(job_id):
            raise NoSuchJobError(f"Invalid job ID: {job_id}")
        try:
            blob = self.store.read(self._key(job_id, MANIFEST))
        except NotFoundError as error:
            raise NoSuchJobError(f"Invalid job ID: {job_id}") from error
        return Record(parse_manifest(blob.data, job_id), blob.etag)

    def create(self, job: Job) -> Record:
        """Write the manifest of a new job, last of all its objects.

        Raises:
            ConflictError: A job of this id exists.
        """
        job = replace(job, submit_token=_token())
        try:
            return Record(job, self.store.create(self._key(job.id, MANIFEST), render_manifest(job)))
        except ConflictError:
            # An agent may have claimed it between our write and the look at it.
            with contextlib.suppress(NoSuchJobError, ManifestError):
                record = self.load(job.id)
                if record.job.submit_token == job.submit_token:
                    return record
            raise

    def save(self, record: Record, job: Job) -> Record:
        """Replace the manifest that was read by the next revision of the job.

        Raises:
            ConflictError: It was changed meanwhile.
        """
        job = next_revision(job)
        data = render_manifest(job)
        return Record(job, self._replace(self._key(job.id, MANIFEST), data, etag=record.etag))

    def restore(self, job: Job) -> Record:
        """Write the manifest of an open job again, which somebody removed. Raises ConflictError."""
        job = next_revision(job)
        return Record(job, self.store.create(self._key(job.id, MANIFEST), render_manifest(job)))

    def claim(self, record: Record, system: str, *, now: datetime) -> Record:
        """Make a job this system's, with a fresh claim token.

        Raises:
            ConflictError: Somebody else was first.
        """
        return self.save(
            record,
            replace(
                record.job,
                run_system=system.lower(),
                claim_token=_token(),
                received=now,
                attempt=record.job.attempt + 1,
            ),
        )

    # The other objects of a bundle

    def read(self, job_id: str, name: str) -> bytes:
        """Read one small object of a bundle. Raises NotFoundError."""
        return self.store.read(self._key(job_id, name)).data

    def read_range(self, job_id: str, name: str, start: int, end: int) -> bytes:
        """Read bytes `start` to `end` (exclusive) of one. Raises NotFoundError."""
        return self.store.read_range(self._key(job_id, name), start, end)

    def write(self, job_id: str, name: str, data: bytes) -> None:
        """Write one small object of a bundle."""
        self.store.write(self._key(job_id, name), data)

    def add(self, job_id: str, name: str, data: bytes) -> None:
        """Write one that does not exist yet. Raises ConflictError."""
        self.store.create(self._key(job_id, name), data)

    def upload(self, job_id: str, name: str, path: Path) -> Entry:
        """Store a file as an object of a bundle; the store has confirmed its size."""
        return self.store.upload(path, self._key(job_id, name))

    def upload_blocks(self, job_id: str, name: str, blocks: Iterable[bytes], *, expected: int = 0) -> Entry:
        """Store what comes in blocks, about so many bytes; the store has confirmed the size."""
        return self.store.upload_blocks(blocks, self._key(job_id, name), expected=expected)

    def abort_uploads(self, job_id: str) -> None:
        """Give back what uploads in parts that were cut off have stored of a bundle."""
        self.store.abort_uploads(self._key(job_id, ""))

    def download(self, job_id: str, name: str, path: Path) -> None:
        """Fetch an object of a bundle into a file. Raises NotFoundError."""
        self.store.download(self._key(job_id, name), path)

    def entries(self, job_id: str, beginning: str = "", *, after: str = "") -> dict[str, Entry]:
        """Return the objects of a bundle whose names begin so: name -> entry, in key order.

        Args:
            after: Leave out this name and those before it.
        """
        top = self._key(job_id, "")
        found = self.store.list(top + beginning, after=top + after if after else "")
        return {entry.key[len(top) :]: entry for entry in found}

    def discard(self, job_id: str, names: Iterable[str]) -> None:
        """Delete some objects of a bundle."""
        self.store.delete([self._key(job_id, name) for name in names])

    def discard_products(self, job: Job) -> None:
        """Delete all logs, outputs and translations that an agent has stored for a job."""
        self.discard(job.id, [name for name in self.entries(job.id) if is_product(name, job.name)])

    def delete(self, job_id: str) -> None:
        """Delete a whole bundle, its manifest last, so that a rest of it can still be named and deleted."""
        manifest = self._key(job_id, MANIFEST)
        self.store.delete(e.key for e in self.store.list(self._key(job_id, "")) if e.key != manifest)
        self.store.delete([manifest])

    # Cancel requests

    def request_cancel(self, job: Job) -> None:
        """Ask whoever has the job, or will have it, to cancel it."""
        self.store.write(self._key(job.id, CANCEL), b"")
        self.notify(job)

    def cancel_requested(self, job_id: str) -> bool:
        """Tell whether there is a cancel request (the exact name: `cancel_orders.sh` is none)."""
        try:
            self.store.stat(self._key(job_id, CANCEL))
        except NotFoundError:
            return False
        return True

    # Markers

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

    def markers(self, kind: str) -> Iterator[tuple[str, str, Entry]]:
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

    # Agents

    def agent_log(self, system: str) -> bytes:
        """Return an agent's log. Raises NotFoundError."""
        return self.store.read(self._agent_log_key(system)).data

    def upload_agent_log(self, system: str, path: Path) -> None:
        """Store an agent's log file."""
        self.store.upload(path, self._agent_log_key(system))

    def delete_agent_log(self, system: str) -> None:
        """Delete the log of exactly this agent. Raises NotFoundError."""
        key = self._agent_log_key(system)
        self.store.stat(key)
        self.store.delete([key])

    def delete_presence(self, system: str) -> None:
        """Delete what an agent has published; one that is alive writes it anew."""
        self.store.delete([self._presence_key(system)])

    def agent_seen(self, system: str) -> bool:
        """Tell whether an agent of this name ever left its presence (or, if it is of 1.2, a log) here."""
        for key in (self._presence_key(system), self._agent_log_key(system)):
            with contextlib.suppress(NotFoundError):
                self.store.stat(key)
                return True
        return False

    def signs_of_life(self) -> SignsOfLife:
        """Look, by one listing, who has left something here.

        Raises:
            StoreError: The bucket cannot be reached, is missing, or may not be listed.
        """
        top = self.prefix + _AGENT
        # Markers and blobs come before; behind the presences there is nothing but logs.
        entries = list(self.store.list(top, after=self.prefix + SYSTEMS[:-1]))
        found = {entry.key[len(self.prefix) :].lower(): entry.modified for entry in entries}
        presences = {key: modified for key, modified in found.items() if key.startswith(SYSTEMS)}
        logs = {key[len(_AGENT) :]: modified for key, modified in found.items() if key.count("/") == 1}
        end = -len(".json")
        return SignsOfLife({key[len(SYSTEMS) : end]: when for key, when in presences.items()}, logs)

    def last_sign_of_life(self, system: str) -> Optional[datetime]:
        """Return when the store last got presence or log of an agent, by its own clock; None if never."""
        moments = []
        for key in (self._presence_key(system), self._agent_log_key(system)):
            with contextlib.suppress(NotFoundError):
                moments.append(self.store.stat(key).modified)
        return max(moments, default=None)

    def publish(self, presence: Presence, *, over: str = "") -> str:
        """Write an agent's presence over the one of this ETag, or as the first one; return its ETag.

        Raises:
            ConflictError: Another one is there.
        """
        from cloudq.presence import render_presence

        key, data = self._presence_key(presence.system), render_presence(presence)
        return self._replace(key, data, etag=over) if over else self.store.create(key, data)

    def presence(self, system: str) -> Optional[Presence]:
        """Return what an agent published last, None if it never did."""
        key = self._presence_key(system)
        try:
            return _parse_presence(self.store.read(key).data, key)
        except NotFoundError:
            return None

    def published(self, system: str) -> tuple[Optional[Presence], str]:
        """Return what an agent published last, and its ETag.

        It is None if it cannot be understood, and the ETag is empty if it never published anything.
        """
        key = self._presence_key(system)
        try:
            blob = self.store.read(key)
        except NotFoundError:
            return None, ""
        try:
            return _parse_presence(blob.data, key), blob.etag
        except ManifestError:
            return None, blob.etag

    def presences(self) -> list[Presence]:
        """Return what all agents published last; unreadable ones are left out."""
        found = []
        for entry in self.store.list(self.prefix + SYSTEMS):
            with contextlib.suppress(ManifestError, NotFoundError):
                found.append(_parse_presence(self.store.read(entry.key).data, entry.key))
        return found

    def _replace(self, key: str, data: bytes, *, etag: str) -> str:
        """Replace an object on condition of its ETag, as far as the store does that. Raises ConflictError."""
        if self.conditional:
            return self.store.replace(key, data, etag=etag)
        if self.store.stat(key).etag != etag:
            raise ConflictError(key)
        return self.store.write(key, data)

    # Keys

    def _key(self, job_id: str, name: str) -> str:
        return f"{self.prefix}{job_id}/{name}"

    def _marker(self, kind: str, system: str, job_id: str) -> str:
        return f"{self.prefix}{kind}{_marker_name(system)}/{job_id}"

    def _marked(self, kind: str, system: str) -> dict[str, datetime]:
        top = self._marker(kind, system, "")
        found = {entry.key[len(top) :]: entry.modified for entry in self.store.list(top)}
        return {name: modified for name, modified in found.items() if is_job_id(name)}

    def _agent_log_key(self, system: str) -> str:
        if not is_job_id(system):
            raise InputError(f"agent name {system!r}: expected letters, digits, '.', '_' and '-'")
        return f"{self.prefix}{_AGENT}{system}"

    def _presence_key(self, system: str) -> str:
        return f"{self.prefix}{SYSTEMS}{_marker_name(system)}.json"


def _parse_presence(data: bytes, key: str) -> Presence:
    from cloudq.presence import parse_presence  # not every command reads one

    return parse_presence(data, key)


def _token() -> str:
    """Make what tells one writer from all others; by the kernel, as `secrets` takes long to import."""
    return os.urandom(8).hex()


def _marker_name(system: str) -> str:
    """Systems are compared without case, as `run_system` is written in lower case; `ANY` stays as it is."""
    if not is_job_id(system):
        raise InputError(f"system name {system!r}: expected letters, digits, '.', '_' and '-'")
    return ANY if system.upper() == ANY else system.lower()
