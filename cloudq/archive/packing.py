"""Packing of files and folders as they are, links as links; what cannot be packed is named, never fatal."""

from __future__ import annotations

import contextlib
import os
import stat
import struct
import time
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import BinaryIO, NamedTuple, Union

from cloudq.archive.deflating import deflater, shrinks
from cloudq.archive.names import raw_name_field, shown, stored_name
from cloudq.archive.records import ArchiveWriter, Heading

TIMESTAMP = 0x5455
"""Id of Info-ZIP's extra field "UT": the time in seconds UTC, where ZIP's own is local and even."""

_BLOCK = 1024 * 1024
_HEAD = 64 * 1024
_SMALL = 64 * 1024
_EARLIEST = (1980, 1, 1, 0, 0, 0)
_LATEST = (2107, 12, 31, 23, 59, 58)
_OPEN_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)

Member = tuple[Path, str]
"""A file or folder, and its name in the archive (parts separated by `/`; empty for the top itself)."""


class Found(NamedTuple):
    """A file, folder or link as it was when it was found.

    Attributes:
        path: Where it is.
        name: In the archive.
        mode: Type and permissions, as of `lstat`.
        size: Bytes.
        inode: Its number in its file system, as far as that has such.
        modified_ns: When its bytes were changed, as it says; nanoseconds UTC since 1970.
        changed_ns: When anything of this was changed, by the clock of its file system: nobody can set that
            (`st_ctime` of stat(2); on Windows when it was made).
    """

    path: Path
    name: str
    mode: int
    size: int
    inode: int
    modified_ns: int
    changed_ns: int

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder, whose contents are found by themselves."""
        return stat.S_ISDIR(self.mode)

    @property
    def modified(self) -> int:
        """When its bytes were changed, in whole seconds UTC since 1970."""
        return self.modified_ns // 10**9


def survey(members: Iterable[Member], left_out: list[str]) -> Iterator[Found]:
    """Yield what there is of members and below them, empty folders too; links are never followed.

    Args:
        members: What is looked through, in this order.
        left_out: What cannot be packed is added to it, as `name: reason`: sockets, pipes, devices, what
            vanished, folders that cannot be read.
    """
    for top, top_name in members:
        waiting = [(top, top_name)]
        while waiting:
            path, name = waiting.pop()
            try:
                status = path.lstat()
                if _is_packable(status.st_mode):
                    yield _found(path, name, status)
                else:
                    left_out.append(_reason(name, "neither file, folder nor link"))
                if stat.S_ISDIR(status.st_mode):
                    waiting.extend(_children(path, name))
            except OSError as error:
                left_out.append(_reason(name, error))


def pack_blocks(source: Union[Path, Iterable[Found]], left_out: list[str]) -> Iterator[bytes]:
    """Yield an archive while it is made: no copy of it is on any disk.

    The same things found make the same archive again, unless they have changed: of a file that grows, the
    bytes that it had when it was found are packed. Unix permission bits and times (to the second; in ZIP's
    own field clamped to 1980–2107) are kept. Data that does not shrink is stored as it is. Archives and
    members may be over 4 GiB.

    Args:
        source: What was found, or a folder whose contents are packed.
        left_out: What cannot be packed is added to it, as `name: reason`.
    """
    contents = survey([(source, "")], left_out) if isinstance(source, Path) else source
    return _gathered(_Packer(left_out).blocks(contents))


def tree_size(folder: Path) -> int:
    """Return about how many bytes the files of a folder have."""
    size = 0
    for top, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                size += os.lstat(os.path.join(top, name)).st_size  # noqa: PTH118 - os.walk gives texts
    return size


class _Packer:
    """Makes one archive, and notes what it has left out, as `name: reason`."""

    def __init__(self, left_out: list[str]) -> None:
        self.left_out = left_out
        self.writer = ArchiveWriter()

    def blocks(self, contents: Iterable[Found]) -> Iterator[bytes]:
        """Yield the archive while it is made."""
        for found in contents:
            try:
                yield from self.member(found)
            except OSError as error:
                self.left_out.append(_reason(found.name, error))
        yield self.writer.end()

    def member(self, found: Found) -> Iterator[bytes]:
        """Yield a member, or nothing. Raises OSError: it cannot be opened; nothing was yielded then."""
        if stat.S_ISREG(found.mode):
            yield from self.file(found)
        elif stat.S_ISLNK(found.mode):
            target = os.fsencode(os.readlink(found.path))  # noqa: PTH115 - bytes as they are
            yield self.writer.whole(self.heading(found), target)
        elif found.name:
            yield self.writer.whole(self.heading(found), b"")

    def file(self, found: Found) -> Iterator[bytes]:
        with os.fdopen(os.open(found.path, _OPEN_FLAGS), "rb") as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                self.left_out.append(_reason(found.name, "no longer a file"))
                return
            pieces = self.pieces(stream, found)
            head = next(pieces, b"")
            heading, deflate = self.heading(found), deflater if shrinks(head) else None
            if len(head) == found.size:
                yield self.writer.whole(heading, head, deflate)
            else:
                pieces = chain((head,), pieces)
                yield from self.writer.in_pieces(heading, pieces, most=found.size, deflater=deflate)

    def pieces(self, stream: BinaryIO, found: Found) -> Iterator[bytes]:
        """Yield head and rest of what was found. A disk that fails cuts it; what was read of it is kept."""
        most, left = _HEAD, found.size
        while left > 0:
            try:
                block = stream.read(min(most, left))
            except OSError as error:
                cut = f"cut {left} bytes before its end: {error.strerror}"
                self.left_out.append(_reason(found.name, cut))
                return
            if not block:
                return
            yield block
            most, left = _BLOCK, left - len(block)

    def heading(self, found: Found) -> Heading:
        stored, extra = stored_name(found.name)
        folder = "/" if found.is_folder else ""
        # Two odd names may be stored alike: "a\xff" and a real "a%FF".
        while self.writer.has(stored + folder):
            stored, extra = stored + "~", raw_name_field(found.name)
        if -(2**31) <= found.modified < 2**31:
            extra += struct.pack("<HHBl", TIMESTAMP, 5, 1, found.modified)
        mode = stat.S_IFMT(found.mode) | found.mode & 0o777
        return Heading(stored + folder, mode, _zip_time(found.modified), extra)


def _gathered(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Join small pieces; pass large ones on as they are, uncopied."""
    small: list[bytes] = []
    size = 0
    for piece in filter(None, pieces):
        if len(piece) < _SMALL:
            small.append(piece)
            size += len(piece)
        if small and (len(piece) >= _SMALL or size >= _BLOCK):
            yield b"".join(small)
            small, size = [], 0
        if len(piece) >= _SMALL:
            yield piece
    if small:
        yield b"".join(small)


def _found(path: Path, name: str, status: os.stat_result) -> Found:
    times = status.st_mtime_ns, status.st_ctime_ns
    return Found(path, name, status.st_mode, status.st_size, status.st_ino, *times)


def _is_packable(mode: int) -> bool:
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)


def _reason(name: str, reason: object) -> str:
    if isinstance(reason, OSError):
        reason = reason.strerror or reason
    return f"{shown(name) or '.'}: {reason}"


def _children(path: Path, name: str) -> list[Member]:
    below = f"{name}/" if name else ""
    return [(path / name, below + name) for name in sorted(os.listdir(path), reverse=True)]  # noqa: PTH208 - names


def _zip_time(seconds: int) -> tuple[int, int, int, int, int, int]:
    try:
        year, month, day, hour, minute, second = time.localtime(seconds)[:6]
    except (OverflowError, OSError, ValueError):
        return _EARLIEST if seconds < 0 else _LATEST
    return min(max((year, month, day, hour, minute, min(second, 59)), _EARLIEST), _LATEST)
