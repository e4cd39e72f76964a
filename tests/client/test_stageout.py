"""What comes out of a bundle, and where it lands."""

from __future__ import annotations

import io
import os
import random
import stat
import zipfile
from pathlib import Path

import pytest

from cloudq.bundle import Bundles
from cloudq.client.jobs.selection import Patterns
from cloudq.client.results.stageout import stage_out
from cloudq.errors import ArchiveError, CloudQError, InputError
from cloudq.job import JobState
from cloudq.store.memory import MemoryStore
from tests.archives import pack
from tests.client.conftest import put_done_job, put_job


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "a1"


def put_output(bundles: Bundles, job_id: str = "a1", **files: bytes) -> None:
    """Store an `output.zip`; in names `__` stands for a dot, `_S_` for a slash."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name.replace("__", ".").replace("_S_", "/"), data)
    bundles.write(job_id, "output.zip", buffer.getvalue())


def found(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_outputs_are_unpacked_and_logs_stored_beside_them(bundles: Bundles, folder: Path) -> None:
    """Defect 54: output.zip stayed packed, and inputs were fetched again."""
    put_done_job(bundles)
    put_output(bundles, job__sh=b"#!/bin/sh", result=b"42", sub_S_x=b"x")
    for name in ("job.sh", "project", "resource", "input.zip", "stdout", "stderr", "cancel", "live/stdout/0"):
        bundles.write("a1", name, name.encode())
    stage_out(bundles, "a1", folder)
    assert found(folder) == {
        "job.sh": b"#!/bin/sh",
        "result": b"42",
        "sub/x": b"x",
        "stdout": b"stdout",
        "stderr": b"stderr",
    }


def test_logs_of_tasks_keep_their_names(bundles: Bundles, folder: Path) -> None:
    put_done_job(bundles)
    for name in ("stdout.1", "stdout.12", "stderr.1"):
        bundles.write("a1", name, name.encode())
    stage_out(bundles, "a1", folder)
    assert found(folder) == {name: name.encode() for name in ("stdout.1", "stdout.12", "stderr.1")}


def test_a_jobs_own_file_keeps_the_name_of_a_log(bundles: Bundles, folder: Path) -> None:
    put_done_job(bundles)
    put_output(bundles, stdout=b"the job's", stderr__3=b"the job's", stderr_S_=b"")
    for name in ("stdout", "stderr", "stderr.3"):
        bundles.write("a1", name, b"log")
    for _ in range(2):
        stage_out(bundles, "a1", folder)
        assert found(folder) == {
            "stdout": b"the job's",
            "stdout.log": b"log",
            "stderr.3": b"the job's",
            "stderr.log": b"log",
            "stderr.log.3": b"log",
        }


def test_a_log_is_never_written_through_a_link_of_the_job(
    bundles: Bundles, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "victim").write_text("untouched")
    (tmp_path / "work/stdout").symlink_to(tmp_path / "victim")
    pack(tmp_path / "work", tmp_path / "output.zip")
    bundles.upload("a1", "output.zip", tmp_path / "output.zip")
    bundles.write("a1", "stdout", b"log")
    for token in ("c", ""):
        put_done_job(bundles, claim_token=token)
        stage_out(bundles, "a1", folder)
        assert (tmp_path / "victim").read_text() == "untouched"


@pytest.mark.skipif(os.name != "posix", reason="modes of Unix")
def test_what_was_made_is_for_its_owner_only(bundles: Bundles, folder: Path) -> None:
    put_done_job(bundles)
    put_output(bundles, result=b"42")
    bundles.write("a1", "stdout", b"log")
    stage_out(bundles, "a1", folder)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (folder, folder / "stdout")}
    assert modes == {folder.name: 0o700, "stdout": 0o600}


def test_early_copies_of_logs_that_1_2_packs_are_replaced(bundles: Bundles, folder: Path) -> None:
    """Defect 18: output.zip of 1.2 has the logs as of the previous upload."""
    put_done_job(bundles, claim_token="")
    put_output(bundles, stdout=b"first", result=b"42")
    bundles.write("a1", "stdout", b"first and last")
    stage_out(bundles, "a1", folder)
    assert found(folder) == {"stdout": b"first and last", "result": b"42"}


@pytest.mark.parametrize("state", [JobState.ERROR, JobState.TIMEOUT, JobState.DELETED], ids=str)
def test_without_outputs_there_are_scripts_and_logs(bundles: Bundles, folder: Path, state: JobState) -> None:
    put_done_job(bundles, state=state, claim_token="")
    for name in ("job.sh", "job_local.sh", "stdout"):
        bundles.write("a1", name, name.encode())
    stage_out(bundles, "a1", folder)
    assert sorted(found(folder)) == ["job.sh", "job_local.sh", "stdout"]


def test_of_a_running_job_there_is_what_is_there(
    bundles: Bundles, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put_job(bundles, state=JobState.RUN)
    bundles.write("a1", "job.sh", b"#!/bin/sh")
    bundles.write("a1", "live/stdout/000000000000000", b"one")
    bundles.write("a1", "live/stdout/000000000000003", b"two")
    stage_out(bundles, "a1", folder)
    assert found(folder) == {"job.sh": b"#!/bin/sh", "stdout": b"onetwo"}
    assert caplog.messages == ["job a1: RUN, not ended; fetching what is there so far"]


def test_a_broken_manifest_is_no_hindrance(
    bundles: Bundles, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bundles.write("a1", "manifest.json", b"no JSON")
    bundles.write("a1", "stdout", b"log")
    stage_out(bundles, "a1", folder)
    assert found(folder) == {"stdout": b"log"}
    assert "no readable manifest" in caplog.text


def test_packed_outputs_stay_packed_if_that_is_wanted(bundles: Bundles, folder: Path) -> None:
    put_done_job(bundles)
    put_output(bundles, result=b"42")
    bundles.write("a1", "job.sh", b"")
    stage_out(bundles, "a1", folder, packed=True)
    assert sorted(found(folder)) == ["job.sh", "output.zip"]
    assert zipfile.ZipFile(folder / "output.zip").namelist() == ["result"]


def test_further_objects_keep_their_folders(bundles: Bundles, folder: Path) -> None:
    """Defect 53: keys were flattened and overwrote each other; a folder object stopped it."""
    put_done_job(bundles)
    put_output(bundles, same=b"of the job")
    for name in ("a/x", "b/x", "same"):
        bundles.write("a1", name, name.encode())
    bundles.write("a1", "", b"")
    bundles.write("a1", "a/", b"")
    stage_out(bundles, "a1", folder)
    assert found(folder) == {"a/x": b"a/x", "b/x": b"b/x", "same": b"of the job"}


def test_an_object_whose_name_leads_out_is_not_fetched(
    bundles: Bundles, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put_done_job(bundles)
    bundles.write("a1", "../evil", b"")
    bundles.write("a1", "good", b"")
    stage_out(bundles, "a1", folder)
    assert sorted(path.name for path in folder.parent.rglob("*")) == ["a1", "good"]
    assert "job a1: not fetched: ../evil: expected a name that stays inside the folder" in caplog.text


@pytest.mark.parametrize("name", ["a\x1b[2Jb", "..\\evil", "C:evil", "a\nb"], ids=repr)
def test_an_object_whose_name_acts_elsewhere_is_not_fetched(
    bundles: Bundles, folder: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    put_done_job(bundles)
    bundles.write("a1", name, b"")
    bundles.write("a1", "good", b"")
    stage_out(bundles, "a1", folder)
    assert sorted(path.name for path in folder.parent.rglob("*")) == ["a1", "good"]
    assert ": has control characters, a backslash or a drive letter" in caplog.text
    assert all(message.isprintable() for message in caplog.messages)


def test_a_log_in_whose_place_a_job_has_a_folder_is_stored_beside_it(bundles: Bundles, folder: Path) -> None:
    put_done_job(bundles)
    put_output(bundles, stdout_S_x=b"1", stdout__log_S_x=b"2")
    bundles.write("a1", "stdout", b"log")
    with pytest.raises(OSError, match="stdout.log"):
        stage_out(bundles, "a1", folder)


def test_an_archive_that_leads_out_is_refused_with_advice(bundles: Bundles, folder: Path) -> None:
    put_done_job(bundles)
    put_output(bundles, "a1", **{"../evil": b""})
    with pytest.raises(ArchiveError, match=r"^\.\./evil: ") as refused:
        stage_out(bundles, "a1", folder)
    assert refused.value.hint == "`cloudqcli stageout --zip` leaves output.zip packed"
    assert list(folder.iterdir()) == []
    assert not (folder.parent / "evil").exists()


def test_a_second_time_replaces_files_and_leaves_others(bundles: Bundles, folder: Path) -> None:
    put_done_job(bundles)
    put_output(bundles, result=b"42")
    folder.mkdir()
    (folder / "result").write_bytes(b"an old one")
    (folder / "mine").write_bytes(b"mine")
    stage_out(bundles, "a1", folder)
    stage_out(bundles, "a1", folder)
    assert found(folder) == {"result": b"42", "mine": b"mine"}


def test_a_file_in_place_of_the_folder_is_named(bundles: Bundles, folder: Path) -> None:
    put_done_job(bundles)
    folder.write_text("")
    with pytest.raises(InputError, match=f"^{folder}: exists, and is not a folder$"):
        stage_out(bundles, "a1", folder)


class CountingStore(MemoryStore):
    """A store that counts the bytes that are read from it."""

    bytes_read = 0

    def read_range(self, key: str, start: int, end: int) -> memoryview:
        data = super().read_range(key, start, end)
        self.bytes_read += len(data)
        return data

    def download(self, key: str, path: Path) -> None:
        super().download(key, path)
        self.bytes_read += path.stat().st_size


def store_with_outputs() -> tuple[CountingStore, Bundles, dict[str, bytes]]:
    """Store 40 files of 256 KiB that do not compress; return the store, its bundles and the files."""
    store = CountingStore()
    bundles = Bundles(store)
    put_done_job(bundles)
    files = {f"out_S_{i}__bin": random.Random(i).randbytes(1 << 18) for i in range(40)}
    put_output(bundles, "a1", **files)
    store.requests.clear()
    return store, bundles, {name.replace("__", ".").replace("_S_", "/"): files[name] for name in files}


def test_only_the_files_that_are_wanted_are_fetched(folder: Path) -> None:
    store, bundles, files = store_with_outputs()
    stage_out(bundles, "a1", folder, patterns=Patterns(["out/7.bin", "out/30.bin"]))
    assert found(folder) == {name: files[name] for name in ("out/7.bin", "out/30.bin")}
    # The manifest, the directory of the archive, and each file with its header.
    assert store.requests["GET"] == 4
    assert store.bytes_read <= 2 * (1 << 18) + 2 * (1 << 16)


def test_files_that_stand_side_by_side_are_fetched_together(folder: Path) -> None:
    store, bundles, files = store_with_outputs()
    stage_out(bundles, "a1", folder, patterns=Patterns(["out/[!1]*"]))
    assert found(folder) == {name: data for name, data in files.items() if not name.startswith("out/1")}
    # The manifest, the directory of the archive, 0, 2 to 9, 20 to 39.
    assert store.requests["GET"] == 5


def test_outputs_whose_directory_is_large_have_it_fetched_once(folder: Path) -> None:
    store = CountingStore()
    bundles = Bundles(store)
    put_done_job(bundles)
    put_output(bundles, "a1", **{f"file-{i:05}": b"x" * 200 for i in range(3000)})
    store.requests.clear()
    stage_out(bundles, "a1", folder, patterns=Patterns(["file-00001", "file-00002"]))
    assert sorted(found(folder)) == ["file-00001", "file-00002"]
    # The manifest, the end of the archive, its directory, and one block with both files.
    assert store.requests["GET"] == 4


def test_all_outputs_are_fetched_once_and_unpacked_without_a_copy_on_the_disk(folder: Path) -> None:
    store, bundles, files = store_with_outputs()
    size = bundles.entries("a1")["output.zip"].size
    store.requests.clear()
    stage_out(bundles, "a1", folder)
    assert found(folder) == files
    # The manifest, the directory of the archive with what is before it, and two parts of 8 MiB.
    assert store.requests["GET"] == 1 + 1 + 2
    assert store.bytes_read <= size + (1 << 16)


def test_a_pattern_that_nothing_matches_is_an_error_and_makes_no_folder(
    bundles: Bundles, folder: Path
) -> None:
    put_done_job(bundles)
    put_output(bundles, "a1", **{f"result/{i}.txt": b"" for i in range(6)})
    with pytest.raises(
        CloudQError, match=r"^job a1 has no file that matches 'result/\*\.csv' 'x'$"
    ) as refused:
        stage_out(bundles, "a1", folder, patterns=Patterns(["result/*.csv", "x"]))
    assert refused.value.hint == f"it has {', '.join(f'result/{i}.txt' for i in range(5))}, …"
    assert refused.value.exit_status == 1
    assert not folder.exists()


def test_a_pattern_for_a_job_without_any_files_is_an_error(bundles: Bundles, folder: Path) -> None:
    put_job(bundles)
    with pytest.raises(CloudQError, match=r"^job a1 has no file that matches 'x'$") as refused:
        stage_out(bundles, "a1", folder, patterns=Patterns(["x"]))
    assert refused.value.hint == "it has no files yet"


@pytest.mark.parametrize(("cut", "patterns"), [(10, ["x"]), (-10, ["out"]), (-4, ["out"])], ids=str)
def test_outputs_that_are_damaged_are_refused_by_name_when_read_in_part(
    bundles: Bundles, folder: Path, cut: int, patterns: list[str]
) -> None:
    put_done_job(bundles)
    put_output(bundles, out=b"x" * 1000)
    bundles.write("a1", "output.zip", bundles.read("a1", "output.zip")[:cut])
    with pytest.raises(ArchiveError, match=r"^output\.zip: damaged") as refused:
        stage_out(bundles, "a1", folder, patterns=Patterns(patterns))
    assert refused.value.hint == "`cloudqcli stageout --zip` leaves output.zip packed"


def test_a_file_in_the_bucket_is_read_like_one_on_disk(bundles: Bundles) -> None:
    data = random.Random(1).randbytes(200_000)
    bundles.write("a1", "x", data)
    file, same = bundles.open("a1", "x", size=len(data)), io.BytesIO(data)
    for offset, whence, size in (
        (5, 0, 10),
        (0, 1, 90_000),
        (-30, 2, 99),
        (70_000, 0, 1),
        (0, 1, -1),
        (9, 0, 0),
    ):
        assert file.seek(offset, whence) == same.seek(offset, whence)
        assert file.read(size) == same.read(size)
        assert file.tell() == same.tell()
    with pytest.raises(ValueError, match=r"^position -1 is before the beginning$"):
        file.seek(-1)
