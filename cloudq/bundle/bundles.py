"""Every job of a bucket: its manifest, its other objects, the markers that speak of it; and the agents."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from cloudq.bundle.agents import Agents
from cloudq.bundle.markers import Markers
from cloudq.bundle.names import CANCEL, MANIFEST, is_product
from cloudq.bundle.objects import replace_object
from cloudq.bundle.remote_file import RemoteFile
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

if TYPE_CHECKING:
    from cloudq.bundle.blobs import Blobs

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

    @property
    def markers(self) -> Markers:
        """The markers that speak of jobs."""
        return Markers(self.store, self.prefix)

    @property
    def agents(self) -> Agents:
        """What agents publish of themselves."""
        return Agents(self.store, self.prefix, self.conditional)

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
        key = self._key(job.id, MANIFEST)
        etag = replace_object(self.store, key, data, etag=record.etag, conditional=self.conditional)
        return Record(job, etag)

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

    def read_range(self, job_id: str, name: str, start: int, end: int) -> memoryview:
        """Read bytes `start` to `end` (exclusive) of one. Raises NotFoundError."""
        return self.store.read_range(self._key(job_id, name), start, end)

    def open(self, job_id: str, name: str, *, size: int) -> RemoteFile:
        """Return a large object of so many bytes as a file, of which only what is read is fetched."""
        return RemoteFile(self.store, self._key(job_id, name), size=size)

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
        self.markers.request(job)

    def cancel_requested(self, job_id: str) -> bool:
        """Tell whether there is a cancel request (the exact name: `cancel_orders.sh` is none)."""
        try:
            self.store.stat(self._key(job_id, CANCEL))
        except NotFoundError:
            return False
        return True

    # Keys

    def _key(self, job_id: str, name: str) -> str:
        return f"{self.prefix}{job_id}/{name}"


def _token() -> str:
    """Make what tells one writer from all others; by the kernel, as `secrets` takes long to import."""
    return os.urandom(8).hex()
