"""Unpacking into a folder: everything is checked first, nothing is written outside or through a link."""

from __future__ import annotations

import errno
import logging
import os
import secrets
import shutil
import stat
import struct
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Optional, Union
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from cloudq.archive.directory import check_count
from cloudq.archive.names import extra_fields, member_name, shown
from cloudq.archive.packing import TIMESTAMP
from cloudq.errors import ArchiveError

MAX_MEMBERS = 500_000
"""Each costs some 500 bytes of memory, and a file of the disk's."""

_MAX_LINK = 4096
_BLOCK = 256 * 1024
_OPEN_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
_BY_DESCRIPTOR = {os.chmod, os.utime} <= os.supports_fd
_KINDS = (0, stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK)

Archive = Union[Path, IO[bytes]]
"""A file, or one that is open and can be sought in; `name` names it in messages."""

# What zipfile raises; NotImplementedError for strong encryption, OverflowError for offsets that no file has.
_DAMAGES = (
    BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    OverflowError,
    struct.error,
    ValueError,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Member:
    info: ZipInfo
    name: str
    mode: int

    @property
    def is_folder(self) -> bool:
        return self.info.orig_filename.endswith("/") or stat.S_ISDIR(self.mode)

    @property
    def is_link(self) -> bool:
        return stat.S_ISLNK(self.mode)


def list_members(archive: Archive, *, max_members: int = MAX_MEMBERS) -> dict[str, int]:
    """Return the names of the files and links in an archive, with the bytes that each takes in it.

    Raises:
        ArchiveError: As by `unpack`.
    """
    with _opened(archive, max_members) as zip_file:
        members = _checked(zip_file.infolist(), max_members)
    return {member.name: member.info.compress_size for member in members if not member.is_folder}


def unpack(
    archive: Archive,
    folder: Path,
    *,
    max_bytes: Optional[int] = None,
    max_members: int = MAX_MEMBERS,
    wanted: Callable[[str], bool] = lambda _: True,
) -> list[str]:
    """Unpack an archive into a folder, which may have things in it: files of the same names are replaced.

    Each file appears whole or not at all. Permissions are kept as far as `rwxr-xr-x`, the owner may always
    read and write. Links are made as they are, wherever they point, but nothing is written through one;
    where there are no links (Windows) they are left out with a warning.

    Args:
        archive: The file; of one that is open, little more is read than what is wanted, in its order.
        folder: Where to; made (0700) if it is not there.
        max_bytes: Most bytes that may come out; None for what the disk holds.
        max_members: Most members it may have.
        wanted: Tells by its name whether a member is unpacked; all are checked.

    Returns:
        The names of the unpacked files and links, relative to the folder.

    Raises:
        ArchiveError: The archive is damaged, too large, or has a member that must not be unpacked. As a
            rule this is found before anything is written.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _opened(archive, max_members) as zip_file:
        members = _checked(zip_file.infolist(), max_members)
        _check_lengths(members, folder)
        members = [member for member in members if wanted(member.name)]
        _check_sizes(members, zip_file.start_dir, folder, max_bytes)
        unpacker = _Unpacker(zip_file, folder)
        for member in members:
            unpacker.unpack(member)
    for member in members:
        if member.is_folder and member.mode:
            (folder / member.name).chmod(member.mode & 0o755 | 0o700)
    return [member.name for member in members if not member.is_folder]


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


@contextmanager
def _opened(archive: Archive, max_members: int) -> Iterator[ZipFile]:
    name = Path(archive.name).name
    try:
        with ExitStack() as stack:
            file = stack.enter_context(archive.open("rb")) if isinstance(archive, Path) else archive
            check_count(file, max_members)
            yield stack.enter_context(ZipFile(file))
    except UnicodeEncodeError as error:
        raise ArchiveError(
            f"{shown(error.object)}: no such name can be written in this locale ({error.encoding}); "
            "set LC_ALL=C.UTF-8"
        ) from error
    except _DAMAGES as error:
        raise ArchiveError(f"{name}: damaged, or of a kind that is not known: {error}") from error
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise ArchiveError(f"{name}: a name in it is too long for this file system") from error
        # zipfile seeks to wherever a damaged archive says; faults of files that are written name the file.
        if error.errno != errno.EINVAL or error.filename is not None:
            raise
        raise ArchiveError(f"{name}: damaged: it points outside itself") from error


def _checked(infos: list[ZipInfo], max_members: int) -> list[_Member]:
    if len(infos) > max_members:
        raise ArchiveError(f"the archive has {len(infos)} members, at most {max_members} are unpacked")
    members = [_Member(info, member_name(info), _mode(info)) for info in infos]
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
        if member.is_link and member.info.file_size > _MAX_LINK:
            raise ArchiveError(f"{shown(member.name)}: too long for a link")
    _check_parents(members)
    return members


def _check_parents(members: Iterable[_Member]) -> None:
    not_folders = {member.name for member in members if not member.is_folder}
    for member in members:
        above = member.name.rpartition("/")[0]
        while above:
            if above in not_folders:
                raise ArchiveError(f"{shown(member.name)}: {shown(above)} in the archive is not a folder")
            above = above.rpartition("/")[0]


def _check_lengths(members: Iterable[_Member], folder: Path) -> None:
    """Refuse names that the file system does not take; Windows tells only by an error."""
    if sys.platform == "win32":
        return
    longest, path = os.pathconf(folder, "PC_NAME_MAX"), os.pathconf(folder, "PC_PATH_MAX")
    room = path - len(os.fsencode(folder.absolute())) - 2
    for member in members:
        raw = os.fsencode(member.name)
        if len(raw) > room or max(map(len, raw.split(b"/"))) > longest:
            raise ArchiveError(f"{shown(member.name)}: too long a name for this file system")


def _check_sizes(members: Iterable[_Member], room: int, folder: Path, max_bytes: Optional[int]) -> None:
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


class _Unpacker:
    """Writes checked members of one archive into a folder."""

    def __init__(self, zip_file: ZipFile, folder: Path) -> None:
        self._zip_file = zip_file
        self._folder = folder
        self._token = secrets.token_hex(6)
        self._written = 0
        self._made: set[str] = set()

    def unpack(self, member: _Member) -> None:
        """Write a member, whole or not at all."""
        if member.is_folder:
            make_place(self._folder, f"{member.name}/.")
            return
        if member.is_link and sys.platform == "win32":
            logger.warning("%s: a link, left out", shown(member.name))
            return
        place = self._place(member.name)
        self._written += 1
        part = f"{os.path.dirname(place)}/.cloudq-{self._token}-{self._written}"  # noqa: PTH120 - a text
        try:
            if member.is_link:
                os.symlink(_link_target(self._zip_file, member), part)  # noqa: PTH211 - a text
            else:
                _write_file(self._zip_file, member, part)
            os.replace(part, place)  # noqa: PTH105 - a text
        except BaseException as error:
            Path(part).unlink(missing_ok=True)
            if isinstance(error, OSError) and Path(place).is_dir() and not Path(place).is_symlink():
                raise ArchiveError(f"{shown(member.name)}: a folder of this name is in the way") from error
            raise

    def _place(self, name: str) -> str:
        """Return where a member goes; the folders above it are there, and looked at once."""
        above = name.rpartition("/")[0]
        if above not in self._made:
            make_place(self._folder, name)
            self._made.add(above)
        return f"{self._folder}/{name}"


def _link_target(zip_file: ZipFile, member: _Member) -> str:
    # Not `ZipFile.read`, which unpacks all there is before it cuts that to the size which is told.
    with zip_file.open(member.info) as source:
        target = source.read(_MAX_LINK + 1)
    if not target or b"\0" in target:
        raise ArchiveError(f"{shown(member.name)}: a link to nothing")
    return os.fsdecode(target)


def _write_file(zip_file: ZipFile, member: _Member, path: str) -> None:
    written = 0
    with os.fdopen(os.open(path, _OPEN_FLAGS, 0o600), "wb") as target:
        with zip_file.open(member.info) as source:
            # zipfile gives no more than the declared size, and compares the checksum at the end.
            while block := source.read(_BLOCK):
                written += target.write(block)
        if written != member.info.file_size:
            raise ArchiveError(f"{shown(member.name)}: has {written} bytes, not {member.info.file_size}")
        target.flush()
        seconds = _time(member.info)
        where = target.fileno() if _BY_DESCRIPTOR else path
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
