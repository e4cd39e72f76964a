"""The simulated node: runs one job and all its tasks as processes, ends them, and says how they ended."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional

from tests.pbs.state import SERVER, Standing, State, Submitted

PAUSE_SECONDS = 0.02
KILL_AFTER_SECONDS = 1.0


@dataclass
class Running:
    """A process of a job, and where its output goes now."""

    process: subprocess.Popen[bytes]
    standing: Standing
    stdout: Path
    stderr: Path
    end: str = ""
    ended_at: float = 0.0


def main(number: int) -> None:
    """Run the job of this number to its end."""
    state = State.of_environment()
    job = next(job for job in state.jobs() if job.number == number)
    waiting = list(job.indices)
    running: dict[Optional[int], Running] = {}
    while waiting or running:
        if state.deleted(job):
            _drop(state, job, waiting)
        while waiting and not job.held and state.settings().started and len(running) < (job.limit or 99):
            task = waiting.pop(0)
            running[task] = _start(state, job, task)
        for task, run in list(running.items()):
            if run.process.poll() is None:
                _check(state, job, run)
            else:
                _finish(state, job, task, running.pop(task))
        time.sleep(PAUSE_SECONDS)


def _drop(state: State, job: Submitted, waiting: list[Optional[int]]) -> None:
    comment = "Not Running: Not enough free nodes available and terminated"
    for task in waiting:
        state.move(job, task, Standing("F", 91, comment, finished=time.time()))
    waiting.clear()


def _start(state: State, job: Submitted, task: Optional[int]) -> Running:
    comment = time.strftime(f"Job run at %a %b %d at %H:%M on ({SERVER}:ncpus=1)")
    standing = Standing("R", 42, comment, started=time.time())
    stdout, stderr = (_log(state, job, task, stream) for stream in ("o", "e"))
    with _append(stdout) as out, _append(stderr) as err:
        # The login shell runs the script, and answers for it: 128 + N if signal N ended it.
        process = subprocess.Popen(
            ["/bin/sh", "-c", '"$0"; exit $?', str(state.job_folder(job.number) / "script")],
            cwd=os.environ["HOME"],
            env=_environment(job, task),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
    state.move(job, task, standing)
    return Running(process, standing, stdout, stderr)


def _log(state: State, job: Submitted, task: Optional[int], stream: str) -> Path:
    """Return where output is written: with `-k oed` at once to its end, else to the node's spool."""
    if "d" in job.keep and stream in job.keep:
        return _final_log(job, task, stream)
    return state.job_folder(job.number) / f"spool.{task}.{stream}"


def _final_log(job: Submitted, task: Optional[int], stream: str) -> Path:
    path = job.stdout if stream == "o" else job.stderr
    return Path(path.replace("^array_index^", str(task)))


def _append(path: Path):  # type: ignore[no-untyped-def]  # noqa: ANN202
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")


def _environment(job: Submitted, task: Optional[int]) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("HOME", "PATH", "LANG") if name in os.environ}
    array = {} if task is None else {"PBS_ARRAY_INDEX": str(task), "PBS_ARRAY_ID": job.id}
    return {
        **kept,
        **array,
        "PBS_ENVIRONMENT": "PBS_BATCH",
        "PBS_JOBID": job.id if task is None else job.task_id(task),
        "PBS_JOBNAME": job.name,
        "PBS_O_WORKDIR": job.work_dir,
    }


def _check(state: State, job: Submitted, run: Running) -> None:
    """End what was deleted or has run too long: SIGTERM first, SIGKILL later."""
    now = time.time()
    if not run.end and state.deleted(job):
        run.end = f"terminated by {getpass.getuser()}@{SERVER}"
    elif not run.end and job.walltime and now - (run.standing.started or now) > job.walltime:
        run.end = "exceeded resource walltime"
    if run.end and not run.ended_at:
        run.ended_at = now
        _signal(run, signal.SIGTERM)
    elif run.ended_at and now - run.ended_at > KILL_AFTER_SECONDS:
        _signal(run, signal.SIGKILL)


def _signal(run: Running, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(run.process.pid, number)


def _finish(state: State, job: Submitted, task: Optional[int], run: Running) -> None:
    status = run.process.returncode
    code = 256 - status if status < 0 else status
    end, substate = ("finished", 92) if code == 0 else ("failed", 93)
    if run.end.startswith("terminated"):
        end, substate = run.end, 91
    elif run.end:
        end, substate, code = run.end, 93, -29
        with run.stderr.open("a") as stderr:
            limit = job.walltime or 0
            stderr.write(f"=>> PBS: job killed: walltime {limit + 1} exceeded limit {limit}\n")
    for stream, path in (("o", run.stdout), ("e", run.stderr)):
        if path != _final_log(job, task, stream):
            shutil.move(path, _final_log(job, task, stream))
    standing = replace(run.standing, state="F", substate=substate, exit_status=code, finished=time.time())
    state.move(job, task, replace(standing, comment=f"{run.standing.comment} and {end}"))
