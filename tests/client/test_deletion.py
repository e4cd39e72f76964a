"""Deletion of what has ended, and of what is broken."""

from __future__ import annotations

from datetime import timedelta

import pytest

from cloudq.bundle import MANIFEST, Bundles
from cloudq.client.jobs.deletion import delete_agent_log, delete_job, delete_jobs
from cloudq.errors import CloudQError, JobStateError, ManifestError, NoSuchJobError
from cloudq.job import JobState
from cloudq.presence import Presence
from tests.client.conftest import NOW, put_done_job, put_job


def keys(bundles: Bundles) -> list[str]:
    return [entry.key for entry in bundles.store.list("")]


@pytest.mark.parametrize("state", [state for state in JobState if state.final], ids=str)
def test_a_job_that_has_ended_is_deleted_with_all_its_objects(bundles: Bundles, state: JobState) -> None:
    job = put_done_job(bundles, state=state, run_on="sys1", run_system="sys2")
    for name in ("job.sh", "output.zip", "live/stdout/0", "cancel"):
        bundles.write("a1", name, b"")
    bundles.markers.notify(job)
    bundles.store.write("agent/.inbox/sys1/a1", b"")
    bundles.write("a12", "job.sh", b"")
    delete_job(bundles, "a1")
    assert keys(bundles) == ["a12/job.sh"]


@pytest.mark.parametrize("force", [False, True])
def test_an_open_job_is_not_deleted(bundles: Bundles, force: bool) -> None:
    put_job(bundles, state=JobState.RUN)
    with pytest.raises(JobStateError, match="^The job is not completed: a1$"):
        delete_job(bundles, "a1", force=force)
    assert keys(bundles) == ["a1/manifest.json"]


@pytest.mark.parametrize(
    ("manifest", "kind"), [(None, NoSuchJobError), (b"no JSON", ManifestError)], ids=["missing", "unreadable"]
)
def test_a_job_without_a_readable_manifest_is_deleted_by_force(
    bundles: Bundles, manifest: bytes, kind: type[CloudQError]
) -> None:
    """Defect 45: it could not be deleted."""
    bundles.write("a1", "job.sh", b"")
    bundles.store.write("agent/.inbox/ANY/a1", b"")
    if manifest is not None:
        bundles.write("a1", MANIFEST, manifest)
    with pytest.raises(kind) as refused:
        delete_job(bundles, "a1")
    assert "`cloudqcli delete --force` removes it" in refused.value.hint
    delete_job(bundles, "a1", force=True)
    assert keys(bundles) == []


def test_an_addressee_that_is_no_system_name_is_no_hindrance(bundles: Bundles) -> None:
    put_done_job(bundles, submit_to="not a name!", run_system="")
    delete_job(bundles, "a1")
    assert keys(bundles) == []


def test_many_jobs_are_deleted_in_order(bundles: Bundles) -> None:
    jobs = [put_done_job(bundles, f"job{number:03}") for number in range(100)]
    assert list(delete_jobs(bundles, jobs)) == [job.id for job in jobs]
    assert keys(bundles) == []


def test_only_the_log_of_exactly_this_agent_is_deleted(bundles: Bundles) -> None:
    """Defect 44: `delete --agent abci` deleted the log of abci2, too."""
    for key in ("agent/abci", "agent/abci2"):
        bundles.store.write(key, b"")
    delete_agent_log(bundles, "abci", now=NOW)
    assert keys(bundles) == ["agent/abci2"]
    with pytest.raises(NoSuchJobError, match="^The log file is not exist: abci$"):
        delete_agent_log(bundles, "abci", now=NOW)


@pytest.mark.parametrize(
    ("age", "stopped", "left"),
    [
        (timedelta(minutes=1), False, ["agent/.systems/sys1.json"]),
        (timedelta(hours=23), False, ["agent/.systems/sys1.json"]),
        (timedelta(hours=25), False, []),
        (timedelta(minutes=1), True, []),
    ],
    ids=["alive", "silent", "gone", "stopped"],
)
def test_what_an_agent_published_goes_with_its_log_when_it_is_gone(
    bundles: Bundles, age: timedelta, stopped: bool, left: list[str]
) -> None:
    minute = timedelta(minutes=1)
    bundles.agents.publish(Presence("sys1", "0", "local", "host", 1, NOW - age, minute, stopped=stopped))
    bundles.store.write("agent/sys1", b"log")
    delete_agent_log(bundles, "sys1", now=NOW)
    assert keys(bundles) == left
