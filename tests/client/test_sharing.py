"""Inputs that are in the bucket already: not sent again, told so, counted request by request."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Optional

import pytest

from cloudq import signing
from cloudq.archive import Found
from cloudq.bundle import JOB_SIGNATURE, Bundles
from cloudq.client.commands.repair import find_removals
from cloudq.client.diagnosis.why import read_demand
from cloudq.client.jobs.deletion import delete_job, delete_jobs
from cloudq.client.jobs.requeue import Requeue, requeue
from cloudq.client.submission import archives, sharing
from cloudq.client.submission.archives import LARGE as LARGE_SIZE
from cloudq.client.submission.archives import look_through
from cloudq.client.submission.inputs import Input
from cloudq.client.submission.request import Submission
from cloudq.client.submission.resubmission import resubmit
from cloudq.client.submission.submit import submit
from cloudq.client.systems.fitness import Demand, objections
from cloudq.digests import BLAKE3, SHA256, RunningDigest, known_algorithms
from cloudq.errors import InputError
from cloudq.job import Job, JobState
from cloudq.presence import Presence
from cloudq.store import StoreAddress
from cloudq.store.memory import MemoryStore
from tests.client.conftest import NOW, Laptop
from tests.signers import Signers, signers

__all__ = ["signers"]

LARGE = b"\0" * LARGE_SIZE
OTHER_LARGE = b"\1" * LARGE_SIZE


def presence(system: str = "sys1", *, shared_inputs: tuple[str, ...] = (SHA256,)) -> Presence:
    about = (system, "2", "local", "host", 1, NOW, timedelta(minutes=1))
    return Presence(*about, shared_inputs=shared_inputs)


@pytest.fixture
def bundles() -> Bundles:
    """A bucket with an agent that knows shared inputs."""
    bundles = Bundles(MemoryStore())
    bundles.agents.publish(presence())
    return bundles


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """Return what was told since the last time."""
    caplog.set_level(logging.INFO, "cloudq")

    def said() -> list[str]:
        found = [record.getMessage() for record in caplog.records]
        caplog.clear()
        return found

    return said


def give(laptop: Laptop, bundles: Bundles, *names: str, script: str = "job.sh") -> Job:
    inputs = tuple(Input(laptop.home / name, name) for name in names)
    return submit(bundles, laptop.config, Submission(laptop.home / script, inputs=inputs), now=NOW)


def blobs(bundles: Bundles) -> list[str]:
    """Return the keys of the archives that are kept."""
    return [e.key for e in bundles.store.list("agent/.blobs/") if e.key.endswith("/input.zip")]


def requests(bundles: Bundles) -> dict[str, int]:
    assert isinstance(bundles.store, MemoryStore)
    return dict(bundles.store.requests)


def test_what_is_in_the_bucket_is_not_sent_again(
    laptop: Laptop, bundles: Bundles, log: Callable[[], list[str]]
) -> None:
    (laptop.home / "data").mkdir()
    (laptop.home / "data/large").write_bytes(LARGE)
    (laptop.home / "data/small").write_bytes(b"x")
    first = give(laptop, bundles, "data")
    assert log() == []
    second = give(laptop, bundles, "data")
    assert first.new_agents_only
    (blob,) = first.input_blobs
    assert second.input_blobs == first.input_blobs
    assert blob.holder == first.id
    assert blobs(bundles) == [f"agent/.blobs/{blob.fingerprint}/kept/{first.id}/input.zip"]
    assert "input.zip" not in bundles.entries(second.id)
    assert second.input_size == first.input_size == blob.size + len((laptop.home / "job.sh").read_bytes())
    assert log() == [f"inputs: 2 files, {blob.size / 1000:.1f} kB, already in the bucket"]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list to which each archive is added for which files are read, by the name of its first."""
    made: list[str] = []
    packed = archives._packed

    def noted(found: Iterable[Found], running: RunningDigest) -> Iterator[bytes]:
        made.append(next(iter(found)).name)
        return packed(found, running)

    monkeypatch.setattr(archives, "_packed", noted)
    return made


def test_inputs_are_read_once_whether_they_are_sent_or_found(
    laptop: Laptop, bundles: Bundles, read: list[str]
) -> None:
    (laptop.home / "large").write_bytes(LARGE)
    for count in (1, 2):
        give(laptop, bundles, "large")
        assert read == ["large"] * count
    assert len(blobs(bundles)) == 1


def test_other_bytes_of_the_same_size_and_time_are_not_taken_for_the_same(
    laptop: Laptop, bundles: Bundles, read: list[str]
) -> None:
    jobs = []
    for data in (LARGE, OTHER_LARGE, OTHER_LARGE, LARGE):
        (laptop.home / "large").write_bytes(data)
        os.utime(laptop.home / "large", (10**9, 10**9))
        jobs.append(give(laptop, bundles, "large"))
    first, second, third, fourth = (job.input_blobs[0] for job in jobs)
    assert first.fingerprint == second.fingerprint
    assert first.digest != second.digest
    assert (third, fourth) == (second, first)
    assert len(blobs(bundles)) == 2
    # Compared and sent; compared and found, twice.
    assert len(read) == 1 + 2 + 1 + 1


def test_a_digest_by_another_algorithm_does_not_count(laptop: Laptop, bundles: Bundles) -> None:
    """Agents that are concerned now may not know it."""
    if BLAKE3 not in known_algorithms():
        pytest.skip("the package blake3 is not here")
    (laptop.home / "large").write_bytes(LARGE)
    give(laptop, bundles, "large")
    bundles.store.delete(["agent/.systems/sys1.json"])
    bundles.agents.publish(presence(shared_inputs=(BLAKE3, SHA256)))
    job = give(laptop, bundles, "large")
    assert job.input_blobs[0].holder == job.id
    assert len(blobs(bundles)) == 2


def test_only_the_part_that_is_new_is_sent(
    laptop: Laptop, bundles: Bundles, log: Callable[[], list[str]]
) -> None:
    (laptop.home / "old").write_bytes(LARGE)
    (laptop.home / "new").write_bytes(OTHER_LARGE)
    laptop.write("small", "1")
    laptop.write("tiny", "2")
    give(laptop, bundles, "old", "small")
    assert len(blobs(bundles)) == 2
    job = give(laptop, bundles, "tiny", "old", "new")
    assert len(blobs(bundles)) == 4
    assert len(job.input_blobs) == 3
    found, sent = log()
    assert found.startswith("inputs: 1 file, ")
    assert found.endswith(" kB, already in the bucket")
    assert sent.startswith("inputs: 2 files, ")
    assert sent.endswith(" kB, sent")


def test_shared_inputs_cost_four_requests_more_and_later_only_three(laptop: Laptop, bundles: Bundles) -> None:
    laptop.write("small", "1")
    (laptop.home / "large").write_bytes(LARGE)
    made = []
    for names in (("small",), ("large",), ("large",)):
        bundles.store.requests.clear()  # type: ignore[attr-defined]
        give(laptop, bundles, *names)
        made.append(requests(bundles))
    small, first, again = made
    # What the agents know; reference; what is there; digest. In this store HEAD comes after an upload.
    assert first == {**small, "GET": small.get("GET", 0) + 1, "PUT": small["PUT"] + 2, "LIST": 1, "HEAD": 1}
    # Neither the inputs nor their digest.
    assert again == {"GET": first["GET"], "PUT": first["PUT"] - 2, "LIST": 1}


@pytest.mark.parametrize(
    ("script", "known"),
    [
        pytest.param("job.sh", [], id="no agent was seen"),
        pytest.param("job.sh", [presence(shared_inputs=())], id="it does not know them"),
        pytest.param("any.sh", [presence(), presence("sys2", shared_inputs=())], id="one for ANY does not"),
        pytest.param("any.sh", [], id="none for ANY was seen"),
    ],
)
def test_agents_that_do_not_know_blobs_get_inputs_in_the_bundle(
    laptop: Laptop, script: str, known: list[Presence]
) -> None:
    laptop.write("any.sh", "#!/bin/sh\necho\n")
    (laptop.home / "large").write_bytes(LARGE)
    bundles = Bundles(MemoryStore())
    for one in known:
        bundles.agents.publish(one)
    job = give(laptop, bundles, "large", script=script)
    assert "input.zip" in bundles.entries(job.id)
    assert job.new_agents_only
    assert (job.input_blobs, blobs(bundles)) == ((), [])


def test_an_agent_of_which_nothing_can_be_understood_gets_inputs_in_the_bundle(
    laptop: Laptop, bundles: Bundles
) -> None:
    bundles.store.write("agent/.systems/sys1.json", b"?")
    (laptop.home / "large").write_bytes(LARGE)
    inputs = [look_through(Input(laptop.home / "large", "large"))]
    assert not sharing.find_algorithm(bundles, laptop.config, Demand("sys1"), inputs)


@pytest.mark.parametrize(
    ("here", "there", "expected"),
    [
        pytest.param((BLAKE3, SHA256), ((BLAKE3, SHA256), (SHA256, BLAKE3)), BLAKE3, id="all know it"),
        pytest.param((BLAKE3, SHA256), ((BLAKE3, SHA256), (SHA256,)), SHA256, id="one agent does not"),
        pytest.param((BLAKE3, SHA256), ((BLAKE3, SHA256), ()), "", id="one agent is older"),
        pytest.param((SHA256,), ((BLAKE3, SHA256),), SHA256, id="the client does not"),
        pytest.param((BLAKE3, SHA256), (("md7",),), "", id="none in common"),
    ],
)
def test_inputs_are_named_by_the_fastest_digest_that_all_know(
    laptop: Laptop,
    monkeypatch: pytest.MonkeyPatch,
    here: tuple[str, ...],
    there: tuple[tuple[str, ...], ...],
    expected: str,
) -> None:
    (laptop.home / "large").write_bytes(LARGE)
    monkeypatch.setattr(sharing, "known_algorithms", lambda: here)
    bundles = Bundles(MemoryStore())
    for number, algorithms in enumerate(there):
        bundles.agents.publish(presence(f"sys{number}", shared_inputs=algorithms))
    inputs = [look_through(Input(laptop.home / "large", "large"))]
    assert sharing.find_algorithm(bundles, laptop.config, Demand("ANY"), inputs) == expected


@pytest.mark.skipif(BLAKE3 not in known_algorithms(), reason="the package blake3 is not here")
def test_inputs_named_by_blake3_are_found_again_and_only_for_agents_that_know_it(
    laptop: Laptop,
) -> None:
    (laptop.home / "large").write_bytes(LARGE)
    bundles = Bundles(MemoryStore())
    bundles.agents.publish(presence(shared_inputs=(BLAKE3, SHA256)))
    job, again = give(laptop, bundles, "large"), give(laptop, bundles, "large")
    (blob,) = job.input_blobs
    assert blob.digest.startswith("blake3-")
    assert again.input_blobs == (blob,)
    assert bundles.load(job.id).job.input_digests == {BLAKE3}
    demand = read_demand(bundles, job)
    assert objections(demand, presence(shared_inputs=(SHA256, BLAKE3)), now=NOW) == []
    assert objections(demand, presence(), now=NOW) == [
        "it does not know inputs that several jobs share (agent/.blobs) by blake3"
    ]
    bundles.delete(job.id)
    bundles.delete(again.id)
    removals = [due.said for due in bundles.blobs.due(list, NOW + timedelta(days=20_000))]
    assert any(f"agent/.blobs/{blob.fingerprint}/refs/{job.id}" in said for said in removals)


def test_jobs_for_any_share_if_all_agents_know_that(laptop: Laptop, bundles: Bundles) -> None:
    laptop.write("any.sh", "#!/bin/sh\necho\n")
    (laptop.home / "large").write_bytes(LARGE)
    bundles.agents.publish(presence("sys2"))
    assert give(laptop, bundles, "large", script="any.sh").input_blobs


@pytest.mark.parametrize("size", [1, len(LARGE)], ids=["small", "large"])
def test_inputs_for_an_agent_of_1_2_are_refused(laptop: Laptop, size: int) -> None:
    """It would run the job without them."""
    bundles = Bundles(MemoryStore())
    bundles.store.write("agent/sys1", b"log")
    (laptop.home / "data").write_bytes(LARGE[:size])
    with pytest.raises(InputError) as caught:
        give(laptop, bundles, "data")
    assert str(caught.value) == (
        "--input: the agent of sys1 is of CloudQ 1.2, which would run the job without its inputs"
    )
    assert list(bundles.ids()) == []
    bundles.agents.publish(presence())
    assert give(laptop, bundles, "data").input_size > len((laptop.home / "job.sh").read_bytes())


def test_dedup_can_be_switched_off(laptop: Laptop, bundles: Bundles) -> None:
    text = laptop.config_file.read_text(encoding="utf-8")
    laptop.config_file.write_text(f"{text}dedup = never\n", encoding="utf-8")
    (laptop.home / "large").write_bytes(LARGE)
    assert not give(laptop, bundles, "large").input_blobs


def test_a_word_that_is_none_is_refused(laptop: Laptop) -> None:
    text = laptop.config_file.read_text(encoding="utf-8")
    laptop.config_file.write_text(f"{text}dedup = always\n", encoding="utf-8")
    assert "[client] dedup: expected one of auto, never, got 'always'" in laptop.error(1, "submit", "job.sh")


def test_the_signature_covers_shared_inputs(laptop: Laptop, bundles: Bundles, signers: Signers) -> None:
    text = laptop.config_file.read_text(encoding="utf-8")
    laptop.config_file.write_text(f"{text}signing_key = {signers.key('alice')}\n", encoding="utf-8")
    (laptop.home / "large").write_bytes(LARGE)
    job = give(laptop, bundles, "large")
    statement, _ = signing.verify(bundles.read(job.id, JOB_SIGNATURE), signers.allowed)
    assert statement.members["input_blobs"] == str(job.input_blobs[0])
    again = resubmit(bundles, laptop.config, job.id, failed_only=False, directives={}, now=NOW)
    assert again.input_blobs == job.input_blobs
    other = bundles.load(job.id)
    bundles.save(other, Job(**{**vars(other.job), "input_blobs": again.input_blobs * 2}))
    with pytest.raises(InputError, match="cannot be signed once more: it is not what was signed"):
        resubmit(bundles, laptop.config, job.id, failed_only=False, directives={}, now=NOW)


def test_a_resubmitted_job_shares_the_inputs_without_fetching_them(
    laptop: Laptop, bundles: Bundles, log: Callable[[], list[str]]
) -> None:
    (laptop.home / "large").write_bytes(LARGE)
    job = give(laptop, bundles, "large")
    again = resubmit(bundles, laptop.config, job.id, failed_only=False, directives={}, now=NOW)
    assert (again.input_blobs, again.input_size) == (job.input_blobs, job.input_size)
    assert log() == [f"inputs: {job.input_blobs[0].size / 1000:.1f} kB, already in the bucket"]


def test_inputs_that_are_gone_are_named_when_a_job_is_resubmitted(laptop: Laptop, bundles: Bundles) -> None:
    (laptop.home / "large").write_bytes(LARGE)
    job = give(laptop, bundles, "large")
    bundles.store.delete(blobs(bundles))
    with pytest.raises(
        InputError, match=f"inputs {job.input_blobs[0].digest[:12]}…: no longer in the bucket"
    ):
        resubmit(bundles, laptop.config, job.id, failed_only=False, directives={}, now=NOW)
    assert list(bundles.ids()) == [job.id]


@pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
def test_a_deleted_job_no_longer_refers_to_its_inputs(laptop: Laptop, bundles: Bundles, many: bool) -> None:
    (laptop.home / "large").write_bytes(LARGE)
    job = give(laptop, bundles, "large")
    record = bundles.load(job.id)
    bundles.save(record, Job(**{**vars(record.job), "state": JobState.DONE}))
    refs = [e.key for e in bundles.store.list("agent/.blobs/") if "/refs/" in e.key]
    assert [key.rpartition("/")[2] for key in refs] == [job.id]
    if many:
        assert list(delete_jobs(bundles, [job])) == [job.id]
    else:
        delete_job(bundles, job.id)
    kept = [e.key for e in bundles.store.list("agent/.blobs/")]
    assert kept == [
        *blobs(bundles),
        blobs(bundles)[0].replace("input.zip", f"sum-{job.input_blobs[0].digest}"),
    ]


def test_doctor_finds_inputs_that_no_job_has(laptop: Laptop, bundles: Bundles) -> None:
    (laptop.home / "large").write_bytes(LARGE)
    job = give(laptop, bundles, "large")
    bundles.delete(job.id)
    (entry,) = [e for e in bundles.store.list("agent/.blobs/") if e.key.endswith("/input.zip")]
    address = StoreAddress("file:///nowhere", "bucket")
    now = entry.modified + timedelta(days=8)
    removals = [removal for removal in find_removals(bundles, address, now) if ".blobs" in removal.said]
    assert [removal.said.partition(": ")[2] for removal in removals] == [
        "a reference of a job that is gone",
        f"inputs, {entry.size} bytes, that no job has, to go in a day",
    ]
    for removal in removals:
        removal.remove()
    removals = [removal for removal in find_removals(bundles, address, now) if ".blobs" in removal.said]
    assert [removal.said for removal in removals] == [
        f"{entry.key}: inputs, {entry.size} bytes, that no job has"
    ]


def test_a_requeued_job_keeps_its_inputs(laptop: Laptop, bundles: Bundles) -> None:
    (laptop.home / "large").write_bytes(LARGE)
    job = give(laptop, bundles, "large")
    assert requeue(bundles, job.id, Requeue(to="sys2")).input_blobs == job.input_blobs


@pytest.mark.parametrize("script", ["job.sh", None], ids=["meta", "local"])
def test_it_is_told_why_an_older_agent_cannot_take_such_a_job(
    laptop: Laptop, bundles: Bundles, script: Optional[str]
) -> None:
    (laptop.home / "large").write_bytes(LARGE)
    submission = Submission(
        laptop.home / "job.sh",
        submit_to="" if script else "sys1",
        inputs=(Input(laptop.home / "large", "large"),),
    )
    job = submit(bundles, laptop.config, submission, now=NOW)
    demand = read_demand(bundles, job)
    assert objections(demand, presence(), now=NOW) == []
    assert objections(demand, presence(shared_inputs=()), now=NOW) == [
        "it does not know inputs that several jobs share (agent/.blobs) by sha256"
    ]


def test_more_inputs_than_a_job_may_refer_to_share_one_archive(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing, "MAX_INPUT_BLOBS", 2)
    monkeypatch.setattr(sharing, "LARGE", 1)
    inputs = [look_through(Input(Path(laptop.write(name, name)).resolve(), name)) for name in "abc"]
    packed = sharing.pack_apart(inputs, SHA256)
    assert [shared.files for shared in packed] == [1, 2]


@pytest.mark.parametrize(
    ("files", "size", "text"),
    [
        (0, 0, "0 bytes"),
        (1, 999, "1 file, 999 bytes"),
        (3, 1_200_000_000, "3 files, 1.2 GB"),
        (0, 2 * 10**15, "2000.0 TB"),
    ],
)
def test_amounts_are_told_in_units_of_a_thousand(files: int, size: int, text: str) -> None:
    assert sharing._amount([(files, size)]) == text
