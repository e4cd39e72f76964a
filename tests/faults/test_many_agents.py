"""Jobs that anybody may take, eight agents that die again and again: each job runs once.

CLOUDQ_JOBS=1000 in the environment gives them a thousand jobs, which takes a minute.
"""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
from pathlib import Path

from cloudq.agent.passes import Agent
from cloudq.agent.schedulers.base import NativeState, NativeStatus
from cloudq.errors import CloudQError
from cloudq.job import JobState
from cloudq.store.memory import MemoryStore
from tests.agent.conftest import Clock, Site
from tests.faults.test_state_machine import Doom, DoomedStore, Killed, OneHand, TrueCluster

JOBS, AGENTS, SEED = int(os.environ.get("CLOUDQ_JOBS", "250")), 8, 20260131
SCRIPT = b"#!/bin/sh\necho\n"
PATIENCE = 300


class Host(threading.Thread):
    """One agent with a cluster of its own, killed at any effect by a seeded fate, and started again."""

    def __init__(self, folder: Path, bucket: MemoryStore, number: int, over: threading.Event) -> None:
        super().__init__(name=f"host{number}", daemon=True)
        self.doom, self.random, self.over = Doom(), random.Random(SEED + number), over
        self.cluster = TrueCluster(doom=self.doom)
        self.clock = Clock()
        self.site = Site(
            folder / self.name,
            DoomedStore(bucket, doom=self.doom),
            name=self.name,
            cluster=self.cluster,
            clock=self.clock,
            settings={"any_max_pending": 150},
        )
        self.kills = 0
        self.agent = self._start_agent()

    def run(self) -> None:
        while not self.over.is_set():
            if self.random.random() < 0.5:
                self.doom.countdown, self.doom.after = self.random.randint(1, 60), self.random.random() < 0.5
            with contextlib.suppress(CloudQError, Killed):
                self.agent.run_pass()
            if self.doom.dead:
                self.kills += 1
                self.agent = self._start_agent()
            self._end_scripts()
            self.clock.move(seconds=20)

    def _start_agent(self) -> Agent:
        self.doom.dead, self.doom.countdown = False, 0
        self.site.agents.clear()
        agent = self.site.new_agent()
        agent.crew.stop()
        agent.crew = OneHand(1)
        return agent

    def _end_scripts(self) -> None:
        for native_id, task_id in self.cluster.unended():
            script = self.cluster.scripts[native_id]
            code = 3 if int(script.parent.name[3:]) % 10 == 0 else 0
            state = NativeState.FAILED if code else NativeState.COMPLETED
            self.cluster.end(native_id, task_id, NativeStatus(state, exit_code=code))


def test_of_many_jobs_for_eight_agents_that_are_killed_each_runs_once(tmp_path: Path) -> None:
    """Seeded by SEED; what the threads do between is left to chance."""
    bucket, over = MemoryStore(), threading.Event()
    client = Site(tmp_path / "client", bucket)
    jobs = [client.submit(SCRIPT, id=f"job{number:04}", run_on="ANY") for number in range(JOBS)]
    hosts = [Host(tmp_path, bucket, number, over) for number in range(AGENTS)]
    for host in hosts:
        host.start()
    end = time.monotonic() + PATIENCE
    while list(bucket.list("agent/.inbox/")) or list(bucket.list("agent/.active/")):
        assert time.monotonic() < end, "the jobs do not come to an end"
        time.sleep(0.2)
    over.set()
    for host in hosts:
        host.join()
    taken = [job_id for host in hosts for job_id in host.cluster.submissions]
    assert sorted(taken) == [job.id for job in jobs]
    for number, job in enumerate(jobs):
        expected = JobState.DONE if number % 10 else JobState.ERROR
        assert client.job(job.id).state is expected, job.id
        assert "output.zip" in client.bundles.entries(job.id)
    assert sum(host.kills for host in hosts) > AGENTS
    assert sum(bool(host.cluster.submissions) for host in hosts) > AGENTS // 2
