"""How many requests a command makes: exact counts, so that they cannot creep."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from cloudq.bundle import Bundles
from cloudq.client.jobs.finals import EndedJobs
from cloudq.client.jobs.listing import load_jobs
from cloudq.client.submission.inputs import Input
from cloudq.client.submission.request import Submission
from cloudq.client.submission.submit import submit
from cloudq.job import Job, JobState
from cloudq.presence import Presence
from cloudq.store.memory import MemoryStore
from tests.client.conftest import Laptop, put_done_job, put_job

NOW = datetime(2026, 11, 22, tzinfo=timezone.utc)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where ended jobs are kept."""
    return tmp_path / "cache" / "ended"


def look(bundles: Bundles, file: Path, *, only_others: bool = False) -> list[str]:
    """List a bucket as `list` and `history` do."""
    ended = EndedJobs(file)
    found = load_jobs(bundles, now=NOW, known=ended, only_others=only_others)
    ended.note(found.jobs, present=found.ids)
    return [job.id for job in found.jobs]


def test_ten_thousand_ended_jobs_are_read_once(bundles: Bundles, file: Path) -> None:
    for number in range(10_000):
        put_done_job(bundles, f"{number:08x}")
    put_job(bundles, "ffff", state=JobState.RUN)
    store = bundles.store
    assert isinstance(store, MemoryStore)
    look(bundles, file)
    store.requests.clear()
    assert len(look(bundles, file)) == 10_001
    assert store.requests == {"LIST": 11, "GET": 1}
    store.requests.clear()
    assert look(bundles, file, only_others=True) == ["ffff"]
    assert store.requests == {"LIST": 11, "GET": 1}


def test_what_was_kept_is_what_was_read(bundles: Bundles, file: Path) -> None:
    job = put_done_job(bundles, "a1", name="café\n.sh", reason='a \\ " b', array_range="1-3")
    look(bundles, file)
    assert EndedJobs(file)["a1"] == job
    assert file.stat().st_mode & 0o777 == 0o600


def test_open_jobs_are_read_again(bundles: Bundles, file: Path) -> None:
    put_job(bundles, "a1", state=JobState.RUN)
    look(bundles, file)
    put_done_job(bundles, "a1")
    assert look(bundles, file) == ["a1"]
    assert EndedJobs(file)["a1"].state is JobState.DONE


def test_a_damaged_cache_is_as_good_as_none(bundles: Bundles, file: Path) -> None:
    put_done_job(bundles, "a1")
    put_done_job(bundles, "b1")
    file.parent.mkdir()
    file.write_bytes(b'a1 {]}\nb1 {"id": "b1"\n\xff\xfe\n')
    assert look(bundles, file) == ["a1", "b1"]


def test_deleted_jobs_are_not_shown(bundles: Bundles, file: Path) -> None:
    put_done_job(bundles, "a1")
    look(bundles, file)
    bundles.delete("a1")
    assert look(bundles, file) == []


def test_history_reads_an_ended_job_from_the_cache(laptop: Laptop) -> None:
    job: Job = put_done_job(laptop.bundles, "a1")
    assert job.id in laptop.answer("history")
    laptop.bundles.discard("a1", ["manifest.json"])
    laptop.bundles.write("a1", "stdout", b"")
    assert job.id in laptop.answer("history")
    assert job.id not in laptop.answer("list")


@pytest.mark.parametrize("selection", [["a1"], ["--all"]], ids=["by id", "all"])
def test_a_deleted_job_is_not_shown_while_the_store_still_lists_its_folder(
    laptop: Laptop, selection: list[str]
) -> None:
    put_done_job(laptop.bundles, "a1")
    laptop.answer("history")
    laptop.answer("delete", *selection)
    laptop.bundles.write("a1", "stdout", b"")
    assert "DONE" not in laptop.answer("history")


@pytest.mark.parametrize(
    ("script", "options"),
    [
        ("#!/bin/sh\n#$ run_on: sys1\necho\n", {}),
        ("#!/bin/sh\necho\n", {}),
        ("#!/bin/sh\necho\n", {"submit_to": "sys1"}),
    ],
    ids=["for a system", "for any system", "local"],
)
def test_a_small_job_is_submitted_by_four_requests(
    laptop: Laptop, store: MemoryStore, script: str, options: dict[str, Any]
) -> None:
    publish(store)
    laptop.write("job.sh", script)
    assert cost_of(laptop, store, **options) == {"LIST": 1, "PUT": 3}


def test_what_was_seen_a_moment_ago_is_not_asked_again(laptop: Laptop, store: MemoryStore) -> None:
    publish(store)
    cost_of(laptop, store, submit_to="sys1")
    assert cost_of(laptop, store, submit_to="sys1", later=timedelta(seconds=59)) == {"PUT": 3}
    assert cost_of(laptop, store, submit_to="other", later=timedelta(seconds=59)) == {"LIST": 1, "PUT": 3}


def test_a_job_with_inputs_needs_four_requests_once_the_bucket_is_known(
    laptop: Laptop, store: MemoryStore
) -> None:
    publish(store)
    cost_of(laptop, store)
    inputs = (Input(laptop.home / "job.sh", "x"),)
    laptop.write("job.sh", "#!/bin/sh\n#$ run_on: sys1\necho\n")
    assert sum(cost_of(laptop, store, inputs=inputs, later=timedelta(days=1)).values()) == 4


def test_definitions_travel_where_the_script_names_them(laptop: Laptop, store: MemoryStore) -> None:
    publish(store)
    assert cost_of(laptop, store) == {"LIST": 1, "PUT": 5}


@pytest.fixture
def store() -> MemoryStore:
    """A bucket in memory."""
    return MemoryStore()


def publish(store: MemoryStore) -> None:
    """Have an agent give a sign of life."""
    now = datetime.now(timezone.utc)
    Bundles(store).agents.publish(Presence("sys1", "2", "slurm", "host", 1, now, timedelta(minutes=1)))


def cost_of(
    laptop: Laptop, store: MemoryStore, *, later: timedelta = timedelta(0), **values: Any
) -> Counter[str]:
    """Submit a job that no warning is given of, and return the requests that it took."""
    store.requests.clear()
    now = datetime.now(timezone.utc) + later
    submission = Submission(laptop.home / "job.sh", **values)
    submit(Bundles(store), laptop.config, submission, now=now)
    # Uploads are confirmed by a HEAD here, by their sum on S3.
    return store.requests - Counter({"HEAD": 1})
