"""What may happen while a job waits for its turn or a porter, and what a start finds that is not marked."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Optional

import pytest

from cloudq.agent.crew import Transfer
from cloudq.agent.passes import Agent
from cloudq.agent.queue import Queue
from cloudq.agent.rights.claims import unclear_since
from cloudq.agent.schedulers.base import NativeState
from cloudq.client.jobs.cancel import cancel
from cloudq.client.jobs.requeue import Requeue, requeue
from cloudq.errors import StoreError
from cloudq.job import Condition, JobState
from cloudq.process import DEFAULT_TIMEOUT, Completed
from cloudq.store import Entry
from cloudq.store.memory import MemoryStore
from tests.agent.cluster import FakeScheduler, time_out
from tests.agent.conftest import Site, UndisputedLease, run_passes

A_MINUTE = timedelta(minutes=1)


class OneTurn:
    """Has a site submit one job after the other; something happens during the first submission."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.begun: list[tuple[datetime, Optional[datetime]]] = []
        site.queue = Queue(FakeScheduler(), self._run, A_MINUTE, at_once=1)

    def happen(self) -> None:
        self._site.clock.move(minutes=3)

    def _run(
        self, argv: Sequence[str], *, cwd: Optional[Path] = None, timeout: timedelta = DEFAULT_TIMEOUT
    ) -> Completed:
        if argv[1] == "submit":
            job_id = argv[2].split("-")[1]
            noted = unclear_since(self._site.agents[-1].place, job_id)
            self.begun.append((self._site.clock(), noted))
            if len(self.begun) == 1:
                self.happen()
        return self._site.cluster.run(argv, cwd=cwd, timeout=timeout)


def test_that_a_submission_begins_is_noted_when_it_is_its_turn(site: Site) -> None:
    """Else the time in which it may still take effect would be over before it has begun."""
    turn = OneTurn(site)
    for _ in range(2):
        site.submit()
    run_passes(site.new_agent())
    assert [noted for _, noted in turn.begun] == [began for began, _ in turn.begun]
    assert len(turn.begun) == 2


def test_who_loses_the_lease_while_it_waits_for_its_turn_submits_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn, lost = OneTurn(site), threading.Event()
    monkeypatch.setattr(UndisputedLease, "held", property(lambda _: not lost.is_set()))
    monkeypatch.setattr(turn, "happen", lost.set)
    for _ in range(2):
        site.submit()
    run_passes(site.new_agent())
    assert len(turn.begun) == 1


def test_who_waits_for_a_turn_at_a_scheduler_that_refuses_gives_it_back(site: Site) -> None:
    turn = OneTurn(site)
    agent = site.new_agent()
    agent.place.queue.submissions.refused(1.0)  # the first refusal makes no pause yet
    site.cluster.faults["submit"] = [time_out()]
    jobs = [site.submit() for _ in range(3)]
    run_passes(agent)
    assert len(turn.begun) == 1
    for _ in range(3):
        site.clock.move(minutes=3)
        agent.place.queue.submissions.hurry()
        run_passes(agent)
    assert [site.job(job.id).state for job in jobs] == [JobState.READY] * 3


def keep_porters_busy(agent: Agent) -> threading.Event:
    """Give each porter something to carry until the event is set."""
    ended = threading.Event()

    def carry() -> None:
        assert ended.wait(60)

    for number in range(agent.place.config.transfers):
        agent.crew.give(f"long {number}", lambda: Transfer(carry))
    return ended


def run_until(agent: Agent, path: Path) -> None:
    while not path.exists():
        agent.run_pass()
        agent.crew.wait(timedelta(milliseconds=10))


def test_how_a_job_ended_is_kept_while_it_waits_for_a_porter(site: Site) -> None:
    """A local script leaves no exit status, and the scheduler forgets how it ended."""
    job, agent = site.submit(b"#!/bin/sh\n", submit_to="here"), site.new_agent()
    run_passes(agent)
    ended = keep_porters_busy(agent)
    site.cluster.move("1", NativeState.COMPLETED)
    run_until(agent, site.folders.outcome(job.id))
    agent.crew.stop()
    ended.set()
    assert agent.crew.wait(A_MINUTE)
    site.cluster.jobs.clear()
    run_passes(site.new_agent(), 2)
    assert site.job(job.id).state is JobState.DONE


def test_a_job_that_never_ran_ends_without_a_porter(site: Site) -> None:
    first, agent = site.submit(), site.new_agent()
    run_passes(agent)
    site.cluster.move("1", NativeState.FAILED, exit_code=1)
    run_passes(agent)
    ended = keep_porters_busy(agent)
    second = site.submit(hold_ids=(first.id,), conditions={first.id: Condition.OK})
    while not site.job(second.id).state.final:
        agent.run_pass()
        agent.crew.wait(timedelta(milliseconds=10))
    ended.set()
    assert (site.job(second.id).state, site.cluster.count("submit")) == (JobState.DELETED, 1)


class FullStore(MemoryStore):
    """Takes no outputs."""

    def upload_blocks(self, blocks: object, key: str, *, expected: int = 0) -> Entry:
        raise StoreError("the bucket is full")


def test_the_same_fault_of_a_transfer_is_logged_once(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.store = FullStore()
    agent, _ = site.new_agent(), site.submit()
    run_passes(agent)
    site.cluster.move("1", NativeState.COMPLETED)
    for _ in range(5):
        site.clock.move(seconds=6)
        run_passes(agent)
    assert sum("will be tried again" in record.message for record in caplog.records) == 1


def test_a_job_that_was_taken_away_is_given_up_once(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    agent, job = site.new_agent(), site.submit(input_size=2**30)
    for _ in range(2):
        agent.place.queue.submissions.refused(1.0)
    run_passes(agent)
    requeue(site.bundles, job.id, Requeue(to="there", force=True))
    run_passes(agent, 2)
    assert sum("claim was taken away" in record.message for record in caplog.records) == 1
    assert not agent.roster.all()


@pytest.fixture
def killed(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A site whose agent was killed when it had claimed a job and staged it in."""

    def be_killed(_: object) -> None:
        raise KeyboardInterrupt

    agent = site.new_agent()
    site.submit(run_on="ANY")
    with monkeypatch.context() as patched:
        patched.setattr(UndisputedLease, "check", be_killed)
        run_passes(agent)
    agent.crew.stop()
    return site


def test_an_agent_that_takes_no_jobs_goes_on_with_one_that_was_not_marked(killed: Site) -> None:
    (job_id,) = killed.bundles.ids()
    agent = killed.new_agent()
    for _ in range(2):
        agent.run_pass(takes_jobs=False)
        assert agent.crew.wait(A_MINUTE)
    assert killed.job(job_id).state is JobState.READY
    assert killed.bundles.markers.active("here") == [job_id]


def test_a_job_that_was_begun_and_requeued_leaves_no_folder(killed: Site, there: Site) -> None:
    (job_id,) = killed.bundles.ids()
    requeue(killed.bundles, job_id, Requeue(to="there", force=True))
    run_passes(there.new_agent())
    assert list(killed.folders.job_ids()) == [job_id]
    agent = killed.new_agent()
    run_passes(agent, 2)
    assert list(killed.folders.job_ids()) == []
    assert killed.keys("agent/") == [f"agent/.active/there/{job_id}"]


def test_a_job_cannot_keep_its_submission_from_being_recorded(site: Site) -> None:
    agent, job = site.new_agent(), site.submit()
    site.cluster.late["submit"] = [time_out()]
    run_passes(agent)
    work_dir = site.folders.work_dir(job.id)
    shutil.rmtree(work_dir)
    work_dir.write_text("no folder")
    for _ in range(4):
        site.clock.move(seconds=61)
        run_passes(agent)
    assert site.job(job.id).state is JobState.READY


def test_a_cancel_goes_with_a_job_that_is_sent_elsewhere(site: Site, there: Site) -> None:
    job = site.submit()
    cancel(site.bundles, job.id)
    requeue(site.bundles, job.id, Requeue(to="there"))
    assert site.bundles.markers.mail("here") == {}
    run_passes(there.new_agent(), 2)
    assert (site.job(job.id).state, there.cluster.count("submit")) == (JobState.DELETED, 0)
    assert site.keys("agent/") == []


def test_who_loses_a_claim_hands_on_what_was_asked(site: Site, there: Site) -> None:
    """It has seen the request, and the winner has not."""
    agent, other = site.new_agent(), there.new_agent()
    run_passes(agent)
    run_passes(other)
    job = site.submit(run_on="ANY")
    before = site.bundles.markers.mail("ANY")[job.id]
    cancel(site.bundles, job.id)
    seen = site.bundles.markers.mail("ANY")[job.id]
    read_before = there.bundles.load(job.id)
    agent.crew.give(f"job {job.id}", agent._receive, job.id, "ANY", before)
    assert agent.crew.wait(A_MINUTE)
    other._reception._receive_unclaimed(read_before, "ANY", seen)
    run_passes(other)
    run_passes(agent, 3)
    assert (site.job(job.id).state, there.cluster.count("submit")) == (JobState.DELETED, 0)
    assert site.keys("agent/") == []
