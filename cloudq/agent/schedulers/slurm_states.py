"""What Slurm's words mean: states, reasons, exit codes and times of one row of `squeue` or `sacct`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Callable, Optional

from cloudq.agent.schedulers.base import NativeState, NativeStatus
from cloudq.errors import SchedulerOutputError

REQUEUE_WINDOW = timedelta(seconds=60)
"""How long a failed or preempted job may look final before Slurm has put it back into the queue."""

# https://slurm.schedmd.com/job_state_codes.html; the second half are flags that squeue shows instead.
_LIVE = {
    "PENDING": NativeState.QUEUED,
    "RUNNING": NativeState.RUNNING,
    "SUSPENDED": NativeState.SUSPENDED,
    "COMPLETING": NativeState.ENDING,
    "CONFIGURING": NativeState.QUEUED,
    "EXPEDITING": NativeState.QUEUED,
    "LAUNCH_FAILED": NativeState.QUEUED,
    "POWER_UP_NODE": NativeState.QUEUED,
    "RECONFIG_FAIL": NativeState.QUEUED,
    "REQUEUED": NativeState.QUEUED,
    "REQUEUE_FED": NativeState.QUEUED,
    "REQUEUE_HOLD": NativeState.QUEUED,
    "RESIZING": NativeState.RUNNING,
    "RESV_DEL_HOLD": NativeState.QUEUED,
    "SIGNALING": NativeState.RUNNING,
    "SPECIAL_EXIT": NativeState.QUEUED,
    "STAGE_OUT": NativeState.RUNNING,
    "STOPPED": NativeState.SUSPENDED,
    "UPDATE_DB": NativeState.QUEUED,
}

# https://slurm.schedmd.com/job_reason_codes.html; what is not here is shown as Slurm writes it.
_REASONS = {
    "": "",
    "None": "",
    "AssocGrpCpuLimit": "the account's limit on CPUs is reached",
    "AssocGrpCPUMinutesLimit": "the account's CPU time is used up",
    "AssocGrpGRES": "the account's limit on GPUs is reached",
    "AssocGrpJobsLimit": "the account's limit on running jobs is reached",
    "AssocGrpNodeLimit": "the account's limit on nodes is reached",
    "AssocMaxJobsLimit": "your limit on running jobs is reached",
    "AssocMaxWallDurationPerJobLimit": "the walltime is over the account's limit",
    "BadConstraints": "no node has what the job asks for",
    "BeginTime": "its begin time has not come yet",
    "Cleaning": "being cleaned up before it is queued again",
    "Dependency": "waiting for another job",
    "DependencyNeverSatisfied": "dependency never satisfied",
    "InvalidAccount": "the account is not valid",
    "InvalidQOS": "the QOS is not valid",
    "JobArrayTaskLimit": "as many tasks of the array as allowed are running",
    "JobHeldAdmin": "held by an administrator",
    "JobHeldUser": "held by the user",
    "JobLaunchFailure": "the job could not be launched",
    "Licenses": "waiting for a license",
    "NodeDown": "a node of the job is down",
    "PartitionConfig": "the partition does not allow what the job asks for",
    "PartitionDown": "the partition is down",
    "PartitionInactive": "the partition is inactive",
    "PartitionNodeLimit": "more nodes than the partition allows",
    "PartitionTimeLimit": "the walltime is over the partition's limit",
    "Priority": "jobs of higher priority come first",
    "QOSGrpCpuLimit": "the QOS's limit on CPUs is reached",
    "QOSMaxCpuPerUserLimit": "your limit on CPUs in this QOS is reached",
    "QOSMaxJobsPerUserLimit": "your limit on running jobs in this QOS is reached",
    "QOSMaxWallDurationPerJobLimit": "the walltime is over the QOS's limit",
    "ReqNodeNotAvail": "a requested node is not available",
    "Reservation": "waiting for its reservation",
    "Resources": "waiting for free resources",
}

_LOG_NOT_OPENED = 53
"""`0:53` is slurmstepd's sign that it could not open the log files or enter the working directory."""
_LAST_SIGNAL = 64
_TIME_LIMIT = re.compile(r"(?:(?:(\d+)-)?(\d+):)?(\d+):(\d\d)\Z")
_NO_TIME = frozenset({"", "Unknown", "None", "N/A", "NONE"})


@dataclass(frozen=True)
class Row:
    """One line of an answer about how jobs stand or ended, as words and numbers.

    Attributes:
        state: Slurm's word, and what follows it (`CANCELLED by 1001`).
        exit_code, signal: Of the script.
        started, finished: As printed.
        time_limit: As printed (`1-00:00:00`), or a word if there is none.
        nodes: Node list as printed.
        reason: Slurm's word.
        requeues: False if Slurm will certainly not run it again after its node failed.
    """

    state: str
    exit_code: int
    signal: int
    started: str
    finished: str
    time_limit: str
    nodes: str
    reason: str
    requeues: bool = True


def live_state(word: str) -> Optional[NativeState]:
    """Return what a state that is not final means, None for a final one.

    Raises:
        SchedulerOutputError: Slurm has no such state.
    """
    if word in _LIVE:
        return _LIVE[word]
    if word in _FINAL:
        return None
    raise SchedulerOutputError(f"Slurm: unknown job state {word!r}")


def reason_text(word: str) -> str:
    """Say in words why a job waits; a reason that is not known stays as it is.

    `ReqNodeNotAvail, UnavailableNodes:n1` and the like keep what follows the comma.
    """
    head, comma, rest = word.strip().partition(",")
    return _REASONS.get(head, head) + (f",{rest}" if comma else "")


def parse_time(text: str) -> Optional[datetime]:
    """Read a time as Slurm prints it: local time of this host, without an offset.

    A time in another form (the environment has SLURM_TIME_FORMAT) is not known: states matter more.
    """
    if text in _NO_TIME:
        return None
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError:
        return None


def row_status(row: Row) -> NativeStatus:
    """Say what a row means.

    Raises:
        SchedulerOutputError: Slurm has no such state.
    """
    word = row.state.partition(" ")[0]
    state = live_state(word)
    started = parse_time(row.started)
    if state is None:
        return _FINAL[word](row)
    if state is NativeState.QUEUED:
        return NativeStatus(state, reason=reason_text(row.reason))
    return NativeStatus(state, started=started)


def _completed(row: Row) -> NativeStatus:
    return _ended(row, NativeState.COMPLETED, exit_code=0)


def _failed(row: Row) -> NativeStatus:
    if row.signal == _LOG_NOT_OPENED:
        return _ended(row, NativeState.FAILED, "its log files or working directory could not be opened")
    if 0 < row.signal <= _LAST_SIGNAL:
        return _ended(row, NativeState.FAILED, signal=row.signal)
    if row.exit_code:
        return _ended(row, NativeState.FAILED, exit_code=row.exit_code)
    return _ended(
        row, NativeState.FAILED, reason_text(row.reason) or "failed for a reason that Slurm does not tell"
    )


def _out_of_memory(row: Row) -> NativeStatus:
    return _ended(row, NativeState.FAILED, "out of memory", exit_code=row.exit_code or None)


def _timed_out(row: Row) -> NativeStatus:
    return _ended(
        row, NativeState.TIMED_OUT, " ".join(filter(None, ("walltime", _hours(row.time_limit), "exceeded")))
    )


def _deadline(row: Row) -> NativeStatus:
    return _ended(row, NativeState.TIMED_OUT, "deadline passed")


def _cancelled(row: Row) -> NativeStatus:
    # sacct says `CANCELLED by 1001`; a job whose dependency can never be satisfied has no such number.
    _, by, user = row.state.partition(" by ")
    if by:
        return _ended(row, NativeState.CANCELLED, f"cancelled by user {user}")
    never = row.reason in ("Dependency", "DependencyNeverSatisfied")
    return _ended(row, NativeState.CANCELLED, "dependency never satisfied" if never else "")


def _node_failed(row: Row) -> NativeStatus:
    return _unsettled(row, f"{_node(row.nodes)} failed")


def _boot_failed(row: Row) -> NativeStatus:
    return _unsettled(row, f"boot of {_node(row.nodes)} failed")


def _preempted(row: Row) -> NativeStatus:
    return _unsettled(row, "preempted")


def _unsettled(row: Row, reason: str) -> NativeStatus:
    settles_after = REQUEUE_WINDOW if row.requeues else timedelta(0)
    return _ended(row, NativeState.FAILED, reason, settles_after=settles_after)


def _ended(
    row: Row,
    state: NativeState,
    reason: str = "",
    *,
    exit_code: Optional[int] = None,
    signal: Optional[int] = None,
    settles_after: timedelta = timedelta(0),
) -> NativeStatus:
    return NativeStatus(
        state,
        exit_code,
        signal,
        reason,
        parse_time(row.started),
        parse_time(row.finished),
        settles_after,
    )


def _node(nodes: str) -> str:
    """Name the node, if it is one: `node n2`."""
    if not nodes or nodes.startswith("None"):
        return "a node"
    return f"a node of {nodes}" if "," in nodes or "[" in nodes else f"node {nodes}"


def _hours(time_limit: str) -> str:
    """Write `1-00:01:00`, `00:01:00` or `1:00` as hours, minutes and seconds; nothing if it is no time."""
    match = _TIME_LIMIT.match(time_limit)
    if not match:
        return ""
    days, hours, minutes, seconds = (int(group or 0) for group in match.groups())
    return f"{days * 24 + hours}:{minutes:02}:{seconds:02}"


_FINAL: dict[str, Callable[[Row], NativeStatus]] = {
    "BOOT_FAIL": _boot_failed,
    "CANCELLED": _cancelled,
    "COMPLETED": _completed,
    "DEADLINE": _deadline,
    "FAILED": _failed,
    "NODE_FAIL": _node_failed,
    "OUT_OF_MEMORY": _out_of_memory,
    "PREEMPTED": _preempted,
    "REVOKED": _cancelled,  # never asked for: the parsers leave such rows out
    "TIMEOUT": _timed_out,
}
