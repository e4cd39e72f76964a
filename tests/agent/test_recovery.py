"""An agent that is killed, and the one that is started after it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Optional

import pytest

from cloudq.agent.schedulers.base import NativeState
from cloudq.errors import StoreUnreachableError
from cloudq.job import JobState
from cloudq.process import DEFAULT_TIMEOUT, Completed
from cloudq.store import Entry
from cloudq.store.memory import MemoryStore
from tests.agent.cluster import FakeCluster
from tests.agent.conftest import Site, run_passes


class Killed(BaseException):
    """The process is gone: no handler of the agent sees this."""


@dataclass
class Fate:
    """Counts effects; at one of them, before or after it, the process dies."""

    at: int = -1
    after: bool = False
    effects: int = 0
    dead: bool = False

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    def before_effect(self) -> None:
        with self._lock:
            if self.dead:
                raise Killed
            self.effects += 1
            self._die_if(not self.after)

    def after_effect(self) -> None:
        with self._lock:
            self._die_if(self.after)

    def _die_if(self, due: bool) -> None:
        if due and self.effects == self.at and not self.dead:
            self.dead = True
            raise Killed


class FatefulStore(MemoryStore):
    """A store whose every write is an effect."""

    def __init__(self) -> None:
        super().__init__()
        self.fate = Fate()

    def write(self, key: str, data: bytes) -> str:
        self.fate.before_effect()
        etag = super().write(key, data)
        self.fate.after_effect()
        return etag

    def replace(self, key: str, data: bytes, *, etag: str) -> str:
        self.fate.before_effect()
        new = super().replace(key, data, etag=etag)
        self.fate.after_effect()
        return new

    def upload(self, path: Path, key: str) -> Entry:
        self.fate.before_effect()
        entry = super().upload(path, key)
        self.fate.after_effect()
        return entry

    def upload_blocks(self, blocks: Iterable[bytes], key: str, *, expected: int = 0) -> Entry:
        self.fate.before_effect()
        entry = super().upload_blocks(blocks, key, expected=expected)
        self.fate.after_effect()
        return entry

    def delete(self, keys: Iterable[str]) -> None:
        self.fate.before_effect()
        super().delete(keys)
        self.fate.after_effect()


@dataclass
class FatefulCluster(FakeCluster):
    """A cluster on which submitting and cancelling are effects."""

    fate: Optional[Fate] = None

    def run(
        self, argv: Sequence[str], *, cwd: Optional[Path] = None, timeout: timedelta = DEFAULT_TIMEOUT
    ) -> Completed:
        if argv[1] not in ("submit", "cancel") or self.fate is None:
            return super().run(argv, cwd=cwd, timeout=timeout)
        self.fate.before_effect()
        done = super().run(argv, cwd=cwd, timeout=timeout)
        self.fate.after_effect()
        return done


def _live_a_life(folder: Path, fate: Fate) -> tuple[Site, str]:
    """Bring one job through its life under an agent that dies as fate has it and is started again."""
    store, cluster = FatefulStore(), FatefulCluster()
    site = Site(folder, store, cluster=cluster)
    job = site.submit()
    store.fate = cluster.fate = fate
    agent = site.new_agent()

    def passes(number: int) -> None:
        nonlocal agent
        for _ in range(number):
            with contextlib.suppress(Killed):
                run_passes(agent)
            if fate.dead:
                agent.crew.stop()
                fate.dead, fate.at = False, -1
                agent = site.new_agent()
            site.clock.move(minutes=1)

    passes(6)
    site.cluster.move("1", NativeState.RUNNING)
    site.folders.log(job.id, "stdout").write_text("one\n")
    passes(2)
    site.folders.log(job.id, "stdout").write_text("one\ntwo\n")
    (site.folders.work_dir(job.id) / "result").write_text("42")
    site.cluster.move("1", NativeState.COMPLETED, exit_code=0)
    passes(4)
    agent.crew.stop()
    return site, job.id


def _number_of_effects(folder: Path) -> int:
    fate = Fate()
    _live_a_life(folder, fate)
    return fate.effects


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_an_agent_killed_at_any_effect_loses_nothing_and_runs_nothing_twice(
    tmp_path: Path, after: bool
) -> None:
    """Defects 8, 9 and 46: every boundary between two effects, one after the other."""
    total = _number_of_effects(tmp_path / "count")
    assert total > 12
    for at in range(1, total + 1):
        site, job_id = _live_a_life(tmp_path / f"{at}", Fate(at, after))
        ended, where = site.job(job_id), f"killed {'after' if after else 'before'} effect {at} of {total}"
        assert site.cluster.count("submit") == 1, where
        assert (ended.state, ended.exit_code) == (JobState.DONE, 0), where
        assert site.bundles.read(job_id, "stdout") == b"one\ntwo\n", where
        assert ended.output_size == site.bundles.entries(job_id)["output.zip"].size, where
        assert site.bundles.entries(job_id, "live/") == {}, where
        assert site.keys("agent/") == [], where
        assert list(site.folders.job_ids()) == [], where


def test_a_restarted_agent_knows_how_a_job_ended_though_the_scheduler_forgot(tmp_path: Path) -> None:
    class NoUploads(MemoryStore):
        broken = True

        def upload(self, path: Path, key: str) -> Entry:
            if self.broken:
                raise StoreUnreachableError("no answer")
            return super().upload(path, key)

    store = NoUploads()
    site = Site(tmp_path, store)
    agent, job = site.new_agent(), site.submit()
    run_passes(agent)
    site.folders.log(job.id, "stdout").write_text("")
    site.cluster.move("1", NativeState.TIMED_OUT, reason="walltime 0:01:00 exceeded")
    run_passes(agent)
    assert site.job(job.id).state is JobState.COMPLETING
    site.cluster.jobs.clear()
    store.broken = False
    run_passes(site.new_agent(), 2)
    ended = site.job(job.id)
    assert (ended.state, ended.error) == (JobState.TIMEOUT, "walltime 0:01:00 exceeded")
    for one in site.agents:
        one.crew.stop()


def test_the_work_folder_stays_until_the_outputs_are_in_the_bucket(tmp_path: Path) -> None:
    """Defect 9, and 17: a fault is no reason to begin again and again at full speed."""

    class Full(MemoryStore):
        uploads = 0

        def upload_blocks(self, blocks: Iterable[bytes], key: str, *, expected: int = 0) -> Entry:
            self.uploads += 1
            raise StoreUnreachableError("no answer")

    store = Full()
    site = Site(tmp_path, store)
    agent, job = site.new_agent(), site.submit()
    run_passes(agent)
    (site.folders.work_dir(job.id) / "result").write_text("42")
    site.cluster.move("1", NativeState.COMPLETED)
    run_passes(agent, 5)
    assert store.uploads == 1
    assert (site.folders.work_dir(job.id) / "result").exists()
    assert not site.job(job.id).state.final
    agent.crew.stop()


def test_a_job_deleted_while_it_runs_is_cancelled_and_forgotten(site: Site) -> None:
    agent, job = site.new_agent(), site.submit()
    run_passes(agent)
    site.bundles.delete(job.id)
    site.cluster.move("1", NativeState.RUNNING)
    run_passes(agent)
    site.clock.move(seconds=10)
    run_passes(agent)
    assert site.cluster.count("cancel") == 1
    assert site.keys() == []


def test_a_job_claimed_by_somebody_else_is_left_to_them(site: Site) -> None:
    agent, job = site.new_agent(), site.submit()
    run_passes(agent)
    record = site.bundles.load(job.id)
    site.bundles.save(record, replace(record.job, claim_token="another", run_system="there"))
    site.cluster.move("1", NativeState.RUNNING)
    run_passes(agent)
    site.clock.move(seconds=10)
    run_passes(agent)
    assert site.job(job.id).state is JobState.READY
    assert agent.roster.all() == []


def test_folders_that_a_killed_agent_left_behind_are_removed(site: Site) -> None:
    """Defect 101."""
    job = site.submit()
    record = site.bundles.load(job.id)
    site.bundles.save(record, replace(record.job, state=JobState.DONE, run_system="here"))
    folders = site.folders
    folders.prepare()
    for folder in (folders.work_dir(job.id), folders.work_dir("unknown1"), folders.spool(job.id)):
        folder.mkdir()
    site.new_agent()
    assert list(folders.job_ids()) == ["unknown1"]


def test_an_agent_of_the_same_name_with_another_folder_leaves_the_job_alone(
    site: Site, tmp_path: Path
) -> None:
    agent, job = site.new_agent(), site.submit()
    run_passes(agent)
    site.folders.log(job.id, "stdout").write_text("text\n")
    site.cluster.move("1", NativeState.COMPLETED)
    other = Site(tmp_path / "elsewhere", site.store, cluster=site.cluster)
    second = other.new_agent()
    run_passes(second, 2)
    second.crew.stop()
    assert not site.job(job.id).state.final
    run_passes(agent)
    assert site.job(job.id).state is JobState.DONE
    assert site.bundles.read(job.id, "stdout") == b"text\n"


def test_outputs_that_another_agent_left_out_are_made_up_for(site: Site) -> None:
    agent, job = site.new_agent(), site.submit()
    run_passes(agent)
    site.folders.log(job.id, "stdout").write_text("text\n")
    record = site.bundles.load(job.id)
    site.bundles.save(record, replace(record.job, state=JobState.DONE))
    site.cluster.move("1", NativeState.COMPLETED)
    run_passes(agent, 2)
    assert {"stdout", "output.zip"} <= set(site.bundles.entries(job.id))
    assert list(site.folders.job_ids()) == []


def test_an_agent_started_for_each_pass_remembers_since_when_a_job_is_missing(site: Site) -> None:
    agent, job = site.new_agent(), site.submit()
    run_passes(agent)
    site.cluster.jobs.clear()
    site.folders.status_file(job.id).write_text("0\n")
    for _ in range(3):
        run_passes(site.new_agent())
        site.clock.move(seconds=20)
    assert site.job(job.id).state is JobState.DONE
