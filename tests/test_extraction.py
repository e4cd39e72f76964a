"""Large members come out of an archive piece by piece, small ones several at once, whatever fails."""

from __future__ import annotations

import io
import random
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest

from cloudq.archive import unpack
from cloudq.archive.checksums import join_sums
from cloudq.archive.extraction import Extraction
from cloudq.archive.members import checked
from cloudq.archive.placing import Places
from cloudq.archive.spans import PART, spans_of
from cloudq.errors import ArchiveError, StoreError
from tests.archives import pack
from tests.rawzip import DEFLATED, LINK, Raw, raw_zip

NOISE = random.Random(7).randbytes(2 * PART + 100_000)
TEXT = bytes(PART + 1_000_000)
BLOCK = 100_000
DAMAGED = r"damaged, or of a kind that is not known: "


class Archive(io.BytesIO):
    """An archive that is open, and notes which ranges of it are read; a hole in it cannot be read."""

    name = "a.zip"

    def __init__(self, data: bytes, hole: int = -1, block: int = BLOCK) -> None:
        super().__init__(data)
        self.ranges: list[tuple[int, int]] = []
        self.ended = 0
        self._data = data
        self._hole = hole
        self._block = block

    def read_at(self, start: int, stop: int) -> memoryview:
        self.ranges.append((start, stop))
        return self._piece(start, stop)

    def blocks_at(self, start: int, stop: int) -> Iterator[memoryview]:
        self.ranges.append((start, stop))
        buffer = bytearray(self._block)
        for begin in range(start, stop, self._block):
            piece = self._piece(begin, min(begin + self._block, stop))
            buffer[: len(piece)] = piece
            yield memoryview(buffer)[: len(piece)]
        self.ended += 1

    def _piece(self, start: int, stop: int) -> memoryview:
        if start <= self._hole < stop:
            raise StoreError("the hole")
        return memoryview(self._data)[start:stop]


def unpacked(archive: Archive, folder: Path, wanted: Callable[[str], bool] = lambda _: True) -> set[str]:
    opened = cast("io.BufferedReader", archive)
    return set(unpack(opened, folder, wanted=wanted, source=archive))


@pytest.mark.parametrize(
    ("first", "second", "number"),
    [(b"", b"", 0), (b"a", b"", 0), (b"", b"b", 1), (NOISE[:1000], NOISE[1000:70_000], 69_000)],
    ids=["nothing", "nothing behind", "nothing before", "both"],
)
def test_the_sum_of_pieces_is_that_of_the_whole(first: bytes, second: bytes, number: int) -> None:
    assert join_sums(zlib.crc32(first), zlib.crc32(second), number) == zlib.crc32(first + second)


@pytest.mark.parametrize("opened", [False, True], ids=["a file", "by ranges"])
def test_large_and_small_members_come_out_as_they_went_in(tmp_path: Path, opened: bool) -> None:
    source, folder = tmp_path / "source", tmp_path / "folder"
    source.mkdir()
    files = {"a-small": b"1", "large": NOISE, "text": TEXT, "z-small": b"", "zz": b"2" * 3000}
    for name, data in files.items():
        (source / name).write_bytes(data)
    (source / "large").chmod(0o755)
    pack(source, tmp_path / "a.zip")
    if opened:
        assert unpacked(Archive((tmp_path / "a.zip").read_bytes()), folder) == set(files)
    else:
        assert set(unpack(tmp_path / "a.zip", folder)) == set(files)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == files
    assert (folder / "large").stat().st_mode & 0o777 == 0o755
    assert (folder / "large").stat().st_mtime == int((source / "large").stat().st_mtime)


def test_the_pieces_of_a_member_end_where_the_parts_of_the_upload_did(tmp_path: Path) -> None:
    archive = Archive(raw_zip(Raw(b"large", NOISE), before=b"x" * (PART - 10)))
    unpacked(archive, tmp_path / "folder")
    assert sorted(start for start, _ in archive.ranges) == [PART - 10, 2 * PART, 3 * PART]
    assert (tmp_path / "folder" / "large").read_bytes() == NOISE


def test_only_what_is_wanted_is_read_and_near_members_at_once(tmp_path: Path) -> None:
    members = [Raw(b"%d" % number, NOISE[:30_000]) for number in range(20)]
    archive = Archive(raw_zip(*members))
    assert unpacked(archive, tmp_path / "folder", lambda name: name in ("1", "3", "19")) == {"1", "3", "19"}
    assert len(archive.ranges) == 2
    assert sum(stop - start for start, stop in archive.ranges) < 4 * 30_100


MIXED = {
    "empty": Raw(b"empty"),
    "deflated": Raw(b"deflated", NOISE[:200] * 100, method=DEFLATED),
    "stored": Raw(b"stored", NOISE[:5000]),
    "other/link": Raw(b"other/link", b"../stored", mode=LINK),
    "deflated to nothing": Raw(b"deflated to nothing", method=DEFLATED),
    "x" * 200: Raw(b"x" * 200, b"long name", extra=b"\xfe\xca\x64\x00" + bytes(100)),
    "last": Raw(b"last", NOISE[5000:9000]),
}


@pytest.mark.parametrize("block", [1, 29, 30, 31, 1000, BLOCK])
def test_members_come_out_of_one_range_however_its_bytes_come(tmp_path: Path, block: int) -> None:
    archive = Archive(raw_zip(*MIXED.values()), block=block)
    assert unpacked(archive, tmp_path) == set(MIXED)
    for name, member in MIXED.items():
        place = tmp_path / name
        found = bytes(place.readlink()) if place.is_symlink() else place.read_bytes()
        assert found == member.data
    assert len(archive.ranges) == archive.ended == 1


@pytest.mark.parametrize("wanted", MIXED, ids=[name[:20] for name in MIXED])
def test_one_member_is_read_to_its_end_so_that_the_connection_serves_again(
    tmp_path: Path, wanted: str
) -> None:
    archive = Archive(raw_zip(*MIXED.values()), block=10)
    assert unpacked(archive, tmp_path, lambda name: name == wanted) == {wanted}
    assert len(archive.ranges) == archive.ended == 1


def test_files_of_some_megabytes_are_fetched_together_if_there_are_many(tmp_path: Path) -> None:
    size, names = 10 * 1024 * 1024, [str(number) for number in range(10)]
    archive = Archive(raw_zip(*(Raw(name.encode(), bytes(size)) for name in names)), block=2**20)
    with zipfile.ZipFile(archive) as zip_file:
        spans = spans_of(checked(zip_file.infolist(), len(names)), zip_file.start_dir)
    Extraction(archive, Places(tmp_path), threads=1).run(spans)
    assert [(stop - start) // size for start, stop in archive.ranges] == [2] * 5
    assert [(tmp_path / name).stat().st_size for name in names] == [size] * len(names)


def test_a_member_that_is_damaged_among_others_leaves_nothing_of_itself(tmp_path: Path) -> None:
    members = [Raw(b"before", b"1" * 3000), Raw(b"x", b"2" * 3000, crc=1), Raw(b"behind", b"3")]
    with pytest.raises(ArchiveError, match=f"{DAMAGED}Bad CRC-32 or size of x"):
        unpacked(Archive(raw_zip(*members), block=1000), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["before"]


@pytest.mark.parametrize(
    ("hole", "member"),
    [
        (10, Raw(b"large", NOISE)),
        (PART + 10, Raw(b"large", NOISE)),
        (2 * PART + 10, Raw(b"large", NOISE)),
        (10, Raw(b"large", TEXT, method=DEFLATED)),
    ],
    ids=["first", "second", "last", "deflated"],
)
def test_a_piece_that_cannot_be_read_leaves_nothing(tmp_path: Path, hole: int, member: Raw) -> None:
    archive = Archive(raw_zip(member, Raw(b"small", b"1")), hole)
    with pytest.raises(StoreError, match=r"^the hole$"):
        unpacked(archive, tmp_path / "folder")
    assert {path.name for path in (tmp_path / "folder").iterdir()} <= {"small"}


def test_no_piece_is_read_on_once_one_has_failed(tmp_path: Path) -> None:
    class Endless(Archive):
        """Its second piece never ends: only who looks whether it is over stops to read."""

        def blocks_at(self, start: int, stop: int) -> Iterator[memoryview]:
            while start >= PART:
                yield memoryview(b"")
            yield from super().blocks_at(start, stop)

    with pytest.raises(StoreError, match=r"^the hole$"):
        unpacked(Endless(raw_zip(Raw(b"large", NOISE)), 10), tmp_path / "folder")
    assert list((tmp_path / "folder").iterdir()) == []


LYING = {
    "a sum": (Raw(b"x", NOISE, crc=1), "Bad CRC-32 or size of x"),
    "the sum of a stream": (Raw(b"x", TEXT, method=DEFLATED, crc=1), "Bad CRC-32 or size of x"),
    "a size": (Raw(b"x", NOISE, size=len(NOISE) - 1), "x is stored, but has two sizes"),
    "the size of a stream": (Raw(b"x", TEXT, method=DEFLATED, size=PART + 1), "more in x than its size"),
    "the size of a longer stream": (
        Raw(b"x", TEXT, method=DEFLATED, size=len(TEXT) + 1),
        "Bad CRC-32 or size of x",
    ),
    "a name": (Raw(b"x", NOISE, local_name=b"y"), "no header of x where it should be"),
    "a length": (
        Raw(b"x", NOISE, size=len(NOISE) + 2**20, packed=len(NOISE) + 2**20),
        "x reaches into the next",
    ),
}


@pytest.mark.parametrize("lie", LYING)
def test_a_large_member_that_lies_leaves_nothing(tmp_path: Path, lie: str) -> None:
    member, reason = LYING[lie]
    archive = Archive(raw_zip(member, Raw(b"y", b"z" * 2**21, size=0, packed=0, crc=0)))
    with pytest.raises(ArchiveError, match=f"{DAMAGED}{reason}"):
        unpacked(archive, tmp_path / "folder")
    assert {path.name for path in (tmp_path / "folder").iterdir()} <= {"y"}


def test_a_link_that_takes_more_than_any_name_is_refused(tmp_path: Path) -> None:
    archive = Archive(raw_zip(Raw(b"x", NOISE[:100_000], mode=LINK, size=9)))
    with pytest.raises(ArchiveError, match=r"^x: too long for a link$"):
        unpacked(archive, tmp_path / "folder")


@pytest.mark.parametrize("data", [NOISE, b"1"])
@pytest.mark.parametrize("left", [0, 10, 31])
def test_an_archive_that_shrank_since_it_was_listed_is_damaged(
    tmp_path: Path, data: bytes, left: int
) -> None:
    packed = raw_zip(Raw(b"x", data))
    archive, shrunk = Archive(packed), Archive(packed[:left])
    with pytest.raises(ArchiveError, match=rf"^a\.zip: {DAMAGED}it has no bytes"):
        unpack(cast("io.BufferedReader", archive), tmp_path / "folder", source=shrunk)
    assert not list((tmp_path / "folder").iterdir())


def test_a_piece_that_is_cut_leaves_nothing(tmp_path: Path) -> None:
    packed = raw_zip(Raw(b"x", NOISE))
    archive, shrunk = Archive(packed), Archive(packed[: PART + 3 * BLOCK // 2])
    with pytest.raises(ArchiveError, match=rf"^a\.zip: {DAMAGED}it has no bytes"):
        unpack(cast("io.BufferedReader", archive), tmp_path / "folder", source=shrunk)
    assert not list((tmp_path / "folder").iterdir())


def test_sums_are_those_of_zlib_without_isal() -> None:
    code = (
        "import sys; sys.modules['isal'] = None\n"
        "from cloudq.archive.checksums import crc32\n"
        "print(crc32(b'ab', crc32(b'c')), 'isal.isal_zlib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"{zlib.crc32(b'cab')} False\n"


def test_other_programs_archives_with_descriptors_behind_the_data_are_unpacked(tmp_path: Path) -> None:
    class Unseekable(io.RawIOBase):
        def __init__(self) -> None:
            self.data = bytearray()

        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            self.data += bytes(memoryview(data))  # type: ignore[arg-type]
            return memoryview(data).nbytes  # type: ignore[arg-type]

    drain = Unseekable()
    with zipfile.ZipFile(cast("io.BytesIO", drain), "w") as zip_file:
        zip_file.writestr("large", NOISE)
        zip_file.writestr("small", b"1")
    unpacked(Archive(bytes(drain.data)), tmp_path / "folder")
    assert (tmp_path / "folder" / "large").read_bytes() == NOISE
