"""What Grid Engine's words mean: the state letters of `qstat`, and one record of `qacct`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Optional

from cloudq.agent.schedulers.base import NativeState, NativeStatus
from cloudq.errors import SchedulerOutputError

# sge_status(5) and qstat(1); N and P are Univa's. The first line that shares a letter with a state
# counts. None: it has ended, or waits in an error state for ever; qacct tells why.
_LETTERS = (
    ("Ezxe", None),
    ("d", NativeState.ENDING),
    ("sSTNP", NativeState.SUSPENDED),
    ("rt", NativeState.RUNNING),
    ("qw", NativeState.QUEUED),
)
_KNOWN_LETTERS = frozenset("hR").union(*(letters for letters, _ in _LETTERS))

# The codes of `failed`, sge_status(5). With these the script has run; with the others it has not.
_RUN_AGAIN = frozenset({24, 25})
_RAN = frozenset({0, *range(12, 18), 37, 100})
_LIMIT_ENFORCED = 37
_EXIT_100 = 30
_NOT_STARTED = {
    26: "its log files could not be opened",
    27: "its shell was not found",
    28: "its working directory could not be entered",
    _EXIT_100: "exit 100, by which a job tells Grid Engine to put it into the error state",
}
_SIGKILL, _SIGUSR1, _LAST_SIGNAL = 9, 10, 64

_TIME_FORMATS = ("%a %b %d %H:%M:%S %Y", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%m/%d/%Y %H:%M:%S")
_DURATION = re.compile(r"(?:([0-9]*):([0-9]*):)?([0-9]+(?:\.[0-9]+)?)s?\Z")
_SIZE = re.compile(r"([0-9.]+)([kKmMgGtT]?)B?\Z")
_MULTIPLIERS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_MULTIPLIERS.update({"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40})


@dataclass(frozen=True)
class Record:
    """One record of `qacct -j`: a job, a task, or one try of it.

    Attributes:
        native_id: The job's number.
        task_id: None if it is no array job.
        name: The job's name.
        failed: Code of what went wrong, 0 for nothing.
        failure: Grid Engine's words for the code.
        exit_status: Of the script; 128 + N when signal N ended it.
        started, finished: When.
        wallclock, cpu: Time that it used.
        memory: Largest amount of virtual memory, in bytes.
        page_faults: Minor page faults; 0 if nothing is known of what the job used.
        slots: How many slots it had; limits of memory are for each slot.
        category: What it asked for, as options (`-l h_rt=600,h_vmem=1G`).
        deleted_by: Who deleted it; empty if nobody did, and where Grid Engine does not tell.
    """

    native_id: str
    task_id: Optional[int]
    name: str
    failed: int
    failure: str
    exit_status: int
    started: Optional[datetime] = None
    finished: Optional[datetime] = None
    wallclock: timedelta = timedelta(0)
    cpu: timedelta = timedelta(0)
    memory: float = 0.0
    page_faults: int = 0
    slots: int = 1
    category: str = ""
    deleted_by: str = ""

    def limit(self, name: str) -> str:
        """Return the limit of this name that the job asked for, as written; an empty text if it did not."""
        match = re.search(rf"(?:\A|[ ,]){name}=([^ ,]+)", self.category)
        return match[1] if match else ""


def live_state(letters: str) -> Optional[NativeState]:
    """Return what a state such as `hqw` means, None for one that qacct knows more about.

    Raises:
        SchedulerOutputError: Grid Engine has no such state.
    """
    if letters and _KNOWN_LETTERS.issuperset(letters):
        for some, state in _LETTERS:
            if set(some) & set(letters):
                return state
    raise SchedulerOutputError(f"Grid Engine: unknown job state {letters!r}")


def parse_time(text: str) -> Optional[datetime]:
    """Read a time as qstat or qacct prints it: local time of this host, without an offset.

    Univa adds a fraction of a second. A time in another form (`-/-`) is not known.
    """
    for form in _TIME_FORMATS:
        try:
            return datetime.strptime(text.partition(".")[0], form).astimezone()
        except ValueError:
            continue
    return None


def parse_duration(text: str) -> Optional[timedelta]:
    """Read `3s`, `3.5` or `1:00:00`; None if it is no duration, such as INFINITY."""
    match = _DURATION.match(text)
    if not match:
        return None
    hours, minutes, seconds = (float(group or 0) for group in match.groups())
    return timedelta(hours=hours, minutes=minutes, seconds=seconds)


def parse_size(text: str) -> Optional[float]:
    """Read `303.883MB`, `250M` or `2k` (1000) as bytes; None if it is no size, such as INFINITY."""
    match = _SIZE.match(text)
    return float(match[1]) * _MULTIPLIERS[match[2]] if match else None


def record_status(record: Record) -> NativeStatus:
    """Say what a record means.

    A job that is to be run again counts as queued, which is no end.
    """
    if record.failed in _RUN_AGAIN:
        return NativeStatus(NativeState.QUEUED, reason="waiting to be run again")
    if record.deleted_by:
        return _ended(record, NativeState.CANCELLED, f"deleted by {record.deleted_by}")
    if record.failed not in _RAN:
        return _not_started(record)
    return _ran(record)


def _not_started(record: Record) -> NativeStatus:
    words = f"Grid Engine could not run it: {record.failure} (failed {record.failed})"
    reason = _NOT_STARTED.get(record.failed, words)
    exit_code = record.exit_status if record.failed == _EXIT_100 else None
    return _ended(record, NativeState.FAILED, reason, exit_code=exit_code, cancel_needed=True)


def _ran(record: Record) -> NativeStatus:
    signal = record.exit_status - 128 if 128 < record.exit_status <= 128 + _LAST_SIGNAL else 0
    if record.failed == _LIMIT_ENFORCED or signal:
        limit = _time_limit(record, signal) or _memory_limit(record, signal)
        if limit:
            return limit
    if record.failed == _LIMIT_ENFORCED:
        reason = "walltime or another limit of the queue (h_rt, h_cpu, h_vmem) exceeded"
        return _ended(record, NativeState.TIMED_OUT, reason)
    if record.failed == 0 or not signal:
        return _exited(record)
    return _ended(record, NativeState.FAILED, signal=signal)


def _exited(record: Record) -> NativeStatus:
    if record.exit_status:
        return _ended(record, NativeState.FAILED, exit_code=record.exit_status)
    if record.failed == 100:
        reason = "killed, or its node failed: Grid Engine knows neither signal nor exit status"
        return _ended(record, NativeState.FAILED, reason)
    if _is_forced(record):
        return _ended(record, NativeState.CANCELLED, "deleted by force (qdel -f): it may still be running")
    return _ended(record, NativeState.COMPLETED, exit_code=0)


def _is_forced(record: Record) -> bool:
    """Tell whether `qdel -f` made the record: it looks like success, but nothing was used in all its time."""
    if record.started is None or record.finished is None:
        return False
    return not record.page_faults and not record.wallclock and record.finished > record.started


def _time_limit(record: Record, signal: int) -> Optional[NativeStatus]:
    """Return that a limit of time which the job asked for was exceeded, None if that cannot be told.

    Limits of CPU time are noticed a little early: 1.88 s of 2 s, measured.
    """
    h_rt, s_rt, h_cpu = (parse_duration(record.limit(name)) for name in ("h_rt", "s_rt", "h_cpu"))
    if h_rt and signal == _SIGKILL and record.wallclock >= h_rt:
        return _ended(record, NativeState.TIMED_OUT, f"walltime {_clock(h_rt)} exceeded")
    if s_rt and signal == _SIGUSR1 and record.wallclock >= s_rt:
        return _ended(record, NativeState.TIMED_OUT, f"walltime {_clock(s_rt)} (s_rt) exceeded")
    if h_cpu and signal == _SIGKILL and record.cpu >= 0.9 * h_cpu * record.slots:
        return _ended(record, NativeState.TIMED_OUT, f"CPU time {_clock(h_cpu)} (h_cpu) exceeded")
    return None


def _memory_limit(record: Record, signal: int) -> Optional[NativeStatus]:
    """Return that the job's limit of memory was exceeded, None if that cannot be told.

    Only a job whose processes together have too much is killed; malloc fails for a process that wants
    too much by itself, and what comes of that is up to the program.
    """
    text = record.limit("h_vmem")
    size = parse_size(text)
    if not size or signal != _SIGKILL or record.memory < size * record.slots:
        return None
    return _ended(record, NativeState.FAILED, f"out of memory (h_vmem={text})", signal=signal)


def _ended(
    record: Record,
    state: NativeState,
    reason: str = "",
    *,
    exit_code: Optional[int] = None,
    signal: Optional[int] = None,
    cancel_needed: bool = False,
) -> NativeStatus:
    return NativeStatus(
        state,
        exit_code,
        signal,
        reason,
        record.started,
        record.finished,
        cancel_needed=cancel_needed,
    )


def _clock(duration: timedelta) -> str:
    """Write hours, minutes and seconds: `1:00:00`."""
    minutes, seconds = divmod(int(duration.total_seconds()), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"
