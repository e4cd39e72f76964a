"""An agent whose scheduler is the simulated PBS: real commands, real processes, a store in memory."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Optional

import pytest

from cloudq.agent.folders import Folders
from cloudq.agent.passes import Agent
from cloudq.agent.queue import Queue
from cloudq.agent.schedulers.pbs import Pbs
from cloudq.agent.workplace import Workplace
from cloudq.bundle import Bundles
from cloudq.job import ArrayRange, Condition, Job, JobKind, new_job_id
from cloudq.process import run
from cloudq.store.memory import MemoryStore
from tests.agent.conftest import Site as FakeSite
from tests.agent.conftest import UndisputedLease, run_passes
from tests.pbs.commands import install
from tests.pbs.state import FOLDER_VARIABLE, State

PATIENCE_SECONDS = 120


@dataclass
class Clock:
    """The time of day, moved forward by what a test does not want to wait for."""

    ahead: timedelta = timedelta(0)

    def __call__(self) -> datetime:
        return datetime.now(timezone.utc) + self.ahead


@dataclass
class Site:
    """The cluster, and the agent on it."""

    server: State
    folder: Path
    bundles: Bundles = field(default_factory=lambda: Bundles(MemoryStore()))
    clock: Clock = field(default_factory=Clock)
    agents: list[Agent] = field(default_factory=list)
    command_timeout: timedelta = timedelta(seconds=60)

    @property
    def folders(self) -> Folders:
        return Folders(self.folder, "here")

    def new_agent(self) -> Agent:
        """Start an agent process anew."""
        config = FakeSite(self.folder, MemoryStore()).new_agent().place.config
        place = Workplace(
            config=config,
            bundles=self.bundles,
            folders=self.folders,
            queue=Queue(Pbs(), run, self.command_timeout),
            account="somebody",
            now=self.clock,
            lease=UndisputedLease(self.bundles, config, self.clock),
        )
        agent = Agent(place, takes_any=True)
        self.agents.append(agent)
        agent.recover()
        return agent

    def submit(
        self,
        body: str,
        *,
        tasks: str = "",
        options: str = "",
        local: bool = False,
        name: str = "job.sh",
        after: Optional[Job] = None,
    ) -> Job:
        """Put a job into the bucket, as the client does; `after` is another whose tasks it waits for."""
        job = Job(
            new_job_id(),
            name,
            JobKind.LOCAL if local else JobKind.META,
            run_on="" if local else "here",
            submit_to="here" if local else "",
            submit_options=options,
            array_range=ArrayRange.parse(tasks) if tasks else None,
            submitted=self.clock(),
            submit_token="token",
            hold_ids=(after.id,) if after else (),
            conditions={after.id: Condition.CORR} if after else {},
        )
        self.bundles.write(job.id, job.name, f"#!/bin/sh\n{body}\n".encode())
        job = self.bundles.create(job).job
        self.bundles.markers.notify(job)
        return job

    def job(self, job: Job) -> Job:
        """Return a job as its manifest has it now."""
        return self.bundles.load(job.id).job

    def pass_until(self, condition: Callable[[], object]) -> None:
        """Make passes until something holds."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, "waited in vain"
            run_passes(self.agents[-1])
            time.sleep(0.02)

    def ended(self, job: Job) -> Job:
        """Make passes until a job has ended, and return it."""
        self.pass_until(lambda: self.job(job).state.final)
        return self.job(job)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unmeasured_processes: None) -> Iterator[Site]:  # noqa: ARG001
    """A server without jobs, its commands on the PATH."""
    for name in ("bin", "home"):
        (tmp_path / name).mkdir()
    install(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "server"))
    site = Site(State(tmp_path / "server"), tmp_path / "agent")
    yield site
    for agent in site.agents:
        agent.crew.stop()
    for job in site.server.jobs():
        site.server.delete(job)
