"""What stands before, between and behind the data in a ZIP archive, written from front to back.

The fields are those of PKWARE's APPNOTE.TXT 6.3.10, in its sections 4.3.7 (local header), 4.3.9 (data
descriptor), 4.3.12 (directory), 4.3.14 to 4.3.16 (its end) and 4.5.3 (ZIP64).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Optional

from cloudq.archive.checksums import crc32

Deflater = Callable[[], Any]
"""Makes what deflates data, as `zlib.compressobj` does, without a header of its own."""

_LOCAL = struct.Struct("<4s5H3L2H")
_DESCRIPTOR = struct.Struct("<4s3L")
_DESCRIPTOR64 = struct.Struct("<4sL2Q")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")

_SIZES_BEHIND = 0x0008
_UTF8 = 0x0800
_STORED = 0
_DEFLATED = 8
_UNIX = 3 << 8
_PLAIN = 20
_ZIP64 = 45
_ZIP64_FIELD = 1
_FULL_16 = 0xFFFF
_FULL_32 = 0xFFFFFFFF
# Deflated data may be larger than it was.
_MAY_BE_LARGE = 2**31


@dataclass(frozen=True)
class Heading:
    """What an archive says of a member besides its data.

    Attributes:
        name: With a slash at its end for a folder.
        mode: Type and permissions, as of `lstat`.
        time: Year, month, day, hour, minute, second; between 1980 and 2107.
        extra: Extra fields.
    """

    name: str
    mode: int
    time: tuple[int, int, int, int, int, int]
    extra: bytes


@dataclass(frozen=True)
class _Data:
    """The data of a member: its place in the archive, how it is stored, its sum and its sizes."""

    offset: int
    flags: int
    method: int
    sum: int
    packed: int
    size: int


class ArchiveWriter:
    """Makes one archive. What its methods return or yield is written in the order of the calls."""

    def __init__(self) -> None:
        self._position = 0
        self._directory: list[bytes] = []
        self._names: set[str] = set()

    def has(self, name: str) -> bool:
        """Tell whether there is such a member already."""
        return name in self._names

    def whole(self, heading: Heading, data: bytes, deflater: Optional[Deflater] = None) -> bytes:
        """Return a member whose data is known, less than 2 GiB.

        Args:
            deflater: Given if the data is to be deflated.
        """
        packed = data
        if deflater:
            deflate = deflater()
            packed = deflate.compress(data) + deflate.flush()
        method = _DEFLATED if deflater else _STORED
        entry = _Data(self._position, 0, method, crc32(data), len(packed), len(data))
        member = self._local(heading, entry, b"") + packed
        self._add(heading, entry, len(member))
        return member

    def in_pieces(
        self, heading: Heading, pieces: Iterable[bytes], *, most: int, deflater: Optional[Deflater] = None
    ) -> Iterator[bytes]:
        """Yield a member while its data comes; its sizes stand behind it.

        Args:
            most: So many bytes come at most.
            deflater: Given if the data is to be deflated.
        """
        is_large = most >= _MAY_BE_LARGE
        deflate = deflater() if deflater else None
        flags, method = _SIZES_BEHIND, _DEFLATED if deflate else _STORED
        start, total, packed, size = self._position, 0, 0, 0
        header = self._local(heading, _Data(start, flags, method, 0, 0, 0), _zip64(0, 0) if is_large else b"")
        yield header
        for piece in pieces:
            total = crc32(piece, total)
            size += len(piece)
            written = deflate.compress(piece) if deflate else piece
            packed += len(written)
            yield written
        if deflate:
            written = deflate.flush()
            packed += len(written)
            yield written
        descriptor = (_DESCRIPTOR64 if is_large else _DESCRIPTOR).pack(b"PK\7\10", total, packed, size)
        yield descriptor
        entry = _Data(start, flags, method, total, packed, size)
        self._add(heading, entry, len(header) + packed + len(descriptor))

    def end(self) -> bytes:
        """Return the directory, which ends the archive."""
        start, count = self._position, len(self._directory)
        size = sum(map(len, self._directory))
        end = b""
        if count >= _FULL_16 or max(start, size) >= _FULL_32:
            rest = _END64.size - 12  # without its first two fields
            end += _END64.pack(b"PK\6\6", rest, _UNIX | _ZIP64, _ZIP64, 0, 0, count, count, size, start)
            end += _LOCATOR.pack(b"PK\6\7", 0, start + size, 1)
        count, size, start = min(count, _FULL_16), min(size, _FULL_32), min(start, _FULL_32)
        end += _END.pack(b"PK\5\6", 0, 0, count, count, size, start, 0)
        return b"".join([*self._directory, end])

    def _local(self, heading: Heading, data: _Data, zip64: bytes) -> bytes:
        name, utf8 = _encoded(heading.name)
        extra = zip64 + heading.extra
        packed, size = (_FULL_32, _FULL_32) if zip64 else (data.packed, data.size)
        needed, flags = _ZIP64 if zip64 else _PLAIN, data.flags | utf8
        return (
            _LOCAL.pack(
                *(b"PK\3\4", needed, flags, data.method, *_dos_time(heading.time)),
                *(data.sum, packed, size, len(name), len(extra)),
            )
            + name
            + extra
        )

    def _add(self, heading: Heading, data: _Data, length: int) -> None:
        name, utf8 = _encoded(heading.name)
        large = [value for value in (data.size, data.packed, data.offset) if value >= _FULL_32]
        extra = (_zip64(*large) if large else b"") + heading.extra
        needed = _ZIP64 if large else _PLAIN
        self._directory.append(
            _CENTRAL.pack(
                *(b"PK\1\2", _UNIX | needed, needed, data.flags | utf8, data.method),
                *(*_dos_time(heading.time), data.sum),
                *(min(data.packed, _FULL_32), min(data.size, _FULL_32)),
                *(len(name), len(extra), 0, 0, 0),
                *((heading.mode & _FULL_16) << 16, min(data.offset, _FULL_32)),
            )
            + name
            + extra
        )
        self._names.add(heading.name)
        self._position += length


def _encoded(name: str) -> tuple[bytes, int]:
    return name.encode(), 0 if name.isascii() else _UTF8


def _dos_time(time: tuple[int, int, int, int, int, int]) -> tuple[int, int]:
    """Return time and date in MS-DOS format (APPNOTE 4.4.6)."""
    year, month, day, hour, minute, second = time
    return hour << 11 | minute << 5 | second >> 1, (year - 1980) << 9 | month << 5 | day


def _zip64(*values: int) -> bytes:
    return struct.pack(f"<2H{len(values)}Q", _ZIP64_FIELD, 8 * len(values), *values)
