"""A scheduler that is slow or refuses: how long it is left alone, and what is said of that."""

from __future__ import annotations

from datetime import timedelta

import pytest

from cloudq.agent.daemon.heartbeat import Heartbeat
from cloudq.agent.pace import LONGEST, Pace
from cloudq.agent.passes import RETRY_AFTER
from cloudq.agent.schedulers.base import NativeState
from cloudq.job import JobState
from tests.agent.cluster import FakeCluster, refusal, time_out
from tests.agent.conftest import Site, run_passes


class Seconds:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Seconds:
    return Seconds()


@pytest.fixture
def pace(clock: Seconds) -> Pace:
    return Pace("it is asked", clock)


def pause(pace: Pace, clock: Seconds) -> float:
    """Wait until the pause is over, and return how long that took."""
    begun = clock.now
    while not pace.permits:
        clock.now += 1
    return clock.now - begun


@pytest.mark.parametrize(("seconds", "expected"), [(0.9, 0), (2, 18), (60, LONGEST)])
def test_a_slow_scheduler_works_for_us_a_tenth_of_the_time(
    pace: Pace, clock: Seconds, seconds: float, expected: float
) -> None:
    pace.answered(seconds)
    assert pause(pace, clock) == expected


def test_refusals_make_longer_and_longer_pauses_and_an_answer_ends_them(pace: Pace, clock: Seconds) -> None:
    pauses = []
    for _ in range(7):
        pace.refused()
        pauses.append(pause(pace, clock))
    assert pauses == [0, 10, 20, 40, LONGEST, LONGEST, LONGEST]
    pace.answered()
    assert (pause(pace, clock), pace.text) == (0, "")
    pace.refused()
    assert pause(pace, clock) == 0


def test_refusals_at_the_same_time_count_once(pace: Pace, clock: Seconds) -> None:
    for _ in range(9):
        pace.refused()
    assert pause(pace, clock) == 10


def test_a_command_that_hung_is_not_tried_again_at_once(pace: Pace, clock: Seconds) -> None:
    pace.refused(5)
    assert pause(pace, clock) == 45


def test_pauses_are_told_when_they_begin_double_and_end(
    pace: Pace, clock: Seconds, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    for seconds in (2, 2.5, 5, 0.1, 0.1):
        pace.answered(seconds)
        pause(pace, clock)
    assert caplog.messages == [
        "it is asked only every 18 s, because its last answer took 2 s",
        "it is asked only every 45 s, because its last answer took 5 s",
        "it is asked as usual again",
    ]


def test_a_slow_scheduler_is_asked_less_often_while_logs_go_on(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent, job = site.new_agent(), site.submit()
    run_passes(agent, 2)
    site.cluster.move("1", NativeState.RUNNING)
    quick = FakeCluster._poll

    def slow(cluster: FakeCluster, *native_ids: str) -> str:
        site.clock.move(seconds=4)
        return quick(cluster, *native_ids)

    monkeypatch.setattr(FakeCluster, "_poll", slow)
    run_passes(agent)
    site.cluster.calls.clear()
    site.folders.log(job.id, "stdout").write_text("line\n")
    for _ in range(7):
        site.clock.move(seconds=5)
        run_passes(agent)
    assert site.cluster.count("poll") == 0
    assert site.bundles.entries(job.id, "live/stdout")
    heartbeat = Heartbeat(agent)
    heartbeat.beat()
    presence = site.bundles.agents.presence("here")
    assert presence is not None
    assert presence.trouble == (
        "the scheduler is asked about jobs only every 36 s, because its last answer took 4 s"
    )
    monkeypatch.undo()
    site.clock.move(seconds=5)
    run_passes(agent)
    assert site.cluster.count("poll") == 1
    assert agent.trouble == ""


@pytest.mark.parametrize("fault", [refusal("busy"), time_out()], ids=["refused", "no answer"])
def test_a_scheduler_that_takes_no_jobs_is_not_offered_one_after_the_other(
    site: Site, fault: Exception
) -> None:
    agent = site.new_agent()
    jobs = [site.submit() for _ in range(20)]
    site.cluster.faults["submit"] = [fault] * 100
    for _ in range(12):
        run_passes(agent)
        site.clock.move(seconds=RETRY_AFTER.total_seconds())
    assert site.cluster.count("submit") <= 20
    assert "the scheduler is given jobs only every" in agent.trouble
    site.cluster.faults["submit"].clear()
    site.clock.move(seconds=LONGEST)
    for _ in range(3):
        run_passes(agent)
        # What may have been submitted without an answer is looked up for two minutes first.
        site.clock.move(seconds=timedelta(minutes=1).total_seconds())
    run_passes(agent)
    assert {site.job(job.id).state for job in jobs} == {JobState.READY}
    assert len(site.cluster.jobs) == len(jobs)


def test_the_end_of_a_job_ends_the_pause_of_submissions(site: Site) -> None:
    agent, first = site.new_agent(), site.submit()
    run_passes(agent, 2)
    second = site.submit()
    for _ in range(2):
        agent.place.queue.submissions.refused()
    run_passes(agent)
    assert site.job(second.id).state is JobState.INIT
    site.cluster.move("1", NativeState.COMPLETED, exit_code=0)
    run_passes(agent, 2)
    assert site.job(first.id).state is JobState.DONE
    assert site.job(second.id).state is JobState.READY
