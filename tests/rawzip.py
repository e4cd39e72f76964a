"""Archives made byte by byte, as no honest program writes them. Layout: APPNOTE 6.3.10, section 4.3."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Optional

REGULAR, LINK, FOLDER, DEVICE, PIPE = 0o100644, 0o120777, 0o040755, 0o060666, 0o010666
STORED, DEFLATED, BZIP2, LZMA = 0, 8, 12, 14


@dataclass(frozen=True)
class Raw:
    """A member; what is None is told as it is.

    Attributes:
        name: In the directory; a slash at its end makes it a folder.
        data: Its bytes, unpacked, or packed already if `method` is neither stored nor deflated.
        local_name, local_size: What stands before the data, if that differs.
        size, packed, crc, offset: What the directory tells.
    """

    name: bytes
    data: bytes = b""
    mode: int = REGULAR
    method: int = STORED
    flags: int = 0x800
    extra: bytes = b""
    comment: bytes = b""
    local_name: Optional[bytes] = None
    local_size: Optional[int] = None
    size: Optional[int] = None
    packed: Optional[int] = None
    crc: Optional[int] = None
    offset: Optional[int] = None


def raw_zip(
    *members: Raw,
    before: bytes = b"",
    comment: bytes = b"",
    count: Optional[int] = None,
    directory_size: Optional[int] = None,
    directory_offset: Optional[int] = None,
) -> bytes:
    """Put members, directory and end together; the last three are what the end tells of the directory."""
    body, directory = bytearray(before), bytearray()
    for member in members:
        offset = len(body) if member.offset is None else member.offset
        local, entry = _render(member, offset)
        body += local
        directory += entry
    number = len(members) if count is None else count
    end = struct.pack(
        "<4s4H2LH",
        b"PK\x05\x06",
        0,
        0,
        number,
        number,
        len(directory) if directory_size is None else directory_size,
        len(body) if directory_offset is None else directory_offset,
        len(comment),
    )
    return bytes(body + directory + end + comment)


def zip64_end(archive: bytes, *, size: int, offset: int, count: int = 1) -> bytes:
    """Insert the end of a large archive before the end of a small one, and let that one tell nothing."""
    end = archive.rindex(b"PK\x05\x06")
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, offset)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, end, 1)
    last = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 65535, 65535, 2**32 - 1, 2**32 - 1, 0)
    return archive[:end] + record + locator + last


def zip64_extra(*values: int) -> bytes:
    """Return the extra field with sizes (and offset) of 64 bits."""
    return struct.pack(f"<HH{len(values)}Q", 1, 8 * len(values), *values)


def unicode_path(name: bytes, other: bytes) -> bytes:
    """Return Info-ZIP's extra field "up": another name, for who can read it."""
    data = struct.pack("<BL", 1, zlib.crc32(name)) + other
    return struct.pack("<HH", 0x7075, len(data)) + data


def _render(member: Raw, offset: int) -> tuple[bytes, bytes]:
    data = _deflated(member.data) if member.method == DEFLATED else member.data
    size = len(member.data) if member.size is None else member.size
    packed = len(data) if member.packed is None else member.packed
    crc = zlib.crc32(member.data) if member.crc is None else member.crc
    local_name = member.name if member.local_name is None else member.local_name
    local_size = size if member.local_size is None else member.local_size
    common = (20, member.flags, member.method, 0, 0x21, crc)
    local = struct.pack("<4s5H3L2H", b"PK\x03\x04", *common, packed, local_size, len(local_name), 0)
    lengths = len(member.name), len(member.extra), len(member.comment)
    attributes = 0, 0, member.mode << 16, offset
    entry = struct.pack("<4s2B5H3L5H2L", b"PK\x01\x02", 20, 3, *common, packed, size, *lengths, *attributes)
    return local + local_name + data, entry + member.name + member.extra + member.comment


def _deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()
