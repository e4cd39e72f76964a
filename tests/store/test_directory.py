"""What only the store in a directory does: names, modes, processes, and trouble with the file system."""

from __future__ import annotations

import multiprocessing
import os
import threading
from pathlib import Path

import pytest

from cloudq.errors import ConfigError, ConflictError, NotFoundError, StoreRefusedError
from cloudq.store import StoreAddress, open_store
from cloudq.store.directory import DirectoryStore
from cloudq.store.file_names import OWN, folder_names, object_names

PROCESSES = 2
INCREMENTS = 50
MEBIBYTE = 1024 * 1024


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path, "jobs")


def files_of(folder: Path) -> list[str]:
    """All files and folders below, without the store's own."""
    found = (str(path.relative_to(folder)) for path in folder.rglob("*"))
    return sorted(name for name in found if OWN not in name)


# Addresses


def test_a_file_url_opens_a_directory(tmp_path: Path) -> None:
    folder = tmp_path / "a blank"
    folder.mkdir()
    store = open_store(StoreAddress(folder.as_uri(), "jobs"))
    store.write("a", b"1")
    assert files_of(folder) == ["jobs", "jobs/a%"]
    assert store.url == f"{tmp_path.as_uri()}/a%20blank/jobs"


@pytest.mark.parametrize("endpoint", ["file://host/path", "file://relative", "file:relative", "file://"])
def test_a_file_url_needs_an_absolute_path(endpoint: str) -> None:
    with pytest.raises(ConfigError, match="cloudq_endpoint_url: expected "):
        open_store(StoreAddress(endpoint, "jobs"))


@pytest.mark.parametrize("bucket", ["", ".", "..", "a/b"])
def test_a_bucket_is_one_plain_folder(tmp_path: Path, bucket: str) -> None:
    with pytest.raises(ConfigError, match="cloudq_bucket: expected a plain name"):
        DirectoryStore(tmp_path, bucket)


def test_a_missing_directory_is_not_a_missing_object(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "unmounted", "jobs")
    for attempt in (
        lambda: store.read("a"),
        lambda: store.stat("a"),
        lambda: store.write("a", b""),
        lambda: store.create("a", b""),
        lambda: store.replace("a", b"", etag=""),
        lambda: list(store.list("")),
        lambda: list(store.list_folders("")),
        lambda: store.delete(["a"]),
    ):
        with pytest.raises(StoreRefusedError, match="no such directory: .*/unmounted$") as caught:
            attempt()
        assert caught.value.hint.startswith("make it, or mount")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_bucket_is_empty_until_the_first_write(tmp_path: Path, store: DirectoryStore) -> None:
    assert list(store.list("")) == []
    with pytest.raises(NotFoundError):
        store.read("a")
    store.delete(["a"])
    assert list(tmp_path.iterdir()) == []


# Names


@pytest.mark.parametrize(
    ("key", "names"),
    [
        pytest.param("a", ("a%",), id="plain"),
        pytest.param("a/b", ("a", "b%"), id="folder"),
        pytest.param("a b/c+d%", ("a%20b", "c%2Bd%25%"), id="escapes"),
        pytest.param("é", ("%C3%A9%",), id="UTF-8"),
        pytest.param("...", ("...%",), id="dots"),
        pytest.param("x" * 199, ("x" * 199 + "%",), id="just short"),
        pytest.param("x" * 200, ("x" * 200 + "%+", "+%"), id="just long"),
        pytest.param("x" * 200 + "../y", ("x" * 200 + "%+", "+..", "y%"), id="rest of dots"),
        pytest.param(
            "x" * 450, ("x" * 200 + "%+", "+" + "x" * 200 + "%+", "+" + "x" * 50 + "%"), id="very long"
        ),
    ],
)
def test_keys_become_file_names(key: str, names: tuple[str, ...]) -> None:
    assert object_names(key) == names


def test_prefixes_become_folder_names() -> None:
    assert folder_names("") == ()
    assert folder_names("a/b c/") == ("a", "b%20c")


@pytest.mark.parametrize(
    "key",
    ["", "/", "/etc/passwd", "a/", "a//b", "..", "../a", "a/../b", "a/..", ".", "a/./b", "nul\0", "\udc80"],
)
def test_keys_that_lead_elsewhere_are_refused(tmp_path: Path, store: DirectoryStore, key: str) -> None:
    for attempt in (
        lambda: store.read(key),
        lambda: store.write(key, b""),
        lambda: store.create(key, b""),
        lambda: store.delete([key]),
        lambda: store.upload(Path(__file__), key),
    ):
        with pytest.raises(StoreRefusedError, match="^key .*: "):
            attempt()
    assert list(tmp_path.iterdir()) == []


def test_prefixes_that_lead_elsewhere_are_refused(tmp_path: Path) -> None:
    (tmp_path / "secret%").write_text("")
    store = DirectoryStore(tmp_path, "jobs")
    for prefix in ("../", "/", "a/../../"):
        with pytest.raises(StoreRefusedError, match="^key "):
            list(store.list(prefix))
        with pytest.raises(StoreRefusedError, match="^key "):
            list(store.list_folders(prefix))


def test_long_names_are_kept_and_in_order(store: DirectoryStore) -> None:
    long = "x" * 200
    keys = [long[:-1], long, long + "-", long + "/a", long + "/" + long + "é" * 100, long + "0", long + "0/a"]
    for key in keys:
        store.write(key, key.encode())
    assert [entry.key for entry in store.list("")] == keys
    assert [entry.key for entry in store.list(long + "0")] == keys[-2:]
    assert [entry.key for entry in store.list("", after=long + "-")] == keys[3:]
    assert list(store.list_folders("")) == [long, long + "0"]
    assert store.read(keys[4]).data == keys[4].encode()
    store.delete(keys)
    assert files_of(Path(store.url.removeprefix("file://"))) == []


def test_foreign_files_are_not_objects(tmp_path: Path, store: DirectoryStore) -> None:
    store.write("a/b", b"")
    (tmp_path / "jobs" / ".DS_Store").write_text("")
    (tmp_path / "jobs" / "a" / ".nfs0001").write_text("")
    assert [entry.key for entry in store.list("")] == ["a/b"]


# Modes and leftovers


def test_files_and_folders_are_private(tmp_path: Path, store: DirectoryStore) -> None:
    store.write("a/b/c", b"")
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "jobs").rglob("*")}
    assert modes == {"a": 0o700, "b": 0o700, "c%": 0o600, ".%lock": 0o600}
    assert (tmp_path / "jobs").stat().st_mode & 0o777 == 0o700


def test_nothing_is_left_of_a_lost_write(tmp_path: Path, store: DirectoryStore) -> None:
    store.create("a/b", b"1")
    with pytest.raises(ConflictError):
        store.create("a/b", b"2")
    with pytest.raises(ConflictError):
        store.replace("c/d", b"2", etag="")
    assert files_of(tmp_path / "jobs") == ["a", "a/b%"]
    assert list((tmp_path / "jobs" / "a").glob(".*")) == []


def test_deleting_removes_empty_folders(tmp_path: Path, store: DirectoryStore) -> None:
    store.write("a/b/c", b"")
    store.write("a/d", b"")
    store.delete(["a/b/c"])
    assert files_of(tmp_path / "jobs") == ["a", "a/d%"]
    store.delete(["a/d"])
    assert files_of(tmp_path / "jobs") == []


def test_etags_of_big_files_change_with_them(store: DirectoryStore, tmp_path: Path) -> None:
    file = tmp_path / "big"
    file.write_bytes(bytes(9 * MEBIBYTE))
    first = store.upload(file, "big")
    assert store.read("big").etag == first.etag
    file.write_bytes(bytes(9 * MEBIBYTE) + b"1")
    assert store.upload(file, "big").etag != first.etag


# Trouble


def test_what_the_file_system_refuses_is_said_in_one_line(store: DirectoryStore) -> None:
    with pytest.raises(StoreRefusedError, match="/jobs: cannot write '.*': File name too long$") as caught:
        store.write("folder/" * 1000 + "a", b"")
    assert "\n" not in str(caught.value)
    assert caught.value.hint == "choose a shorter name"


def test_a_file_in_the_way_is_refused(tmp_path: Path, store: DirectoryStore) -> None:
    (tmp_path / "jobs").write_text("a file")
    with pytest.raises(StoreRefusedError, match="cannot write 'a': Not a directory$"):
        store.write("a", b"")


# Races


def test_creations_and_deletions_of_folders_do_not_disturb_each_other(store: DirectoryStore) -> None:
    ended = threading.Event()

    def make_and_delete() -> None:
        while not ended.is_set():
            store.write("a/b/c/short", b"")
            store.delete(["a/b/c/short"])

    thread = threading.Thread(target=make_and_delete)
    thread.start()
    try:
        for number in range(200):
            store.create(f"a/b/c/{number}", b"")
            store.delete([f"a/b/c/{number}"])
    finally:
        ended.set()
        thread.join()
    assert [entry.key for entry in store.list("")] == []


def count_up(folder: Path) -> None:
    """Add one to a number many times, each time on condition that nobody else did."""
    store = DirectoryStore(folder, "jobs")
    for _ in range(INCREMENTS):
        while True:
            blob = store.read("number")
            number, _, _ = blob.data.partition(b" ")
            data = b"%d %s" % (int(number) + 1, os.urandom(8).hex().encode())
            try:
                store.replace("number", data, etag=blob.etag)
            except ConflictError:
                continue
            break


def create_all(folder: Path, name: str) -> None:
    """Create as many objects as possible."""
    store = DirectoryStore(folder, "jobs")
    for number in range(INCREMENTS):
        try:
            store.create(f"claims/{number}", name.encode())
        except ConflictError:
            continue
        store.write(f"won/{name}/{number}", b"")


def run_processes(calls: list[tuple[object, ...]]) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=call[0], args=call[1:]) for call in calls]  # type: ignore[arg-type]
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
    assert [process.exitcode for process in processes] == [0] * len(processes)


def test_no_replacement_of_racing_processes_is_lost(tmp_path: Path, store: DirectoryStore) -> None:
    store.create("number", b"0")
    run_processes([(count_up, tmp_path)] * PROCESSES)
    assert store.read("number").data.split()[0] == b"%d" % (PROCESSES * INCREMENTS)


def test_of_creations_by_racing_processes_exactly_one_wins(tmp_path: Path, store: DirectoryStore) -> None:
    run_processes([(create_all, tmp_path, name) for name in ("one", "two")])
    won = [entry.key.split("/")[1:] for entry in store.list("won/")]
    assert sorted(number for _, number in won) == sorted(map(str, range(INCREMENTS)))
    assert all(store.read(f"claims/{number}").data == name.encode() for name, number in won)
