"""Hard meta scripts on real Slurm and real Grid Engine: each does what its shell does here."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Optional

import pytest

from cloudq.agent.queue import Queue
from cloudq.agent.schedulers.base import NativeStatus, Scheduler, Submission
from cloudq.agent.schedulers.gridengine import GridEngine
from cloudq.agent.schedulers.slurm import Slurm
from cloudq.job import new_job_id
from cloudq.metascript import Placement, parse_meta_script, translate
from cloudq.process import DEFAULT_TIMEOUT, Completed, run
from cloudq.system import System
from tests.metascript.hostile import SCRIPTS, as_a_shell_reads_it
from tests.real.conftest import AGENT_USER
from tests.real.test_acceptance import wait_until

SCHEDULERS: dict[str, Scheduler] = {"slurm": Slurm(accounting=True), "gridengine": GridEngine()}


def as_user(
    argv: Sequence[str], *, cwd: Optional[Path] = None, timeout: timedelta = DEFAULT_TIMEOUT
) -> Completed:
    return run(["runuser", "-u", AGENT_USER, "--", *argv], cwd=cwd, timeout=timeout)


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="cloudq-hard-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def submit(queue: Queue, folder: Path, name: str) -> tuple[str, Path]:
    """Submit a script from a folder with a difficult name; return its native id and its folder."""
    job = folder / f"it's {name} é"
    work_dir = job / "work"
    for path in (job, work_dir):
        path.mkdir()
        shutil.chown(path, AGENT_USER)
    system = System("here", queue.scheduler.name)
    text = translate(
        parse_meta_script(SCRIPTS[name], "job.sh"), system, Placement(str(work_dir), str(job / "status"))
    )
    script = work_dir / "jöb's 1.sh"
    script.write_text(text, encoding="utf-8")
    script.chmod(0o755)
    tag = f"cq-{new_job_id()}-1"
    submission = Submission(script, work_dir, job / "stdout", job / "stderr", tag, "jöb's 1.sh")
    return queue.submit(submission)[1], job


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_hard_scripts_do_what_they_do_without_cloudq(folder: Path, scheduler: str) -> None:
    if shutil.which({"slurm": "sbatch", "gridengine": "qconf"}[scheduler]) is None:
        pytest.skip(f"there is no {scheduler} on this host")
    queue = Queue(SCHEDULERS[scheduler], as_user, DEFAULT_TIMEOUT)
    jobs = {name: submit(queue, folder, name) for name in SCRIPTS}
    ends: dict[str, NativeStatus] = {}

    def all_ended() -> bool:
        expected = {native_id: [None] for name, (native_id, _) in jobs.items() if name not in ends}
        answer = queue.poll(expected)
        for name, (native_id, _) in jobs.items():
            status = answer.statuses.get(native_id, {}).get(None)
            if status is not None and status.state.final:
                ends[name] = status
        return len(ends) == len(jobs)

    wait_until(all_ended, lambda: f"the end of {set(jobs) - set(ends)}")
    for name, (_, job) in jobs.items():
        original = folder / "original.sh"
        original.write_text(as_a_shell_reads_it(SCRIPTS[name]), encoding="utf-8")
        shell = ["sh"] if SCRIPTS[name].startswith("#!/bin/sh") else ["bash"]
        flags = ["-eu"] if "bash -eu" in SCRIPTS[name] else []
        done = subprocess.run(
            [*shell, *flags, str(original)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=120,
            check=False,
        )
        assert (name, ends[name].exit_code) == (name, done.returncode)
        assert (name, (job / "stdout").read_bytes()) == (name, done.stdout)
