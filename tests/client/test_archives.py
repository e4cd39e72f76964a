"""Archives of inputs: made while they are sent; what has changed since their digest was taken is noticed."""

from __future__ import annotations

import io
import os
import tempfile
import zipfile
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from cloudq.archive import Found
from cloudq.bundle import Bundles
from cloudq.client.submission import archives
from cloudq.client.submission.archives import LARGE, InputArchive, archive_of, look_through, pack
from cloudq.client.submission.inputs import Input
from cloudq.client.submission.request import Submission
from cloudq.client.submission.submit import submit
from cloudq.digests import SHA256, RunningDigest
from cloudq.errors import InputError
from cloudq.presence import Presence
from cloudq.store.memory import MemoryStore
from tests.client.conftest import NOW, Laptop


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with a small and a large file."""
    folder = tmp_path / "data"
    (folder / "sub").mkdir(parents=True)
    (folder / "large").write_bytes(os.urandom(LARGE))
    (folder / "sub/small").write_bytes(b"small")
    for path in (folder / "large", folder / "sub/small"):
        os.utime(path, (10**9, 10**9))
    return folder


def packed(path: Path) -> InputArchive:
    return pack([look_through(Input(path, "d"))], SHA256)


def blocks(archive: InputArchive) -> bytes:
    assert archive.blocks is not None
    return b"".join(archive.blocks())


def sha256(data: bytes) -> str:
    running = RunningDigest(SHA256)
    running.update(data)
    return running.digest()


@pytest.mark.parametrize("name", ["", "sub"], ids=["large", "small"])
def test_the_bytes_are_those_of_size_and_digest_each_time(data: Path, name: str) -> None:
    archive = packed(data / name)
    for _ in range(2):
        made = blocks(archive)
        assert (sha256(made), len(made)) == (archive.digest, archive.size)
    names = zipfile.ZipFile(io.BytesIO(made)).namelist()
    assert archive.files == sum(not name.endswith("/") for name in names)
    assert names[0] == "d/"


def test_what_is_small_is_sent_as_it_was(data: Path) -> None:
    archive = packed(data / "sub")
    (data / "sub/small").unlink()
    assert sha256(blocks(archive)) == archive.digest


def test_of_a_file_that_grows_what_was_there_is_sent(data: Path) -> None:
    archive = packed(data)
    with (data / "large").open("ab") as file:
        file.write(b"more")
    (data / "new").write_bytes(b"new")
    assert sha256(blocks(archive)) == archive.digest


def test_what_is_replaced_before_it_is_packed_is_packed_whole(data: Path) -> None:
    contents = [look_through(Input(data, "d"))]
    (data / "sub/new").write_bytes(b"much longer than it was")
    (data / "sub/new").replace(data / "sub/small")
    archive = pack(contents, SHA256)
    with zipfile.ZipFile(io.BytesIO(blocks(archive))) as zip_file:
        assert zip_file.read("d/sub/small") == b"much longer than it was"


def test_all_that_cannot_be_read_counts(data: Path) -> None:
    contents = [look_through(Input(data, "d"))]
    for number in range(3):
        (data / f"a{number}").symlink_to("nowhere")
    os.mkfifo(data / "pipe")
    os.mkfifo(data / "pipe2")
    with pytest.raises(InputError, match=r"^--input: cannot be sent: d/pipe: .* \(and 1 more\)$"):
        pack(contents, SHA256)


def test_a_file_that_was_changed_is_named(data: Path) -> None:
    archive = packed(data)
    with (data / "large").open("ab") as file:
        file.write(b"it only grows, which is fine")
    (data / "sub/small").write_bytes(b"other")
    with pytest.raises(
        InputError, match="^--input: changed while it was being sent: d/sub/small$"
    ) as refused:
        blocks(archive)
    assert refused.value.hint == "submit again when nobody writes to it, or submit a copy"


def test_a_change_that_only_the_bytes_show_is_noticed(data: Path) -> None:
    archive = packed(data)
    (data / "sub/small").write_bytes(b"other")
    os.utime(data / "sub/small", (10**9, 10**9))
    with pytest.raises(InputError, match="^--input: changed while it was being sent$"):
        blocks(archive)


def test_a_record_that_changes_with_its_own_sum_is_noticed(data: Path) -> None:
    def record() -> bytes:
        noise = os.urandom(65_000)
        return noise + zlib.crc32(noise).to_bytes(4, "little")

    with (data / "large").open("r+b") as file:
        file.write(record())
    archive = packed(data)
    with (data / "large").open("r+b") as file:
        file.write(record())
    with pytest.raises(InputError, match="changed while it was being sent"):
        blocks(archive)


def test_nothing_is_sent_from_the_change_on(data: Path) -> None:
    archive = packed(data)
    before = blocks(archive)
    with (data / "large").open("r+b") as file:
        file.seek(LARGE // 2)
        file.write(b"other bytes")
    sent = bytearray()
    with pytest.raises(InputError, match="changed while it was being sent: d/large"):
        deque(map(sent.extend, archive.made()), maxlen=0)
    assert LARGE // 2 - 2**21 < len(sent) <= LARGE // 2 + 2**10
    assert before.startswith(sent)


def test_a_file_that_has_vanished_is_named(data: Path) -> None:
    archive = packed(data)
    (data / "sub/small").unlink()
    with pytest.raises(InputError, match="^--input: cannot be sent: d/sub/small: No such file or directory$"):
        blocks(archive)


def test_nothing_is_left_out_silently(data: Path) -> None:
    os.mkfifo(data / "pipe")
    os.mkfifo(data / "pipe2")
    with pytest.raises(
        InputError, match=r"^--input: cannot be sent: d/pipe: neither file, folder nor link \(and 1 more\)$"
    ):
        look_through(Input(data, "d"))


def test_an_archive_that_is_there_is_read_as_often_as_it_takes(tmp_path: Path, laptop: Laptop) -> None:
    (tmp_path / "a.zip").write_bytes(b"x" * 3_000_000)
    archive = archive_of(tmp_path / "a.zip", laptop.config)
    assert (archive.size, archive.digest) == (3_000_000, "")
    assert blocks(archive) == blocks(archive) == b"x" * 3_000_000


@pytest.fixture
def bundles() -> Bundles:
    """A bucket with an agent that knows shared inputs."""
    bundles = Bundles(MemoryStore())
    minute = timedelta(minutes=1)
    bundles.agents.publish(Presence("sys1", "2", "local", "host", 1, NOW, minute, input_blobs=True))
    return bundles


def give(laptop: Laptop, bundles: Bundles, dedup: str) -> None:
    text = laptop.config_file.read_text(encoding="utf-8")
    laptop.config_file.write_text(f"{text}dedup = {dedup}\n", encoding="utf-8")
    submission = Submission(laptop.home / "job.sh", inputs=(Input(laptop.home / "data", "data"),))
    submit(bundles, laptop.config, submission, now=NOW)


@pytest.mark.parametrize("dedup", ["auto", "never"])
def test_no_copy_of_the_inputs_is_on_the_disk(
    laptop: Laptop, bundles: Bundles, monkeypatch: pytest.MonkeyPatch, dedup: str
) -> None:
    (laptop.home / "data").write_bytes(os.urandom(LARGE))
    monkeypatch.setattr(tempfile, "tempdir", str(laptop.home / "nowhere"))
    give(laptop, bundles, dedup)
    (key,) = (e.key for e in bundles.store.list("") if e.key.endswith("/input.zip"))
    assert zipfile.ZipFile(io.BytesIO(bundles.store.read(key).data)).namelist() == ["data"]


@pytest.mark.parametrize("dedup", ["auto", "never"])
def test_a_job_whose_inputs_change_while_they_are_sent_is_not_submitted(
    laptop: Laptop, bundles: Bundles, monkeypatch: pytest.MonkeyPatch, dedup: str
) -> None:
    (laptop.home / "data").write_bytes(os.urandom(LARGE))
    blocks_again = archives._same_blocks

    def change(found: Sequence[Found], digests: Sequence[str]) -> Iterator[bytes]:
        (laptop.home / "data").write_bytes(os.urandom(LARGE))
        return blocks_again(found, digests)

    monkeypatch.setattr(archives, "_same_blocks", change)
    with pytest.raises(InputError, match="changed while it was being sent"):
        give(laptop, bundles, dedup)
    assert list(bundles.ids()) == []
    assert not any(entry.key.endswith("input.zip") for entry in bundles.store.list(""))
