"""Archives as they are written: read by other programs, also where their fields need 64 bits."""

from __future__ import annotations

import os
import random
import shutil
import stat
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from itertools import repeat
from pathlib import Path

import pytest

from cloudq.archive import deflating, unpack
from cloudq.archive.deflating import deflater, shrinks
from cloudq.archive.records import ArchiveWriter, Heading

BLOCK = 2**20
GIB = 2**30
ZEROS = bytes(BLOCK)
TIME = (2026, 11, 22, 13, 30, 58)


def heading(name: str, extra: bytes = b"") -> Heading:
    return Heading(name, stat.S_IFREG | 0o640, TIME, extra)


def write(archive: Path, pieces: Iterable[bytes]) -> None:
    """Write pieces to a file; what is zeros takes no room on the disk."""
    with archive.open("wb") as file:
        for piece in pieces:
            if piece is ZEROS:
                file.seek(len(piece), os.SEEK_CUR)
            else:
                file.write(piece)


def test_what_is_said_of_a_member_is_what_others_read(tmp_path: Path) -> None:
    writer, text = ArchiveWriter(), b"line\n" * 100_000
    write(
        tmp_path / "a.zip",
        [
            writer.whole(heading("whole"), b"data"),
            writer.whole(heading("deflated"), text, deflater),
            *writer.in_pieces(heading("größer", b"\x99\x99\1\0x"), [b"da", b"", b"ta"], most=4),
            *writer.in_pieces(heading("pieces"), [text[:77], text[77:]], most=len(text), deflater=deflater),
            writer.end(),
        ],
    )
    with zipfile.ZipFile(tmp_path / "a.zip") as zip_file:
        assert zip_file.testzip() is None
        infos = zip_file.infolist()
        assert [zip_file.read(info) for info in infos] == [b"data", text, b"data", text]
    assert [info.filename for info in infos] == ["whole", "deflated", "größer", "pieces"]
    assert {(info.date_time, info.create_system, info.external_attr) for info in infos} == {
        (TIME, 3, (stat.S_IFREG | 0o640) << 16)
    }
    assert [info.compress_type for info in infos] == [0, 8, 0, 8]
    assert [info.extra for info in infos] == [b"", b"", b"\x99\x99\1\0x", b""]
    assert writer.has("größer")
    assert not writer.has("other")


@pytest.mark.skipif(shutil.which("unzip") is None, reason="Info-ZIP is not here")
def test_info_zip_takes_what_we_write(tmp_path: Path) -> None:
    writer, text = ArchiveWriter(), b"line\n" * 100_000
    pieces = [
        *writer.in_pieces(heading("a"), [b"data"], most=2**31),
        *writer.in_pieces(heading("b"), [text], most=2**31, deflater=deflater),
        writer.whole(heading("c"), text, deflater),
        writer.end(),
    ]
    write(tmp_path / "a.zip", pieces)
    tested = subprocess.run(
        ["unzip", "-tq", "a.zip"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (tested.returncode, tested.stderr) == (0, "")
    assert tested.stdout.startswith("No errors detected in compressed data")


@pytest.mark.skipif(sys.platform != "linux", reason="files with holes")
def test_members_and_archives_over_4_gib(tmp_path: Path) -> None:
    def pieces() -> Iterator[bytes]:
        writer = ArchiveWriter()
        yield from writer.in_pieces(heading("large"), repeat(ZEROS, 4 * GIB // BLOCK + 1), most=5 * GIB)
        yield writer.whole(heading("behind"), b"data")
        yield from writer.in_pieces(heading("last", b"\x99\x99\1\0x"), [b"more"], most=4)
        yield writer.end()

    write(tmp_path / "a.zip", pieces())
    with zipfile.ZipFile(tmp_path / "a.zip") as zip_file:
        large, behind, last = zip_file.infolist()
        assert (large.file_size, large.compress_size) == (4 * GIB + BLOCK,) * 2
        assert behind.header_offset > 4 * GIB
        assert (zip_file.read(behind), zip_file.read(last)) == (b"data", b"more")
    assert unpack(tmp_path / "a.zip", tmp_path / "out", wanted="last".__eq__) == ["last"]
    assert (tmp_path / "out/last").read_bytes() == b"more"


class Squeezer:
    """Makes one byte of whatever comes."""

    def compress(self, _: bytes) -> bytes:
        return b"."

    def flush(self) -> bytes:
        return b""


def test_which_of_two_sizes_is_over_4_gib_is_told(tmp_path: Path) -> None:
    writer = ArchiveWriter()
    count = 4 * GIB // BLOCK + 1
    pieces = writer.in_pieces(heading("a"), repeat(ZEROS, count), most=5 * GIB, deflater=Squeezer)
    write(tmp_path / "a.zip", [*pieces, writer.end()])
    with zipfile.ZipFile(tmp_path / "a.zip") as zip_file:
        (info,) = zip_file.infolist()
    assert (info.file_size, info.compress_size, info.extract_version) == (count * BLOCK, count, 45)


@pytest.mark.parametrize("count", [65_534, 65_535, 70_000])
def test_more_members_than_sixteen_bits_count(tmp_path: Path, count: int) -> None:
    writer = ArchiveWriter()
    member, end = writer.whole(heading("x"), b""), b""
    writer._directory *= count
    end = writer.end()
    write(tmp_path / "a.zip", [member, end])
    with zipfile.ZipFile(tmp_path / "a.zip") as zip_file:
        assert len(zip_file.infolist()) == count
    assert (b"PK\6\6" in end) is (count >= 65_535)


def test_with_and_without_isal_what_is_deflated_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    data = b"".join(b"%d\n" % number for number in range(100_000))
    library = deflating._library.__wrapped__
    makers = [library()]
    monkeypatch.setitem(sys.modules, "isal.isal_zlib", None)
    makers.append(library())
    assert makers[1] == (zlib.compressobj, 3)
    for make, level in makers:
        deflate = make(level, zlib.DEFLATED, -15)
        packed = deflate.compress(data[:1000]) + deflate.compress(data[1000:]) + deflate.flush()
        assert zlib.decompress(packed, -15) == data
        assert len(packed) < len(data) / 2


def test_whatever_is_deflated_in_whatever_pieces_comes_back(tmp_path: Path) -> None:
    generator = random.Random(11)
    kinds = (bytes, generator.randbytes, lambda size: b"the same line\n" * (size // 14))
    data = b"".join(generator.choice(kinds)(generator.choice((1, 99, 70_000, 500_000))) for _ in range(60))
    ends = sorted(generator.randrange(len(data)) for _ in range(40))
    pieces = [data[start:stop] for start, stop in zip([0, *ends], [*ends, len(data)])]
    writer = ArchiveWriter()
    made = [*writer.in_pieces(heading("a"), pieces, most=len(data), deflater=deflater), writer.end()]
    write(tmp_path / "a.zip", made)
    with zipfile.ZipFile(tmp_path / "a.zip") as zip_file:
        assert zip_file.read("a") == data


@pytest.mark.parametrize(
    ("head", "expected"),
    [(b"", False), (b"x", False), (b"line\n" * 1000, True), (os.urandom(65536), False)],
    ids=["nothing", "one byte", "text", "noise"],
)
def test_by_its_head_it_is_guessed_whether_data_shrinks(head: bytes, expected: bool) -> None:
    assert shrinks(head) is expected
