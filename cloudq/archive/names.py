"""Names in archives: which are refused, and how odd ones are stored so that they come back as they were.

A name that other programs could not read (bytes that are not UTF-8), or that a careful unpacker must
refuse (control characters, backslashes, a drive letter), is stored with those bytes as `%XX`. The
name's true bytes stand beside it in an extra field of our own, and `unpack` restores them where the
file system can hold them. All other names, and all archives of others, are plain ZIP.
"""

from __future__ import annotations

import os
import re
import struct
import sys
from collections.abc import Iterator
from zipfile import ZipInfo

from cloudq.errors import ArchiveError

RAW_NAME = 0x5143
"""Id of our extra field ("CQ"), which holds the bytes of a name; not among those of APPNOTE 4.6.1."""

_ODD = re.compile(r"[\x00-\x1f\x7f-\x9f\\\ud800-\udfff]")
_DRIVE = re.compile(r"[A-Za-z]:")
_MOST_SHOWN = 200
_LONGEST = 4096
_NOT_ON_WINDOWS = re.compile(r'[\x00-\x1f<>:"|?*\\]')


def check_name(name: str) -> None:
    """Refuse a name that does not stay inside the folder it is relative to.

    Raises:
        ArchiveError: It is absolute, has a part `..`, `.` or nothing, or a NUL, or is longer than any path.
    """
    if len(name) > _LONGEST:
        raise ArchiveError(f"{shown(name)}: has {len(name)} characters, at most {_LONGEST} are unpacked")
    if "\0" in name or any(part in ("", ".", "..") for part in name.split("/")):
        raise ArchiveError(f"{shown(name)}: expected a name that stays inside the folder")


def check_plain_name(name: str) -> None:
    """Refuse also what only an archive of ours may have: control characters, a backslash, a drive letter.

    Raises:
        ArchiveError: The name is none that may be written anywhere.
    """
    check_name(name)
    if stored_name(name)[1]:
        raise ArchiveError(f"{shown(name)}: has control characters, a backslash or a drive letter")


def shown(name: str) -> str:
    """Write a name for a message: one line, whatever is in it, and no long one."""
    return _plain(name if len(name) <= _MOST_SHOWN else f"{name[:_MOST_SHOWN]}…")


def stored_name(name: str) -> tuple[str, bytes]:
    """Return the name that goes into the archive, and the extra field that keeps the true one, if needed."""
    stored = _plain(name)
    if _DRIVE.match(stored):
        stored = stored.replace(":", "%3A", 1)
    return stored, b"" if stored == name else raw_name_field(name)


def raw_name_field(name: str) -> bytes:
    """Return the extra field that keeps the true bytes of a name."""
    raw = os.fsencode(name)
    return struct.pack("<HH", RAW_NAME, len(raw)) + raw


def member_name(info: ZipInfo) -> str:
    """Return the name under which a member is to be unpacked, without the slash of a folder.

    Raises:
        ArchiveError: The name is none that may be unpacked.
    """
    raw = dict(extra_fields(info.extra)).get(RAW_NAME)
    if raw is not None and _can_hold(raw):
        name = os.fsdecode(raw)
    else:
        name = info.orig_filename[:-1] if info.orig_filename.endswith("/") else info.orig_filename
        if _DRIVE.match(name):
            raise ArchiveError(f"{shown(name)}: has a drive letter")
        if re.search(r"[\x00-\x1f\x7f-\x9f]", name):
            raise ArchiveError(f"{shown(name)}: has control characters")
    if sys.platform == "win32":
        name = _NOT_ON_WINDOWS.sub(lambda match: _percent(match[0]), name)
    check_name(name)
    return name


def extra_fields(extra: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield id and bytes of each extra field; a damaged rest is left out."""
    while len(extra) >= 4:
        field_id, size = struct.unpack_from("<HH", extra)
        if len(extra) < 4 + size:
            return
        yield field_id, extra[4 : 4 + size]
        extra = extra[4 + size :]


def _can_hold(raw: bytes) -> bool:
    """Tell whether file systems here hold such a name: macOS wants UTF-8, Windows its own set."""
    if sys.platform == "win32":
        return False
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return sys.platform != "darwin"
    return True


def _plain(name: str) -> str:
    return _ODD.sub(lambda match: _percent(match[0]), name)


def _percent(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode("utf-8", "surrogateescape"))
