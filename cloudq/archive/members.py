"""Members of an archive as its directory tells them, and which are refused before anything is written."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Optional
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipInfo

from cloudq.archive.names import member_name, shown
from cloudq.errors import ArchiveError

MAX_LINK = 4096
"""Most bytes that the target of a link may have."""

_KINDS = (0, stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK)


@dataclass(frozen=True)
class Member:
    """A member that was checked, the name it gets, and its Unix mode (0 where it was not made on Unix)."""

    info: ZipInfo
    name: str
    mode: int

    @property
    def is_folder(self) -> bool:
        """Tell whether it is a folder."""
        return self.info.orig_filename.endswith("/") or stat.S_ISDIR(self.mode)

    @property
    def is_link(self) -> bool:
        """Tell whether it is a symbolic link."""
        return stat.S_ISLNK(self.mode)


def checked(infos: list[ZipInfo], max_members: int) -> list[Member]:
    """Return the members of an archive. Raises ArchiveError if one of them must not be unpacked."""
    if len(infos) > max_members:
        raise ArchiveError(f"the archive has {len(infos)} members, at most {max_members} are unpacked")
    members = [Member(info, member_name(info), _mode(info)) for info in infos]
    names: set[str] = set()
    for member in members:
        if member.name in names:
            raise ArchiveError(f"{shown(member.name)}: is in the archive twice")
        names.add(member.name)
        if stat.S_IFMT(member.mode) not in _KINDS:
            raise ArchiveError(f"{shown(member.name)}: neither file, folder nor link")
        if member.info.flag_bits & 1:
            raise ArchiveError(f"{shown(member.name)}: is encrypted")
        # What other ways of packing unpack to cannot be limited before it is in memory.
        if member.info.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
            raise ArchiveError(f"{shown(member.name)}: packed in another way than deflated or stored")
        if member.is_link and max(member.info.file_size, member.info.compress_size // 16) > MAX_LINK:
            raise ArchiveError(f"{shown(member.name)}: too long for a link")
    _check_parents(members)
    return members


def _check_parents(members: Iterable[Member]) -> None:
    not_folders = {member.name for member in members if not member.is_folder}
    for member in members:
        above = member.name.rpartition("/")[0]
        while above:
            if above in not_folders:
                raise ArchiveError(f"{shown(member.name)}: {shown(above)} in the archive is not a folder")
            above = above.rpartition("/")[0]


def check_lengths(members: Iterable[Member], folder: Path) -> None:
    """Refuse names that the file system does not take; Windows tells only by an error."""
    if sys.platform == "win32":
        return
    longest, path = os.pathconf(folder, "PC_NAME_MAX"), os.pathconf(folder, "PC_PATH_MAX")
    room = path - len(os.fsencode(folder.absolute())) - 2
    for member in members:
        raw = os.fsencode(member.name)
        if len(raw) > room or max(map(len, raw.split(b"/"))) > longest:
            raise ArchiveError(f"{shown(member.name)}: too long a name for this file system")


def check_sizes(members: Iterable[Member], room: int, folder: Path, max_bytes: Optional[int]) -> None:
    """Refuse members that are more than may come out, or than the disk holds, or that share their bytes.

    Args:
        room: Bytes that the archive has for all its members.

    Raises:
        ArchiveError: With both numbers.
    """
    packed = sum(member.info.compress_size for member in members)
    size = sum(member.info.file_size for member in members)
    if packed > room:
        raise ArchiveError("the archive is damaged: its members overlap")
    if max_bytes is not None and size > max_bytes:
        raise ArchiveError(f"the archive unpacks to {size} bytes, at most {max_bytes} are allowed")
    free = shutil.disk_usage(folder).free
    if size > free:
        raise ArchiveError(f"the archive unpacks to {size} bytes, {folder} has {free} free")


def _mode(info: ZipInfo) -> int:
    """Return the Unix mode of a member, 0 where the archive was not made on Unix."""
    return info.external_attr >> 16 if info.create_system == 3 else 0
