"""The crew: rests wait for what is to be begun, but not for long, and none is left undone."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Optional

import pytest

from cloudq.agent import crew as crew_module
from cloudq.agent.crew import Crew, Rest, Transfer
from cloudq.agent.passes import Agent
from cloudq.agent.queue import Queue
from cloudq.agent.schedulers.base import NativeState
from cloudq.errors import StoreError
from cloudq.job import Job, JobState
from cloudq.process import DEFAULT_TIMEOUT, Completed
from cloudq.store import Entry
from cloudq.store.memory import MemoryStore
from tests.agent.cluster import FakeScheduler
from tests.agent.conftest import Site, UndisputedLease, run_passes

A_MINUTE = timedelta(minutes=1)


@dataclass
class Diary:
    """Work that writes down what was done; the first piece of it waits until all has been given."""

    lines: list[str] = field(default_factory=list)
    given: threading.Event = field(default_factory=threading.Event)

    def begin(self, name: str) -> Optional[Rest]:
        assert self.given.wait(60)
        self.lines.append(f"begin {name}")
        return lambda: self.end(name)

    def end(self, name: str) -> Optional[Rest]:
        self.lines.append(f"end {name}")
        return None


def test_rests_come_after_what_was_given_before() -> None:
    crew, diary = Crew(1), Diary()
    for name in "abc":
        assert crew.give(name, diary.begin, name)
    diary.given.set()
    assert crew.wait(A_MINUTE)
    assert diary.lines == ["begin a", "begin b", "begin c", "end a", "end b", "end c"]


def test_a_rest_does_not_wait_while_all_have_long_work_in_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew_module, "PATIENCE", 0.01)
    crew, ended, waited = Crew(1), threading.Event(), []

    def work_long() -> None:
        waited.append(ended.wait(60))

    assert crew.give("a", lambda: ended.set)
    assert crew.give("b", work_long)
    assert crew.wait(A_MINUTE)
    assert waited == [True]


def test_what_has_a_rest_is_in_hand_until_that_is_done() -> None:
    crew, diary = Crew(1), Diary()
    diary.given.set()
    refused: list[bool] = []

    def rest() -> None:
        refused.append(crew.give("a", diary.begin, "again"))

    assert crew.give("a", lambda: rest)
    assert crew.wait(A_MINUTE)
    assert (refused, diary.lines) == ([False], [])
    assert crew.give("a", diary.begin, "later")
    assert crew.wait(A_MINUTE)
    assert diary.lines == ["begin later", "end later"]


def test_a_rest_may_leave_another_and_may_fail(caplog: pytest.LogCaptureFixture) -> None:
    crew, diary = Crew(1), Diary()

    def fail() -> None:
        raise StoreError("gone")

    assert crew.give("a", lambda: lambda: lambda: diary.end("a"))
    assert crew.give("b", lambda: fail)
    assert crew.wait(A_MINUTE)
    assert diary.lines == ["end a"]
    assert [record.message for record in caplog.records] == ["b: gone"]
    assert crew.give("b", lambda: None)


@pytest.mark.parametrize("threads", [1, 3])
def test_a_crew_that_stops_does_the_rests_and_begins_nothing(threads: int) -> None:
    crew, diary = Crew(threads), Diary()
    for name in "abcdef":
        crew.give(name, diary.begin, name)
    crew.stop()
    diary.given.set()
    assert crew.wait(A_MINUTE)
    begun = {line.split()[1] for line in diary.lines if line.startswith("begin")}
    assert 0 < len(begun) <= threads
    assert begun == {line.split()[1] for line in diary.lines if line.startswith("end")}
    assert not crew.give("g", diary.begin, "g")


def test_a_transfer_is_work_of_a_porter_and_in_hand_until_it_ends() -> None:
    crew, diary, threads = Crew(1, porters=1), Diary(), []
    diary.given.set()
    ended = threading.Event()

    def carry() -> Optional[Rest]:
        threads.append(threading.current_thread().name.partition("_")[0])
        assert ended.wait(60)
        return None

    assert crew.give("a", lambda: Transfer(carry))
    assert crew.give("b", diary.begin, "b")
    assert not crew.give("a", diary.begin, "a")
    assert crew.give("c", ended.set)
    assert crew.wait(A_MINUTE)
    assert (threads, diary.lines) == (["porter"], ["begin b", "end b"])
    assert crew.give("a", lambda: None)


def test_a_crew_that_stops_ends_the_transfers_that_have_begun_and_begins_none() -> None:
    crew, diary, begun = Crew(1, porters=1), Diary(), threading.Event()

    def carry() -> Optional[Rest]:
        begun.set()
        return diary.begin("a")

    crew.give("a", lambda: Transfer(carry))
    crew.give("b", lambda: Transfer(lambda: diary.begin("b")))
    assert begun.wait(60)
    crew.stop()
    diary.given.set()
    assert crew.wait(A_MINUTE)
    assert diary.lines == ["begin a", "end a"]


@dataclass
class WatchedCluster:
    """A cluster that notes what the manifests say whenever it is given a job."""

    site: Site
    seen: list[list[str]] = field(default_factory=list)
    given: threading.Event = field(default_factory=threading.Event)

    def run(
        self, argv: Sequence[str], *, cwd: Optional[Path] = None, timeout: timedelta = DEFAULT_TIMEOUT
    ) -> Completed:
        if argv[1] == "submit":
            assert self.given.wait(60)
            self.seen.append(sorted(self.site.job(job_id).state.value for job_id in self.site.bundles.ids()))
        return self.site.cluster.run(argv, cwd=cwd, timeout=timeout)


@pytest.fixture
def watched(site: Site) -> WatchedCluster:
    """A site whose agent has one worker."""
    watched = WatchedCluster(site)
    site.settings["transfers"] = 0
    site.queue = Queue(FakeScheduler(), watched.run, A_MINUTE)
    return watched


def test_all_jobs_are_submitted_before_that_is_recorded(site: Site, watched: WatchedCluster) -> None:
    agent = site.new_agent()
    jobs = [site.submit() for _ in range(3)]
    agent.run_pass()
    watched.given.set()
    assert agent.crew.wait(A_MINUTE)
    assert watched.seen == [["INIT"] * 3] * 3
    assert {site.job(job.id).state for job in jobs} == {JobState.READY}


def test_a_submission_is_recorded_although_the_agent_stops(site: Site, watched: WatchedCluster) -> None:
    agent = site.new_agent()
    jobs = [site.submit() for _ in range(3)]
    agent.run_pass()
    agent.crew.stop()
    watched.given.set()
    assert agent.crew.wait(A_MINUTE)
    recorded = [job for job in jobs if site.job(job.id).native_id]
    assert len(recorded) == len(site.cluster.jobs) == 1
    assert not site.folders.submitting(recorded[0].id).exists()


class BusyStore(MemoryStore):
    """Refuses the second conditional write: the first is the claim, the second the record."""

    writes = 0

    def replace(self, key: str, data: bytes, *, etag: str) -> str:
        self.writes += 1
        if self.writes == 2:
            raise StoreError("503 Slow Down")
        return super().replace(key, data, etag=etag)


def test_a_fault_at_the_record_is_made_good_without_another_submission(site: Site) -> None:
    site.store = BusyStore()
    agent = site.new_agent()
    job = site.submit()
    run_passes(agent)
    assert (site.cluster.count("submit"), site.job(job.id).state) == (1, JobState.INIT)
    site.clock.move(seconds=6)
    run_passes(agent)
    assert (site.cluster.count("submit"), site.job(job.id).state) == (1, JobState.READY)
    assert not site.cluster.count("find")


def submit_and_write_meanwhile(site: Site, watched: WatchedCluster, agent: Agent, **values: object) -> Job:
    """Have a job submitted, and its manifest written by somebody else between the claim and the record."""
    job = site.submit()
    agent.run_pass()
    claimed = site.bundles.load(job.id)
    while not claimed.job.run_system:
        claimed = site.bundles.load(job.id)
    site.bundles.save(claimed, replace(claimed.job, **values))  # type: ignore[arg-type]
    watched.given.set()
    assert agent.crew.wait(A_MINUTE)
    return job


def test_a_job_taken_away_before_the_record_is_cancelled(site: Site, watched: WatchedCluster) -> None:
    agent = site.new_agent()
    job = submit_and_write_meanwhile(site, watched, agent, claim_token="another's", run_system="there")
    site.clock.move(seconds=6)
    run_passes(agent)
    assert (site.cluster.count("submit"), site.cluster.count("cancel")) == (1, 1)
    assert (site.job(job.id).run_system, site.job(job.id).native_id) == ("there", "")
    assert not agent.roster.all()


def test_what_another_process_of_the_agent_has_recorded_is_not_written_over(
    site: Site, watched: WatchedCluster
) -> None:
    """This one was halted between submission and record; the other found the job by its tag, and ended it."""
    agent = site.new_agent()
    job = submit_and_write_meanwhile(site, watched, agent, state=JobState.DONE, native_id="1")
    assert site.job(job.id).state is JobState.DONE
    site.cluster.move("1", NativeState.COMPLETED, exit_code=0)
    site.clock.move(seconds=6)
    run_passes(agent)
    assert (site.job(job.id).state, agent.roster.all()) == (JobState.DONE, [])


def test_who_has_lost_the_lease_records_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = site.new_agent()
    job = site.submit()
    answers = iter([True])  # before the submission
    monkeypatch.setattr(UndisputedLease, "held", property(lambda _: next(answers, False)))
    run_passes(agent)
    assert (site.cluster.count("submit"), site.job(job.id).state) == (1, JobState.INIT)
    monkeypatch.undo()
    site.clock.move(seconds=6)
    run_passes(agent)
    assert (site.cluster.count("submit"), site.job(job.id).state) == (1, JobState.READY)


def test_a_copy_that_the_scheduler_does_not_know_yet_is_looked_for_again(
    site: Site, watched: WatchedCluster
) -> None:
    agent = site.new_agent()
    submit_and_write_meanwhile(site, watched, agent, claim_token="another's", run_system="there")
    hidden = site.cluster.jobs.pop("1")
    site.clock.move(seconds=6)
    run_passes(agent)
    assert agent.roster.all()
    site.cluster.jobs["1"] = hidden
    for _ in range(2):
        site.clock.move(seconds=6)
        run_passes(agent)
    assert (site.cluster.count("cancel"), agent.roster.all()) == (1, [])


class SlowStore(MemoryStore):
    """Stores no outputs before something has happened."""

    def __init__(self, happened: threading.Event) -> None:
        super().__init__()
        self._happened = happened

    def upload_blocks(self, blocks: Iterable[bytes], key: str, *, expected: int = 0) -> Entry:
        assert self._happened.wait(60)
        return super().upload_blocks(blocks, key, expected=expected)


def test_a_long_transfer_holds_up_no_other_job(site: Site) -> None:
    site.settings["transfers"] = 1
    ready = threading.Event()
    site.store = SlowStore(ready)
    agent, first = site.new_agent(), site.submit()
    run_passes(agent)
    site.cluster.move("1", NativeState.COMPLETED)
    agent.run_pass()
    second = site.submit()
    while site.job(second.id).state is not JobState.READY:
        agent.run_pass()
        agent.crew.wait(timedelta(milliseconds=10))
    assert site.job(first.id).state is JobState.COMPLETING
    ready.set()
    assert agent.crew.wait(A_MINUTE)
    assert site.job(first.id).state is JobState.DONE
