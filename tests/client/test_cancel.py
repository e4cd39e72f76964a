"""Requests to cancel."""

from __future__ import annotations

import pytest

from cloudq.bundle import Bundles
from cloudq.client.jobs.cancel import cancel
from cloudq.errors import JobStateError, NoSuchJobError
from cloudq.job import JobState
from tests.client.conftest import put_job


@pytest.mark.parametrize("state", [JobState.INIT, JobState.READY, JobState.RUN, JobState.DELETING], ids=str)
def test_an_open_job_is_asked_for_and_its_agent_told(bundles: Bundles, state: JobState) -> None:
    put_job(bundles, state=state, run_system="sys2")
    cancel(bundles, "a1")
    assert bundles.read("a1", "cancel") == b""
    assert (list(bundles.markers.mail("sys2")), bundles.markers.inbox("sys2")) == (["a1"], {})


@pytest.mark.parametrize(
    "state", [JobState.DONE, JobState.ERROR, JobState.TIMEOUT, JobState.DELETED, JobState.COMPLETING], ids=str
)
def test_a_job_that_has_ended_or_is_about_to_is_refused(bundles: Bundles, state: JobState) -> None:
    put_job(bundles, state=state)
    with pytest.raises(JobStateError, match="^The job is already completed: a1$"):
        cancel(bundles, "a1")
    assert not bundles.cancel_requested("a1")


def test_a_request_that_is_there_stays_as_it_is(bundles: Bundles) -> None:
    put_job(bundles, state=JobState.DELETING, run_system="sys1")
    bundles.write("a1", "cancel", b"2026-11-21T22:08:57+00:00")
    cancel(bundles, "a1")
    assert bundles.read("a1", "cancel") == b"2026-11-21T22:08:57+00:00"
    assert list(bundles.markers.mail("sys1")) == ["a1"]


def test_an_unknown_job_is_named(bundles: Bundles) -> None:
    with pytest.raises(NoSuchJobError, match="^Invalid job ID: a1$"):
        cancel(bundles, "a1")
