"""Submission: what is refused, what is stored in which order, and what is left after a fault."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Optional

import pytest

from cloudq.bundle import Bundles
from cloudq.client.submission.inputs import Input
from cloudq.client.submission.request import Submission
from cloudq.client.submission.resubmission import resubmit
from cloudq.client.submission.submit import submit
from cloudq.errors import (
    CloudQError,
    ConflictError,
    InputError,
    MetaScriptError,
    NoSuchJobError,
    StoreRefusedError,
    StoreUnreachableError,
)
from cloudq.job import ArrayRange, Job, JobKind
from cloudq.presence import Presence
from cloudq.store import Blob, Entry
from cloudq.store.memory import MemoryStore
from tests.client.conftest import META_SCRIPT, NOW, Laptop, put_job


class RecordingStore(MemoryStore):
    """Notes what is written, and fails when a test wants it."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[str] = []
        self.deleted: list[str] = []
        self.fault: Callable[[str], Optional[Exception]] = lambda key: None

    def write(self, key: str, data: bytes) -> str:
        self._note(key)
        return super().write(key, data)

    def create(self, key: str, data: bytes) -> str:
        self._note(key)
        return super().create(key, data)

    def upload(self, path: Path, key: str) -> Entry:
        super().write(key, path.read_bytes())
        self._note(key)
        return self.stat(key)

    def delete(self, keys) -> None:  # type: ignore[no-untyped-def]
        names = list(keys)
        self.deleted += names
        super().delete(names)

    def _note(self, key: str) -> None:
        fault = self.fault(key)
        if fault is not None:
            raise fault
        self.written.append(key)


@pytest.fixture
def store() -> RecordingStore:
    return RecordingStore()


@pytest.fixture
def bundles(store: RecordingStore) -> Bundles:
    return Bundles(store)


def give(laptop: Laptop, bundles: Bundles, name: str = "job.sh", **values: object) -> Job:
    submission = Submission(laptop.home / name, **values)  # type: ignore[arg-type]
    return submit(bundles, laptop.config, submission, now=NOW)


def refused(laptop: Laptop, bundles: Bundles, name: str = "job.sh", **values: object) -> CloudQError:
    """Submit what must be refused before anything is stored."""
    with pytest.raises(CloudQError) as fault:
        give(laptop, bundles, name, **values)
    assert list(bundles.store.list("")) == []
    return fault.value


def test_a_meta_job_is_stored_with_its_definitions_and_the_manifest_last(
    laptop: Laptop, bundles: Bundles, store: RecordingStore
) -> None:
    job = give(laptop, bundles)
    names = ["job.sh", "project", "resource", "manifest.json"]
    assert store.written == [*(f"{job.id}/{name}" for name in names), f"agent/.inbox/sys1/{job.id}"]
    assert bundles.load(job.id).job == job
    assert (job.kind, job.run_on, job.submitted) == (JobKind.META, "sys1", NOW)
    assert job.input_size == len(META_SCRIPT)
    assert bundles.read(job.id, "project") == b"[p1]\nsys1 = group1\n"


def test_a_job_without_run_on_is_for_any_system(laptop: Laptop, bundles: Bundles) -> None:
    laptop.write("any.sh", "#!/bin/sh\necho\n")
    job = give(laptop, bundles, "any.sh")
    assert job.run_on == "ANY"
    assert list(bundles.markers.inbox("ANY")) == [job.id]


def test_a_local_job_is_stored_as_it_is(laptop: Laptop, bundles: Bundles, store: RecordingStore) -> None:
    (laptop.home / "binary").write_bytes(b"\xff\x00 no text")
    job = give(laptop, bundles, "binary", submit_to="Sys1", submit_options="-p 'two words'")
    assert (job.kind, job.submit_to, job.submit_options) == (JobKind.LOCAL, "Sys1", "-p 'two words'")
    assert bundles.read(job.id, "binary") == b"\xff\x00 no text"
    assert set(bundles.entries(job.id)) == {"binary", "manifest.json"}
    assert list(bundles.markers.inbox("sys1")) == [job.id]


def test_a_1_2_agent_finds_all_members_it_needs(laptop: Laptop, bundles: Bundles) -> None:
    """Defect 59: the manifest came from a template that a folder made by hand did not have."""
    job = give(laptop, bundles, array_range=ArrayRange.parse("1-3"))
    members = json.loads(bundles.read(job.id, "manifest.json"))
    assert members["uuid"] == job.id
    assert (members["name"], members["state"], members["array_tid"]) == ("job.sh", "INIT", "1-3")
    assert len(list(members)) >= 24


def test_a_meta_job_always_has_both_definitions(laptop: Laptop, bundles: Bundles) -> None:
    """An agent of 1.2 makes a meta job without them an ERROR, also one that is for another system."""
    text = laptop.config_file.read_text()
    laptop.config_file.write_text(text.partition("[client]")[0])
    laptop.write("bare.sh", "#!/bin/sh\n#$ run_on: sys1\necho\n")
    job = give(laptop, bundles, "bare.sh")
    assert [bundles.read(job.id, name) for name in ("project", "resource")] == [b"", b""]


def test_a_job_without_what_agents_of_1_2_want_is_one_that_they_leave_alone(
    laptop: Laptop, bundles: Bundles
) -> None:
    """The first they look at is `run_system`: they go on only if it is empty or their own name."""
    laptop.write("bare.sh", "#!/bin/sh\n#$ run_on: sys1\necho\n")
    bundles.agents.publish(Presence("Sys1", "2", "slurm", "host", 1, NOW, timedelta(minutes=1)))
    job = give(laptop, bundles, "bare.sh")
    again = resubmit(bundles, laptop.config, job.id, failed_only=False, directives={}, now=NOW)
    for stored in (job, again):
        assert set(bundles.entries(stored.id)) == {"bare.sh", "manifest.json"}
        assert json.loads(bundles.read(stored.id, "manifest.json"))["run_system"] == "-"
        assert bundles.load(stored.id).job.run_system == ""


def test_a_job_for_a_system_without_a_new_agent_has_all_that_one_of_1_2_wants(
    laptop: Laptop, bundles: Bundles
) -> None:
    laptop.write("bare.sh", "#!/bin/sh\n#$ run_on: old\necho\n")
    bundles.agents.publish(Presence("Sys1", "2", "slurm", "host", 1, NOW, timedelta(minutes=1)))
    job = give(laptop, bundles, "bare.sh")
    again = resubmit(bundles, laptop.config, job.id, failed_only=False, directives={}, now=NOW)
    for stored in (job, again):
        assert {"project", "resource"} <= set(bundles.entries(stored.id))
        assert json.loads(bundles.read(stored.id, "manifest.json"))["run_system"] == ""


def test_inputs_travel_in_one_archive(laptop: Laptop, bundles: Bundles) -> None:
    laptop.write("data/deep/x", "x")
    inputs = (Input(laptop.home / "data", "in"), Input(laptop.home / "job.sh", "copy.sh"))
    job = give(laptop, bundles, inputs=inputs)
    archive = zipfile.ZipFile(io.BytesIO(bundles.read(job.id, "input.zip")))
    assert sorted(archive.namelist()) == ["copy.sh", "in/", "in/deep/", "in/deep/x"]
    assert job.input_size == len(META_SCRIPT) + bundles.entries(job.id)["input.zip"].size


def test_an_input_of_the_name_of_the_script_is_refused(laptop: Laptop, bundles: Bundles) -> None:
    fault = refused(laptop, bundles, inputs=(Input(laptop.home / "job.sh", "job.sh"),))
    assert "collides with 'job.sh'" in str(fault)


def test_jobs_to_wait_for_are_stored_by_their_full_ids(laptop: Laptop, bundles: Bundles) -> None:
    put_job(bundles, "3f7e11112222")
    put_job(bundles, "b2")
    job = give(laptop, bundles, hold_ids=("3f7", "b2", "3f7e"))
    assert job.hold_ids == ("3f7e11112222", "b2")


def test_an_unknown_job_to_wait_for_is_refused(laptop: Laptop, bundles: Bundles) -> None:
    """Defect 31: a job that waited for a mistyped id started at once."""
    fault = refused(laptop, bundles, hold_ids=("0000",))
    assert isinstance(fault, NoSuchJobError)
    assert str(fault) == "Invalid job ID: 0000"


@pytest.mark.parametrize(
    ("script", "complaint"),
    [
        ("#$ run_onn: sys1\necho\n", ":1: unknown directive 'run_onn'"),
        ("#!/bin/sh\n\n#$ walltime: soon\necho\n", ":3: walltime: "),
        ("#$ run_on: sys1\n#$ project: p2\necho\n", ":2: project: no section [p2]"),
        (
            "#$ run_on: sys2\n#$ resource: r1\necho\n",
            ":2: resource: section [r1] of the resource file has no",
        ),
        ("#$ resource: r1\n#$ n_resource: many\necho\n", ":2: n_resource: "),
    ],
    ids=str,
)
def test_a_wrong_meta_script_is_refused_with_file_and_line(
    laptop: Laptop, bundles: Bundles, script: str, complaint: str
) -> None:
    """Defect 62: nothing was checked at submission."""
    laptop.write("bad.sh", script)
    fault = refused(laptop, bundles, "bad.sh")
    assert isinstance(fault, MetaScriptError)
    assert str(fault).startswith(f"{laptop.home / 'bad.sh'}{complaint}")


def test_a_meta_script_that_is_no_text_is_refused(laptop: Laptop, bundles: Bundles) -> None:
    (laptop.home / "bad.sh").write_bytes(b"#!/bin/sh\necho \xff\n")
    assert str(refused(laptop, bundles, "bad.sh")) == (
        f"{laptop.home / 'bad.sh'}:2: a meta script must be UTF-8 text"
    )


@pytest.mark.parametrize("name", ["none.sh", "."], ids=["missing", "folder"])
def test_a_script_that_is_no_file_is_refused(laptop: Laptop, bundles: Bundles, name: str) -> None:
    fault = refused(laptop, bundles, name)
    assert isinstance(fault, InputError)
    assert str(fault) == f"The script file is not found: {laptop.home / name}"


def test_a_script_that_no_scheduler_takes_is_refused(laptop: Laptop, bundles: Bundles) -> None:
    laptop.write("big.sh", "#" * (4 * 1024 * 1024 + 1))
    assert "expected a script of at most 4194304 bytes" in str(refused(laptop, bundles, "big.sh"))


@pytest.mark.parametrize("name", ["manifest.json", "cancel_orders.sh", "stdout.sh"])
def test_a_script_with_a_reserved_name_is_refused(laptop: Laptop, bundles: Bundles, name: str) -> None:
    """Defects 37 and 38."""
    laptop.write(name, META_SCRIPT)
    assert "CloudQ uses this name" in str(refused(laptop, bundles, name))


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"submit_options": "-p gpu"}, "--submit-opt: expected --submit-to, too"),
        ({"submit_to": "ANY"}, "--submit-to: expected the name of a system, got 'ANY'"),
        ({"submit_to": "a/b"}, "--submit-to: expected the name of a system, got 'a/b'"),
        ({"submit_to": "s", "submit_options": "-c 'x"}, '--submit-opt "-c \'x": No closing quotation'),
    ],
    ids=str,
)
def test_wrong_options_are_refused(
    laptop: Laptop, bundles: Bundles, values: dict[str, str], complaint: str
) -> None:
    """Defect 63: --submit_opt without --submit_to was dropped silently."""
    fault = refused(laptop, bundles, **values)
    assert fault.exit_status == 2
    assert str(fault).startswith(complaint)


def test_an_id_that_is_taken_is_not_used(laptop: Laptop, bundles: Bundles, store: RecordingStore) -> None:
    """Defect 61: a collision of ids overwrote a job."""
    seen: list[str] = []

    def taken_once(key: str) -> Optional[Exception]:
        if key.endswith("/manifest.json") and not seen:
            seen.append(key)
            return ConflictError(key)
        return None

    store.fault = taken_once
    job = give(laptop, bundles)
    assert seen[0] != f"{job.id}/manifest.json"
    assert bundles.load(job.id).job == job
    assert store.deleted == []


@pytest.mark.parametrize("where", ["resource", "input.zip", "manifest.json"])
def test_what_was_stored_is_removed_after_a_fault(
    laptop: Laptop, bundles: Bundles, store: RecordingStore, caplog: pytest.LogCaptureFixture, where: str
) -> None:
    store.fault = lambda key: StoreUnreachableError("no answer") if key.endswith(where) else None
    with pytest.raises(StoreUnreachableError, match="^no answer$"):
        give(laptop, bundles, inputs=(Input(laptop.home / "job.sh", "x"),))
    assert list(store.list("")) == []
    assert "not submitted; what was stored of it has been removed" in caplog.text


def test_a_job_that_an_agent_took_before_it_could_be_taken_back_stays(
    laptop: Laptop, bundles: Bundles, store: RecordingStore, caplog: pytest.LogCaptureFixture
) -> None:
    """The manifest was written though its writer got no answer, and an agent was quick."""

    class Claimed(RecordingStore):
        def create(self, key: str, data: bytes) -> str:
            etag = super().create(key, data)
            if key.endswith("manifest.json"):
                job_id = key.partition("/")[0]
                Bundles(self).claim(Bundles(self).load(job_id), "sys1", now=NOW)
                raise StoreUnreachableError("no answer")
            return etag

    store = Claimed()
    with pytest.raises(StoreUnreachableError):
        give(laptop, Bundles(store))
    job_id = store.written[0].partition("/")[0]
    assert f"job {job_id}: submitted all the same: an agent has it" in caplog.text
    assert Bundles(store).load(job_id).job.run_system == "sys1"
    assert "job.sh" in Bundles(store).entries(job_id)


def test_what_cannot_be_removed_is_named(
    laptop: Laptop, bundles: Bundles, store: RecordingStore, caplog: pytest.LogCaptureFixture
) -> None:
    class Gone(RecordingStore):
        def delete(self, keys) -> None:  # type: ignore[no-untyped-def]
            raise StoreUnreachableError("no answer")

    store = Gone()
    store.fault = lambda key: StoreUnreachableError("no answer") if "resource" in key else None
    with pytest.raises(StoreUnreachableError):
        give(laptop, Bundles(store))
    job_id = store.written[0].partition("/")[0]
    assert f"job {job_id}: not submitted; `cloudqcli delete --force {job_id}` removes" in caplog.text


def test_a_job_is_not_called_unsubmitted_while_that_is_not_known(
    laptop: Laptop, store: RecordingStore, caplog: pytest.LogCaptureFixture
) -> None:
    class Silent(RecordingStore):
        def create(self, key: str, data: bytes) -> str:
            etag = super().create(key, data)
            if key.endswith("manifest.json"):
                self.read = self._no_answer  # type: ignore[method-assign]
                raise StoreUnreachableError("no answer")
            return etag

        def _no_answer(self, key: str) -> Blob:
            raise StoreUnreachableError("no answer")

    with pytest.raises(StoreUnreachableError):
        give(laptop, Bundles(Silent()))
    assert "it is not known whether it was submitted; `cloudqcli delete --force" in caplog.text


def test_a_store_that_refuses_at_once_is_the_only_message(
    laptop: Laptop, bundles: Bundles, store: RecordingStore, caplog: pytest.LogCaptureFixture
) -> None:
    store.fault = lambda key: StoreRefusedError("no permission")
    with pytest.raises(StoreRefusedError):
        give(laptop, bundles)
    assert caplog.text == ""
    assert store.deleted == []


def test_a_missing_bucket_is_refused_before_anything_is_written(laptop: Laptop) -> None:
    """SeaweedFS makes a missing bucket when something is written to it, but refuses to list it."""

    class Missing(RecordingStore):
        def list(self, prefix: str, *, after: str = "") -> Iterator[Entry]:
            raise StoreRefusedError("no such bucket")

    store = Missing()
    with pytest.raises(StoreRefusedError, match="^no such bucket$") as fault:
        give(laptop, Bundles(store))
    assert fault.value.exit_status == 4
    assert store.written == []


def test_a_job_that_could_not_be_announced_is_submitted_all_the_same(
    laptop: Laptop, bundles: Bundles, store: RecordingStore, caplog: pytest.LogCaptureFixture
) -> None:
    store.fault = lambda key: StoreUnreachableError("no answer") if "inbox" in key else None
    job = give(laptop, bundles)
    assert bundles.load(job.id).job == job
    assert f"job {job.id}: submitted, but its system could not be told: no answer" in caplog.text


def test_a_system_that_nobody_has_seen_is_a_warning(
    laptop: Laptop, bundles: Bundles, caplog: pytest.LogCaptureFixture
) -> None:
    """Defect 62: a mistyped system left the job at INIT for ever, without a word."""
    job = give(laptop, bundles)
    assert caplog.messages == [f"job {job.id}: no agent of the name sys1 has been seen in this bucket"]
    caplog.clear()
    (laptop.home / "log").write_text("")
    bundles.agents.upload_log("sys1", laptop.home / "log")
    give(laptop, bundles)
    assert caplog.messages == []
