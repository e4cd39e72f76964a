"""Unpacking into a folder: everything is checked first, nothing is written outside or through a link."""

from __future__ import annotations

import errno
import logging
import struct
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Optional, Union, cast
from zipfile import BadZipFile, ZipFile

from cloudq.archive.directory import OpenArchive, check_count
from cloudq.archive.extraction import Extraction, Source
from cloudq.archive.members import Member, check_lengths, check_sizes, checked
from cloudq.archive.names import shown
from cloudq.archive.placing import Places, make_place
from cloudq.archive.spans import spans_of
from cloudq.errors import ArchiveError

MAX_MEMBERS = 500_000
"""Each costs some 500 bytes of memory, and a file of the disk's."""

_THREADS = 8
_THREADS_FOR_A_FILE = 2
"""Of a disk here, more than that do not read faster, and login nodes are shared."""

_BLOCK = 256 * 1024
"""Bytes of a large file that are read at once."""

Archive = Union[Path, OpenArchive]
"""A file, or one that is open already."""

# What zipfile raises; NotImplementedError for strong encryption, OverflowError for offsets that no file has.
_DAMAGES = (
    BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    OverflowError,
    struct.error,
    ValueError,
)

logger = logging.getLogger(__name__)


def list_members(archive: Archive, *, max_members: int = MAX_MEMBERS) -> dict[str, int]:
    """Return the names of the files and links in an archive, with the bytes that each takes in it.

    Raises:
        ArchiveError: As by `unpack`.
    """
    with _opened(archive, max_members) as zip_file:
        members = checked(zip_file.infolist(), max_members)
    return {member.name: member.info.compress_size for member in members if not member.is_folder}


def unpack(
    archive: Archive,
    folder: Path,
    *,
    max_bytes: Optional[int] = None,
    max_members: int = MAX_MEMBERS,
    wanted: Callable[[str], bool] = lambda _: True,
    source: Optional[Source] = None,
) -> list[str]:
    """Unpack an archive into a folder, which may have things in it: files of the same names are replaced.

    Each file appears whole or not at all. Permissions are kept as far as `rwxr-xr-x`, the owner may always
    read and write. Links are made as they are, wherever they point, but nothing is written through one;
    where there are no links (Windows) they are left out with a warning.

    Args:
        archive: The file; of one that is open, little more is read than what is wanted.
        folder: Where to; made (0700) if it is not there.
        max_bytes: Most bytes that may come out; None for what the disk holds.
        max_members: Most members it may have.
        wanted: Tells by its name whether a member is unpacked; all are checked.
        source: Gives the members' bytes of an archive that is open; by itself they are read from that.

    Returns:
        The names of the unpacked files and links, relative to the folder.

    Raises:
        ArchiveError: The archive is damaged, too large, or has a member that must not be unpacked. As a
            rule this is found before anything is written.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _opened(archive, max_members) as zip_file:
        everything = checked(zip_file.infolist(), max_members)
        check_lengths(everything, folder)
        members = [member for member in everything if wanted(member.name)]
        check_sizes(members, zip_file.start_dir, folder, max_bytes)
        spans = [
            span for span in spans_of(everything, zip_file.start_dir) if _is_written(span.member, wanted)
        ]
        places = Places(folder)
        try:
            for member in members:
                if member.is_folder:
                    make_place(folder, f"{member.name}/.")
            threads = _THREADS if source else _THREADS_FOR_A_FILE
            Extraction(source or _OneFile(zip_file), places, threads=threads).run(spans)
        finally:
            places.discard()
    for member in members:
        if member.is_folder and member.mode:
            (folder / member.name).chmod(member.mode & 0o755 | 0o700)
    return [member.name for member in members if not member.is_folder]


def _is_written(member: Member, wanted: Callable[[str], bool]) -> bool:
    if member.is_folder or not wanted(member.name):
        return False
    if member.is_link and sys.platform == "win32":
        logger.warning("%s: a link, left out", shown(member.name))
        return False
    return True


class _OneFile:
    """The file of an archive, which has one position only, for several threads."""

    def __init__(self, zip_file: ZipFile) -> None:
        self._lock = threading.Lock()
        self._file = cast("IO[bytes]", zip_file.fp)

    def read_at(self, start: int, stop: int) -> memoryview:
        with self._lock:
            self._file.seek(start)
            return memoryview(self._file.read(stop - start))

    def blocks_at(self, start: int, stop: int) -> Iterator[memoryview]:
        for begin in range(start, stop, _BLOCK):
            yield self.read_at(begin, min(begin + _BLOCK, stop))


@contextmanager
def _opened(archive: Archive, max_members: int) -> Iterator[ZipFile]:
    name = Path(archive.name).name
    try:
        with ExitStack() as stack:
            file = stack.enter_context(archive.open("rb")) if isinstance(archive, Path) else archive
            check_count(file, max_members)
            yield stack.enter_context(ZipFile(file))
    except UnicodeEncodeError as error:
        raise ArchiveError(
            f"{shown(error.object)}: no such name can be written in this locale ({error.encoding}); "
            "set LC_ALL=C.UTF-8"
        ) from error
    except _DAMAGES as error:
        raise ArchiveError(f"{name}: damaged, or of a kind that is not known: {error}") from error
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise ArchiveError(f"{name}: a name in it is too long for this file system") from error
        # zipfile seeks to wherever a damaged archive says; faults of files that are written name the file.
        if error.errno != errno.EINVAL or error.filename is not None:
            raise
        raise ArchiveError(f"{name}: damaged: it points outside itself") from error
