"""Commands of a scheduler as programs on PATH that fail, hang, or say half or nothing, each in turn."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Callable, Optional

import pytest

from cloudq.agent.queue import Queue
from cloudq.agent.schedulers.base import Submission
from cloudq.agent.schedulers.gridengine import GridEngine
from cloudq.agent.schedulers.slurm import Slurm
from cloudq.errors import CommandError, CommandTimeoutError, SchedulerOutputError
from cloudq.job import JobState
from cloudq.process import DEFAULT_TIMEOUT, Completed, run
from cloudq.store.memory import MemoryStore
from tests.agent.conftest import Site, run_passes

TIMEOUT = timedelta(seconds=0.4)
PATIENCE = 8
"""Passes, a minute apart, after which a step must have been made."""

# Each program does its work by `effect` and answers by `say`. `spoil` of its name is obeyed once instead.
PROGRAM = """#!/bin/sh
cd {folder} || exit 3
hang() {{ sleep 600 & echo "$! $$" >> pids; wait; }}
{functions}
if mv spoil.{name} spoilt.{name} 2>/dev/null; then . ./spoilt.{name}; exit; fi
effect "$@"; say "$@"
"""
SLURM = {
    "sbatch": """
effect() { for word; do case $word in --comment=*) echo "${word#--comment=}" >> jobs;; esac; done; }
say() { wc -l < jobs; }
""",
    "squeue": """
effect() { :; }
say() {
    case $* in
    *%k*) echo 'ARRAY_JOB_ID|COMMENT|WORK_DIR'; awk '{print NR "|" $1 "|/"}' jobs;;
    *%T*) echo 'ARRAY_JOB_ID|ARRAY_TASK_ID|STATE|START_TIME|REASON'
          test -e cancelled || awk '{print NR "|N/A|RUNNING|2026-01-31T08:00:00|None"}' jobs;;
    *) echo 'ARRAY_JOB_ID|ARRAY_TASK_ID|STATE|EXIT_CODE|START|END|LIMIT|REQUEUE|NODELIST|REASON';;
    esac
}
""",
    "sacct": """
effect() { :; }
say() {
    case $* in
    *Comment*) echo 'Cluster|JobID|Comment|WorkDir'; return;;
    esac
    echo 'JobID|State|ExitCode|Start|End|Timelimit|NodeList|Reason'
    start=2026-01-31T08:00:00
    test -e cancelled && echo "1|CANCELLED by 0|0:0|$start|2026-01-31T08:01:00|UNLIMITED|n1|None"
}
""",
    "scancel": """
effect() { echo "$*" >> cancelled; }
say() { :; }
""",
}
FAULTS = {
    "fails": "echo 'slurm_load_jobs error: Unable to contact slurm controller (connect failure)' >&2; exit 1",
    "hangs": "hang",
    "takes effect and hangs": 'effect "$@"; hang',
    "takes effect after the time-out": "setsid sh -c ': >began; sleep 0.8; . ./late' late \"$@\" &\n"
    "until [ -e began ]; do sleep 0.02; done; hang",
    "says half": 'effect "$@"; printf %s "$(say "$@" | head -c 9)"',
    "does nothing and says nothing": "",
    "takes effect and says nothing": 'effect "$@"',
}


@dataclass
class Programs:
    """Programs in a folder on PATH.

    Args:
        folder: Where they keep what they know.
    """

    folder: Path

    def write(self, name: str, functions: str) -> None:
        """Make a program of two shell functions."""
        program = self.folder / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(PROGRAM.format(folder=self.folder, name=name, functions=functions))
        program.chmod(0o755)

    def spoil(self, name: str, fault: str, functions: str) -> None:
        """Have the next call of a program go wrong."""
        (self.folder / "late").write_text(f'{functions}\neffect "$@"\ntouch late.done\n')
        (self.folder / f"spoil.{name}").write_text(fault + "\n")

    def lines(self, name: str) -> list[str]:
        """Return what was noted in a file."""
        file = self.folder / name
        return file.read_text().splitlines() if file.exists() else []

    def left_running(self) -> list[str]:
        """Return the processes of hanging programs that are still there."""
        pids = [pid for line in self.lines("pids") for pid in line.split()]
        return [pid for pid in pids if _runs(int(pid))]

    def run(
        self, argv: Sequence[str], *, cwd: Optional[Path] = None, timeout: timedelta = DEFAULT_TIMEOUT
    ) -> Completed:
        """Run a program; only one that is to go wrong must end soon."""
        names = {*SLURM, *GRID_ENGINE} & set(argv)  # `env` may stand before them
        spoilt = any((self.folder / f"spoil.{name}").exists() for name in names)
        return run(argv, cwd=cwd, timeout=TIMEOUT if spoilt else timeout)


def _runs(pid: int) -> bool:
    """Tell whether a process runs; one that has ended may wait for the init process to notice."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait(until: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not until():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    programs = Programs(tmp_path)
    (tmp_path / "jobs").touch()
    for name, functions in SLURM.items():
        programs.write(name, functions)
    return programs


@pytest.fixture
def site(tmp_path: Path, programs: Programs) -> Iterator[Site]:
    """A site whose scheduler are the programs."""
    site = Site(
        tmp_path / "agent", MemoryStore(), queue=Queue(Slurm(accounting=True), programs.run, DEFAULT_TIMEOUT)
    )
    yield site
    for agent in site.agents:
        agent.crew.stop()


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        pytest.param(name, fault, id=f"{name} {words}")
        for name in SLURM
        for words, fault in FAULTS.items()
        # A question has no effect.
        if name in ("sbatch", "scancel")
        or words in ("fails", "hangs", "says half", "does nothing and says nothing")
    ],
)
def test_a_program_that_goes_wrong_costs_no_job_and_leaves_no_process(
    programs: Programs, site: Site, name: str, fault: str
) -> None:
    programs.spoil(name, fault, SLURM[name])
    job, agent = site.submit(), site.new_agent()

    def pass_until(state: JobState) -> None:
        for _ in range(PATIENCE):
            run_passes(agent)
            if site.job(job.id).state is state:
                return
            assert not site.job(job.id).state.final, site.job(job.id)
            if "late" in fault and programs.lines("pids"):
                wait((programs.folder / "late.done").exists)
            site.clock.move(minutes=1)
        raise AssertionError(f"{site.job(job.id)} did not become {state}")

    pass_until(JobState.RUN)
    site.bundles.request_cancel(site.job(job.id))
    pass_until(JobState.DELETED)
    run_passes(agent, 2)
    assert programs.lines("jobs") == [site.job(job.id).tag]
    assert set(programs.lines("cancelled")) == {"1"}
    assert (programs.folder / f"spoilt.{name}").exists()
    wait(lambda: not programs.left_running())
    assert site.keys("agent/") == []


GRID_ENGINE = {
    "qsub": "effect() { echo 1 >> jobs; }\nsay() { echo 1; }",
    "qstat": "effect() { :; }\nsay() { echo '<?xml version=\"1.0\"?>'; }",
    "qdel": "effect() { echo 1 >> cancelled; }\nsay() { :; }",
}


@pytest.mark.parametrize("name", GRID_ENGINE)
def test_a_program_of_grid_engine_that_hangs_is_killed_and_its_half_answer_is_none(
    programs: Programs, tmp_path: Path, name: str
) -> None:
    functions = GRID_ENGINE[name]
    programs.write(name, functions)
    queue = Queue(GridEngine(), programs.run, DEFAULT_TIMEOUT)
    submission = Submission(
        script=tmp_path / "job.sh",
        work_dir=tmp_path,
        stdout=tmp_path / "stdout",
        stderr=tmp_path / "stderr",
        tag="cq-0123456789ab-1",
        name="job.sh",
        text="",
        options=(),
        array_range=None,
        project="",
    )
    ask: dict[str, Callable[[], object]] = {
        "qsub": lambda: queue.submit(submission),
        "qstat": lambda: queue.poll({"1": [None]}),
        "qdel": lambda: queue.cancel("1"),
    }
    programs.spoil(name, FAULTS["takes effect and hangs"], functions)
    with pytest.raises(CommandTimeoutError, match=f"{name} failed.*no answer within"):
        ask[name]()
    wait(lambda: not programs.left_running())
    programs.spoil(name, "echo 'error: commlib error: got select error' >&2; exit 1", functions)
    with pytest.raises(CommandError, match="commlib error"):
        ask[name]()
    if name != "qdel":
        programs.spoil(name, 'printf %s "$(say | head -c 9)"', functions)
        with pytest.raises(SchedulerOutputError):
            ask[name]()
