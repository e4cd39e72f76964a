"""What the queue writes down: a job, the start of a task, its end; as values and as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Optional

from cloudq.agent.schedulers.base import NativeState, NativeStatus
from cloudq.job import ArrayRange

GRACE = timedelta(seconds=10)
"""Time between SIGTERM and SIGKILL."""

WAITING = "waiting for a free slot"
LOST = "lost: the machine restarted or the job's processes were killed"


@dataclass(frozen=True)
class Record:
    """A submitted job.

    Attributes:
        script: The script, absolute.
        work_dir: Where it runs, absolute.
        stdout, stderr: Its log files, absolute; those of a task have `.TASK` appended.
        tag: What it can be found by.
        array_range: The tasks, if it is an array job.
        walltime: After this its processes are killed.
        grace: Time from SIGTERM to SIGKILL.
    """

    script: Path
    work_dir: Path
    stdout: Path
    stderr: Path
    tag: str
    array_range: Optional[ArrayRange] = None
    walltime: Optional[timedelta] = None
    grace: timedelta = GRACE

    @property
    def task_ids(self) -> tuple[Optional[int], ...]:
        """The ids of its tasks; the one task of a job that is no array has None."""
        return (None,) if self.array_range is None else self.array_range.task_ids()


@dataclass(frozen=True)
class Start:
    """The start of a task.

    Attributes:
        pid, birth: The process that watches the task, and what tells it from a later one of the same id.
        started: When.
        script_pid, script_birth: The script's process, which is also its process group; None as long
            as it is only about to be started.
    """

    pid: int
    birth: str
    started: datetime
    script_pid: Optional[int] = None
    script_birth: Optional[str] = None


@dataclass(frozen=True)
class End:
    """The end of a task: a final state, how the script ended, and in words what else there is to say."""

    state: NativeState
    finished: datetime
    exit_code: Optional[int] = None
    signal: Optional[int] = None
    reason: str = ""


def task_status(
    start: Optional[Start], end: Optional[End], cancelled: Optional[datetime], *, alive: bool
) -> NativeStatus:
    """Say how a task stands by what is written down about it.

    Args:
        cancelled: When its job was cancelled.
        alive: Whether a process of the task lives.
    """
    started = start.started if start else None
    if end:
        return NativeStatus(end.state, end.exit_code, end.signal, end.reason, started, end.finished)
    if start and alive:
        return NativeStatus(NativeState.RUNNING, started=started)
    if start:
        return NativeStatus(NativeState.FAILED, reason=LOST, started=started)
    if cancelled:
        return NativeStatus(NativeState.CANCELLED, finished=cancelled)
    return NativeStatus(NativeState.QUEUED, reason=WAITING)


def render_record(record: Record) -> str:
    """Write a job as JSON."""
    return json.dumps(
        {
            "script": str(record.script),
            "work_dir": str(record.work_dir),
            "stdout": str(record.stdout),
            "stderr": str(record.stderr),
            "tag": record.tag,
            "array_range": record.array_range and str(record.array_range),
            "walltime": record.walltime and record.walltime.total_seconds(),
            "grace": record.grace.total_seconds(),
        }
    )


def parse_record(text: str) -> Record:
    """Read what `render_record` wrote."""
    members: dict[str, Any] = json.loads(text)
    array_range, walltime = members["array_range"], members["walltime"]
    return Record(
        script=Path(members["script"]),
        work_dir=Path(members["work_dir"]),
        stdout=Path(members["stdout"]),
        stderr=Path(members["stderr"]),
        tag=members["tag"],
        array_range=array_range and ArrayRange.parse(array_range),
        walltime=None if walltime is None else timedelta(seconds=walltime),
        grace=timedelta(seconds=members["grace"]),
    )


def render_start(start: Start) -> str:
    """Write the start of a task as JSON."""
    return json.dumps({**vars(start), "started": start.started.isoformat()})


def parse_start(text: str) -> Start:
    """Read what `render_start` wrote."""
    members: dict[str, Any] = json.loads(text)
    return Start(**{**members, "started": datetime.fromisoformat(members["started"])})


def render_end(end: End) -> str:
    """Write the end of a task as JSON."""
    return json.dumps({**vars(end), "finished": end.finished.isoformat()})


def parse_end(text: str) -> End:
    """Read what `render_end` wrote."""
    members: dict[str, Any] = json.loads(text)
    finished = datetime.fromisoformat(members["finished"])
    return End(**{**members, "state": NativeState(members["state"]), "finished": finished})
