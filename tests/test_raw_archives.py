"""Archives that lie are refused with one line, or harmless: nothing lands elsewhere, memory is spared."""

from __future__ import annotations

import bz2
import io
import lzma
import os
import struct
import sys
import tarfile
import tracemalloc
from pathlib import Path
from typing import cast

import pytest

from cloudq.archive import list_members, unpack
from cloudq.archive.names import RAW_NAME
from cloudq.errors import ArchiveError
from tests.rawzip import (
    BZIP2,
    DEFLATED,
    DEVICE,
    FOLDER,
    LINK,
    LZMA,
    PIPE,
    Raw,
    raw_zip,
    unicode_path,
    zip64_end,
    zip64_extra,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="names, links and modes of Linux")

DAMAGED = r"^a\.zip: damaged"
ZEROS = bytes(40 * 1024 * 1024)
MOST = 1024 * 1024


def raw_name(name: bytes) -> bytes:
    return struct.pack("<HH", RAW_NAME, len(name)) + name


def tar(kind: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar_file:
        info = tarfile.TarInfo("x")
        info.type, info.linkname = kind, "/etc/passwd"
        tar_file.addfile(info)
    return buffer.getvalue()


REFUSED = {
    "more in it than its size": (raw_zip(Raw(b"x", b"12345", size=3)), DAMAGED),
    "less in it than its size": (raw_zip(Raw(b"x", b"12", size=20, packed=20)), DAMAGED),
    "wrong checksum": (raw_zip(Raw(b"x", b"12", crc=1)), DAMAGED),
    "two names": (raw_zip(Raw(b"x", b"12", local_name=b"../../y")), DAMAGED),
    "offset before the file": (raw_zip(Raw(b"x", b"12", offset=2**32 - 1)), DAMAGED),
    "offset of 64 bits": (
        raw_zip(Raw(b"x", b"12", offset=2**32 - 1, extra=zip64_extra(2**64 - 1))),
        DAMAGED,
    ),
    "size of 64 bits": (
        raw_zip(Raw(b"x", b"12", size=2**32 - 1, extra=zip64_extra(2**63))),
        r"^the archive unpacks to 9223372036854775808 bytes, ",
    ),
    "extra field cut": (raw_zip(Raw(b"x", b"12", size=2**32 - 1, extra=b"\1\0\xff\xff")), DAMAGED),
    "directory beyond the file": (raw_zip(Raw(b"x"), directory_size=2**31), DAMAGED),
    "directory of 64 bits": (zip64_end(raw_zip(Raw(b"x")), size=2**63, offset=2**63), DAMAGED),
    "only an end": (raw_zip(count=7, directory_size=2**32 - 1), DAMAGED),
    "overlapping members": (
        raw_zip(Raw(b"x", b"x" * 9000), Raw(b"y", size=9000, packed=9000, offset=0)),
        "^the archive is damaged: its members overlap$",
    ),
    "the same bytes for all": (
        raw_zip(
            Raw(b"0", ZEROS[:MOST], method=DEFLATED, packed=2000), Raw(b"1", size=9, packed=2000, offset=0)
        ),
        "overlap|damaged",
    ),
    "encrypted": (raw_zip(Raw(b"x", b"1" * 20, flags=0x801)), "^x: is encrypted$"),
    "strongly encrypted": (raw_zip(Raw(b"x", b"1" * 20, flags=0x841)), "^x: is encrypted$"),
    "encrypted, as only the member says": (raw_zip(Raw(b"x", b"1" * 20, flags=0x840)), DAMAGED),
    "bzip2": (raw_zip(Raw(b"x", bz2.compress(ZEROS), method=BZIP2, size=9)), "^x: packed in another way"),
    "LZMA": (raw_zip(Raw(b"x", lzma.compress(ZEROS), method=LZMA, size=9)), "^x: packed in another way"),
    "unknown packing": (raw_zip(Raw(b"x", b"1", method=99)), "^x: packed in another way"),
    "a bomb called a link": (
        raw_zip(Raw(b"x", ZEROS, mode=LINK, method=DEFLATED, size=4)),
        "damaged|is not",
    ),
    "a bomb called small": (raw_zip(Raw(b"x", ZEROS, method=DEFLATED, size=4)), DAMAGED),
    "a link of 5000 bytes": (raw_zip(Raw(b"x", b"y" * 5000, mode=LINK)), "^x: too long for a link$"),
    "a link to nothing": (raw_zip(Raw(b"x", b"", mode=LINK)), "^x: a link to nothing$"),
    "a link with a NUL": (raw_zip(Raw(b"x", b"y\0z", mode=LINK)), "^x: a link to nothing$"),
    "a file through a link": (
        raw_zip(Raw(b"x", b"..", mode=LINK), Raw(b"x/evil", b"1")),
        "^x/evil: x in the archive is not a folder$",
    ),
    "a file through a link of another spelling": (
        raw_zip(Raw(b"y", b"..", mode=LINK, extra=raw_name(b"x")), Raw(b"x/evil", b"1")),
        "^x/evil: x in the archive is not a folder$",
    ),
    "a file and a folder of one name": (
        raw_zip(Raw(b"x"), Raw(b"x/", mode=FOLDER)),
        "^x: is in the archive twice",
    ),
    "a pipe": (raw_zip(Raw(b"x", mode=PIPE)), "^x: neither file, folder nor link$"),
    "a device called a folder": (raw_zip(Raw(b"x/", mode=DEVICE)), "^x: neither file, folder nor link$"),
    "a NUL in a name": (raw_zip(Raw(b"x\0y")), "^x%00y: has control characters$"),
    "no name": (raw_zip(Raw(b"")), "^: expected a name"),
    "no name but a raw one": (raw_zip(Raw(b"", b"1", extra=raw_name(b"../x"))), "^../x: expected a name"),
    "a raw name that leads out": (raw_zip(Raw(b"x", extra=raw_name(b"/etc/x"))), "^/etc/x: expected a name"),
    "backslashes and dots": (raw_zip(Raw(b"..\\..\\x/../y")), r"^\.\.%5C\.\.%5Cx/\.\./y: expected a name"),
    "a drive": (raw_zip(Raw(b"C:/x")), "^C:/x: has a drive letter$"),
    "a name that is not UTF-8": (raw_zip(Raw(b"\xff\xfe", flags=0x800)), DAMAGED),
    "a name of 300 bytes": (raw_zip(Raw(b"n" * 300)), "^n{200}…: too long a name for this file system$"),
    "a folder of 300 bytes": (
        raw_zip(Raw(b"n" * 300 + b"/x")),
        "^n{200}…: too long a name for this file system$",
    ),
    "folders 2000 deep": (raw_zip(Raw(b"d/" * 2040 + b"x")), "…: too long a name for this file system$"),
    "folders 30000 deep": (raw_zip(Raw(b"d/" * 30_000 + b"x")), "…: has 60001 characters, at most 4096 are"),
    "many folders 30000 deep": (
        raw_zip(*(Raw(b"d/" * 30_000 + b"%d" % i) for i in range(90))),
        "^the archive has a directory of 5404310 bytes, too many for 100 members$",
    ),
    "more comments than members": (
        raw_zip(*(Raw(b"%d" % i, comment=b"c" * 65535) for i in range(100))),
        "^the archive has a directory of 6558290 bytes, too many for 100 members$",
    ),
    "more members than it says": (
        raw_zip(*(Raw(b"%d" % i) for i in range(101)), count=1),
        "more than 100 members",
    ),
    "hard link in a tar": (tar(tarfile.LNKTYPE), DAMAGED),
    "device in a tar": (tar(tarfile.CHRTYPE), DAMAGED),
    "sparse file in a tar": (tar(tarfile.GNUTYPE_SPARSE), DAMAGED),
    "comment without an archive": (b"PK\x05\x06" + b"\xff" * 70_000, DAMAGED),
}

HARMLESS = {
    "a name for who can read it": (
        raw_zip(Raw(b"x", b"1", extra=unicode_path(b"x", b"../../evil"))),
        {"x": b"1"},
    ),
    "something before it": (raw_zip(Raw(b"x", b"1"), before=b"#!/bin/sh\n" * 9), {"x": b"1"}),
    "a long comment": (raw_zip(Raw(b"x", b"1"), comment=b"PK\x05\x06" + b"c" * 60_000), {}),
    "names alike but for case": (raw_zip(Raw(b"x", b"1"), Raw(b"X", b"2")), {"x": b"1", "X": b"2"}),
    "a folder with bytes in it": (raw_zip(Raw(b"x/", b"1" * 99, mode=FOLDER)), {}),
    "a set-uid program": (raw_zip(Raw(b"x", b"1", mode=0o104755)), {"x": b"1"}),
}


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return tmp_path / "a.zip"


def unpacked(archive: Path) -> dict[str, bytes]:
    """Unpack; whatever happens, nothing may be outside the folder, and little memory be taken."""
    folder = archive.parent / "folder"
    tracemalloc.start()
    try:
        unpack(archive, folder, max_bytes=MOST, max_members=100)
        return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 24 * MOST
        assert sorted(path.name for path in archive.parent.iterdir()) == ["a.zip", "folder"]
        for path in folder.rglob("*"):
            assert not path.lstat().st_mode & 0o7000


@pytest.mark.parametrize("name", REFUSED)
def test_an_archive_that_lies_is_refused(name: str, archive: Path) -> None:
    data, reason = REFUSED[name]
    archive.write_bytes(data)
    with pytest.raises(ArchiveError, match=reason) as refused:
        unpacked(archive)
    assert len(str(refused.value)) < 400
    assert str(refused.value).isprintable()
    assert not [path for path in (archive.parent / "folder").rglob("*") if path.is_file()]


@pytest.mark.parametrize("name", HARMLESS)
def test_an_archive_that_is_odd_is_taken_or_refused_as_a_whole(name: str, archive: Path) -> None:
    data, files = HARMLESS[name]
    archive.write_bytes(data)
    try:
        found = unpacked(archive)
    except ArchiveError:
        found = {}
    assert found == files


@pytest.mark.parametrize("name", REFUSED)
def test_the_names_in_an_archive_that_lies_are_listed_or_refused(name: str) -> None:
    class Named(io.BytesIO):
        name = "a.zip"

    try:
        members = list_members(cast("io.BufferedReader", Named(REFUSED[name][0])), max_members=100)
    except ArchiveError:
        return
    assert all(not member.startswith(("/", "..")) for member in members)


def test_a_name_that_only_the_file_system_refuses_is_named(archive: Path) -> None:
    """The file of a name has another one while it is written, which is longer."""
    room = os.pathconf(archive.parent, "PC_PATH_MAX") - len(os.fsencode(archive.parent / "folder")) - 2
    parts, rest = divmod(room - 5, 201)
    name = b"d" * (rest - 1) + b"/" * (rest > 0) + (b"d" * 200 + b"/") * parts + b"x" * 5
    archive.write_bytes(raw_zip(Raw(name.lstrip(b"/"))))
    with pytest.raises(ArchiveError, match=r"^a\.zip: a name in it is too long for this file system$"):
        unpacked(archive)
