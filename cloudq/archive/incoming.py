"""Bytes of an archive that come in blocks, taken in the amounts that its members have."""

from __future__ import annotations

from collections.abc import Iterator
from zipfile import BadZipFile


class Incoming:
    """Bytes from blocks, each of which is good until the next one is asked for.

    The first block is asked for at once. What is taken is good until something else is taken, and copied only
    where it is of several blocks.

    Raises:
        BadZipFile: By whatever takes more than comes.
    """

    def __init__(self, blocks: Iterator[memoryview]) -> None:
        self._blocks = blocks
        self._block = next(blocks, memoryview(b""))
        self._at = 0

    def take(self, size: int) -> memoryview:
        """Return the next bytes."""
        begin, self._at = self._at, self._at + size
        if self._at <= len(self._block):
            return self._block[begin : self._at]
        self._at = begin
        taken = bytearray()
        for block in self.blocks(size):
            taken += block
        return memoryview(taken)

    def blocks(self, size: int) -> Iterator[memoryview]:
        """Yield the next bytes as they come."""
        while size:
            if self._at == len(self._block):
                self._advance()
            block = self._block[self._at : self._at + size]
            self._at += len(block)
            size -= len(block)
            yield block

    def skip(self, size: int) -> None:
        """Leave out the next bytes."""
        for _ in self.blocks(size):
            pass

    def end(self) -> None:
        """Leave out all that comes yet: who sends it must come to an end."""
        for _ in self._blocks:
            pass

    def _advance(self) -> None:
        block = next(self._blocks, None)
        if block is None:
            raise BadZipFile("it ends too early")
        self._block, self._at = block, 0
