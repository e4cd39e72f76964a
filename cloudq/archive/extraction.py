"""Members read by ranges and written as they come, side by side: several at once, large ones in pieces."""

from __future__ import annotations

import os
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, BinaryIO, Protocol
from zipfile import BadZipFile

from cloudq.ahead import in_order
from cloudq.archive.checksums import crc32, join_sums
from cloudq.archive.incoming import Incoming
from cloudq.archive.members import Member
from cloudq.archive.names import shown
from cloudq.archive.placing import Places, create, stamp
from cloudq.archive.spans import Span, piece_size
from cloudq.errors import ArchiveError

_GAP = 64 * 1024
"""Bytes that nobody wants, which are read all the same where that spares a request."""

_BLOCK = 256 * 1024


class Source(Protocol):
    """The bytes of an archive, from one position to another (exclusive); asked by several threads."""

    def read_at(self, start: int, stop: int) -> memoryview:
        """Return them at once."""
        ...

    def blocks_at(self, start: int, stop: int) -> Iterator[memoryview]:
        """Yield them in blocks, each of which is good until the next one is asked for."""
        ...


class Extraction:
    """Writes members of one archive into a folder, each whole or not at all."""

    def __init__(self, source: Source, places: Places, *, threads: int) -> None:
        self._source = source
        self._places = places
        self._threads = threads
        self._is_over = threading.Event()

    def run(self, spans: Sequence[Span]) -> None:
        """Write files and links.

        Raises:
            BadZipFile, zlib.error, ValueError: The archive is damaged.
            ArchiveError: One of them must not be unpacked.
        """
        with ThreadPoolExecutor(self._threads) as pool, self._broken_off_early():
            size = piece_size(sum(span.stop - span.start for span in spans), self._threads)
            tasks = self._tasks((span for span in spans if not span.is_stream), size)
            for _ in in_order(pool, tasks, ahead=self._threads + 1):
                pass
            for span in spans:
                if span.is_stream:
                    self._write_stream(pool, span)

    @contextmanager
    def _broken_off_early(self) -> Iterator[None]:
        """Let no thread read its piece to the end once the block has failed."""
        try:
            yield
        except BaseException:
            self._is_over.set()
            raise

    def _tasks(self, spans: Iterable[Span], size: int) -> Iterator[Callable[[], None]]:
        batch: list[Span] = []
        for span in spans:
            if span.is_stored and span.stop - span.start > size:
                yield from self._pieces(span, size)
                continue
            if batch and (span.stop - batch[0].start > size or span.start - batch[-1].stop > _GAP):
                yield partial(self._write_batch, batch)
                batch = []
            batch.append(span)
        if batch:
            yield partial(self._write_batch, batch)

    def _read(self, start: int, stop: int) -> memoryview:
        data = self._source.read_at(start, stop) if 0 <= start < stop else memoryview(b"")
        if len(data) != stop - start:
            raise _missing(start, stop)
        return data

    def _blocks(self, start: int, stop: int) -> Iterator[memoryview]:
        left = stop - start
        for block in self._source.blocks_at(start, stop) if 0 <= start < stop else ():
            left -= len(block)
            yield block
            if self._is_over.is_set():
                return
        if left:
            raise _missing(start, stop)

    def _write_batch(self, batch: list[Span]) -> None:
        position = batch[0].start
        incoming = Incoming(self._blocks(position, batch[-1].stop))
        for span in batch:
            incoming.skip(span.start - position)
            position = span.start + span.begin(incoming.take) + span.member.info.compress_size
            with self._places.appearing(span.member) as part:
                _write(span, part, incoming)
        incoming.end()

    def _pieces(self, span: Span, size: int) -> Iterator[Callable[[], None]]:
        large = _Large(span, dict(span.pieces(size)), self._places, self._blocks)
        yield large.write_first
        for start in large.starts[1:]:
            yield partial(large.write, start)

    def _write_stream(self, pool: ThreadPoolExecutor, span: Span) -> None:
        member, inflater, size, total = span.member, zlib.decompressobj(-15), 0, 0
        incoming = Incoming(self._read_ahead(pool, span))
        span.begin(incoming.take)
        with self._places.appearing(member) as part, create(part) as file:
            for packed in incoming.blocks(member.info.compress_size):
                for block in _blocks(inflater, packed):
                    size, total = size + len(block), crc32(block, total)
                    if size > member.info.file_size:
                        raise BadZipFile(f"more in {shown(member.name)} than its size")
                    file.write(block)
            _check(member, size, total)
            stamp(file, part, member)
        incoming.end()

    def _read_ahead(self, pool: ThreadPoolExecutor, span: Span) -> Iterator[memoryview]:
        return in_order(pool, (partial(self._read, *ends) for ends in span.pieces()), ahead=self._threads + 1)


class _Large:
    """A stored member, of which each piece is written at its place by whoever has read it.

    Args:
        stops: Where the pieces that begin somewhere in the archive end.
    """

    def __init__(
        self,
        span: Span,
        stops: Mapping[int, int],
        places: Places,
        read: Callable[[int, int], Iterator[memoryview]],
    ) -> None:
        self._span = span
        self._stops = stops
        self._places = places
        self._read = read
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
            incoming = self._ask(start)
            begin = start + self._span.begin(incoming.take)
            part = self._places.begin(self._span.member)
            create(part).close()
        except BaseException as error:
            self._opened.set_exception(error)
            raise
        self._opened.set_result((begin, part))
        self._keep(start, begin, incoming)

    def write(self, start: int) -> None:
        """Write the piece that begins there in the archive, behind any header."""
        self._keep(start, start, self._ask(start))

    def _ask(self, start: int) -> Incoming:
        return Incoming(self._read(start, self._stops[start]))

    def _keep(self, start: int, position: int, incoming: Incoming) -> None:
        """Write what comes of the member from a position in the archive on."""
        begin, part = self._opened.result()
        size = max(0, min(begin + self._span.member.info.compress_size, self._stops[start]) - position)
        with open(part, "r+b") as file:  # noqa: PTH123 - a text
            file.seek(position - begin)
            total = _copy(incoming, size, file)
        incoming.end()
        with self._lock:
            self._sums[start] = (total, size)
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


def _write(span: Span, part: str, incoming: Incoming) -> None:
    """Make a file or link of the bytes of a member, which come next."""
    member, info = span.member, span.member.info
    if span.is_stored and not member.is_link:
        with create(part) as file:
            _check(member, info.file_size, _copy(incoming, info.file_size, file))
            stamp(file, part, member)
        return
    packed = incoming.take(info.compress_size)
    data = packed if span.is_stored else _inflated(packed, info.file_size)
    _check(member, len(data), crc32(data))
    if member.is_link:
        os.symlink(_link_target(member, bytes(data)), part)  # noqa: PTH211 - a text
        return
    with create(part) as file:
        file.write(data)
        stamp(file, part, member)


def _copy(incoming: Incoming, size: int, file: BinaryIO) -> int:
    """Write the bytes that come next, and return their checksum."""
    total = 0
    for block in incoming.blocks(size):
        file.write(block)
        total = crc32(block, total)
    return total


def _missing(start: int, stop: int) -> BadZipFile:
    return BadZipFile(f"it has no bytes {start} to {stop}")


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
