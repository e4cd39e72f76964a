"""An agent on a fake cluster and a store in memory, with a clock that the tests move."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Optional

import pytest

from cloudq.agent.folders import Folders
from cloudq.agent.lease import Lease
from cloudq.agent.passes import Agent
from cloudq.agent.queue import Queue
from cloudq.agent.workplace import Workplace
from cloudq.agentconfig import AgentConfig
from cloudq.bundle import Bundles
from cloudq.job import ArrayRange, Job, JobKind, new_job_id
from cloudq.store import Store, StoreAddress
from cloudq.store.memory import MemoryStore
from tests.agent.cluster import FakeCluster, FakeScheduler

SCRIPT = b"#!/bin/sh\necho hello\n"
META = b"#!/bin/bash\n#$ run_on: here\necho hello\n"


@dataclass
class Clock:
    """A time that stands still until it is moved."""

    moment: datetime = datetime(2026, 1, 31, 8, 0, 0, tzinfo=timezone.utc)

    def __call__(self) -> datetime:
        return self.moment

    def move(self, **delta: float) -> None:
        self.moment += timedelta(**delta)


class UndisputedLease(Lease):
    """The lease of an agent that is alone, however far a test moves the clock."""

    @property
    def held(self) -> bool:
        return True


@dataclass
class Site:
    """One agent and everything around it."""

    folder: Path
    store: Store
    name: str = "here"
    cluster: FakeCluster = field(default_factory=FakeCluster)
    clock: Clock = field(default_factory=Clock)
    settings: dict[str, object] = field(default_factory=dict)
    agents: list[Agent] = field(default_factory=list)
    queue: Optional[Queue] = None

    @property
    def bundles(self) -> Bundles:
        return Bundles(self.store)

    @property
    def folders(self) -> Folders:
        return Folders(self.folder, self.name)

    def _new_queue(self) -> Queue:
        timeout = timedelta(seconds=60)
        return Queue(FakeScheduler(), self.cluster.run, timeout, clock=lambda: self.clock().timestamp())

    def new_agent(self, *, takes_any: bool = True) -> Agent:
        """Start an agent process anew."""
        config = AgentConfig(
            file=Path("config.ini"),
            name=self.name,
            store=StoreAddress("", "bucket"),
            prefix="",
            log_level="INFO",
            scheduler="local",
            transfers=4,
            interval=timedelta(seconds=5),
            idle_interval=timedelta(seconds=15),
            sweep_interval=timedelta(seconds=60),
            heartbeat_interval=timedelta(seconds=60),
            directory=self.folder,
            any_max_pending=10,
            any_delay=timedelta(0),
            lost_after=timedelta(minutes=10),
            command_timeout=timedelta(seconds=10),
            slots=1,
            projects={},
            resources={},
            container_runtime="none",
        )
        folders = self.folders
        folders.prepare()
        place = Workplace(
            config=replace(config, **self.settings),  # type: ignore[arg-type]
            bundles=self.bundles,
            folders=folders,
            queue=self.queue or self._new_queue(),
            account="somebody",
            now=self.clock,
            lease=UndisputedLease(self.bundles, config, self.clock),
        )
        agent = Agent(place, takes_any=takes_any)
        self.agents.append(agent)
        agent.recover()
        return agent

    def submit(self, script: bytes = META, **values: object) -> Job:
        """Put a job into the bucket, as the client does."""
        kind = JobKind.LOCAL if "submit_to" in values else JobKind.META
        if isinstance(values.get("array_range"), str):
            values["array_range"] = ArrayRange.parse(str(values["array_range"]))
        job = Job(new_job_id(), "job.sh", kind, submitted=self.clock())
        job = replace(job, **values)  # type: ignore[arg-type]
        if kind is JobKind.META and not job.run_on:
            job = replace(job, run_on="here")
        self.bundles.write(job.id, job.name, script)
        job = self.bundles.create(job).job
        self.bundles.markers.notify(job)
        return job

    def job(self, job_id: str) -> Job:
        """Return a job as its manifest has it now."""
        return self.bundles.load(job_id).job

    def keys(self, beginning: str = "") -> list[str]:
        """Return all keys that begin so."""
        return [entry.key for entry in self.store.list(beginning)]


def run_passes(agent: Agent, number: int = 1) -> None:
    """Make passes, each with all its work."""
    for _ in range(number):
        agent.run_pass()
        assert agent.crew.wait(timedelta(seconds=120))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path / "agent", MemoryStore())
    yield site
    for agent in site.agents:
        agent.crew.stop()


@pytest.fixture
def there(site: Site, tmp_path: Path) -> Iterator[Site]:
    """A second system on the same bucket."""
    there = Site(tmp_path / "there", site.store, name="there", clock=site.clock)
    yield there
    for agent in there.agents:
        agent.crew.stop()
