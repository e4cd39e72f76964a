"""What PBS's letters and numbers mean: states, exit statuses and times of one job or task."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Optional

from cloudq.agent.schedulers.base import NativeState, NativeStatus
from cloudq.errors import SchedulerOutputError

# pbs_job_attributes(7B), `job_state`; `B` is an array of which tasks run, and its tasks that wait.
_LIVE = {
    "B": NativeState.QUEUED,
    "E": NativeState.ENDING,
    "H": NativeState.QUEUED,
    "M": NativeState.QUEUED,
    "Q": NativeState.QUEUED,
    "R": NativeState.RUNNING,
    "S": NativeState.SUSPENDED,
    "T": NativeState.QUEUED,
    "U": NativeState.SUSPENDED,
    "W": NativeState.QUEUED,
}
_FINISHED = "F"
EXPIRED = "X"
"""A task that has ended while others of its array have not; without `-x` PBS may not tell how."""

# `substate`: job.h of OpenPBS, and seen with 23.06.
_WAITS_FOR_A_JOB = 22
_STAGE_IN_FAILED = 37
DELETED = 91
_ENDED_WELL = 92

# Older servers make up the record of a task that has ended from that of its array; then only the comment
# tells of the task, and the exit status is that of the array.
_TASK_COMMENTS = {
    "Subjob finished": (NativeState.COMPLETED, ""),
    "Subjob failed": (NativeState.FAILED, "failed; this version of PBS does not tell its exit status"),
    "Subjob terminated": (NativeState.CANCELLED, ""),
}

_WALLTIME_EXCEEDED = -29
# Negative exit statuses, JOB_EXEC_… in job.h: PBS itself ended the job, or never got it started.
_EXIT_REASONS = {
    -1: "PBS could not start it",
    -2: "PBS could not start it; its stderr may tell why",
    -3: "PBS could not start it, after several attempts",
    -4: "ended when PBS was started again on its node",
    -5: "ended when PBS was started again on its node",
    -6: "ended when PBS was started again on its node",
    -7: "PBS could not restart it from its checkpoint",
    -10: "the user or group is not valid on its node",
    -11: "ended by PBS to be run again",
    -12: "stopped after a checkpoint",
    -13: "bad password",
    -14: "a node failed",
    -15: "ended by PBS to be restarted from its checkpoint",
    -16: "refused by a hook of the site",
    -17: "refused by a hook of the site",
    -18: "ended by a hook of the site, to be run again",
    -19: "ended by a hook of the site",
    -20: "a node failed",
    -21: "the folder of PBS on its node is not secure",
    -22: "a hook of the site failed",
    -23: "no Kerberos credentials",
    -24: "more CPUs used than asked for",
    -25: "more CPUs used than asked for",
    -26: "limit on virtual memory exceeded",
    -27: "out of memory",
    -28: "limit on CPU time exceeded",
    -30: "a node did not join the job",
}

_SIGNALLED = 256
"""An exit status of 256 + N: signal N ended the job's shell."""
_LAST_SIGNAL = 64
_SIGNALS_AT_WALLTIME = {9, 15}
_NOT_RUNNING = "Not Running: "
_PAST = ("Job run at ", "Job Array Began at ")
_DELETED_BY = re.compile(r" terminated by (\S+)\Z")
_CLOCK = re.compile(r"(?:(\d+):)?(\d+):(\d\d)\Z")


@dataclass(frozen=True)
class Record:
    """What qstat tells of one job or task, as words and numbers.

    Attributes:
        state: `job_state`, a letter.
        substate: A number; -1 if unknown.
        exit_status: `Exit_status`; None if it never ran, or runs.
        comment: Of server and scheduler.
        hold_types: Letters.
        depends: Whether it depends on other jobs.
        started, finished: As printed.
        walltime, walltime_used: The limit and what was used, as printed.
    """

    state: str
    substate: int = -1
    exit_status: Optional[int] = None
    comment: str = ""
    hold_types: str = ""
    depends: bool = False
    started: str = ""
    finished: str = ""
    walltime: str = ""
    walltime_used: str = ""


def record_status(record: Record) -> Optional[NativeStatus]:
    """Say what a record means; None for a task of which only is known that it has ended.

    Raises:
        SchedulerOutputError: PBS has no such state.
    """
    state = _LIVE.get(record.state)
    if state is NativeState.QUEUED:
        return NativeStatus(state, reason=_waiting_reason(record))
    if state is not None:
        return NativeStatus(state, started=parse_time(record.started))
    if record.state not in (_FINISHED, EXPIRED):
        raise SchedulerOutputError(f"PBS: unknown job state {record.state!r}")
    if record.comment in _TASK_COMMENTS:
        return _ended(record, *_TASK_COMMENTS[record.comment])
    if record.state == EXPIRED and record.exit_status is None:
        return None
    return _end(record)


def parse_time(text: str) -> Optional[datetime]:
    """Read `Sat Nov 21 22:02:45 2026`, local time of this host; another form is not known."""
    try:
        return datetime.strptime(text, "%a %b %d %H:%M:%S %Y").astimezone()
    except ValueError:
        return None


def _end(record: Record) -> NativeStatus:
    code = record.exit_status
    if record.substate == DELETED:
        by = _DELETED_BY.search(record.comment)
        return _ended(record, NativeState.CANCELLED, f"deleted by {by[1]}" if by else "")
    if code is None:
        return _never_ran(record)
    if code == _WALLTIME_EXCEEDED or (_signal(code) in _SIGNALS_AT_WALLTIME and _over_walltime(record)):
        words = ("walltime", _hours(record.walltime), "exceeded")
        return _ended(record, NativeState.TIMED_OUT, " ".join(filter(None, words)))
    if code < 0:
        return _ended(record, NativeState.FAILED, _EXIT_REASONS.get(code, f"PBS gave the exit status {code}"))
    if _SIGNALLED < code <= _SIGNALLED + _LAST_SIGNAL:
        return _ended(record, NativeState.FAILED, signal=code - _SIGNALLED)
    return _ended(record, NativeState.FAILED if code else NativeState.COMPLETED, exit_code=code)


def _never_ran(record: Record) -> NativeStatus:
    # `afterok` of a job that failed: F/92, without an exit status (seen with 23.06).
    if record.substate == _ENDED_WELL:
        reason = "dependency never satisfied" if record.depends else ""
        return _ended(record, NativeState.CANCELLED, reason)
    return _ended(record, NativeState.FAILED, record.comment or "PBS could not run it")


def _ended(
    record: Record,
    state: NativeState,
    reason: str = "",
    *,
    exit_code: Optional[int] = None,
    signal: Optional[int] = None,
) -> NativeStatus:
    return NativeStatus(
        state, exit_code, signal, reason, parse_time(record.started), parse_time(record.finished)
    )


def _waiting_reason(record: Record) -> str:
    if record.state == "H":
        return _hold_reason(record)
    if record.state == "W":
        failed = record.substate == _STAGE_IN_FAILED
        return "files could not be staged in" if failed else "its begin time has not come yet"
    if record.state == "M":
        return "moved to another server"
    if record.comment.startswith(_PAST):
        return ""
    return record.comment[len(_NOT_RUNNING) :] if record.comment.startswith(_NOT_RUNNING) else record.comment


def _hold_reason(record: Record) -> str:
    if record.substate == _WAITS_FOR_A_JOB:
        return "waiting for another job"
    if "u" in record.hold_types:
        return "held by the user"
    if record.comment and not record.comment.startswith((*_PAST, _NOT_RUNNING)):
        return record.comment
    return "bad password" if "p" in record.hold_types else "held by an administrator"


def _signal(code: int) -> int:
    """Return the signal that an exit status tells of, of the job's shell or (128 + N) of its script."""
    return code - _SIGNALLED if code > _SIGNALLED else code - 128


def _over_walltime(record: Record) -> bool:
    limit, used = _seconds(record.walltime), _seconds(record.walltime_used)
    return limit is not None and used is not None and used >= limit


def _seconds(clock: str) -> Optional[int]:
    match = _CLOCK.match(clock)
    if not match:
        return int(clock) if clock.isdigit() else None
    hours, minutes, seconds = (int(group or 0) for group in match.groups())
    return hours * 3600 + minutes * 60 + seconds


def _hours(clock: str) -> str:
    """Write a time as hours, minutes and seconds; nothing if it is no time."""
    seconds = _seconds(clock)
    if seconds is None:
        return ""
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
