"""Blocks of bytes on their way to a store: how many go into one request, and what went."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, Optional

from cloudq.errors import StoreError
from cloudq.store import PART, Entry, Store
from cloudq.store.moved import current_watcher

_BLOCK = 1024 * 1024
# S3 takes at most 10,000 parts; a file may grow while it is read.
_MOST_PARTS = 8_000


class CountedBlocks:
    """An iterator that remembers how many bytes it gave, and why it ended too early.

    Attributes:
        size: Bytes given so far.
        fault: What the source of the blocks raised; a library may make an error of its own of it.
    """

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks = iter(blocks)
        self._watcher = current_watcher()
        self._is_over = False
        self.size = 0
        self.fault: Optional[BaseException] = None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._is_over:
            raise StoreError("the upload was broken off")
        try:
            block = next(self._blocks)
        except StopIteration:
            raise
        except BaseException as error:
            self.fault = error
            raise
        self.size += len(block)
        self._watcher(len(block))
        return block

    @contextmanager
    def blaming_the_source(self) -> Iterator[None]:
        """If the source of the blocks failed, raise what it raised and not what a library made of it.

        After it no more blocks are given: threads that an interrupt has left behind go on asking.
        """
        try:
            yield
        except Exception:
            if self.fault is not None:
                raise self.fault from None
            raise
        finally:
            self._is_over = True


class BlockFile:
    """Blocks, to be read as a file that cannot seek."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks = iter(blocks)
        self._rest = bytearray()

    def read(self, size: int = -1) -> bytes:
        """Return that many bytes; fewer only at the end."""
        while size < 0 or len(self._rest) < size:
            block = next(self._blocks, None)
            if block is None:
                break
            self._rest += block
        amount = len(self._rest) if size < 0 else size
        data = bytes(self._rest[:amount])
        del self._rest[:amount]
        return data


def confirmed(stored: Entry, size: int, *, where: str, source: str = "") -> Entry:
    """Return what a store has of an upload, if it is as long as what was sent.

    Args:
        size: Bytes sent.
        where: The URL of the store.
        source: The file they came from, for the message.

    Raises:
        StoreError: It is longer or shorter.
    """
    if stored.size != size:
        sent = f"{size} from {source}" if source else f"{size}"
        raise StoreError(f"{where}: {stored.key!r} has {stored.size} bytes after the upload of {sent}")
    return stored


def file_blocks(file: BinaryIO) -> Iterator[bytes]:
    """Yield what is in a file."""
    while block := file.read(_BLOCK):
        yield block


def range_blocks(store: Store, key: str, start: int, end: int) -> Iterator[memoryview]:
    """Yield a range in blocks, for each of which a store is asked by itself: no more is in memory."""
    for begin in range(start, max(end, start + 1), PART):
        yield store.read_range(key, begin, min(begin + PART, end))


def head_of(blocks: Iterator[bytes], size: int) -> tuple[bytes, bool]:
    """Take blocks until there are more than `size` bytes; tell whether these are all."""
    head = bytearray()
    for block in blocks:
        head += block
        if len(head) > size:
            return bytes(head), False
    return bytes(head), True


def part_size(expected: int, least: int) -> int:
    """Return how many bytes each part must have for an object of about so many bytes."""
    parts_full = -(-expected // _MOST_PARTS)
    return max(least, -(-parts_full // _BLOCK) * _BLOCK)
