"""Packing of files and folders as they are, links as links; what cannot be packed is named, never fatal."""

from __future__ import annotations

import contextlib
import os
import stat
import struct
import time
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Optional, Union
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

from cloudq.archive.names import raw_name_field, shown, stored_name

TIMESTAMP = 0x5455
"""Id of Info-ZIP's extra field "UT": the time in seconds UTC, where ZIP's own is local and even."""

_BLOCK = 1024 * 1024
_HEAD = 64 * 1024
# Pieces of the head tell whether data shrinks: to deflate all of it takes longer than to store a small file.
_PIECES = 4
_PIECE = 512
_SAMPLE_WINDOW = -11
_SAMPLE_MEMORY = 4
# Measured on 33 MB of numbers as text: level 3 takes half the time of 6 and is no larger.
_LEVEL = 3
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


def pack(
    source: Union[Path, Iterable[Member]],
    archive: Path,
    *,
    skip: Collection[str] = frozenset(),
    watch: Callable[[bytes], object] = lambda _: None,
) -> list[str]:
    """Make an archive, which appears whole or not at all (mode 0600).

    Folders are packed with everything below them, empty ones too. Symbolic links are stored as links
    and never followed. Of a file that grows meanwhile, the bytes it had at the start are stored.
    Unix permission bits and times (to the second; in ZIP's own field clamped to 1980–2107) are kept.
    Data that does not shrink is stored as it is. Archives and members may be over 4 GiB.

    Args:
        source: A folder whose contents are packed, or members, each packed with all that is below it.
        archive: The file to make; replaced if it exists.
        skip: Names in the archive that are not packed, nor what is below them.
        watch: Called with each piece of the archive as it is written, in order.

    Returns:
        What was left out, as `name: reason`: sockets, pipes, devices, what vanished or cannot be read.

    Raises:
        OSError: The archive cannot be written.
    """
    members = [(source, "")] if isinstance(source, Path) else source
    part = archive.with_name(f".{archive.name}.part")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    try:
        with os.fdopen(os.open(part, flags, 0o600), "wb") as stream:
            packer = _Packer(frozenset(skip), os.fstat(stream.fileno()))
            for block in packer.blocks(members):
                stream.write(block)
                watch(block)
        part.replace(archive)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return packer.left_out


def pack_blocks(folder: Path, left_out: list[str]) -> Iterator[bytes]:
    """Yield the archive that `pack` would make of a folder while it is made: no copy of it is on any disk.

    Args:
        folder: Its contents are packed.
        left_out: What cannot be packed is added to it, as `name: reason`.
    """
    return _Packer(frozenset(), None, left_out).blocks([(folder, "")])


def tree_size(folder: Path) -> int:
    """Return about how many bytes the files of a folder have."""
    size = 0
    for top, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                size += os.lstat(os.path.join(top, name)).st_size  # noqa: PTH118 - os.walk gives texts
    return size


class _Drain:
    """A file that cannot seek; what is written to it can be taken away."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0

    def write(self, data: bytes) -> int:
        self._pieces.append(data)
        self._size += len(data)
        return len(data)

    def flush(self) -> None:
        pass

    def taken(self, least: int) -> Iterator[bytes]:
        """Yield what was written since the last time, if it is at least so much; large pieces uncopied."""
        if self._size < least:
            return
        pieces, self._pieces, self._size = self._pieces, [], 0
        small: list[bytes] = []
        for piece in pieces:
            if len(piece) < _HEAD:
                small.append(piece)
            else:
                if small:
                    yield b"".join(small)
                    small = []
                yield piece
        if small:
            yield b"".join(small)


class _Packer:
    """Makes one archive, and notes what it has left out.

    Args:
        skip: Names that are not packed, nor what is below them.
        own: The file that the archive is written to, which is not packed either.
        left_out: `name: reason`.
    """

    def __init__(
        self, skip: frozenset[str], own: Optional[os.stat_result], left_out: Optional[list[str]] = None
    ) -> None:
        self.skip = skip
        self.own = own
        self.left_out: list[str] = [] if left_out is None else left_out
        self.drain = _Drain()
        self.zip_file = ZipFile(self.drain, "w")  # type: ignore[call-overload]  # it needs no more than write and flush

    def blocks(self, members: Iterable[Member]) -> Iterator[bytes]:
        """Yield the archive while it is made."""
        with self.zip_file:
            for path, name in members:
                for _ in self.add_tree(path, name):
                    yield from self.drain.taken(_BLOCK)
        yield from self.drain.taken(1)

    def leave_out(self, name: str, reason: object) -> None:
        if isinstance(reason, OSError):
            reason = reason.strerror or reason
        self.left_out.append(f"{shown(name) or '.'}: {reason}")

    def add_tree(self, top: Path, top_name: str) -> Iterator[None]:
        """Pack all that is below; after each piece the caller may take what was written."""
        waiting = [(top, top_name)]
        while waiting:
            path, name = waiting.pop()
            if name in self.skip:
                continue
            try:
                status = path.lstat()
                yield from self.add(path, name, status)
                if stat.S_ISDIR(status.st_mode):
                    waiting.extend(_children(path, name))
            except OSError as error:
                if _is_about(error, path):
                    self.leave_out(name, error)
                else:
                    raise

    def add(self, path: Path, name: str, status: os.stat_result) -> Iterator[None]:
        if stat.S_ISREG(status.st_mode):
            yield from self.add_file(path, name)
        elif stat.S_ISLNK(status.st_mode):
            info = self.info(name, status)
            self.zip_file.writestr(info, os.fsencode(os.readlink(path)))  # noqa: PTH115 - bytes as they are
        elif not stat.S_ISDIR(status.st_mode):
            self.leave_out(name, "neither file, folder nor link")
        elif name:
            self.zip_file.writestr(self.info(name, status), b"")
        yield

    def add_file(self, path: Path, name: str) -> Iterator[None]:
        with os.fdopen(os.open(path, _OPEN_FLAGS), "rb") as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                self.leave_out(name, "no longer a file")
                return
            if self.own is not None and os.path.samestat(status, self.own):
                return
            head = stream.read(min(_HEAD, status.st_size))
            info = self.info(name, status)
            info.file_size = status.st_size
            if _shrinks(head):
                info.compress_type = ZIP_DEFLATED
                info._compresslevel = _LEVEL  # type: ignore[attr-defined]  # public from Python 3.13 on
            with self.zip_file.open(info, "w") as target:
                target.write(head)
                for block in self.pieces(stream, status.st_size - len(head), name):
                    target.write(block)
                    yield

    def pieces(self, stream: BinaryIO, size: int, name: str) -> Iterator[bytes]:
        """Yield at most `size` bytes. A disk that fails cuts the file; what was read of it is kept."""
        while size > 0:
            try:
                block = stream.read(min(_BLOCK, size))
            except OSError as error:
                self.leave_out(name, f"cut {size} bytes before its end: {error.strerror}")
                return
            if not block:
                return
            yield block
            size -= len(block)

    def info(self, name: str, status: os.stat_result) -> ZipInfo:
        stored, extra = stored_name(name)
        folder = "/" if stat.S_ISDIR(status.st_mode) else ""
        # Two odd names may be stored alike: "a\xff" and a real "a%FF".
        while stored + folder in self.zip_file.NameToInfo:
            stored, extra = stored + "~", raw_name_field(name)
        seconds = int(status.st_mtime)
        info = ZipInfo(stored + folder, _zip_time(seconds))
        info.create_system = 3
        info.compress_type = ZIP_STORED
        info.external_attr = (stat.S_IFMT(status.st_mode) | status.st_mode & 0o777) << 16
        info.extra = extra
        if -(2**31) <= seconds < 2**31:
            info.extra += struct.pack("<HHBl", TIMESTAMP, 5, 1, seconds)
        return info


def _children(path: Path, name: str) -> list[Member]:
    below = f"{name}/" if name else ""
    return [(path / name, below + name) for name in sorted(os.listdir(path), reverse=True)]  # noqa: PTH208 - names


def _is_about(error: OSError, path: Path) -> bool:
    """Tell a fault of the file being packed (it names the file) from one of the archive (it does not)."""
    return error.filename is not None and os.fspath(error.filename) == os.fspath(path)


def _shrinks(head: bytes) -> bool:
    step = max(_PIECE, len(head) // _PIECES)
    sample = b"".join(head[start : start + _PIECE] for start in range(0, len(head), step))
    deflate = zlib.compressobj(1, zlib.DEFLATED, _SAMPLE_WINDOW, _SAMPLE_MEMORY)
    return len(deflate.compress(sample)) + len(deflate.flush()) < 0.95 * len(sample)


def _zip_time(seconds: int) -> tuple[int, int, int, int, int, int]:
    try:
        year, month, day, hour, minute, second = time.localtime(seconds)[:6]
    except (OverflowError, OSError, ValueError):
        return _EARLIEST if seconds < 0 else _LATEST
    return min(max((year, month, day, hour, minute, min(second, 59)), _EARLIEST), _LATEST)
