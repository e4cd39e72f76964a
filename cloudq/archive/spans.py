"""Where the members of an archive are in it, and in what pieces they are read."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipInfo

from cloudq.archive.members import Member
from cloudq.archive.names import shown

PART = 8 * 1024 * 1024
"""Bytes that are read at once: a part of an upload, as some servers read the whole of one in any case."""

LARGEST_PIECE = 4 * PART
"""Bytes that are asked for at once, if there are many; written as they come."""

MOST_INFLATED = PART
"""Bytes that are unpacked in memory at once by each thread."""

_HEADER = struct.Struct("<4s2xH18x2H")
_LONGEST_HEADER = _HEADER.size + 2 * 0xFFFF
_UTF_8 = 0x800
_NOT_PLAIN = 0x61
"""Flags: encrypted, patched, strongly encrypted."""


@dataclass(frozen=True)
class Span:
    """A member, and the bytes of the archive where its header and its data are and no other's."""

    member: Member
    start: int
    stop: int

    @property
    def is_stored(self) -> bool:
        """Tell whether its bytes are in the archive as they are: pieces can be written by themselves."""
        return self.member.info.compress_type == ZIP_STORED

    @property
    def is_stream(self) -> bool:
        """Tell whether it must be unpacked from its beginning to its end, and is too large for the memory."""
        info = self.member.info
        return info.compress_type == ZIP_DEFLATED and (
            self.stop - self.start > PART or info.file_size > MOST_INFLATED
        )

    def begin(self, take: Callable[[int], memoryview]) -> int:
        """Read the header, and return where the data begins behind `start`.

        Args:
            take: Returns so many bytes that follow what it returned before, at first those from `start`.

        Raises:
            BadZipFile: The header is none, or another's; or the data would be another's, too.
        """
        info = self.member.info
        signature, flags, name_length, extra_length = _HEADER.unpack(take(_HEADER.size))
        name = bytes(take(name_length + extra_length)[:name_length])
        if signature != b"PK\x03\x04" or _decoded(name, info) != info.orig_filename:
            raise BadZipFile(f"no header of {shown(self.member.name)} where it should be")
        if (flags | info.flag_bits) & _NOT_PLAIN:
            raise BadZipFile(f"{shown(self.member.name)} is encrypted or a patch")
        if self.is_stored and info.compress_size != info.file_size:
            raise BadZipFile(f"{shown(self.member.name)} is stored, but has two sizes")
        begin = int(_HEADER.size + name_length + extra_length)
        if begin + info.compress_size > self.stop - self.start:
            raise BadZipFile(f"{shown(self.member.name)} reaches into the next member")
        return begin

    def pieces(self, size: int = PART) -> Iterator[tuple[int, int]]:
        """Yield from where to where its pieces are, each in `size` bytes of the archive: in parts as sent."""
        start = self.start
        while start < self.stop:
            stop = min(self.stop, start + _LONGEST_HEADER + size - (start + _LONGEST_HEADER) % size)
            yield start, stop
            start = stop


def piece_size(total: int, threads: int) -> int:
    """Return how large pieces are if so many bytes are to be fetched: each thread has several, if it can."""
    return max(1, min(total // (4 * threads * PART), LARGEST_PIECE // PART)) * PART


def spans_of(members: Iterable[Member], end: int) -> list[Span]:
    """Return where members are, in the order of the archive, whose directory begins at `end`."""
    ordered = sorted(members, key=lambda member: member.info.header_offset)
    nexts = [*(member.info.header_offset for member in ordered[1:]), end]
    spans = []
    for member, behind in zip(ordered, nexts):
        start = member.info.header_offset
        spans.append(Span(member, start, min(behind, start + _LONGEST_HEADER + member.info.compress_size)))
    return spans


def _decoded(name: bytes, info: ZipInfo) -> str:
    return name.decode("utf-8" if info.flag_bits & _UTF_8 else "cp437")
