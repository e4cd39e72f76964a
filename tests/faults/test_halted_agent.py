"""An agent's process is halted for longer than its lease, and goes on when another one has taken over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Callable

import pytest

from cloudq.bundle import Bundles
from cloudq.job import Job, JobKind, JobState, new_job_id
from cloudq.store.directory import DirectoryStore

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """[default]
name = twin
cloudq_endpoint_url = file://{top}
cloudq_bucket = bucket
[agent]
type = local
slots = 2
cloudq_directory = {top}/{name}
daemon_interval = 1
heartbeat_interval = 3
container_runtime = none
"""
SCRIPT = """#!/bin/sh
#$ run_on: twin
echo {label} >> {top}/runs
while ! test -e {top}/go; do sleep 0.1; done
"""


@dataclass
class Twins:
    """Two agents of one name, with folders of their own."""

    top: Path
    agents: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        (self.top / "bucket").mkdir()
        self.bundles = Bundles(DirectoryStore(self.top, "bucket"))

    def start(self, name: str, stack: ExitStack) -> None:
        """Start an agent; it is ended with the stack."""
        config = self.top / f"{name}.ini"
        config.write_text(CONFIG.format(top=self.top, name=name))
        code = "from cloudq.agent.cli import main; main()"
        argv = [sys.executable, "-c", code, "--config", str(config), "--foreground"]
        self.agents[name] = stack.enter_context(
            subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        )
        stack.callback(self.agents[name].kill)

    def submit(self, label: str) -> str:
        """Put a job into the bucket."""
        job = Job(new_job_id(), "job.sh", JobKind.META, run_on="twin", submitted=datetime.now(timezone.utc))
        self.bundles.write(job.id, job.name, SCRIPT.format(top=self.top, label=label).encode())
        self.bundles.markers.notify(self.bundles.create(job).job)
        return job.id

    def runs(self) -> list[str]:
        """Return the labels of the scripts, once for each time that one ran."""
        file = self.top / "runs"
        return sorted(file.read_text().split()) if file.exists() else []

    def holder(self) -> str:
        """Return the name of the folder of the agent that has the lease."""
        presence, _ = self.bundles.agents.published("twin")
        return "" if presence is None else Path(presence.directory).name


def wait(until: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 120
    while not until():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.mark.real  # It needs no daemons, but time.
def test_a_halted_agent_whose_twin_took_over_ends_what_it_began_and_runs_nothing_twice(
    tmp_path: Path, stack: ExitStack
) -> None:
    twins = Twins(tmp_path)
    twins.start("first", stack)
    wait(lambda: twins.holder() == "first", "the first agent")
    began = twins.submit("began")
    wait(lambda: twins.bundles.load(began).job.state is JobState.RUN and twins.runs(), "its job")
    os.kill(twins.agents["first"].pid, signal.SIGSTOP)
    twins.start("second", stack)
    wait(lambda: twins.holder() == "second", "the take-over")
    later = twins.submit("later")
    wait(lambda: twins.runs() == ["began", "later"], "a job of the second agent")
    os.kill(twins.agents["first"].pid, signal.SIGCONT)
    wait(lambda: "standing by" in (tmp_path / "first/cloudqd.log").read_text(), "the first to stand by")
    (tmp_path / "go").touch()
    for job_id in (began, later):
        wait(lambda: twins.bundles.load(job_id).job.state is JobState.DONE, f"the end of {job_id}")  # noqa: B023
    assert twins.holder() == "second"
    assert twins.runs() == ["began", "later"]
