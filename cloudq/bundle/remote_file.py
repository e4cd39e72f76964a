"""An object as a file that can be sought in, of which only what is read is fetched."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Optional

from cloudq.store import Store

BLOCK = 64 * 1024
"""Bytes that are fetched at least at a time, as far as the object has them."""


class RemoteFile(io.RawIOBase):
    """An object, read by ranges.

    What was fetched last stays in memory, and so does what was fetched up to the end of the object: a zip
    archive has its directory there, which is read by one request, and twice at no further cost.

    Args:
        size: Of the object, in bytes.

    Raises:
        StoreError: By whatever reads.
    """

    def __init__(self, store: Store, key: str, *, size: int) -> None:
        self.name = key
        self._store = store
        self._size = size
        self._position = 0
        self._block = self._tail = (0, memoryview(b""))

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def seekable(self) -> bool:
        """Tell that it can be sought in."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position. Raises ValueError if it is before the beginning."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise ValueError(f"position {start + offset} is before the beginning")
        self._position = start + offset
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Return so many bytes, fewer at the end; all the rest if it is negative."""
        start = self._position
        stop = self._size if size < 0 else min(start + size, self._size)
        data = bytes(self._fetched(start, stop)) if start < stop else b""
        self._position += len(data)
        return data

    def read_at(self, start: int, stop: int) -> memoryview:
        """Return the bytes between two positions, fewer at the end; several threads may do so at a time."""
        kept = self._kept(start, stop)
        return self._store.read_range(self.name, start, stop) if kept is None else kept

    def blocks_at(self, start: int, stop: int) -> Iterator[memoryview]:
        """Yield the same in blocks as they come."""
        kept = self._kept(start, stop)
        return self._store.read_blocks(self.name, start, stop) if kept is None else iter([kept])

    def _kept(self, start: int, stop: int) -> Optional[memoryview]:
        begin, data = self._tail
        return data[start - begin : stop - begin] if data and begin <= start else None

    def _fetched(self, start: int, stop: int) -> memoryview:
        for begin, data in (self._tail, self._block):
            if begin <= start and stop <= begin + len(data):
                return data[start - begin : stop - begin]
        begin, end = start, max(stop, start + BLOCK)
        at_end = end >= self._size
        if at_end:
            begin, end = max(0, min(start, self._size - BLOCK)), self._size
        data = self._store.read_range(self.name, begin, end)
        if at_end:
            self._tail = (begin, data)
        else:
            self._block = (begin, data)
        return data[start - begin : stop - begin]
