"""Inputs that several jobs share: found again, let go of when nobody has them, and never before."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Optional

import pytest

from cloudq.bundle import Bundles
from cloudq.bundle.blobs import CONDEMNED_FOR, UNUSED_AGE, Due
from cloudq.digests import SHA256, RunningDigest
from cloudq.errors import InputError, ManifestError, NotFoundError, RefusedError, StoreError
from cloudq.job import InputBlob, Job, JobKind
from cloudq.manifest import MAX_INPUT_BLOBS, parse_manifest, render_manifest, signed_members
from cloudq.store.memory import MemoryStore

DATA = b"the inputs"
DIGEST = hashlib.sha256(DATA).hexdigest()
FINGERPRINT = "f0" * 32
BLOB = InputBlob(FINGERPRINT, DIGEST, len(DATA), "aa")
ARCHIVE, SUM, MARK = "kept/aa/input.zip", f"kept/aa/sum-{DIGEST}", "kept/aa/condemned"


@pytest.fixture
def bundles() -> Bundles:
    return Bundles(MemoryStore(), "team/")


def after(age: timedelta) -> datetime:
    """Return the time it is when everything in the bucket has this age."""
    return datetime.now(timezone.utc) + age


def keep(bundles: Bundles, job_id: str = "aa") -> InputBlob:
    """Store a blob, as a job that refers to it."""
    bundles.write(job_id, "job.sh", b"")
    bundles.blobs.refer(FINGERPRINT, job_id)
    return upload(bundles, job_id)


def upload(bundles: Bundles, job_id: str) -> InputBlob:
    """Store a blob, without the reference that should be there."""
    running = RunningDigest(SHA256)
    running.update(DATA)
    return bundles.blobs.upload(FINGERPRINT, job_id, [DATA], running, expected=0)


def due(bundles: Bundles, age: timedelta) -> list[Due]:
    return list(bundles.blobs.due(lambda: set(bundles.ids()), after(age)))


def keys(bundles: Bundles) -> list[str]:
    """Return what there is below this one fingerprint."""
    top = f"team/agent/.blobs/{FINGERPRINT}/"
    return [entry.key[len(top) :] for entry in bundles.store.list(top)]


def collect(bundles: Bundles, age: timedelta) -> list[str]:
    """Do what is due, and return what stays."""
    for step in due(bundles, age):
        step.act()
    return keys(bundles)


def test_what_was_stored_is_found_and_fetched(bundles: Bundles, tmp_path: Path) -> None:
    assert keep(bundles) == BLOB
    assert bundles.blobs.find(FINGERPRINT) == [BLOB]
    assert bundles.blobs.find("0" * 64) == []
    bundles.blobs.download(BLOB, tmp_path / "fetched")
    assert (tmp_path / "fetched").read_bytes() == DATA
    assert keys(bundles) == [ARCHIVE, SUM, "refs/aa"]


def test_an_archive_whose_digest_is_not_there_is_not_found(bundles: Bundles) -> None:
    """Whoever sent it was killed before it could say what it is."""
    keep(bundles)
    bundles.store.delete([f"team/agent/.blobs/{FINGERPRINT}/{SUM}"])
    assert bundles.blobs.find(FINGERPRINT) == []
    keep(bundles, "bb")
    assert [blob.holder for blob in bundles.blobs.find(FINGERPRINT)] == ["bb"]


def test_a_job_has_its_inputs_though_nobody_can_tell_others_of_them(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = MemoryStore()
    bundles, write = Bundles(store, "team/"), store.write

    def refusing(key: str, data: bytes) -> str:
        if "/sum-" in key:
            raise StoreError("full")
        return write(key, data)

    monkeypatch.setattr(store, "write", refusing)
    assert upload(bundles, "aa") == BLOB
    assert caplog.messages == ["inputs: sent, but other jobs will not find them: full"]
    assert keys(bundles) == [ARCHIVE]


def test_nothing_is_kept_of_an_archive_that_breaks_off(bundles: Bundles) -> None:
    def broken() -> Iterator[bytes]:
        yield DATA
        raise InputError("changed")

    with pytest.raises(InputError, match="changed"):
        bundles.blobs.upload(FINGERPRINT, "aa", broken(), RunningDigest(SHA256), expected=0)
    assert keys(bundles) == []


def test_bytes_of_another_size_are_not_even_fetched(bundles: Bundles, tmp_path: Path) -> None:
    keep(bundles)
    with pytest.raises(RefusedError, match="has 10 bytes, not 11"):
        bundles.blobs.download(InputBlob(FINGERPRINT, DIGEST, 11, "aa"), tmp_path / "fetched")
    assert not (tmp_path / "fetched").exists()


def test_what_a_bundle_refers_to_stays_for_ever(bundles: Bundles) -> None:
    keep(bundles)
    assert due(bundles, timedelta(days=1000)) == []


def test_what_no_bundle_refers_to_goes_step_by_step(bundles: Bundles) -> None:
    keep(bundles)
    bundles.delete("aa")
    bundles.blobs.release([Job("aa", "job.sh", JobKind.META, input_blobs=(BLOB,))])
    assert due(bundles, UNUSED_AGE - timedelta(minutes=1)) == []
    assert [step.said.partition(": ")[2] for step in due(bundles, UNUSED_AGE)] == [
        "inputs, 10 bytes, that no job has, to go in a day"
    ]
    assert collect(bundles, UNUSED_AGE) == [MARK, ARCHIVE, SUM]
    assert bundles.blobs.find(FINGERPRINT) == []
    assert collect(bundles, CONDEMNED_FOR - timedelta(minutes=1)) == [MARK, ARCHIVE, SUM]
    assert collect(bundles, CONDEMNED_FOR) == [MARK, SUM]
    assert collect(bundles, CONDEMNED_FOR) == [MARK]
    assert collect(bundles, CONDEMNED_FOR) == [MARK]
    assert collect(bundles, 2 * CONDEMNED_FOR) == []


def test_a_reference_of_a_job_that_is_gone_does_not_count_after_a_day(bundles: Bundles) -> None:
    """A client of 1.2 deletes the bundle and knows no references."""
    keep(bundles)
    bundles.delete("aa")
    assert collect(bundles, CONDEMNED_FOR - timedelta(minutes=1)) == [ARCHIVE, SUM, "refs/aa"]
    assert collect(bundles, CONDEMNED_FOR) == [ARCHIVE, SUM]


def test_a_condemned_blob_that_is_referred_to_stays_and_is_sent_again_by_others(bundles: Bundles) -> None:
    keep(bundles)
    bundles.store.write(f"team/agent/.blobs/{FINGERPRINT}/kept/aa/condemned", b"")
    assert due(bundles, timedelta(days=1000)) == []
    keep(bundles, "bb")
    assert bundles.blobs.find(FINGERPRINT) == [replace(BLOB, holder="bb")]


def test_looking_for_what_may_go_costs_one_request_while_nothing_is_a_day_old(bundles: Bundles) -> None:
    keep(bundles)
    store = bundles.store
    assert isinstance(store, MemoryStore)
    store.requests.clear()
    assert due(bundles, timedelta(hours=23)) == []
    assert store.requests == {"LIST": 1}


def test_strange_objects_are_left_alone(bundles: Bundles) -> None:
    below = ("kept/aa", "kept/\n/input.zip", "refs/", "kept/aa/sum-", f"kept/aa/sum-{DIGEST}0")
    names = ("x/kept/aa/input.zip", *(f"{FINGERPRINT}/{name}" for name in below))
    for name in names:
        bundles.store.write(f"team/agent/.blobs/{name}", b"")
    assert due(bundles, timedelta(days=1000)) == []


POINTS = 11


class Meeting:
    """A client submits a job with these inputs, one request at a time, while collectors are at work.

    Args:
        order: At which points the client makes its three steps.
    """

    def __init__(self, order: tuple[int, ...]) -> None:
        self.bundles = Bundles(MemoryStore(), "team/")
        upload(self.bundles, "aa")
        self.blob: Optional[InputBlob] = None
        self._point = 0
        self._steps = list(zip(order, (self._refer, self._find, self._send)))

    def pass_point(self, last: bool = False) -> None:
        """Let the client go on as far as it is to come by now."""
        while self._steps and (last or self._steps[0][0] <= self._point):
            self._steps.pop(0)[1]()
        self._point += 1

    def due(self) -> list[Due]:
        """Return what a collector finds for which everything is old at once."""
        self.pass_point()
        return list(self.bundles.blobs.due(self._ids, after(timedelta(days=1000))))

    def act(self, found: list[Due]) -> None:
        self.pass_point()
        for step in found:
            step.act()

    def _ids(self) -> set[str]:
        self.pass_point()
        return set(self.bundles.ids())

    def _refer(self) -> None:
        self.bundles.write("bb", "job.sh", b"")
        self.bundles.blobs.refer(FINGERPRINT, "bb")

    def _find(self) -> None:
        self.blob = next(iter(self.bundles.blobs.find(FINGERPRINT)), None)

    def _send(self) -> None:
        self.blob = self.blob or upload(self.bundles, "bb")


def test_in_whatever_order_a_submission_and_collectors_meet_its_inputs_stay(tmp_path: Path) -> None:
    """Only the order of the requests protects the job. One collector is halted, and acts last of all."""
    for order in combinations_with_replacement(range(POINTS), 3):
        meeting, halted = Meeting(order), list[Due]()
        for number in range(3):
            found = meeting.due()
            meeting.act(found)
            halted = found if number == 1 else halted
        meeting.act(halted)
        meeting.pass_point(last=True)
        assert meeting.blob is not None
        meeting.bundles.blobs.download(meeting.blob, tmp_path / "fetched")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"{FINGERPRINT}:{DIGEST}:10:../../x", id="upwards"),
        pytest.param(f"../{FINGERPRINT[3:]}:{DIGEST}:10:aa", id="another prefix"),
        pytest.param(f"{FINGERPRINT}:../{DIGEST[3:]}:10:aa", id="another name"),
        pytest.param(f"{FINGERPRINT}:{DIGEST}:10:aa/bb", id="a slash"),
        pytest.param(f"{FINGERPRINT}:{DIGEST}:10:agent", id="no job"),
        pytest.param(f"{FINGERPRINT.upper()}:{DIGEST}:10:aa", id="capitals"),
        pytest.param(f"{FINGERPRINT}:{DIGEST.upper()}:10:aa", id="capitals in the digest"),
        pytest.param(f"{FINGERPRINT[1:]}:{DIGEST}:10:aa", id="too short"),
        pytest.param(f"{FINGERPRINT}:{DIGEST}:-1:aa", id="negative"),
        pytest.param(f"{FINGERPRINT}:{DIGEST}:10", id="no holder"),
        pytest.param(f"{FINGERPRINT}:{DIGEST}:10:aa:bb", id="one more"),
        pytest.param("x", id="something else"),
    ],
)
def test_a_hostile_reference_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(InputError):
        InputBlob.parse(text)
    manifest = render_manifest(Job("aa", "job.sh", JobKind.META)).decode()[:-2]
    with pytest.raises(ManifestError) as caught:
        parse_manifest(f'{manifest}, "input_blobs": "{text}"}}'.encode(), "aa")
    complaint = "job aa: manifest.json: input_blobs: expected FINGERPRINT:DIGEST:SIZE:JOB, got '"
    assert str(caught.value).startswith(complaint)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("5", "expected a string, got 5", id="a number"),
        pytest.param(
            f'"{" ".join([str(BLOB)] * (MAX_INPUT_BLOBS + 1))}"',
            "expected at most 100, got 101",
            id="too many",
        ),
    ],
)
def test_other_references_are_refused(value: str, expected: str) -> None:
    with pytest.raises(ManifestError, match=expected):
        parse_manifest(f'{{"name": "job.sh", "state": "INIT", "input_blobs": {value}}}'.encode(), "aa")


def test_a_job_with_blobs_comes_back_as_it_was_and_they_are_signed() -> None:
    job = Job("aa", "job.sh", JobKind.META, run_on="x", input_blobs=(BLOB, BLOB))
    assert parse_manifest(render_manifest(job), "aa") == job
    assert signed_members(job)["input_blobs"] == f"{BLOB} {BLOB}"


def test_a_blob_that_is_gone_is_not_found(bundles: Bundles, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        bundles.blobs.download(BLOB, tmp_path / "fetched")
