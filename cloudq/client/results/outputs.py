"""The outputs of a job in the bucket: their names, all of them, or only some, each read by itself."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import IO, cast

from cloudq.archive import list_members, unpack
from cloudq.bundle import OUTPUT, Bundles, RemoteFile
from cloudq.bundle.streamed_file import StreamedFile
from cloudq.client.display.progress import transfer
from cloudq.client.jobs.selection import Patterns
from cloudq.errors import ArchiveError


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
        self._file = cast("IO[bytes]", RemoteFile(bundles, job_id, OUTPUT, size=size))

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

        Where that is at most half of the archive, only they are fetched; more of it comes faster whole,
        as parts of one object are fetched side by side. No copy of the archive is on the disk.
        """
        if patterns and self._packed_size(patterns) <= self._size // 2:
            with _advised():
                return frozenset(unpack(self._file, folder, wanted=patterns.admits))
        streamed = partial(StreamedFile, self._bundles, self._job_id, OUTPUT, size=self._size)
        with _advised(), transfer("fetching outputs", self._size), streamed() as file:
            return frozenset(unpack(cast("IO[bytes]", file), folder, wanted=patterns.admits))

    def _packed_size(self, patterns: Patterns) -> int:
        return sum(size for name, size in self.packed_sizes.items() if patterns.admits(name))


@contextmanager
def _advised() -> Iterator[None]:
    try:
        yield
    except ArchiveError as error:
        error.hint = "`cloudqcli stageout --zip` leaves output.zip packed"
        raise
