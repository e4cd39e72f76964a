"""Files on their way into a folder: made beside their place under another name, put there when whole."""

from __future__ import annotations

import os
import stat
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import BinaryIO
from zipfile import ZipInfo

from cloudq.archive.members import Member
from cloudq.archive.names import extra_fields, shown
from cloudq.archive.packing import TIMESTAMP
from cloudq.errors import ArchiveError

_OPEN_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
_BY_DESCRIPTOR = {os.chmod, os.utime} <= os.supports_fd


def make_place(folder: Path, name: str) -> Path:
    """Return the path of a checked name inside a folder, and make the folders above it (0700).

    Raises:
        ArchiveError: Something other than a folder is in the way, such as a link.
    """
    place = folder
    for part in name.split("/")[:-1]:
        place = place / part
        try:
            place.mkdir(mode=0o700)
        except FileExistsError:
            if not stat.S_ISDIR(place.lstat().st_mode):
                raise ArchiveError(f"{shown(name)}: {shown(place.name)} is not a folder") from None
    return place / name.rpartition("/")[2]


class Places:
    """Where the members of one archive go in a folder; may be used by several threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._token = os.urandom(6).hex()
        self._numbers = count(1)
        self._made: set[str] = set()
        self._parts: set[str] = set()

    def begin(self, member: Member) -> str:
        """Return the name under which a member is to be made; the folders above it are there."""
        above = member.name.rpartition("/")[0]
        if above not in self._made:
            make_place(self._folder, member.name)
            self._made.add(above)
        part = f"{os.path.dirname(self._place(member))}/.cloudq-{self._token}-{next(self._numbers)}"  # noqa: PTH120
        self._parts.add(part)
        return part

    def end(self, member: Member, part: str) -> None:
        """Put a member that is whole where it goes."""
        place = self._place(member)
        try:
            os.replace(part, place)  # noqa: PTH105 - a text
        except OSError as error:
            if Path(place).is_dir() and not Path(place).is_symlink():
                raise ArchiveError(f"{shown(member.name)}: a folder of this name is in the way") from error
            raise
        self._parts.discard(part)

    @contextmanager
    def appearing(self, member: Member) -> Iterator[str]:
        """Give the name under which a member is to be made in the block, and then put it where it goes."""
        part = self.begin(member)
        yield part
        self.end(member, part)

    def discard(self) -> None:
        """Remove what did not become whole; nobody may be making anything any more."""
        while self._parts:
            Path(self._parts.pop()).unlink(missing_ok=True)

    def _place(self, member: Member) -> str:
        return f"{self._folder}/{member.name}"


def create(part: str) -> BinaryIO:
    """Open a new file (mode 0600)."""
    return os.fdopen(os.open(part, _OPEN_FLAGS, 0o600), "wb")


def stamp(file: BinaryIO, part: str, member: Member) -> None:
    """Give a file that was written the permissions and the time of its member."""
    file.flush()
    seconds = _time(member.info)
    where = file.fileno() if _BY_DESCRIPTOR else part
    os.chmod(where, member.mode & 0o755 | 0o600)  # noqa: PTH101 - a descriptor
    os.utime(where, (seconds, seconds))


def _time(info: ZipInfo) -> float:
    stamp = dict(extra_fields(info.extra)).get(TIMESTAMP, b"")
    if len(stamp) >= 5 and stamp[0] & 1:
        return float(struct.unpack_from("<l", stamp, 1)[0])
    try:
        return time.mktime((*info.date_time, 0, 0, -1))
    except (OverflowError, ValueError):
        return time.time()
