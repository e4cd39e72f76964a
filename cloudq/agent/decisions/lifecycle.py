"""How what a scheduler says moves a job. Values in, values out; no I/O."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Optional

from cloudq.agent.schedulers.base import NativeState, NativeStatus, TaskStatuses
from cloudq.job import Job, JobState, Task, format_task_ids

MAX_ERROR_LENGTH = 2000
RECORDS_LAG = timedelta(seconds=30)
"""How long the record of an ended job may take to appear (`sacct`: up to 5 s, measured). Weaker evidence
(the exit-status file; unknown after we cancelled it) counts only after that, because the record knows more:
a job killed at its time limit leaves an exit status, too."""

_OPEN_STATES = {
    NativeState.QUEUED: JobState.READY,
    NativeState.RUNNING: JobState.RUN,
    NativeState.SUSPENDED: JobState.RUN,
    NativeState.ENDING: JobState.COMPLETING,
}
_FINAL_STATES = {
    NativeState.COMPLETED: JobState.DONE,
    NativeState.FAILED: JobState.ERROR,
    NativeState.TIMED_OUT: JobState.TIMEOUT,
    NativeState.CANCELLED: JobState.DELETED,
}
# The state of an array job is the first of these that one of its tasks has …
_WHILE_OPEN = (JobState.RUN, JobState.COMPLETING)
_AT_THE_END = (JobState.ERROR, JobState.TIMEOUT, JobState.DELETED)


@dataclass(frozen=True)
class Evidence:
    """What is known at one moment about the tasks of a job (the one task of a plain job is None).

    Attributes:
        statuses: What the scheduler says.
        exit_codes: What the scripts wrote to their exit-status files.
        missing_since: Since when a task is in no answer of the scheduler.
        settling_since: Since when a final state that may yet be taken back stands.
        cancelled: Whether CloudQ asked the scheduler to cancel the job.
    """

    statuses: TaskStatuses
    exit_codes: Mapping[Optional[int], int]
    missing_since: Mapping[Optional[int], datetime]
    settling_since: Mapping[Optional[int], datetime]
    cancelled: bool = False


@dataclass(frozen=True)
class Progress:
    """Where a job stands.

    Attributes:
        job: The job, never in a final state: that is written when all outputs are in the bucket.
        outcome: How it ended, None while it has not.
        finished: When the scheduler says it ended.
    """

    job: Job
    outcome: Optional[Task] = None
    finished: Optional[datetime] = None


def advance(job: Job, evidence: Evidence, *, now: datetime, lost_after: timedelta) -> Progress:
    """Move a job after the evidence; what is not known changes nothing."""
    task_ids = unfinished(job)
    tasks = {
        task_id: judge(evidence, task_id, now=now, lost_after=lost_after, before=job.tasks.get(task_id or 0))
        for task_id in task_ids
    }
    statuses = [evidence.statuses[i] for i in task_ids if i in evidence.statuses]
    job = replace(job, started=job.started or _first(s.started for s in statuses))
    finished = _last(s.finished for s in statuses)
    if job.array_range is None:
        task = tasks[None]
        if task.state.final:
            return Progress(_ran(job, task, now), task, finished)
        return Progress(_opened(replace(job, reason=_reason(statuses)), task.state, now))
    all_tasks = {**job.tasks, **{i: t for i, t in tasks.items() if i is not None}}
    job = replace(job, tasks=dict(sorted(all_tasks.items())), reason=_reason(statuses))
    if all(task.state.final for task in all_tasks.values()):
        outcome = whole_outcome(job.tasks)
        return Progress(_ran(job, outcome, now), outcome, finished)
    return Progress(_opened(job, _open_state(all_tasks.values()), now))


def unfinished(job: Job) -> list[Optional[int]]:
    """Return the tasks that have not ended, as far as the job tells; `[None]` for a plain job."""
    if job.array_range is None:
        return [None]
    return [i for i in job.array_range.task_ids() if i not in job.tasks or not job.tasks[i].state.final]


def judge(
    evidence: Evidence,
    task_id: Optional[int],
    *,
    now: datetime,
    lost_after: timedelta,
    before: Optional[Task] = None,
) -> Task:
    """Say what one task is now; without evidence it stays what it was."""
    status = _with_true_exit_code(evidence.statuses.get(task_id), evidence.exit_codes.get(task_id))
    if status is not None and not status.state.final:
        return Task(_OPEN_STATES[status.state])
    if status is not None and now - evidence.settling_since.get(task_id, now) >= status.settles_after:
        return _ended(status, cancelled=evidence.cancelled)
    missing = now - evidence.missing_since.get(task_id, now)
    if status is not None or missing < min(RECORDS_LAG, lost_after):
        return before or Task(JobState.READY)
    if task_id in evidence.exit_codes:
        return outcome_of(evidence.exit_codes[task_id])
    if evidence.cancelled:
        return Task(JobState.DELETED)
    if missing >= lost_after:
        return Task(
            JobState.ERROR, f"lost by the scheduler: it has not known the job for {_minutes(missing)}"
        )
    return before or Task(JobState.READY)


def _with_true_exit_code(status: Optional[NativeStatus], code: Optional[int]) -> Optional[NativeStatus]:
    """Mend what Slurm's accounts do to an exit status of 128 and more: they keep what is above 128.

    Measured with 22.05: `exit 255` is `127:0` in sacct, `exit 128` is `0:0`.
    """
    if status is None or code is None or code < 128 or status.state is not NativeState.FAILED:
        return status
    if status.signal or (status.exit_code or 0) != code - 128:
        return status
    return replace(status, exit_code=code, reason="")


def _ended(status: NativeStatus, *, cancelled: bool) -> Task:
    """Say how something ended; that it was cancelled needs no words if that was asked of us."""
    if cancelled and _may_be_cancelled(status):
        return Task(JobState.DELETED, "", _exit_code(status))
    return Task(_FINAL_STATES[status.state], describe(status), _exit_code(status))


def _may_be_cancelled(status: NativeStatus) -> bool:
    """Tell whether this is what a cancelled job looks like: to Grid Engine it was killed by a signal."""
    killed = bool(status.signal) or (status.exit_code or 0) > 128
    return status.state is NativeState.CANCELLED or (status.state is NativeState.FAILED and killed)


def describe(status: NativeStatus) -> str:
    """Say in words why something ended as it did; nothing if it ended well."""
    if status.state is NativeState.COMPLETED or status.reason:
        return status.reason
    if status.signal:
        return f"killed by signal {signal_words(status.signal)}"
    if status.exit_code:
        return exit_words(status.exit_code)
    return "" if status.state is NativeState.CANCELLED else status.state.value


def exit_words(code: int) -> str:
    """Say what an exit status means: 128 + N is a shell's way to tell of signal N."""
    if 128 < code < 128 + 65:
        return f"exit {code} (a command was killed by signal {signal_words(code - 128)})"
    return {126: "exit 126 (a command is not executable)", 127: "exit 127 (a command was not found)"}.get(
        code, f"exit {code}"
    )


def outcome_of(code: int) -> Task:
    """Say how something ended that left this exit status, and of which nothing else is known."""
    return Task(JobState.DONE, "", 0) if code == 0 else Task(JobState.ERROR, exit_words(code), code)


def signal_words(number: int) -> str:
    """Return number and name of a signal: `9 (SIGKILL)`."""
    try:
        return f"{number} ({signal.Signals(number).name})"
    except ValueError:
        return str(number)


def whole_outcome(tasks: Mapping[int, Task]) -> Task:
    """Derive how an array job ended from how its tasks ended."""
    states = {task.state for task in tasks.values()}
    state = next((s for s in _AT_THE_END if s in states), JobState.DONE)
    by_error: dict[str, list[int]] = {}
    for task_id, task in tasks.items():
        if task.error:
            by_error.setdefault(task.error, []).append(task_id)
    words = (f"task{'s' * (len(ids) > 1)} {format_task_ids(ids)}: {error}" for error, ids in by_error.items())
    codes = [task.exit_code for task in tasks.values() if task.exit_code]
    return Task(state, "; ".join(words)[:MAX_ERROR_LENGTH], codes[0] if codes else _common_code(state))


def _opened(job: Job, state: JobState, now: datetime) -> Job:
    """Put a job into an open state; what is being cancelled stays so, and a start is noted once."""
    if state is JobState.RUN and job.started is None:
        job = replace(job, started=now)
    if job.state is JobState.DELETING:
        return job
    return replace(job, state=state)


def _ran(job: Job, outcome: Task, now: datetime) -> Job:
    """Put a job that has ended into the state before its end; one that was deleted may never have run."""
    if outcome.state is JobState.DELETED and job.started is None:
        return job
    return _opened(job, JobState.RUN, now)


def _open_state(tasks: Iterable[Task]) -> JobState:
    states = {task.state for task in tasks}
    if any(state.final for state in states):
        return JobState.RUN
    return next((s for s in _WHILE_OPEN if s in states), JobState.READY)


def _reason(statuses: Iterable[NativeStatus]) -> str:
    """Why it waits: what the scheduler says of the first task that waits, if none runs."""
    waiting = [s.reason for s in statuses if s.state is NativeState.QUEUED]
    running = any(s.state in (NativeState.RUNNING, NativeState.ENDING) for s in statuses)
    return waiting[0] if waiting and not running else ""


def _exit_code(status: NativeStatus) -> Optional[int]:
    if status.signal:
        return 128 + status.signal
    if status.state is NativeState.COMPLETED:
        return 0
    return status.exit_code or None


def _common_code(state: JobState) -> Optional[int]:
    return 0 if state is JobState.DONE else None


def _minutes(duration: timedelta) -> str:
    minutes = max(1, round(duration.total_seconds() / 60))
    return f"{minutes} minute{'s' * (minutes > 1)}"


def _first(moments: Iterable[Optional[datetime]]) -> Optional[datetime]:
    return min((m for m in moments if m is not None), default=None)


def _last(moments: Iterable[Optional[datetime]]) -> Optional[datetime]:
    return max((m for m in moments if m is not None), default=None)
