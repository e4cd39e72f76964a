"""Archives of inputs: made while they are sent; what changes meanwhile is noticed."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from cloudq.archive import Found, Member, pack_blocks, survey
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
    """A folder with a small file, a large one, and then another small one."""
    folder = tmp_path / "data"
    (folder / "sub").mkdir(parents=True)
    (folder / "first").write_bytes(b"first")
    (folder / "large").write_bytes(os.urandom(LARGE))
    (folder / "sub/small").write_bytes(b"small")
    for path in (folder / "first", folder / "large", folder / "sub/small", folder / "sub", folder):
        os.utime(path, (10**9, 10**9))
    return folder


def packed(path: Path) -> InputArchive:
    return pack([look_through(Input(path, "d"))], SHA256)


def made(archive: InputArchive, meanwhile: Callable[[], object] = lambda: None) -> bytes:
    """Return the bytes of an archive, and do something when the first half of them is there."""
    running = RunningDigest(SHA256)
    blocks = archive.blocks(running)
    data = bytearray()
    while len(data) < archive.size // 2:
        data += next(blocks)
    meanwhile()
    for block in blocks:
        data += block
    assert running.digest() == hashlib.sha256(data).hexdigest()
    return bytes(data)


def read(archive: bytes, name: str) -> bytes:
    with zipfile.ZipFile(io.BytesIO(archive)) as zip_file:
        assert zip_file.testzip() is None
        return zip_file.read(name)


@pytest.mark.parametrize("name", ["", "sub"], ids=["large", "small"])
def test_an_archive_is_the_same_each_time(data: Path, name: str) -> None:
    archive = packed(data / name)
    for _ in range(2):
        found = made(archive)
        assert archive.sum_up() == (hashlib.sha256(found).hexdigest(), len(found))
    names = zipfile.ZipFile(io.BytesIO(found)).namelist()
    assert archive.files == sum(not name.endswith("/") for name in names)
    assert names[0] == "d/"


def test_what_is_small_is_sent_as_it_was(data: Path) -> None:
    archive = packed(data / "sub")
    (data / "sub/small").unlink()
    assert hashlib.sha256(made(archive)).hexdigest() == archive.digest


def test_of_a_file_that_grows_what_was_there_is_sent(data: Path) -> None:
    archive = packed(data)
    before = made(archive)

    def grow() -> None:
        with (data / "large").open("ab") as file:
            file.write(b"more")

    assert made(archive, grow) == before


def test_a_file_that_is_only_touched_or_given_other_rights_is_as_it_was(data: Path) -> None:
    archive = packed(data)
    before = made(archive)

    def touch() -> None:
        (data / "first").touch()
        (data / "large").chmod(0o600)

    assert made(archive, touch) == before


def test_a_file_that_grows_before_its_turn_is_packed_as_it_is_then(data: Path) -> None:
    def grow() -> None:
        with (data / "sub/small").open("ab") as file:
            file.write(b" and more")

    assert read(made(packed(data), grow), "d/sub/small") == b"small and more"


def test_what_comes_to_a_folder_meanwhile_is_not_in_the_archive(data: Path) -> None:
    archive = packed(data)
    before = made(archive)
    assert made(archive, lambda: os.mkfifo(data / "sub/pipe")) == before


def truncate(path: Path) -> None:
    """Begin to write a file anew."""
    with path.open("r+b") as file:
        file.truncate(1)


def replace(path: Path) -> None:
    """Put a longer file in the place of another one, as editors do."""
    path.with_suffix(".new").write_bytes(b"another, longer file")
    path.with_suffix(".new").replace(path)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(truncate, id="truncated"),
        pytest.param(replace, id="replaced"),
        pytest.param(Path.unlink, id="removed"),
        pytest.param(lambda path: path.rename(path.parent.parent / "first2"), id="moved"),
        pytest.param(lambda path: path.write_bytes(b"other"), id="rewritten"),
    ],
)
@pytest.mark.parametrize("name", ["first", "sub/small"], ids=["packed", "not yet packed"])
def test_a_file_that_changes_in_another_way_than_to_grow_is_named(
    data: Path, change: Callable[[Path], object], name: str
) -> None:
    with pytest.raises(InputError, match=f"^--input: changed while it was being read: d/{name}$") as refused:
        made(packed(data), lambda: change(data / name))
    assert refused.value.hint == "submit again when nobody writes to it, or submit a copy"


def test_a_file_that_is_cut_when_its_turn_comes_and_whole_at_the_end_is_not_the_same(data: Path) -> None:
    whole = (data / "sub/small").read_bytes()
    running = RunningDigest(SHA256)
    blocks = packed(data).blocks(running)
    next(blocks)
    truncate(data / "sub/small")

    def write_whole(_: bytes) -> None:
        (data / "sub/small").write_bytes(whole)

    with pytest.raises(InputError, match="changed while it was being read: d/sub/small"):
        list(map(write_whole, blocks))


def test_a_file_that_cannot_be_opened_when_its_turn_comes_ends_it(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, opened = packed(data), os.open

    def refusing(path: Path, flags: int, *rest: int) -> int:
        if path in (data / "large", data / "sub/small"):
            raise PermissionError(13, "Permission denied")
        return opened(path, flags, *rest)

    monkeypatch.setattr(os, "open", refusing)
    with pytest.raises(
        InputError, match=r"^--input: cannot be sent: d/large: Permission denied \(and 1 more\)$"
    ):
        archive.sum_up()


def test_of_several_the_file_that_did_not_only_grow_is_named(data: Path) -> None:
    def change() -> None:
        with (data / "large").open("ab") as file:
            file.write(b"it only grows, which is fine")
        (data / "first").write_bytes(b"other")

    with pytest.raises(InputError, match="^--input: changed while it was being read: d/first$"):
        made(packed(data), change)


def test_a_longer_file_with_another_beginning_has_not_grown(data: Path) -> None:
    def change() -> None:
        (data / "first").write_bytes(b"not first")

    with pytest.raises(InputError, match="^--input: changed while it was being read: d/first$"):
        made(packed(data), change)


def test_a_change_that_size_and_time_do_not_show_is_noticed(data: Path) -> None:
    def change() -> None:
        (data / "first").write_bytes(b"other")
        os.utime(data / "first", (10**9, 10**9))

    with pytest.raises(InputError, match="^--input: changed while it was being read: d/first$"):
        made(packed(data), change)


def test_a_record_that_changes_with_its_own_sum_is_noticed(data: Path) -> None:
    """CRC-32 stays the same then."""

    def write_record() -> None:
        noise = os.urandom(65_000)
        with (data / "large").open("r+b") as file:
            file.write(noise + zlib.crc32(noise).to_bytes(4, "little"))

    write_record()
    with pytest.raises(InputError, match="changed while it was being read: d/large"):
        made(packed(data), write_record)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda folder: (folder / "first").rename(folder / "other"), id="name"),
        pytest.param(lambda folder: (folder / "first").write_bytes(b"longer"), id="size"),
        pytest.param(lambda folder: os.utime(folder / "first", (10**9 + 1,) * 2), id="time"),
        pytest.param(lambda folder: (folder / "first").chmod(0o700), id="rights"),
        pytest.param(lambda folder: (folder / "new").mkdir(), id="an empty folder"),
    ],
)
def test_the_fingerprint_is_that_of_all_that_an_archive_tells_of_files(
    data: Path, tmp_path: Path, change: Callable[[Path], object]
) -> None:
    shutil.copytree(data, tmp_path / "copy")
    first, copy = packed(data), packed(tmp_path / "copy")
    assert (first.fingerprint, first.sum_up()) == (copy.fingerprint, copy.sum_up())
    change(tmp_path / "copy")
    assert packed(tmp_path / "copy").fingerprint != first.fingerprint


def test_the_bytes_that_a_file_system_needs_for_a_folder_do_not_count(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def elsewhere(members: Iterable[Member], left_out: list[str]) -> Iterator[Found]:
        for found in survey(members, left_out):
            yield found._replace(size=found.size + 100) if found.is_folder else found

    here = packed(data)
    monkeypatch.setattr(archives, "survey", elsewhere)
    there = packed(data)
    assert (there.fingerprint, there.size, there.sum_up()) == (here.fingerprint, here.size, here.sum_up())


def test_a_file_that_cannot_be_read_is_named_before_anything_is_sent(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, _: path != data / "sub/small")  # root may read all
    with pytest.raises(InputError, match="^--input: cannot be sent: d/sub/small: Permission denied$"):
        look_through(Input(data, "d"))


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
    read_twice = [b"".join(archive.blocks(RunningDigest(SHA256))) for _ in range(2)]
    assert read_twice == [b"x" * 3_000_000] * 2


@pytest.fixture
def bundles() -> Bundles:
    """A bucket with an agent that knows shared inputs."""
    bundles = Bundles(MemoryStore())
    minute = timedelta(minutes=1)
    bundles.agents.publish(Presence("sys1", "2", "local", "host", 1, NOW, minute, shared_inputs=(SHA256,)))
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

    def change(found: Iterable[Found], left_out: list[str]) -> Iterator[bytes]:
        yield from pack_blocks(found, left_out)
        (laptop.home / "data").write_bytes(os.urandom(LARGE))

    monkeypatch.setattr(archives, "pack_blocks", change)
    with pytest.raises(InputError, match="changed while it was being read"):
        give(laptop, bundles, dedup)
    assert list(bundles.ids()) == []
    assert not any(entry.key.endswith("input.zip") for entry in bundles.store.list(""))
