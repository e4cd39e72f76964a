"""The outputs of a job in the bucket: their names, all of them, or only some, each read by itself."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cloudq.archive import list_members, unpack
from cloudq.bundle import OUTPUT, Bundles, RemoteFile
from cloudq.client.display.progress import transfer
from cloudq.client.jobs.selection import Patterns
from cloudq.errors import ArchiveError
from cloudq.store.moved import Watcher, current_watcher

_TOLD = 1024 * 1024
"""Bytes after which a watcher is told of them; blocks are too small for a bar to move by each."""


class Outputs:
    """The archive `output.zip` of a job.

    Args:
        size: Of the archive, in bytes.

    Raises:
        ArchiveError: By whatever reads it: it is damaged, or has a member that must not be unpacked.
    """

    def __init__(self, bundles: Bundles, job_id: str, size: int) -> None:
        self._bundles = bundles
        self._job_id = job_id
        self._size = size
        self._file = bundles.open(job_id, OUTPUT, size=size)

    @cached_property
    def packed_sizes(self) -> dict[str, int]:
        """Its files, and the bytes that each takes in it; only its directory is fetched."""
        with _advised():
            return list_members(self._file)

    def save(self, path: Path) -> None:
        """Fetch it as it is."""
        with transfer("fetching outputs", self._size):
            self._bundles.download(self._job_id, OUTPUT, path)

    def unpack(self, folder: Path, patterns: Patterns) -> Collection[str]:
        """Unpack the files that are meant, and return their names.

        Only they are fetched, by parts side by side. No copy of the archive is on the disk.
        """
        size = self._packed_size(patterns) if patterns else self._size
        with _advised(), transfer("fetching outputs", size):
            source = _Watched(self._file, current_watcher())
            return frozenset(unpack(self._file, folder, wanted=patterns.admits, source=source))

    def _packed_size(self, patterns: Patterns) -> int:
        return sum(size for name, size in self.packed_sizes.items() if patterns.admits(name))


@dataclass(frozen=True)
class _Watched:
    """A file in the bucket, of which somebody is told how much was fetched."""

    file: RemoteFile
    watcher: Watcher

    def read_at(self, start: int, stop: int) -> memoryview:
        data = self.file.read_at(start, stop)
        self.watcher(len(data))
        return data

    def blocks_at(self, start: int, stop: int) -> Iterator[memoryview]:
        moved = 0
        for block in self.file.blocks_at(start, stop):
            moved += len(block)
            if moved >= _TOLD:
                self.watcher(moved)
                moved = 0
            yield block
        self.watcher(moved)


@contextmanager
def _advised() -> Iterator[None]:
    try:
        yield
    except ArchiveError as error:
        error.hint = "`cloudqcli stageout --zip` leaves output.zip packed"
        raise
