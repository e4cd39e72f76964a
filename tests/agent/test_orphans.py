"""Deletion by a client at the worst moments: nothing of the job is left, in the bucket or at the agent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cloudq.agent.schedulers.base import NativeState
from cloudq.bundle import Bundles
from cloudq.client.jobs.deletion import delete_job
from cloudq.errors import StoreRefusedError
from cloudq.job import JobState
from cloudq.store import Blob
from cloudq.store.memory import MemoryStore
from tests.agent.conftest import Site, run_passes


class WatchedStore(MemoryStore):
    """Lets somebody else act right after a read or a write, once."""

    def __init__(self) -> None:
        super().__init__()
        self.after: Callable[[str, bytes], bool] = lambda key, data: False
        self.act: Callable[[], None] = lambda: None

    def write(self, key: str, data: bytes) -> str:
        etag = super().write(key, data)
        self._look(key, data)
        return etag

    def replace(self, key: str, data: bytes, *, etag: str) -> str:
        new = super().replace(key, data, etag=etag)
        self._look(key, data)
        return new

    def read(self, key: str) -> Blob:
        blob = super().read(key)
        self._look(key, blob.data)
        return blob

    def _look(self, key: str, data: bytes) -> None:
        if self.after(key, data):
            self.after = lambda key, data: False
            self.act()


def test_a_job_deleted_the_moment_it_is_done_leaves_nothing(tmp_path: Path) -> None:
    """Defect 46: logs that were uploaded after the final state became orphans."""
    store = WatchedStore()
    site = Site(tmp_path, store)
    job, agent = site.submit(), site.new_agent()
    run_passes(agent)
    site.folders.log(job.id, "stdout").write_text("text")
    site.cluster.move("1", NativeState.RUNNING)
    run_passes(agent)
    store.after, store.act = lambda _, data: b'"DONE"' in data, lambda: delete_job(Bundles(store), job.id)
    site.cluster.move("1", NativeState.COMPLETED)
    run_passes(agent)
    agent.crew.stop()
    assert site.keys() == []
    assert list(site.folders.job_ids()) == []


def test_a_job_deleted_while_it_is_being_claimed_leaves_nothing(tmp_path: Path) -> None:
    store = WatchedStore()
    site = Site(tmp_path, store)
    job, agent = site.submit(), site.new_agent()

    def end_and_delete() -> None:
        record = site.bundles.load(job.id)
        site.bundles.save(record, replace(record.job, state=JobState.DELETED))
        delete_job(site.bundles, job.id)

    store.after, store.act = lambda key, _: key == f"{job.id}/manifest.json", end_and_delete
    # The sweep of the same pass may have read the job before that, and announce it after: one more mends it.
    run_passes(agent, 2)
    agent.crew.stop()
    assert site.keys() == []
    assert list(site.folders.job_ids()) == []


def test_a_running_job_whose_bundle_vanishes_leaves_nothing_that_its_agent_wrote(tmp_path: Path) -> None:
    site = Site(tmp_path, MemoryStore())
    job, agent = site.submit(), site.new_agent()
    run_passes(agent)
    site.cluster.move("1", NativeState.RUNNING)
    site.bundles.delete(job.id)
    site.folders.log(job.id, "stdout").write_text("text")
    for _ in range(3):
        run_passes(agent)
        site.clock.move(seconds=61)
    agent.crew.stop()
    assert site.keys() == []
    assert list(site.folders.job_ids()) == []


def test_a_job_deleted_while_no_agent_ran_is_ended_at_the_next_start(tmp_path: Path) -> None:
    site = Site(tmp_path, MemoryStore())
    job = site.submit()
    run_passes(site.new_agent())
    site.bundles.delete(job.id)
    agent = site.new_agent()
    for _ in range(2):
        run_passes(agent)
        site.clock.move(seconds=10)
    for each in site.agents:
        each.crew.stop()
    assert site.cluster.jobs["1"][None].state is NativeState.CANCELLED
    assert site.keys() == []
    assert list(site.folders.job_ids()) == []


class FailingStore(MemoryStore):
    """A store that refuses to write below a prefix, while it has one."""

    refused = ""

    def write(self, key: str, data: bytes) -> str:
        self._check(key)
        return super().write(key, data)

    def replace(self, key: str, data: bytes, *, etag: str) -> str:
        self._check(key)
        return super().replace(key, data, etag=etag)

    def _check(self, key: str) -> None:
        if self.refused and key.startswith(self.refused):
            raise StoreRefusedError(f"cannot write {key!r}")


@pytest.mark.parametrize("restart", [False, True], ids=["it goes on", "it is started anew"])
def test_a_claim_that_came_to_nothing_leaves_no_folder(tmp_path: Path, restart: bool) -> None:
    """The job is cancelled before the store takes writes again; so nobody claims it any more."""
    store = FailingStore()
    site = Site(tmp_path, store)
    job, agent = site.submit(), site.new_agent()
    store.refused = f"{job.id}/"
    run_passes(agent)
    store.refused = ""
    record = site.bundles.load(job.id)
    site.bundles.save(record, replace(record.job, state=JobState.DELETED))
    agent = site.new_agent() if restart else agent
    for _ in range(3):
        site.clock.move(minutes=11)
        run_passes(agent)
    assert site.keys("agent/") == []
    assert list(site.folders.job_ids()) == []


def test_a_marker_that_cannot_be_written_is_written_later(tmp_path: Path) -> None:
    store = FailingStore()
    site = Site(tmp_path, store)
    job, agent = site.submit(), site.new_agent()
    store.refused = "agent/.active/"
    run_passes(agent)
    assert (site.job(job.id).state, list(site.bundles.markers.inbox("here"))) == (JobState.READY, [job.id])
    store.refused = ""
    site.clock.move(seconds=6)
    run_passes(agent)
    assert (site.bundles.markers.active("here"), site.keys("agent/.inbox/")) == ([job.id], [])
    assert site.cluster.count("submit") == 1


def test_an_agent_killed_before_its_claim_leaves_no_folder(tmp_path: Path) -> None:
    site = Site(tmp_path, MemoryStore())
    job = site.submit()
    site.folders.prepare()
    site.folders.spool(job.id).mkdir()
    record = site.bundles.load(job.id)
    site.bundles.save(record, replace(record.job, state=JobState.DELETED))
    site.new_agent()
    assert list(site.folders.job_ids()) == []
