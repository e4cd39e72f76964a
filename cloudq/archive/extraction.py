"""Members read by ranges and written side by side: several small ones at once, large ones in pieces."""

from __future__ import annotations

import os
import struct
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipInfo

from cloudq.ahead import in_order
from cloudq.archive.checksums import join_sums
from cloudq.archive.members import Member
from cloudq.archive.names import shown
from cloudq.archive.placing import Places, create, stamp
from cloudq.errors import ArchiveError

PART = 8 * 1024 * 1024
"""Bytes that are read at once: a part of an upload, as some servers read the whole of one in any case."""

_GAP = 64 * 1024
"""Bytes that nobody wants, which are read all the same where that spares a request."""

_MOST_INFLATED = PART
"""Bytes that are unpacked in memory at once by each thread."""

_BLOCK = 256 * 1024
_HEADER = struct.Struct("<4s2xH18x2H")
_LONGEST_HEADER = _HEADER.size + 2 * 0xFFFF
_UTF_8 = 0x800
_NOT_PLAIN = 0x61
"""Flags: encrypted, patched, strongly encrypted."""

ReadAt = Callable[[int, int], memoryview]
"""Returns the bytes from one position to another (exclusive); called by several threads."""


@dataclass(frozen=True)
class Span:
    """A member, and the bytes of the archive where its header and its data are and no other's."""

    member: Member
    start: int
    stop: int

    @property
    def is_piecemeal(self) -> bool:
        """Tell whether it is large, and its pieces can be written by themselves."""
        return self.stop - self.start > PART and self.member.info.compress_type == ZIP_STORED

    @property
    def is_stream(self) -> bool:
        """Tell whether it must be unpacked from its beginning to its end, and is too large for the memory."""
        info = self.member.info
        return info.compress_type == ZIP_DEFLATED and (
            self.stop - self.start > PART or info.file_size > _MOST_INFLATED
        )

    def begin(self, head: memoryview) -> int:
        """Return where the data begins behind `start`, of which the first bytes are given.

        Raises:
            BadZipFile: The header is none, or another's; or the data would be another's, too.
        """
        info = self.member.info
        if len(head) < _HEADER.size:
            raise BadZipFile(f"no header of {shown(self.member.name)}")
        signature, flags, name_length, extra_length = _HEADER.unpack_from(head)
        name = bytes(head[_HEADER.size : _HEADER.size + name_length])
        if signature != b"PK\x03\x04" or _decoded(name, info) != info.orig_filename:
            raise BadZipFile(f"no header of {shown(self.member.name)} where it should be")
        if (flags | info.flag_bits) & _NOT_PLAIN:
            raise BadZipFile(f"{shown(self.member.name)} is encrypted or a patch")
        if info.compress_type == ZIP_STORED and info.compress_size != info.file_size:
            raise BadZipFile(f"{shown(self.member.name)} is stored, but has two sizes")
        begin = int(_HEADER.size + name_length + extra_length)
        if begin + info.compress_size > self.stop - self.start:
            raise BadZipFile(f"{shown(self.member.name)} reaches into the next member")
        return begin


def spans_of(members: Iterable[Member], end: int) -> list[Span]:
    """Return where members are, in the order of the archive, whose directory begins at `end`."""
    ordered = sorted(members, key=lambda member: member.info.header_offset)
    nexts = [*(member.info.header_offset for member in ordered[1:]), end]
    spans = []
    for member, behind in zip(ordered, nexts):
        start = member.info.header_offset
        spans.append(Span(member, start, min(behind, start + _LONGEST_HEADER + member.info.compress_size)))
    return spans


class Extraction:
    """Writes members of one archive into a folder, each whole or not at all."""

    def __init__(self, read_at: ReadAt, places: Places, *, threads: int) -> None:
        self._read_at = read_at
        self._places = places
        self._threads = threads

    def run(self, spans: Sequence[Span]) -> None:
        """Write files and links.

        Raises:
            BadZipFile, zlib.error, ValueError: The archive is damaged.
            ArchiveError: One of them must not be unpacked.
        """
        with ThreadPoolExecutor(self._threads) as pool:
            tasks = self._tasks(span for span in spans if not span.is_stream)
            for _ in in_order(pool, tasks, ahead=self._threads + 1):
                pass
            for span in spans:
                if span.is_stream:
                    self._write_stream(pool, span)

    def _tasks(self, spans: Iterable[Span]) -> Iterator[Callable[[], None]]:
        batch: list[Span] = []
        for span in spans:
            if span.is_piecemeal:
                yield from self._pieces(span)
                continue
            if batch and (span.stop - batch[0].start > PART or span.start - batch[-1].stop > _GAP):
                yield partial(self._write_batch, batch)
                batch = []
            batch.append(span)
        if batch:
            yield partial(self._write_batch, batch)

    def _read(self, start: int, stop: int) -> memoryview:
        data = self._read_at(start, stop) if 0 <= start < stop else memoryview(b"")
        if len(data) != stop - start:
            raise BadZipFile(f"it has no bytes {start} to {stop}")
        return data

    def _write_batch(self, batch: list[Span]) -> None:
        first = batch[0].start
        data = self._read(first, batch[-1].stop)
        for span in batch:
            packed = data[span.start - first : span.stop - first]
            begin = span.begin(packed)
            self._write_small(span.member, packed[begin : begin + span.member.info.compress_size])

    def _write_small(self, member: Member, packed: memoryview) -> None:
        info = member.info
        data = packed if info.compress_type == ZIP_STORED else _inflated(packed, info.file_size)
        _check(member, len(data), zlib.crc32(data))
        with self._places.appearing(member) as part:
            if member.is_link:
                os.symlink(_link_target(member, bytes(data)), part)  # noqa: PTH211 - a text
                return
            with create(part) as file:
                file.write(data)
                stamp(file, part, member)

    def _pieces(self, span: Span) -> Iterator[Callable[[], None]]:
        large = _Large(span, self._places, self._read)
        yield large.write_first
        for start in large.starts[1:]:
            yield partial(large.write, start)

    def _write_stream(self, pool: ThreadPoolExecutor, span: Span) -> None:
        member, inflater, size, total = span.member, zlib.decompressobj(-15), 0, 0
        with self._places.appearing(member) as part, create(part) as file:
            for packed in self._packed(pool, span):
                for block in _blocks(inflater, packed):
                    size, total = size + len(block), zlib.crc32(block, total)
                    if size > member.info.file_size:
                        raise BadZipFile(f"more in {shown(member.name)} than its size")
                    file.write(block)
            _check(member, size, total)
            stamp(file, part, member)

    def _packed(self, pool: ThreadPoolExecutor, span: Span) -> Iterator[memoryview]:
        """Yield the packed bytes of a member, which are read ahead."""
        left = -1
        pieces = (partial(self._read, *ends) for ends in _cut(span))
        for piece in in_order(pool, pieces, ahead=self._threads + 1):
            data = piece
            if left < 0:
                data, left = piece[span.begin(piece) :], span.member.info.compress_size
            yield data[:left]
            left -= min(left, len(data))


class _Large:
    """A stored member, of which each piece is written at its place by whoever has read it."""

    def __init__(self, span: Span, places: Places, read: Callable[[int, int], memoryview]) -> None:
        self._span = span
        self._places = places
        self._read = read
        self._stops = dict(_cut(span))
        self._opened: Future[tuple[int, str]] = Future()
        self._sums: dict[int, tuple[int, int]] = {}
        self._lock = threading.Lock()

    @property
    def starts(self) -> list[int]:
        """Where its pieces begin in the archive."""
        return list(self._stops)

    def write_first(self) -> None:
        """Make the file; the other pieces wait until that is done, so this must be begun before them."""
        start = self._span.start
        try:
            data = self._read(start, self._stops[start])
            begin = start + self._span.begin(data)
            part = self._places.begin(self._span.member)
            create(part).close()
        except BaseException as error:
            self._opened.set_exception(error)
            raise
        self._opened.set_result((begin, part))
        self._keep(start, data)

    def write(self, start: int) -> None:
        """Write the piece that begins there in the archive."""
        self._keep(start, self._read(start, self._stops[start]))

    def _keep(self, start: int, data: memoryview) -> None:
        begin, part = self._opened.result()
        end = begin + self._span.member.info.compress_size
        data = data[max(0, begin - start) : max(0, end - start)]
        with open(part, "r+b") as file:  # noqa: PTH123 - a text
            file.seek(max(0, start - begin))
            file.write(data)
        with self._lock:
            self._sums[start] = (zlib.crc32(data), len(data))
            is_last = len(self._sums) == len(self._stops)
        if is_last:
            self._finish(part)

    def _finish(self, part: str) -> None:
        member, total, size = self._span.member, 0, 0
        for _, (piece, length) in sorted(self._sums.items()):
            total, size = join_sums(total, piece, length), size + length
        _check(member, size, total)
        with open(part, "r+b") as file:  # noqa: PTH123 - a text
            stamp(file, part, member)
        self._places.end(member, part)


def _cut(span: Span) -> Iterator[tuple[int, int]]:
    """Yield from where to where the pieces of a member are, each in a part of the archive as it was sent."""
    start = span.start
    while start < span.stop:
        stop = min(span.stop, start + _LONGEST_HEADER + PART - (start + _LONGEST_HEADER) % PART)
        yield start, stop
        start = stop


def _decoded(name: bytes, info: ZipInfo) -> str:
    return name.decode("utf-8" if info.flag_bits & _UTF_8 else "cp437")


def _inflated(packed: memoryview, size: int) -> bytes:
    """Unpack at most one byte more than there should be: no more is kept in memory, whatever is in it."""
    return zlib.decompressobj(-15).decompress(packed, size + 1)


def _blocks(inflater: Any, packed: memoryview) -> Iterator[bytes]:
    rest: Any = packed
    while len(rest):
        yield inflater.decompress(rest, _BLOCK)
        rest = inflater.unconsumed_tail
        # What is unpacked already, but did not fit into the block, must not wait for more input.
        if not rest:
            yield inflater.decompress(b"", _BLOCK)


def _check(member: Member, size: int, total: int) -> None:
    if size != member.info.file_size or total != member.info.CRC:
        raise BadZipFile(f"Bad CRC-32 or size of {shown(member.name)}")


def _link_target(member: Member, target: bytes) -> str:
    if not target or b"\0" in target:
        raise ArchiveError(f"{shown(member.name)}: a link to nothing")
    return os.fsdecode(target)
