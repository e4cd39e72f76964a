"""Archives: what goes in comes out as it was, and nothing comes out anywhere else."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Union

import pytest

from cloudq.archive import Found, pack_blocks, survey, tree_size, unpack
from cloudq.archive.members import Member, check_sizes
from cloudq.archive.packing import TIMESTAMP, _Packer
from cloudq.archive.records import Heading
from cloudq.errors import ArchiveError
from tests.archives import pack

posix_only = pytest.mark.skipif(os.name != "posix", reason="names, links and modes of Unix")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "target"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return tmp_path / "a.zip"


def member(name: str, mode: int = stat.S_IFREG | 0o644) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = mode << 16
    return info


def write_zip(archive: Path, *members: tuple[Union[str, zipfile.ZipInfo], bytes]) -> None:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zip_file:
        for info, data in members:
            zip_file.writestr(info, data)


def names_below(folder: Path) -> set[bytes]:
    top = os.fsencode(folder)
    return {
        os.path.relpath(root + b"/" + name, top)
        for root, folders, files in os.walk(top)
        for name in (*folders, *files)
    }


def test_files_and_empty_folders_come_out_as_they_went_in(source: Path, archive: Path, target: Path) -> None:
    (source / "sub/deep").mkdir(parents=True)
    (source / "sub/deep/x").write_bytes(b"x" * 100_000)
    (source / "empty").write_bytes(b"")
    (source / "emptydir").mkdir()
    assert pack(source, archive) == []
    assert sorted(unpack(archive, target)) == ["empty", "sub/deep/x"]
    assert names_below(target) == {b"sub", b"sub/deep", b"sub/deep/x", b"empty", b"emptydir"}
    assert (target / "sub/deep/x").read_bytes() == b"x" * 100_000


def test_members_are_packed_under_the_names_given(source: Path, archive: Path, target: Path) -> None:
    (source / "data").mkdir()
    (source / "data/1").write_text("one")
    (source / "f").write_text("f")
    pack([(source / "data", "in/d"), (source / "f", "in/g")], archive)
    assert sorted(unpack(archive, target)) == ["in/d/1", "in/g"]


@posix_only
def test_links_stay_links_and_are_never_followed(source: Path, archive: Path, target: Path) -> None:
    """Defect 16: a link to a foreign file must not carry that file's content."""
    secret = source.parent / "secret"
    secret.write_text("key")
    (source / "absolute").symlink_to(secret)
    (source / "broken").symlink_to("nothing")
    (source / "folder").symlink_to("/etc")
    (source / "climbing").symlink_to("../../../x")
    assert pack(source, archive) == []
    assert b"key" not in archive.read_bytes()
    unpack(archive, target)
    assert {p.name: str(p.readlink()) for p in target.iterdir()} == {
        "absolute": str(secret),
        "broken": "nothing",
        "folder": "/etc",
        "climbing": "../../../x",
    }


@posix_only
def test_the_execute_bit_and_the_owners_bits_are_kept(source: Path, archive: Path, target: Path) -> None:
    for name, mode in (("tool", 0o755), ("plain", 0o640), ("shared", 0o666), ("closed", 0o400)):
        (source / name).write_text("")
        (source / name).chmod(mode)
    (source / "locked").mkdir()
    (source / "locked/f").write_text("")
    (source / "locked").chmod(0o555)
    pack(source, archive)
    unpack(archive, target)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in target.iterdir()}
    assert modes == {"tool": 0o755, "plain": 0o640, "shared": 0o644, "closed": 0o600, "locked": 0o755}
    (source / "locked").chmod(0o755)


@pytest.mark.parametrize("seconds", [0, -(2**33), 10**9 + 1, 2**31 + 7, 2**33], ids=str)
def test_times_before_1980_and_after_2107_do_not_matter(
    source: Path, archive: Path, target: Path, seconds: int
) -> None:
    """Defect 17: a file dated before 1980 kept its job from ending."""
    (source / "old").write_text("x")
    os.utime(source / "old", (seconds, seconds))
    assert pack(source, archive) == []
    year = zipfile.ZipFile(archive).infolist()[0].date_time[0]
    assert 1980 <= year <= 2107
    unpack(archive, target)
    if -(2**31) <= seconds < 2**31:
        assert (target / "old").stat().st_mtime == seconds


@pytest.mark.skipif(sys.platform != "linux", reason="file systems that hold any bytes")
@pytest.mark.parametrize(
    "name",
    [
        b"a\xffb",
        b"new\nline",
        b"\x1b[31m",
        b"back\\slash",
        b"C:x",
        "ünï çødé".encode(),
        b"-dash",
        b"%FF",
        b" ",
    ],
    ids=repr,
)
def test_odd_names_come_back_as_they_were(source: Path, archive: Path, target: Path, name: bytes) -> None:
    """Defect 17: a file whose name is not UTF-8 kept its job from ending."""
    (source / os.fsdecode(name)).mkdir()
    (source / os.fsdecode(name) / "x").write_text("x")
    assert pack(source, archive) == []
    unpack(archive, target)
    assert names_below(target) == {name, name + b"/x"}


@pytest.mark.skipif(sys.platform != "linux", reason="file systems that hold any bytes")
def test_names_that_are_stored_alike_stay_apart(source: Path, archive: Path, target: Path) -> None:
    for name in (b"a\xff", b"a%FF", b"a%FF~"):
        (source / os.fsdecode(name)).write_bytes(name)
    pack(source, archive)
    assert len(set(zipfile.ZipFile(archive).namelist())) == 3
    unpack(archive, target)
    assert {os.fsencode(p.name): p.read_bytes() for p in target.iterdir()} == {
        name: name for name in (b"a\xff", b"a%FF", b"a%FF~")
    }


def test_other_programs_see_readable_names(source: Path, archive: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("file systems that hold any bytes")
    (source / os.fsdecode(b"a\xff\nb")).write_text("")
    pack(source, archive)
    assert zipfile.ZipFile(archive).namelist() == ["a%FF%0Ab"]


@posix_only
def test_what_is_no_file_is_left_out_by_name(source: Path, archive: Path) -> None:
    os.mkfifo(source / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(source / "socket"))
        (source / "file").write_text("")
        left_out = pack(source, archive)
    assert sorted(left_out) == [
        "pipe: neither file, folder nor link",
        "socket: neither file, folder nor link",
    ]
    assert zipfile.ZipFile(archive).namelist() == ["file"]


def test_what_cannot_be_opened_is_left_out_with_the_reason(source: Path, archive: Path) -> None:
    (source / "here").write_text("")
    left_out = pack([(source / "gone", "gone"), (source / "here", "here")], archive)
    assert left_out == ["gone: No such file or directory"]
    assert zipfile.ZipFile(archive).namelist() == ["here"]


def test_data_that_does_not_shrink_is_stored_and_other_data_deflated(source: Path, archive: Path) -> None:
    (source / "noise").write_bytes(os.urandom(100_000))
    (source / "text").write_bytes(b"line\n" * 20_000)
    pack(source, archive)
    kinds = {info.filename: info.compress_type for info in zipfile.ZipFile(archive).infolist()}
    assert kinds == {"noise": zipfile.ZIP_STORED, "text": zipfile.ZIP_DEFLATED}


def test_an_archive_of_1_2_is_unpacked(source: Path, archive: Path, target: Path) -> None:
    (source / "sub").mkdir()
    (source / "sub/x").write_text("x")
    (source / "y").write_text("y")
    shutil.make_archive(str(archive.with_suffix("")), "zip", source)
    assert sorted(unpack(archive, target)) == ["sub/x", "y"]


def test_a_second_unpacking_replaces_files(source: Path, archive: Path, target: Path) -> None:
    (source / "x").write_text("new")
    pack(source, archive)
    target.mkdir()
    (target / "x").write_text("an older and longer one")
    (target / "mine").write_text("mine")
    unpack(archive, target)
    assert {p.name: p.read_text() for p in target.iterdir()} == {"x": "new", "mine": "mine"}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("/etc/x", "stays inside the folder"),
        ("../x", "stays inside the folder"),
        ("a/../../x", "stays inside the folder"),
        ("a//x", "stays inside the folder"),
        ("./x", "stays inside the folder"),
        ("C:/x", "has a drive letter"),
        ("c:x", "has a drive letter"),
        ("a\x1b[2Jx", "has control characters"),
        ("a\nx", "has control characters"),
    ],
    ids=repr,
)
def test_a_name_that_leads_out_is_refused_before_anything_is_written(
    archive: Path, target: Path, name: str, reason: str
) -> None:
    write_zip(archive, ("good", b""), (name, b"evil"))
    with pytest.raises(ArchiveError, match=reason) as refused:
        unpack(archive, target)
    assert "\x1b" not in str(refused.value)
    assert "\n" not in str(refused.value)
    assert names_below(target.parent) == {b"a.zip", b"target"}


def test_a_name_that_is_hidden_in_our_extra_field_is_checked_too(archive: Path, target: Path) -> None:
    info = member("good")
    info.extra = struct.pack("<HH", 0x5143, 6) + b"../bad"
    write_zip(archive, (info, b""))
    with pytest.raises(ArchiveError, match=r"^\.\./bad: expected a name that stays inside the folder$"):
        unpack(archive, target)


def test_a_nul_in_a_name_is_refused(archive: Path, target: Path) -> None:
    write_zip(archive, ("goodXbad", b""))
    archive.write_bytes(archive.read_bytes().replace(b"goodXbad", b"good\0bad"))
    with pytest.raises(ArchiveError, match="good%00bad: has control characters"):
        unpack(archive, target)


@pytest.mark.parametrize("names", [("x", "x"), ("x", "x/"), ("x/", "x/")], ids=str)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_is_there_twice_is_refused(archive: Path, target: Path, names: tuple[str, str]) -> None:
    write_zip(archive, *((name, b"") for name in names))
    with pytest.raises(ArchiveError, match="x: is in the archive twice"):
        unpack(archive, target)


@posix_only
def test_nothing_is_written_through_a_link_of_the_archive(archive: Path, target: Path) -> None:
    outside = target.parent / "outside"
    outside.mkdir()
    write_zip(archive, (member("out", stat.S_IFLNK | 0o777), bytes(outside)), ("out/x", b"evil"))
    with pytest.raises(ArchiveError, match="out/x: out in the archive is not a folder"):
        unpack(archive, target)
    assert list(outside.iterdir()) == []


@posix_only
@pytest.mark.parametrize("name", ["sub/x", "sub/y/", "sub"], ids=str)
def test_nothing_is_written_through_a_link_that_is_there_already(
    archive: Path, target: Path, name: str
) -> None:
    outside = target.parent / "outside"
    outside.mkdir()
    (outside / "file").write_text("untouched")
    target.mkdir()
    (target / "sub").symlink_to(outside / "file" if name == "sub" else outside)
    write_zip(archive, (name, b"evil" * (not name.endswith("/"))))
    if name == "sub":
        unpack(archive, target)
        assert (target / "sub").read_text() == "evil"
        assert not (target / "sub").is_symlink()
    else:
        with pytest.raises(ArchiveError, match="sub is not a folder"):
            unpack(archive, target)
    assert (outside / "file").read_text() == "untouched"
    assert [p.name for p in outside.iterdir()] == ["file"]


def test_a_folder_in_the_way_of_a_file_is_named(archive: Path, target: Path) -> None:
    (target / "x").mkdir(parents=True)
    write_zip(archive, ("x", b""))
    with pytest.raises(ArchiveError, match="x: a folder of this name is in the way"):
        unpack(archive, target)


@pytest.mark.parametrize("kind", [stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK], ids=oct)
def test_pipes_and_devices_are_not_made(archive: Path, target: Path, kind: int) -> None:
    write_zip(archive, (member("x", kind | 0o644), b""))
    with pytest.raises(ArchiveError, match="x: neither file, folder nor link"):
        unpack(archive, target)


def test_no_more_than_allowed_comes_out(archive: Path, target: Path) -> None:
    write_zip(archive, ("bomb", b"\0" * 1_000_000))
    with pytest.raises(ArchiveError, match="unpacks to 1000000 bytes, at most 999999 are allowed"):
        unpack(archive, target, max_bytes=999_999)
    assert unpack(archive, target, max_bytes=1_000_000) == ["bomb"]


def test_too_many_members_are_refused(archive: Path, target: Path) -> None:
    write_zip(archive, *((str(number), b"") for number in range(4)))
    with pytest.raises(ArchiveError, match="has more than 3 members, the most"):
        unpack(archive, target, max_members=3)


def test_an_archive_that_lies_about_a_size_is_refused(archive: Path, target: Path) -> None:
    write_zip(archive, ("x", b"\0" * 50_000))
    data = archive.read_bytes().replace(struct.pack("<L", 50_000), struct.pack("<L", 500))
    archive.write_bytes(data)
    with pytest.raises(ArchiveError, match="damaged"):
        unpack(archive, target)
    assert names_below(target) == set()


def test_what_the_disk_does_not_hold_is_refused_first(target: Path) -> None:
    info = member("huge")
    info.file_size = 2**62
    with pytest.raises(ArchiveError, match=r"unpacks to 4611686018427387904 bytes, .* has \d+ free"):
        check_sizes([Member(info, "huge", 0)], 10**9, target.parent, None)


def test_members_that_overlap_are_refused(archive: Path, target: Path) -> None:
    write_zip(archive, ("x", os.urandom(5000)), ("y", os.urandom(5000)))
    with zipfile.ZipFile(archive) as zip_file:
        central = zip_file.start_dir
        offset = zip_file.getinfo("y").header_offset
    data = bytearray(archive.read_bytes())
    where = data.index(struct.pack("<L", offset), central)
    data[where : where + 4] = struct.pack("<L", 0)
    del data[offset:central]
    end = data.rindex(b"PK\x05\x06")
    data[end + 16 : end + 20] = struct.pack("<L", offset)
    archive.write_bytes(bytes(data))
    with pytest.raises(ArchiveError, match="damaged"):
        unpack(archive, target)
    assert names_below(target) == set()


@pytest.mark.parametrize(
    "data", [b"", b"no archive", b"PK\x05\x06" + b"\xff" * 18], ids=["empty", "text", "broken end"]
)
def test_what_is_no_archive_is_an_archive_error(archive: Path, target: Path, data: bytes) -> None:
    archive.write_bytes(data)
    with pytest.raises(ArchiveError, match=r"^a\.zip: damaged"):
        unpack(archive, target)


def test_of_any_damage_comes_nothing_but_files_or_an_archive_error(
    source: Path, archive: Path, target: Path
) -> None:
    (source / "text").write_bytes(b"line\n" * 50)
    (source / "link").symlink_to("sub")
    pack(source, archive)
    whole = archive.read_bytes()
    refused = 0
    for position in range(len(whole)):
        archive.write_bytes(whole[:position] + bytes([whole[position] ^ 0xFF]) + whole[position + 1 :])
        try:
            unpack(archive, target)
        except ArchiveError:
            refused += 1
        shutil.rmtree(target)
    assert 0 < refused < len(whole)
    assert names_below(archive.parent) == {b"a.zip", b"source", b"source/text", b"source/link"}


def test_damaged_data_leaves_no_file(archive: Path, target: Path) -> None:
    write_zip(archive, (member("x"), b"precious data"))
    archive.write_bytes(archive.read_bytes().replace(b"precious", b"prexious"))
    with pytest.raises(ArchiveError, match="Bad CRC-32"):
        unpack(archive, target)
    assert names_below(target) == set()


def test_an_encrypted_member_is_named(archive: Path, target: Path) -> None:
    write_zip(archive, ("x", b""))
    data = bytearray(archive.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(bytes(data))
    with pytest.raises(ArchiveError, match="x: is encrypted"):
        unpack(archive, target)


@posix_only
def test_a_link_without_a_target_is_refused(archive: Path, target: Path) -> None:
    write_zip(archive, (member("x", stat.S_IFLNK | 0o777), b""))
    with pytest.raises(ArchiveError, match="x: a link to nothing"):
        unpack(archive, target)


def test_a_link_that_is_far_too_long_is_refused(archive: Path, target: Path) -> None:
    write_zip(archive, (member("x", stat.S_IFLNK | 0o777), b"a" * 5000))
    with pytest.raises(ArchiveError, match="x: too long for a link"):
        unpack(archive, target)


class MeddlingPacker(_Packer):
    """Writes this file anew each time after its beginning was read."""

    meddled = Path()
    content = b""

    def heading(self, found: Found) -> Heading:
        self.meddled.write_bytes(self.content)
        return super().heading(found)


@pytest.mark.parametrize("content", [b"x" * 5_000_000, b""], ids=["grows", "is cut"])
def test_a_file_that_changes_meanwhile_does_not_break_the_archive(
    source: Path, archive: Path, content: bytes
) -> None:
    log = source / "log"
    log.write_bytes(b"x" * 3_000_000)
    MeddlingPacker.meddled, MeddlingPacker.content = log, content
    archive.write_bytes(b"".join(MeddlingPacker([]).blocks(survey([(log, "log")], []))))
    with zipfile.ZipFile(archive) as zip_file:
        assert zip_file.testzip() is None
        size = zip_file.getinfo("log").file_size
    assert size == 3_000_000 if content else size < 3_000_000


@posix_only
def test_what_is_no_file_any_more_when_it_is_opened_is_named(source: Path) -> None:
    (source / "log").write_text("x")
    found = list(survey([(source, "")], []))
    (source / "log").unlink()
    os.mkfifo(source / "log")
    left_out: list[str] = []
    assert b"".join(pack_blocks(found, left_out))
    assert left_out == ["log: no longer a file"]


def test_the_exact_time_is_stored_for_other_programs_too(source: Path, archive: Path) -> None:
    (source / "x").write_text("")
    os.utime(source / "x", (10**9, 10**9))
    pack(source, archive)
    assert zipfile.ZipFile(archive).infolist()[0].extra == struct.pack("<HHBl", TIMESTAMP, 5, 1, 10**9)


def test_an_archive_in_blocks_is_the_archive(tmp_path: Path) -> None:
    """Made without a seek: sizes stand behind the members; `unpack` and `unzip` go by the directory."""
    source = tmp_path / "source"
    (source / "a/empty").mkdir(parents=True)
    (source / "a/random").write_bytes(os.urandom(3_000_000))
    (source / "a/text").write_text("the same line\n" * 300_000)
    (source / "link").symlink_to("a/text")
    left_out: list[str] = []
    blocks = list(pack_blocks(source, left_out))
    assert max(map(len, blocks)) < 4_000_000
    (tmp_path / "archive.zip").write_bytes(b"".join(blocks))
    unpack(tmp_path / "archive.zip", tmp_path / "target")
    assert left_out == []
    for name in ("a/random", "a/text"):
        assert (tmp_path / "target" / name).read_bytes() == (source / name).read_bytes()
    assert (tmp_path / "target/link").readlink() == Path("a/text")
    assert (tmp_path / "target/a/empty").is_dir()


def test_what_an_archive_in_blocks_leaves_out_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    left_out: list[str] = []
    assert b"".join(pack_blocks(tmp_path, left_out))
    assert left_out == ["pipe: neither file, folder nor link"]


def test_the_size_of_a_tree_is_that_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/file").write_bytes(bytes(1234))
    assert tree_size(tmp_path) == 1234


def test_a_name_that_the_locale_cannot_write_is_told_as_that(archive: Path, target: Path) -> None:
    write_zip(archive, ("gr\u00f6\u00dfe.txt", b"x"))
    program = "import sys, pathlib, cloudq.archive as a; a.unpack(*map(pathlib.Path, sys.argv[1:]))"
    settings = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", program, str(archive), str(target)],
        env={**os.environ, **settings, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=120,
        check=False,
    )
    assert "no such name can be written in this locale (ascii); set LC_ALL=C.UTF-8" in done.stderr
