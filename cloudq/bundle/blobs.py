"""Input blobs: archives of inputs beside the bundles, who refers to them, and when they may go.

Below `agent/.blobs/<fingerprint>/` lie all archives whose contents had the same names, sizes and times, so
that a client knows before it reads a file whether there can be one. For each there is
`kept/<job>/input.zip`, then `kept/<job>/sum-<digest>`, without which no other job refers to it, and
`kept/<job>/condemned` once none must; and `refs/<job>` for each job that has one of them. Why no job can lose
its inputs: docs/reliability.md.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from itertools import groupby
from pathlib import Path

from cloudq.ahead import in_order
from cloudq.bundle.remote_file import RemoteFile
from cloudq.digests import RunningDigest, algorithm_of, known_algorithms
from cloudq.errors import RefusedError, StoreError
from cloudq.job import InputBlob, Job, is_job_id
from cloudq.store import PART, Entry, Store
from cloudq.store.files import appearing

BLOBS = "agent/.blobs/"
UNUSED_AGE = timedelta(days=7)
"""A blob that no job refers to is condemned when it is so old."""

CONDEMNED_FOR = timedelta(days=1)
"""How long it then stays, in case a listing was out of date."""

# With those that are fetched ahead and those that wait to be summed up, some 60 MB of memory.
_FETCHERS = 4
_ARCHIVE = "input.zip"
_CONDEMNED = "condemned"
_SUM = "sum-"
_NAME = re.compile(
    r"[0-9a-f]{64}/(?:refs/(?P<referrer>[^/]+)"
    r"|kept/(?P<holder>[^/]+)/(?P<kind>input\.zip|condemned|sum-(?:blake3-)?[0-9a-f]{64}))\Z"
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Blobs:
    """The input blobs of a store, below an optional prefix."""

    store: Store
    prefix: str = ""

    def refer(self, fingerprint: str, job_id: str) -> None:
        """Note that a job is about to refer to one of these; some object of its bundle is there before."""
        self.store.write(self._key(fingerprint, "refs", job_id), b"")

    def find(self, fingerprint: str) -> list[InputBlob]:
        """Return the blobs with a fingerprint that may be referred to.

        The reference must have been made before: only then whoever removes blobs will see it.
        """
        group = _Group()
        top = f"{self.prefix}{BLOBS}"
        for entry in self.store.list(self._key(fingerprint, "kept", "")):
            group.add(entry.key[len(top) :], entry)
        return [
            InputBlob(fingerprint, entry.key.rpartition(_SUM)[2], group.archives[holder].size, holder)
            for holder, entry in group.sums.items()
            if holder in group.archives and holder not in group.condemned
        ]

    def upload(
        self, fingerprint: str, job_id: str, blocks: Iterable[bytes], running: RunningDigest, *, expected: int
    ) -> InputBlob:
        """Store an archive that this job brings, as it comes, so that others may refer to it.

        Whatever error the blocks end with is raised, and nothing is stored.

        Args:
            fingerprint: Of what is in it.
            job_id: The job, whose reference is there.
            blocks: Its bytes.
            running: What takes them into their digest when they come.
            expected: About how many bytes there will be.
        """
        entry = self.store.upload_blocks(blocks, self._archive(fingerprint, job_id), expected=expected)
        blob = InputBlob(fingerprint, running.digest(), entry.size, job_id)
        try:
            self.store.write(self._key(fingerprint, "kept", f"{job_id}/{_SUM}{blob.digest}"), b"")
        except StoreError as error:
            logger.warning("inputs: sent, but other jobs will not find them: %s", error)
        return blob

    def open(self, blob: InputBlob) -> RemoteFile:
        """Return a blob as a file, of which only what is read is fetched; its digest is not looked at.

        Raises:
            NotFoundError: It is gone.
            RefusedError: It has another size.
        """
        key = self._archive(blob.fingerprint, blob.holder)
        size = self.store.stat(key).size
        if size != blob.size:
            raise RefusedError(f"refused: input {blob.digest} has {size} bytes, not {blob.size}")
        return RemoteFile(self.store, key, size=size)

    def download(self, blob: InputBlob, path: Path) -> None:
        """Fetch a blob into a file, which appears if its bytes are those that the job refers to.

        Raises:
            NotFoundError: It is gone.
            RefusedError: It has another size or other bytes, or its digest cannot be computed here.
        """
        algorithm = algorithm_of(blob.digest)
        if algorithm not in known_algorithms():
            raise RefusedError(f"refused: input {blob.digest}: the Python package {algorithm} is missing")
        read = self.open(blob).read_at
        parts = (partial(read, start, start + PART) for start in range(0, blob.size, PART))
        found = RunningDigest(algorithm)
        with appearing(path) as file, ThreadPoolExecutor(_FETCHERS) as pool:
            for part in in_order(pool, parts, ahead=_FETCHERS + 1):
                file.write(part)
                found.update(part)
            if found.digest() != blob.digest:
                raise RefusedError(f"refused: input {blob.digest} has other bytes than that")

    def release(self, jobs: Iterable[Job]) -> None:
        """Take back the references of jobs that are deleted."""
        keys = [self._key(blob.fingerprint, "refs", job.id) for job in jobs for blob in job.input_blobs]
        if keys:
            self.store.delete(keys)

    def due(self, job_ids: Callable[[], Collection[str]], now: datetime) -> Iterator[Due]:
        """Yield what is to be done now so that blobs without a job go.

        Args:
            job_ids: Lists all that have a bundle; called after the references were listed, if at all.
            now: The time, about that of the store's clock.

        Raises:
            StoreError: The bucket could not be read.
        """
        groups = [group for group in self._groups() if group.may_be_due(now)]
        if groups:
            present = job_ids()
            for group in groups:
                yield from group.due(self.store, present, now)

    def _groups(self) -> Iterator[_Group]:
        top = f"{self.prefix}{BLOBS}"
        for _, entries in groupby(self.store.list(top), lambda e: e.key[len(top) :].partition("/")[0]):
            group = _Group()
            for entry in entries:
                group.add(entry.key[len(top) :], entry)
            yield group

    def _archive(self, fingerprint: str, holder: str) -> str:
        return self._key(fingerprint, "kept", f"{holder}/{_ARCHIVE}")

    def _key(self, fingerprint: str, kind: str, name: str) -> str:
        return f"{self.prefix}{BLOBS}{fingerprint}/{kind}/{name}"


@dataclass(frozen=True)
class Due:
    """One thing to be done: what it is, for a person, and how."""

    said: str
    act: Callable[[], object]


@dataclass(frozen=True)
class _Group:
    """What there is with one fingerprint: job id -> entry."""

    refs: dict[str, Entry] = field(default_factory=dict)
    archives: dict[str, Entry] = field(default_factory=dict)
    condemned: dict[str, Entry] = field(default_factory=dict)
    sums: dict[str, Entry] = field(default_factory=dict)

    def add(self, name: str, entry: Entry) -> None:
        """Take an object into it, if its name below all blobs is one that we give."""
        match = _NAME.match(name)
        job_id = match and (match["referrer"] or match["holder"])
        if match and job_id and is_job_id(job_id):
            kinds = {None: self.refs, _ARCHIVE: self.archives, _CONDEMNED: self.condemned}
            kinds.get(match["kind"], self.sums)[job_id] = entry

    def may_be_due(self, now: datetime) -> bool:
        everything = (self.refs, self.archives, self.condemned, self.sums)
        return any(now - e.modified >= CONDEMNED_FOR for entries in everything for e in entries.values())

    def due(self, store: Store, present: Collection[str], now: datetime) -> Iterator[Due]:
        gone = [e for job, e in self.refs.items() if job not in present and now - e.modified >= CONDEMNED_FOR]
        for entry in gone:
            yield _removal(store, entry, "a reference of a job that is gone")
        if len(gone) < len(self.refs):
            return
        for holder, entry in self.archives.items():
            condemned = self.condemned.get(holder)
            if condemned is not None and now - condemned.modified >= CONDEMNED_FOR:
                yield _removal(store, entry, f"inputs, {entry.size} bytes, that no job has")
            elif condemned is None and now - entry.modified >= UNUSED_AGE:
                key = f"{entry.key[: -len(_ARCHIVE)]}{_CONDEMNED}"
                said = f"{entry.key}: inputs, {entry.size} bytes, that no job has, to go in a day"
                yield Due(said, lambda key=key: store.write(key, b""))  # type: ignore[misc]
        for holder, entry in self.condemned.items():
            # Later than the archive: who listed both must not miss this one.
            if holder not in self.archives and now - entry.modified >= 2 * CONDEMNED_FOR:
                yield _removal(store, entry, "a mark of inputs that are gone")
        for holder, entry in self.sums.items():
            if holder not in self.archives and now - entry.modified >= CONDEMNED_FOR:
                yield _removal(store, entry, "the digest of inputs that are gone")


def _removal(store: Store, entry: Entry, what: str) -> Due:
    return Due(f"{entry.key}: {what}", lambda: store.delete([entry.key]))
