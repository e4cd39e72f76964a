"""One task: start the script, enforce the walltime, obey a cancel, write down the end."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import IO, TYPE_CHECKING, Optional

from cloudq.agent.localqueue.events import Events
from cloudq.agent.localqueue.liveness import birth_of, own_birth
from cloudq.agent.localqueue.options import format_walltime
from cloudq.agent.localqueue.record import End, Record, Start
from cloudq.agent.localqueue.spool import Spool
from cloudq.agent.schedulers.base import NativeState
from cloudq.errors import CommandError
from cloudq.process import start

if TYPE_CHECKING:
    from cloudq.process import Started

STOPPED = "killed: the machine went down or the queue's processes were ended"
_VARIABLES = ("CLOUDQ_TASK_ID", "CLOUDQ_TASK_FIRST", "CLOUDQ_TASK_LAST", "CLOUDQ_TASK_STEP")


def run_task(spool: Spool, job_id: int, task_id: Optional[int]) -> None:
    """Run a task to its end, unless somebody else does so already.

    The claim is written before the script starts, so no task runs twice. The signal of a cancel may come
    at any time: what is written down (`cancelled`) is looked at after the claim, and the signal waits.
    """
    with Events([signal.SIGTERM, signal.SIGCHLD]) as events:
        claim = Start(os.getpid(), own_birth(), _now())
        if not spool.claim(job_id, task_id, claim):
            return
        if spool.cancelled(job_id):
            spool.finish(job_id, task_id, End(NativeState.CANCELLED, _now()))
            return
        spool.finish(job_id, task_id, _run_script(spool, job_id, task_id, claim, events))


def task_environment(
    environment: Mapping[str, str], record: Record, task_id: Optional[int]
) -> dict[str, str]:
    """Return the variables of a task: those of the submission, and which task it is."""
    variables = {name: value for name, value in environment.items() if name not in _VARIABLES}
    if task_id is None or record.array_range is None:
        return variables
    task_ids, spans = record.array_range.task_ids(), record.array_range.spans
    step = spans[0][2] if len(spans) == 1 else 1
    return {**variables, **dict(zip(_VARIABLES, map(str, (task_id, task_ids[0], task_ids[-1], step))))}


def script_command(script: Path) -> list[str]:
    """Return how to run a script that need not be executable: by its `#!` line, or by /bin/sh."""
    with script.open("rb") as file:
        line = os.fsdecode(file.readline(4096)).strip()
    interpreter = line[2:].split(maxsplit=1) if line.startswith("#!") else []
    return [*(interpreter or ["/bin/sh"]), str(script)]


def _run_script(spool: Spool, job_id: int, task_id: Optional[int], claim: Start, events: Events) -> End:
    record = spool.load(job_id)
    try:
        script = _start_script(record, task_id, spool.environment(job_id))
    except (CommandError, OSError) as error:
        return End(NativeState.FAILED, _now(), reason=f"could not be started: {error}")
    try:
        birth = birth_of(script.pid)
        spool.update_start(job_id, task_id, replace(claim, script_pid=script.pid, script_birth=birth))
        cause, status = _watch(script, events, record)
    finally:
        _signal_group(script.pid, signal.SIGKILL)  # whatever the script has left behind
    return _end(cause, status, record, cancelled=spool.cancelled(job_id) is not None)


def _start_script(record: Record, task_id: Optional[int], environment: Mapping[str, str]) -> Started:
    suffix = "" if task_id is None else f".{task_id}"
    with contextlib.ExitStack() as files:
        stdout = files.enter_context(_open_log(f"{record.stdout}{suffix}"))
        same = record.stderr == record.stdout
        stderr = stdout if same else files.enter_context(_open_log(f"{record.stderr}{suffix}"))
        return start(
            script_command(record.script),
            cwd=record.work_dir,
            stdout=stdout,
            stderr=stderr,
            environment=task_environment(environment, record, task_id),
        )


def _open_log(path: str) -> IO[bytes]:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")


def _watch(script: Started, events: Events, record: Record) -> tuple[Optional[NativeState], int]:
    """Wait for the end of a script; return why it was made to end (None: by itself), and its status."""
    cause: Optional[NativeState] = None
    deadline = _deadline(record.walltime)
    while (status := script.poll()) is None:
        received = events.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
        expired = deadline is not None and time.monotonic() >= deadline
        if cause and expired:
            _signal_group(script.pid, signal.SIGKILL)
            deadline = None
        elif not cause and (expired or signal.SIGTERM in received):
            cause = NativeState.TIMED_OUT if expired else NativeState.CANCELLED
            _signal_group(script.pid, signal.SIGTERM)
            deadline = _deadline(record.grace)
    return cause, status


def _end(cause: Optional[NativeState], status: int, record: Record, *, cancelled: bool) -> End:
    if cause is NativeState.TIMED_OUT and record.walltime:
        return End(cause, _now(), reason=f"walltime {format_walltime(record.walltime)} exceeded")
    if cause is NativeState.CANCELLED:
        return End(cause, _now()) if cancelled else End(NativeState.FAILED, _now(), reason=STOPPED)
    if status < 0:
        return End(NativeState.FAILED, _now(), signal=-status)
    return End(NativeState.FAILED if status else NativeState.COMPLETED, _now(), exit_code=status)


def _signal_group(group: int, number: signal.Signals) -> None:
    # macOS says EPERM instead of ESRCH for a group of which only an unreaped process is left.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _deadline(after: Optional[timedelta]) -> Optional[float]:
    return None if after is None else time.monotonic() + after.total_seconds()


def _now() -> datetime:
    return datetime.now(timezone.utc)
