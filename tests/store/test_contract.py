"""What every store must do."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Callable, Optional
from unittest.mock import Mock
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from cloudq.errors import ConflictError, NotFoundError, StoreRefusedError, TooLargeError
from cloudq.store import Store, StoreAddress
from cloudq.store.directory import DirectoryStore
from cloudq.store.memory import MemoryStore
from cloudq.store.plain_http import PlainHttp
from cloudq.store.s3 import S3Store
from tests.store.conftest import KINDS, OpenStore

RACERS = 16
ROUNDS = 5
CROWD = 1050
Tolerate = Callable[[str, str], None]
ODD_KEYS = (
    "a blank.sh",
    "umlaut ä ö/日本語/\U0001f600",
    "plus+and%2Bpercent%",
    "a&b=c;d?e#f",
    "quotes \"double\" 'single' <tag>",
    "back\\slash",
    "tab\tinside",
    "~tilde!(*)@,:$",
    "ends.with.dots...",
    "..hidden/.hidden/...",
    "n" * 150 + "/" + "é" * 20,
)


def write_all(store: Store, keys: Sequence[str]) -> None:
    """Write empty objects one after the other.

    SeaweedFS 4.48 sometimes loses "a" or "a/b" when both are written at once. CloudQ has no key
    that is the folder of another.
    """
    for key in keys:
        store.write(key, b"")


def write_crowd(store: Store, keys: Sequence[str]) -> None:
    with ThreadPoolExecutor(RACERS) as pool:
        list(pool.map(lambda key: store.write(key, b""), keys))


def keys_of(store: Store, prefix: str = "", after: str = "") -> list[str]:
    return [entry.key for entry in store.list(prefix, after=after)]


def race(attempt: Callable[[bytes], str]) -> list[bytes]:
    """Let all racers write their own bytes at the same time; return those of the winners."""
    barrier = threading.Barrier(RACERS)

    def run(number: int) -> Optional[bytes]:
        data = f"racer {number} {os.urandom(4).hex()}".encode()
        barrier.wait()
        try:
            attempt(data)
        except ConflictError:
            return None
        return data

    with ThreadPoolExecutor(RACERS) as pool:
        return [data for data in pool.map(run, range(RACERS)) if data is not None]


def test_what_is_written_can_be_read(store: Store) -> None:
    etag = store.write("a/b", b"bytes \0\xff")
    blob = store.read("a/b")
    assert (blob.data, blob.etag) == (b"bytes \0\xff", etag)


def test_writing_again_replaces(store: Store) -> None:
    store.write("a", b"old")
    store.write("a", b"new")
    assert store.read("a").data == b"new"


def test_etags_are_bare_md5_and_the_same_everywhere(store: Store) -> None:
    etag = store.write("a", b"text")
    expected = hashlib.md5(b"text").hexdigest()
    listed = next(iter(store.list("a")))
    assert [etag, store.read("a").etag, store.stat("a").etag, listed.etag] == [expected] * 4


def test_stat_tells_size_and_time(store: Store) -> None:
    store.write("a", b"12345")
    entry = store.stat("a")
    assert (entry.key, entry.size) == ("a", 5)
    assert abs(entry.modified - datetime.now(timezone.utc)) < timedelta(minutes=2)


def test_a_listing_tells_what_stat_tells(store: Store) -> None:
    store.write("a", b"12345")
    (listed,) = store.list("")
    entry = store.stat("a")
    assert (listed.key, listed.size, listed.etag) == (entry.key, entry.size, entry.etag)
    assert abs(listed.modified - entry.modified) < timedelta(seconds=1)


def test_empty_objects_are_objects(store: Store) -> None:
    etag = store.create("empty", b"")
    assert store.read("empty").data == b""
    assert store.stat("empty").size == 0
    assert keys_of(store) == ["empty"]
    store.replace("empty", b"full", etag=etag)
    assert store.read("empty").data == b"full"


@pytest.mark.parametrize("verb", ["read", "stat", "read_range", "read_blocks", "download"])
def test_a_missing_object_is_not_found(store: Store, verb: str, tmp_path: Path) -> None:
    store.write("folder/a", b"")
    calls: dict[str, Callable[[str], object]] = {
        "read": store.read,
        "stat": store.stat,
        "read_range": lambda key: store.read_range(key, 0, 10),
        "read_blocks": lambda key: list(store.read_blocks(key, 0, 10)),
        "download": lambda key: store.download(key, tmp_path / "file"),
    }
    for key in ("missing", "folder", "folder/a/b"):
        with pytest.raises(NotFoundError, match=f"no such object: {key}$"):
            calls[verb](key)


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        pytest.param(0, 4, b"0123", id="beginning"),
        pytest.param(3, 5, b"34", id="middle"),
        pytest.param(8, 100, b"89", id="over the end"),
        pytest.param(10, 20, b"", id="at the end"),
        pytest.param(50, 60, b"", id="beyond the end"),
        pytest.param(4, 4, b"", id="nothing"),
        pytest.param(0, 10, b"0123456789", id="all"),
    ],
)
def test_a_range_can_be_read(store: Store, start: int, end: int, expected: bytes) -> None:
    store.write("a", b"0123456789")
    assert bytes(store.read_range("a", start, end)) == expected
    assert b"".join(map(bytes, store.read_blocks("a", start, end))) == expected


def test_a_range_of_an_empty_object_is_empty(store: Store) -> None:
    store.write("a", b"")
    assert bytes(store.read_range("a", 0, 10)) == b""
    assert b"".join(map(bytes, store.read_blocks("a", 0, 10))) == b""


def test_an_empty_range_of_a_missing_object_is_not_found(store: Store) -> None:
    with pytest.raises(NotFoundError):
        store.read_range("a", 3, 3)
    with pytest.raises(NotFoundError):
        list(store.read_blocks("a", 3, 3))


def test_a_large_range_comes_in_blocks(store: Store, kind: str) -> None:
    data = os.urandom(11_000_000)
    store.write("a", data)
    blocks = list(map(bytes, store.read_blocks("a", 7, 10_999_999)))
    assert b"".join(blocks) == data[7:10_999_999]
    assert len(blocks) > 1 or "obstore" not in kind


def test_a_large_range_is_read_from_the_socket(
    store: Store, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a signed URL, and not by obstore, which would answer as well."""
    if "obstore" not in kind:
        pytest.skip("the other stores read in one way only")
    monkeypatch.setattr("cloudq.store.obstore_reading.ObstoreReading._part", Mock(side_effect=AssertionError))
    data = os.urandom(3_000_000)
    for key in ("a", "a b/ü+%", "-._~!'()*"):
        store.write(key, data)
        assert b"".join(map(bytes, store.read_blocks(key, 7, 9_999_999))) == data[7:]


def test_a_large_range_comes_by_obstore_as_well(
    store: Store, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As over TLS, or from behind a proxy: by several requests."""
    if "obstore" not in kind:
        pytest.skip("the other stores read in one way only")
    monkeypatch.setattr(PlainHttp, "blocks", Mock(side_effect=ConnectionRefusedError))
    data = os.urandom(19_000_000)
    store.write("a", data)
    for start, end, expected in ((7, 18_999_999, data[7:18_999_999]), (8, 99_000_000, data[8:])):
        assert b"".join(map(bytes, store.read_blocks("a", start, end))) == expected
    with pytest.raises(NotFoundError):
        list(store.read_blocks("b", 0, 19_000_000))


# Conditional writes


def test_create_makes_a_new_object(store: Store) -> None:
    etag = store.create("a", b"first")
    assert store.read("a").data == b"first"
    assert store.read("a").etag == etag


def test_create_does_not_touch_what_exists(store: Store) -> None:
    store.create("a", b"first")
    with pytest.raises(ConflictError, match="changed by somebody else: a$"):
        store.create("a", b"second")
    assert store.read("a").data == b"first"


def test_creating_our_own_bytes_again_succeeds(store: Store) -> None:
    etag = store.create("a", b"ours")
    assert store.create("a", b"ours") == etag


def test_a_deleted_object_can_be_created_again(store: Store) -> None:
    store.create("a", b"first")
    store.delete(["a"])
    store.create("a", b"second")
    assert store.read("a").data == b"second"


def test_replace_replaces_what_was_read(store: Store) -> None:
    etag = store.write("a", b"1")
    etag = store.replace("a", b"2", etag=etag)
    etag = store.replace("a", b"3", etag=etag)
    blob = store.read("a")
    assert (blob.data, blob.etag) == (b"3", etag)


def test_replace_does_not_touch_what_was_changed(store: Store) -> None:
    stale = store.write("a", b"1")
    store.write("a", b"2")
    with pytest.raises(ConflictError, match="changed by somebody else: a$"):
        store.replace("a", b"3", etag=stale)
    assert store.read("a").data == b"2"


def test_replacing_by_our_own_bytes_again_succeeds(store: Store) -> None:
    stale = store.write("a", b"1")
    etag = store.replace("a", b"2", etag=stale)
    assert store.replace("a", b"2", etag=stale) == etag


def test_replace_does_not_bring_back_what_is_gone(store: Store) -> None:
    etag = store.write("a", b"1")
    store.delete(["a"])
    with pytest.raises(ConflictError):
        store.replace("a", b"2", etag=etag)
    assert keys_of(store) == []


def test_of_racing_creations_exactly_one_wins(store: Store) -> None:
    for number in range(ROUNDS):
        key = f"race/{number}"
        winners = race(lambda data, key=key: store.create(key, data))  # type: ignore[misc]
        assert winners == [store.read(key).data]


def test_of_racing_replacements_exactly_one_wins(store: Store) -> None:
    etag = store.create("race", b"start")
    for _ in range(ROUNDS):
        winners = race(lambda data, etag=etag: store.replace("race", data, etag=etag))  # type: ignore[misc]
        blob = store.read("race")
        assert winners == [blob.data]
        etag = blob.etag


# Listings


def test_a_prefix_is_a_text_and_not_a_folder(store: Store) -> None:
    write_all(store, ["ab", "ab/c", "abc/d", "b/ab"])
    assert keys_of(store, "ab") == ["ab", "ab/c", "abc/d"]
    assert keys_of(store, "ab/") == ["ab/c"]
    assert keys_of(store, "abc") == ["abc/d"]
    assert keys_of(store, "abcd") == []


def test_a_key_may_be_the_beginning_of_others(store: Store) -> None:
    write_all(store, ["a", "a/b", "a/b/c"])
    assert keys_of(store) == ["a", "a/b", "a/b/c"]
    store.delete(["a/b"])
    assert keys_of(store) == ["a", "a/b/c"]


def test_a_listing_can_begin_after_a_key(store: Store) -> None:
    write_all(store, ["a/1", "a/2", "a/3", "b/1"])
    assert keys_of(store, "a/", after="a/1") == ["a/2", "a/3"]
    assert keys_of(store, "", after="a/2") == ["a/3", "b/1"]
    assert keys_of(store, "", after="a/20") == ["a/3", "b/1"]
    assert keys_of(store, "", after="a/\U0010ffff") == ["b/1"]
    assert keys_of(store, "a/", after="b") == []


def test_the_order_is_that_of_the_bytes(store: Store, tolerate: Tolerate) -> None:
    tolerate("seaweedfs", "lists folder by folder: a/b before a-b (4.48)")
    keys = [
        "A",
        "a",
        "a b",
        "a+b",
        "a-b",
        "a.b",
        "a/b",
        "a/b/c",
        "a0",
        "aé",
        "b",
        "z/é",
        "ä",
        "日",
        "\U0001f600",
    ]
    write_all(store, keys)
    assert keys_of(store) == keys


def test_folders_are_the_next_parts(store: Store) -> None:
    write_all(store, ["a", "b/1", "b/2", "b/c/d", "be/1"])
    assert list(store.list_folders("")) == ["b", "be"]
    assert list(store.list_folders("b/")) == ["c"]
    assert list(store.list_folders("b/c/")) == []
    assert list(store.list_folders("missing/")) == []


def test_a_folder_vanishes_with_its_last_object(store: Store, tolerate: Tolerate) -> None:
    tolerate("seaweedfs", "keeps empty folders (4.48)")
    write_all(store, ["a/b/c", "d/e"])
    store.delete(["a/b/c"])
    assert list(store.list_folders("")) == ["d"]


@pytest.mark.parametrize("key", ODD_KEYS, ids=range(len(ODD_KEYS)))
def test_odd_keys_are_kept(store: Store, tolerate: Tolerate, key: str) -> None:
    if "\\" in key:
        tolerate("seaweedfs", "takes a backslash for a slash (4.48)")
    etag = store.create(key, b"1")
    store.replace(key, b"2", etag=etag)
    assert store.read(key).data == b"2"
    assert bytes(store.read_range(key, 0, 1)) == b"2"
    assert keys_of(store) == [key]
    assert keys_of(store, key) == [key]
    assert keys_of(store, key[:-1]) == [key]
    assert list(store.list_folders("")) == [key.split("/")[0]] * ("/" in key)
    store.delete([key])
    assert keys_of(store) == []


@pytest.fixture(scope="module", params=KINDS)
def crowd(request: pytest.FixtureRequest, open_kind: OpenStore) -> Store:
    """A store with more objects and folders than a page holds; not to be changed."""
    store = open_kind(request.param)
    write_crowd(store, [f"{number:04}/x" for number in reversed(range(CROWD))])
    return store


def test_listings_do_not_end_with_the_first_page(crowd: Store) -> None:
    assert keys_of(crowd) == [f"{number:04}/x" for number in range(CROWD)]


def test_listings_after_a_key_do_not_end_with_the_first_page(crowd: Store) -> None:
    assert keys_of(crowd, after="0049/x") == [f"{number:04}/x" for number in range(50, CROWD)]


def test_folders_do_not_end_with_the_first_page(crowd: Store) -> None:
    assert list(crowd.list_folders("")) == [f"{number:04}" for number in range(CROWD)]


# Deletions


def test_exactly_the_named_objects_are_deleted(store: Store) -> None:
    write_all(store, ["agent/abci", "agent/abci2", "agent/abci/x", "agent/abc"])
    store.delete(["agent/abci"])
    assert keys_of(store) == ["agent/abc", "agent/abci/x", "agent/abci2"]


def test_deleting_nothing_is_no_error(store: Store) -> None:
    store.write("a", b"")
    store.delete([])
    store.delete(["missing"])
    store.delete(["missing", "b/missing", "a/b"])
    assert keys_of(store) == ["a"]


def test_more_keys_than_one_request_takes_can_be_deleted(store: Store) -> None:
    keys = [f"many/{number}" for number in range(1001)]
    write_all(store, [keys[0], keys[998], keys[999], keys[1000], "other"])
    store.delete(iter(keys))
    assert keys_of(store) == ["other"]


def test_objects_can_be_deleted_while_they_are_listed(store: Store) -> None:
    write_all(store, [f"a/{number}" for number in range(20)])
    store.delete(entry.key for entry in store.list("a/"))
    assert keys_of(store) == []


# Files


@pytest.mark.parametrize("size", [0, 1, 20 * 1024 * 1024], ids=["empty", "small", "20 MiB"])
def test_files_come_back_as_they_went(store: Store, tmp_path: Path, size: int) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(size))
    entry = store.upload(source, "a/file")
    store.download("a/file", target)
    assert target.read_bytes() == source.read_bytes()
    stored = store.stat("a/file")
    assert (entry.key, entry.size, entry.etag) == ("a/file", size, stored.etag)
    assert abs(entry.modified - stored.modified) < timedelta(minutes=2)


@pytest.mark.parametrize("number", [0, 1, 20], ids=["nothing", "one block", "20 MiB"])
def test_blocks_come_back_as_they_went(store: Store, tmp_path: Path, number: int) -> None:
    blocks = [os.urandom(1024 * 1024 + i) for i in range(number)]
    entry = store.upload_blocks(iter(blocks), "a/blocks", expected=number)
    store.download("a/blocks", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"".join(blocks)
    assert (entry.key, entry.size, entry.etag) == (
        "a/blocks",
        sum(map(len, blocks)),
        store.stat("a/blocks").etag,
    )


@pytest.mark.parametrize("number", [0, 20], ids=["at once", "after 20 MiB"])
def test_blocks_that_break_off_change_nothing(store: Store, number: int) -> None:
    def blocks() -> Iterator[bytes]:
        for _ in range(number):
            yield bytes(1024 * 1024)
        raise OSError(5, "the disk fails", "source")

    store.write("a", b"old")
    with pytest.raises(OSError, match="the disk fails"):
        store.upload_blocks(blocks(), "a")
    assert store.read("a").data == b"old"
    assert keys_of(store) == ["a"]


def test_uploads_that_were_cut_off_can_be_given_up(store: Store, kind: str) -> None:
    store.abort_uploads("a/")
    if kind in ("memory", "directory"):
        return
    other = store if isinstance(store, S3Store) else store._other  # type: ignore[attr-defined]
    client, bucket = other._client, other.bucket
    for key in ("a/output.zip", "ab/output.zip"):
        client.create_multipart_upload(Bucket=bucket, Key=key)
    store.abort_uploads("a/")
    left = client.list_multipart_uploads(Bucket=bucket)["Uploads"]
    assert [upload["Key"] for upload in left] == ["ab/output.zip"]
    store.abort_uploads("")
    assert "Uploads" not in client.list_multipart_uploads(Bucket=bucket)


def test_an_upload_replaces(store: Store, tmp_path: Path) -> None:
    store.write("a", b"old")
    (tmp_path / "file").write_bytes(b"new")
    store.upload(tmp_path / "file", "a")
    assert store.read("a").data == b"new"


def test_a_download_replaces_and_is_private(store: Store, tmp_path: Path) -> None:
    store.write("a", b"new")
    target = tmp_path / "file"
    target.write_bytes(b"something longer")
    store.download("a", target)
    assert target.read_bytes() == b"new"
    assert target.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [target]


def test_a_download_of_nothing_leaves_nothing(store: Store, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        store.download("missing", tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


def test_the_url_names_the_place(store: Store, kind: str) -> None:
    beginnings = {"memory": "memory:", "directory": "file:///"}
    assert store.url.startswith(beginnings.get(kind, "s3://contract-"))


def test_a_url_is_good_for_one_object_and_one_method(store: Store, kind: str) -> None:
    if kind in ("memory", "directory"):
        pytest.skip("it answers no web requests")
    key, minute = "a b/it's [x]+ü", timedelta(minutes=1)
    url = store.presign("PUT", key, minute)
    headers = {"Content-Type": "binary/octet-stream"}
    with urlopen(Request(url, b"data", headers, method="PUT"), timeout=60) as answer:
        assert answer.status == 200
    assert store.read(key).data == b"data"
    with urlopen(store.presign("GET", key, minute), timeout=60) as answer:
        assert answer.read() == b"data"
    if not kind.startswith("moto"):
        # moto checks no signatures.
        for forged in (Request(url, method="GET"), Request(url.replace("%5Bx", "%5By"), b"", method="PUT")):
            with pytest.raises(HTTPError, match="403"):
                urlopen(forged, timeout=60)


def test_a_bucket_in_a_folder_has_no_urls(tmp_path: Path) -> None:
    with pytest.raises(StoreRefusedError, match="a bucket in a folder has no URLs"):
        DirectoryStore.at(StoreAddress(f"file://{tmp_path}", "b")).presign("GET", "k", timedelta(1))
    assert MemoryStore().presign("PUT", "a b", timedelta(seconds=60)) == "memory:a%20b?PUT&60"


def test_what_is_too_large_is_not_read_at_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write("large", b"x" * 2000)
    monkeypatch.setattr("cloudq.store.LARGEST_READ", 1999)
    with pytest.raises(TooLargeError, match="^large: 2000 bytes, at most 1999 are read$"):
        store.read("large")
    assert bytes(store.read_range("large", 0, 2000)) == b"x" * 2000
    monkeypatch.setattr("cloudq.store.LARGEST_READ", 2000)
    assert store.read("large").data == b"x" * 2000
