"""A local queue in a temporary directory, driven by its commands as an agent drives it."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Callable, Optional

import pytest

from cloudq.agent.localqueue.cli import main
from cloudq.agent.localqueue.liveness import is_alive
from cloudq.agent.localqueue.record import Start
from cloudq.agent.localqueue.spool import Spool
from cloudq.agent.schedulers.base import NativeState, NativeStatus, Submission, TaskStatuses
from cloudq.agent.schedulers.local import Local
from cloudq.job import ArrayRange

PATIENCE_SECONDS = 120.0


class LocalCluster:
    """One local queue and its jobs' working directory."""

    def __init__(self, directory: Path, slots: int) -> None:
        self.scheduler = Local(directory / "queue", slots)
        self.spool = Spool(self.scheduler.root)
        self.work_dir = directory / "work"
        self.work_dir.mkdir()
        self._numbers = count(1)

    def submission(self, script: str) -> Submission:
        """Write a script and return what is to be submitted."""
        path = self.work_dir / f"job{next(self._numbers)}.sh"
        path.write_text(script)
        stdout, stderr = self.work_dir / "stdout", self.work_dir / "stderr"
        return Submission(path, self.work_dir, stdout, stderr, "cq-test-1", "job.sh")

    def submit(
        self, script: str, *, tasks: str = "", options: tuple[str, ...] = (), grace: float = 10
    ) -> str:
        """Submit a script and return its native id."""
        array_range = ArrayRange.parse(tasks) if tasks else None
        submission = replace(self.submission(script), array_range=array_range, options=options)
        command = self.scheduler.submit_command(submission)
        command.insert(command.index("submit") + 1, f"--grace={grace}")
        return self.scheduler.parse_submit(self.obey(command))

    def ask(self, native_id: str) -> TaskStatuses:
        """Return the answer of the status command."""
        return self.scheduler.parse_poll(self.obey(self.scheduler.poll_command([native_id])))[native_id]

    def cancel(self, native_id: str) -> None:
        """Cancel a job."""
        self.obey(self.scheduler.cancel_command(native_id))

    def obey(self, command: Sequence[str]) -> str:
        """Do what a command does, in this process, and return what it prints."""
        with contextlib.redirect_stdout(io.StringIO()) as stdout:
            assert main(command[2:]) == 0
        return stdout.getvalue()

    def wait(self, until: Callable[[], object]) -> None:
        """Wait until something is so; the test fails if it never is."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not until():
            assert time.monotonic() < deadline, "waited too long"
            time.sleep(0.01)

    def states(self, native_id: str) -> list[NativeState]:
        """Return the states of all tasks as the records tell."""
        return [status.state for status in self.spool.statuses(int(native_id)).values()]

    def ended(self, native_id: str) -> NativeStatus:
        """Wait for the end of a job that is no array."""
        self.wait(lambda: all(state.final for state in self.states(native_id)))
        return self.spool.status(int(native_id), None)

    def polled(self, native_id: str) -> NativeStatus:
        """Poll until a job that is no array has ended; polls also start a supervisor where one was killed."""
        self.wait(lambda: self.ask(native_id)[None].state.final)
        return self.ask(native_id)[None]

    def running(self, native_id: str, task_id: Optional[int] = None) -> Start:
        """Wait until the script of a task runs, and return its start."""
        self.wait(lambda: (start := self.spool.start(int(native_id), task_id)) and start.script_pid)
        start = self.spool.start(int(native_id), task_id)
        assert start is not None
        return start

    def text(self, name: str) -> str:
        """Return a file of the working directory, nothing if there is none."""
        path = self.work_dir / name
        return path.read_text() if path.exists() else ""

    def supervisor(self) -> int:
        """Return the supervisor's process id."""
        return int(self.spool.supervisor_pid.read_text())

    def stop(self) -> None:
        """Kill whatever still runs."""
        for job_id in self.spool.job_ids():
            for task_id in self.spool.load(job_id).task_ids:
                start = self.spool.start(job_id, task_id)
                if start:
                    _kill(start.script_pid, start.script_birth, os.killpg)
                    _kill(start.pid, start.birth, os.kill)
            self.spool.close(job_id)
        self.spool.wake()


def _kill(pid: Optional[int], birth: Optional[str], kill: Callable[[int, int], None]) -> None:
    if pid is not None and is_alive(pid, birth):
        with contextlib.suppress(ProcessLookupError):
            kill(pid, signal.SIGKILL)


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory where all supervisors of the session keep compiled modules, which halves their start."""
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture
def cluster(tmp_path: Path, compiled: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalCluster]:
    """A queue with two slots."""
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(compiled))
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    cluster = LocalCluster(tmp_path, slots=2)
    yield cluster
    cluster.stop()
