"""One agent of a name at a time: who may work, who stands by, who takes over."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from filelock import FileLock

from cloudq.agent.daemon.solitude import sole_agent
from cloudq.agent.lease import Lease
from cloudq.bundle import Bundles
from cloudq.errors import AgentRunsError, StoreError, StoreUnreachableError
from cloudq.presence import Presence
from cloudq.store.memory import MemoryStore
from tests.agent.conftest import Clock, Site

HEARTBEAT = timedelta(seconds=60)


class Host:
    """One login node: an agent's lease, and what it publishes."""

    def __init__(self, store: MemoryStore, clock: Clock, folder: Path, name: str) -> None:
        site = Site(folder, store)
        agent = site.new_agent()
        agent.crew.stop()
        self.clock, self.name = clock, name
        self.config = replace(agent.place.config, heartbeat_interval=HEARTBEAT)
        self.lease = Lease(Bundles(store), self.config, clock)

    def beat(self) -> None:
        directory = str(self.config.directory)
        self.lease.renew(
            Presence(
                *("here", "1", "slurm", self.name, 1, self.clock(), HEARTBEAT),
                directory=directory,
                token=self.lease.token,
            )
        )


class AwayStore(MemoryStore):
    """A store that a host may lose."""

    away = False

    def replace(self, key: str, data: bytes, *, etag: str) -> str:
        if self.away:
            raise StoreUnreachableError("no answer")
        return super().replace(key, data, etag=etag)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store() -> AwayStore:
    return AwayStore()


def test_the_second_agent_of_a_name_stands_by_and_takes_over_when_the_first_is_gone(
    store: AwayStore, clock: Clock, tmp_path: Path
) -> None:
    """Defect 7: both submitted every job."""
    first, second = Host(store, clock, tmp_path, "login1"), Host(store, clock, tmp_path, "login2")
    first.beat()
    for _ in range(4):
        with pytest.raises(AgentRunsError, match="running already: pid 1 on login1, cloudq_directory"):
            second.beat()
        assert not second.lease.permits_work
        clock.move(seconds=50)
    second.beat()
    assert second.lease.held
    assert not first.lease.held


def test_an_agent_that_was_halted_touches_nothing_before_it_knows_that_it_is_still_the_one(
    store: AwayStore, clock: Clock, tmp_path: Path
) -> None:
    first, second = Host(store, clock, tmp_path, "login1"), Host(store, clock, tmp_path, "login2")
    first.beat()
    clock.move(minutes=5)
    with pytest.raises(AgentRunsError, match="no heartbeat could be written for too long"):
        first.lease.check()
    second.beat()
    with pytest.raises(AgentRunsError, match="on login2"):
        first.beat()
    assert not first.lease.permits_work


def test_an_agent_that_stands_by_may_end_what_it_began_in_a_folder_of_its_own(
    store: AwayStore, clock: Clock, tmp_path: Path
) -> None:
    first = Host(store, clock, tmp_path / "1", "login1")
    second = Host(store, clock, tmp_path / "2", "login2")
    first.beat()
    with pytest.raises(AgentRunsError):
        second.beat()
    assert second.lease.permits_work
    assert not second.lease.held


def test_a_lease_outlives_a_short_outage_of_the_store_but_not_a_long_one(
    store: AwayStore, clock: Clock, tmp_path: Path
) -> None:
    agent = Host(store, clock, tmp_path, "login1")
    agent.beat()
    store.away = True
    for held in (True, True, False):
        clock.move(seconds=61)
        with pytest.raises(StoreError):
            agent.beat()
        assert agent.lease.held is held
    store.away = False
    agent.beat()
    assert agent.lease.held


def test_a_clock_that_was_set_back_proves_nothing(store: AwayStore, clock: Clock, tmp_path: Path) -> None:
    agent = Host(store, clock, tmp_path, "login1")
    agent.beat()
    clock.move(hours=-1)
    assert not agent.lease.held
    agent.beat()
    assert agent.lease.held


@pytest.mark.parametrize("rubbish", [b"", b"not JSON", b"{}"], ids=["empty", "text", "nothing"])
def test_a_presence_that_cannot_be_read_holds_nobody_up(
    store: AwayStore, clock: Clock, tmp_path: Path, rubbish: bytes
) -> None:
    agent = Host(store, clock, tmp_path, "login1")
    store.write("agent/.systems/here.json", rubbish)
    agent.beat()
    store.delete(["agent/.systems/here.json"])
    clock.move(seconds=60)
    agent.beat()
    assert agent.lease.held


def test_an_agent_on_another_host_that_shares_the_folder_waits_for_its_lock(tmp_path: Path) -> None:
    site = Site(tmp_path, MemoryStore())
    agent = site.new_agent()
    agent.crew.stop()
    config, waiting, alone = agent.place.config, threading.Event(), threading.Event()
    site.folders.pid_file.write_text('{"pid": 1, "host": "login1"}')

    def wait_for_it() -> None:
        with sole_agent(config, on_stand_by=waiting.set):
            alone.set()

    with FileLock(site.folders.lock):
        with pytest.raises(AgentRunsError, match="running already: pid 1 on login1"), sole_agent(config):
            pass
        thread = threading.Thread(target=wait_for_it)
        thread.start()
        assert waiting.wait(60)
        assert not alone.is_set()
    assert alone.wait(60)
    thread.join()


def test_of_many_agents_that_start_at_once_one_gets_the_lease(
    store: AwayStore, clock: Clock, tmp_path: Path
) -> None:
    hosts = [Host(store, clock, tmp_path / str(i), f"login{i}") for i in range(8)]
    for _ in range(20):
        start = threading.Barrier(len(hosts))

        def compete(host: Host, start: threading.Barrier = start) -> None:
            start.wait()
            try:
                host.beat()
            except (AgentRunsError, StoreError):
                return

        threads = [threading.Thread(target=compete, args=(host,)) for host in hosts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(host.lease.held for host in hosts) == 1
        clock.move(minutes=5)
