"""The central directory of an archive: how many members it has, told without keeping any of them.

The number that stands at the end of an archive may be a lie, and zipfile does not go by it: it keeps
whatever the directory has. Layout: APPNOTE 6.3.10, sections 4.3.12 to 4.3.16.
"""

from __future__ import annotations

import struct
from typing import Protocol

from cloudq.errors import ArchiveError

_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_HEADER = struct.Struct("<4s24x3H12x")
_END_SIGNATURE = b"PK\x05\x06"
_LONGEST_COMMENT = 65535
_MOST_OF_EACH = 512
"""Bytes that the directory may have for each member, on average: zipfile holds it in memory as a whole."""


class OpenArchive(Protocol):
    """An archive that is open and can be sought in."""

    @property
    def name(self) -> str:
        """Names it in messages."""
        ...

    def read(self, size: int = -1, /) -> bytes:
        """Return so many bytes, all that are left if it is negative."""
        ...

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Move to a position."""
        ...

    def tell(self) -> int:
        """Return the position."""
        ...


def check_count(file: OpenArchive, most: int) -> None:
    """Refuse an archive with more members than that; any other fault is left for zipfile to tell.

    Raises:
        ArchiveError: It has more, or more is told of them than can be kept.
    """
    start, end = _directory(file)
    if end - start <= most * _HEADER.size:
        return
    if end - start > most * _MOST_OF_EACH + _LONGEST_COMMENT:
        raise ArchiveError(f"the archive has a directory of {end - start} bytes, too many for {most} members")
    file.seek(start)
    # At once, as zipfile reads it, too: of a file in the bucket it stays in memory for that.
    directory, place = file.read(end - start), 0
    for _ in range(most):
        if len(directory) < place + _HEADER.size:
            return
        signature, *lengths = _HEADER.unpack_from(directory, place)
        if signature != b"PK\x01\x02":
            return
        place += _HEADER.size + sum(lengths)
    if place < len(directory):
        raise ArchiveError(f"the archive has more than {most} members, the most that are unpacked")


def _directory(file: OpenArchive) -> tuple[int, int]:
    """Return where the directory begins and ends; it ends where the record of the end begins."""
    size = file.seek(0, 2)
    tail_start = max(0, size - _END.size)
    file.seek(tail_start)
    tail, place = file.read(), 0
    # As zipfile looks for it: a record without a comment first.
    if not (tail.startswith(_END_SIGNATURE) and tail.endswith(b"\0\0")):
        tail_start = max(0, tail_start - _LONGEST_COMMENT)
        file.seek(tail_start)
        tail = file.read()
        place = tail.rfind(_END_SIGNATURE)
    if place < 0 or len(tail) < place + _END.size:
        return 0, 0
    length, end = int(_END.unpack_from(tail, place)[5]), tail_start + place
    if end >= _LOCATOR.size + _END_64.size:
        file.seek(end - _LOCATOR.size - _END_64.size)
        record, locator = file.read(_END_64.size), file.read(_LOCATOR.size)
        if locator[:4] == b"PK\x06\x07" and record[:4] == b"PK\x06\x06":
            length, end = int(_END_64.unpack(record)[8]), end - _LOCATOR.size - _END_64.size
    return max(0, end - length), end
