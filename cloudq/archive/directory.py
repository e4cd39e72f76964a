"""The central directory of an archive: how many members it has, told without keeping any of them.

The number that stands at the end of an archive may be a lie, and zipfile does not go by it: it keeps
whatever the directory has. Layout: APPNOTE 6.3.10, sections 4.3.12 to 4.3.16.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from cloudq.errors import ArchiveError

_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_HEADER = struct.Struct("<4s24x3H12x")
_LONGEST_COMMENT = 65535


def check_count(archive: Path, most: int) -> None:
    """Refuse an archive with more members than that; any other fault is left for zipfile to tell.

    Raises:
        ArchiveError: It has more.
    """
    with archive.open("rb") as file:
        start, end = _directory(file)
        file.seek(start)
        for _ in range(most):
            header = file.read(_HEADER.size)
            if file.tell() > end or len(header) < _HEADER.size:
                return
            signature, *lengths = _HEADER.unpack(header)
            if signature != b"PK\x01\x02":
                return
            file.seek(sum(lengths), 1)
        if file.tell() < end:
            raise ArchiveError(f"the archive has more than {most} members, the most that are unpacked")


def _directory(file: BinaryIO) -> tuple[int, int]:
    """Return where the directory begins and ends; it ends where the record of the end begins."""
    size = file.seek(0, 2)
    tail_start = max(0, size - _END.size - _LONGEST_COMMENT)
    file.seek(tail_start)
    tail = file.read()
    # As zipfile looks for it: a record without a comment first.
    place = len(tail) - _END.size
    if place < 0 or tail[place : place + 4] != b"PK\x05\x06" or tail[-2:] != b"\0\0":
        place = tail.rfind(b"PK\x05\x06")
    if place < 0 or len(tail) < place + _END.size:
        return 0, 0
    length, end = int(_END.unpack_from(tail, place)[5]), tail_start + place
    if end >= _LOCATOR.size + _END_64.size:
        file.seek(end - _LOCATOR.size - _END_64.size)
        record, locator = file.read(_END_64.size), file.read(_LOCATOR.size)
        if locator[:4] == b"PK\x06\x07" and record[:4] == b"PK\x06\x06":
            length, end = int(_END_64.unpack(record)[8]), end - _LOCATOR.size - _END_64.size
    return max(0, end - length), end
