"""Why jobs were killed, where their status does not tell: by their log, then by their scheduler."""

from __future__ import annotations

import pytest

from cloudq.agent.schedulers.base import NativeState, NativeStatus
from cloudq.job import ArrayRange, JobState
from tests.agent.cluster import refusal
from tests.agent.conftest import Site, run_passes

KILLED = NativeStatus(NativeState.FAILED, signal=9)
CAUSE = "killed by signal 9, probably out of memory (1.2G used, 1G asked for)"


@pytest.mark.parametrize(
    ("status", "exit_code"),
    [
        pytest.param(KILLED, 137, id="the script"),
        pytest.param(NativeStatus(NativeState.FAILED, exit_code=137), 137, id="its last command"),
    ],
)
def test_the_scheduler_is_asked_why_a_job_was_killed(
    site: Site, status: NativeStatus, exit_code: int
) -> None:
    agent, job = site.new_agent(), site.submit()
    run_passes(agent)
    site.cluster.causes["1"] = (None, CAUSE)
    site.cluster.set("1", status)
    run_passes(agent)
    ended = site.job(job.id)
    assert (ended.state, ended.error, ended.exit_code) == (JobState.ERROR, CAUSE, exit_code)
    assert site.cluster.count("why") == 1


def test_a_log_that_tells_why_saves_the_question(site: Site) -> None:
    agent, job = site.new_agent(), site.submit()
    run_passes(agent)
    site.folders.log(job.id, "stderr").write_text("working\nfake: over memory\n")
    site.cluster.set("1", KILLED)
    run_passes(agent)
    assert (site.job(job.id).error, site.cluster.count("why")) == ("out of memory", 0)


def test_a_scheduler_that_cannot_tell_why_holds_nothing_up(site: Site) -> None:
    agent, job = site.new_agent(), site.submit()
    run_passes(agent)
    site.cluster.faults["why"] = [refusal("accounts are away")]
    site.cluster.set("1", KILLED)
    run_passes(agent)
    assert site.job(job.id).error == "killed by signal 9 (SIGKILL)"


@pytest.mark.parametrize(
    "status",
    [
        pytest.param(NativeStatus(NativeState.FAILED, exit_code=1), id="exit 1"),
        pytest.param(NativeStatus(NativeState.FAILED, signal=11), id="another signal"),
        pytest.param(NativeStatus(NativeState.FAILED, signal=9, reason="out of memory"), id="known already"),
        pytest.param(NativeStatus(NativeState.COMPLETED, exit_code=0), id="ended well"),
    ],
)
def test_nothing_is_asked_about_jobs_that_were_not_killed_or_are_explained(
    site: Site, status: NativeStatus
) -> None:
    agent = site.new_agent()
    site.submit()
    run_passes(agent)
    site.cluster.set("1", status)
    run_passes(agent)
    assert site.cluster.count("why") == 0


def test_each_killed_task_is_asked_about_once(site: Site) -> None:
    agent, job = site.new_agent(), site.submit(array_range=ArrayRange.parse("1-3"))
    run_passes(agent)
    site.cluster.causes["1"] = (2, CAUSE)
    site.cluster.set("1", KILLED, 2)
    run_passes(agent, 3)
    assert site.job(job.id).tasks[2].error == CAUSE
    assert site.cluster.count("why") == 1
    site.folders.log(job.id, "stderr.3").write_text("fake: over memory\n")
    site.cluster.set("1", KILLED, 3)
    site.cluster.set("1", NativeStatus(NativeState.COMPLETED, exit_code=0), 1)
    run_passes(agent)
    assert site.job(job.id).error == f"task 2: {CAUSE}; task 3: out of memory"


def test_a_job_that_was_cancelled_needs_no_cause(site: Site) -> None:
    agent, job = site.new_agent(), site.submit()
    run_passes(agent)
    site.cluster.move("1", NativeState.RUNNING)
    run_passes(agent)
    site.bundles.request_cancel(site.job(job.id))
    run_passes(agent)
    site.cluster.set("1", KILLED)
    run_passes(agent)
    assert (site.job(job.id).state, site.cluster.count("why")) == (JobState.DELETED, 0)
