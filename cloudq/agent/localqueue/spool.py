"""The queue's directory: one folder per job, one small file per fact, each written at once or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Optional

from cloudq.agent.localqueue.liveness import is_alive
from cloudq.agent.localqueue.record import (
    End,
    Record,
    Start,
    parse_end,
    parse_record,
    parse_start,
    render_end,
    render_record,
    render_start,
    task_status,
)
from cloudq.agent.schedulers.base import NativeStatus, TaskStatuses
from cloudq.errors import NoSuchJobError

RETENTION = timedelta(days=30)
"""How long ended jobs are remembered."""


class Spool:
    """The records below one directory.

    A job's folder holds `job.json` (written last, so a folder without it is no job yet), `environment.json`
    (until the job has ended), `TASK.start` and `TASK.end`, `cancelled` and `ended`.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.log = root / "supervisor.log"
        self.lock = root / "supervisor.lock"
        self.supervisor_pid = root / "supervisor.pid"
        self.wake_pipe = root / "wake"
        self._slots = root / "slots"
        self._jobs = root / "jobs"

    def prepare(self, slots: int) -> None:
        """Make the directory, and write down how many tasks may run at once."""
        self._jobs.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.root.chmod(0o700)
        if not self._slots.exists() or self.slots() != slots:
            _write(self._slots, str(slots))

    def slots(self) -> int:
        """Return how many tasks may run at once."""
        return int(self._slots.read_text(encoding="ascii"))

    def note_supervisor(self, pid: int) -> None:
        """Write down which process is the supervisor, for people who look."""
        _write(self.supervisor_pid, f"{pid}\n")

    def wake(self) -> None:
        """Let the supervisor look at once, if there is one."""
        with contextlib.suppress(OSError):
            pipe = os.open(self.wake_pipe, os.O_WRONLY | os.O_NONBLOCK)
            try:
                os.write(pipe, b"w")
            finally:
                os.close(pipe)

    # Jobs

    def job_ids(self) -> list[int]:
        """Return the ids of all folders, in order of submission."""
        return sorted(int(path.name) for path in self._jobs.iterdir() if path.name.isdigit())

    def add(self, record: Record, environment: Mapping[str, str]) -> int:
        """Record a job and return its id."""
        job_id = max(self.job_ids(), default=0) + 1
        while True:
            try:
                self._folder(job_id).mkdir(mode=0o700)
                break
            except FileExistsError:
                job_id += 1
        _write(self._folder(job_id) / "environment.json", json.dumps(dict(environment)))
        _write(self._folder(job_id) / "job.json", render_record(record))
        return job_id

    def load(self, job_id: int) -> Record:
        """Read a job.

        Raises:
            NoSuchJobError: There is none of this id.
        """
        text = _read(self._folder(job_id) / "job.json")
        if text is None:
            raise NoSuchJobError(f"unknown job {job_id}")
        return parse_record(text)

    def environment(self, job_id: int) -> dict[str, str]:
        """Return the variables that the job was submitted with."""
        return dict(json.loads(_read(self._folder(job_id) / "environment.json") or "{}"))

    def cancel(self, job_id: int) -> None:
        """Record that a job is cancelled: tasks that have not started never will."""
        if self.cancelled(job_id) is None:
            _write(self._folder(job_id) / "cancelled", _now().isoformat())

    def cancelled(self, job_id: int) -> Optional[datetime]:
        """Return when a job was cancelled."""
        text = _read(self._folder(job_id) / "cancelled")
        return None if text is None else datetime.fromisoformat(text)

    def close(self, job_id: int) -> None:
        """Record that all tasks of a job have ended; its environment is forgotten."""
        with contextlib.suppress(FileNotFoundError):
            (self._folder(job_id) / "environment.json").unlink()
        _write(self._folder(job_id) / "ended", _now().isoformat())

    def is_live(self, job_id: int) -> bool:
        """Tell whether there is such a job and some of its tasks may not have ended."""
        folder = self._folder(job_id)
        return (folder / "job.json").exists() and not (folder / "ended").exists()

    def forget_old(self, now: datetime) -> None:
        """Remove jobs that ended long ago, and folders that never became a job.

        The newest folder stays, so that ids are not used again.
        """
        for job_id in self.job_ids()[:-1]:
            folder = self._folder(job_id)
            if self.is_live(job_id):
                continue
            last = folder / "ended" if (folder / "ended").exists() else folder
            if now.timestamp() - last.stat().st_mtime < RETENTION.total_seconds():
                return
            shutil.rmtree(folder)

    # Tasks

    def claim(self, job_id: int, task_id: Optional[int], start: Start) -> bool:
        """Record that a task starts; False if somebody else has started it."""
        path = self._task(job_id, task_id, "start")
        temporary = _write_beside(path, render_start(start))
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        finally:
            temporary.unlink()
        return True

    def update_start(self, job_id: int, task_id: Optional[int], start: Start) -> None:
        """Complete the record of a start."""
        _write(self._task(job_id, task_id, "start"), render_start(start))

    def start(self, job_id: int, task_id: Optional[int]) -> Optional[Start]:
        """Return the start of a task, if it has started."""
        text = _read(self._task(job_id, task_id, "start"))
        return None if text is None else parse_start(text)

    def end(self, job_id: int, task_id: Optional[int]) -> Optional[End]:
        """Return the end of a task, if it has ended."""
        text = _read(self._task(job_id, task_id, "end"))
        return None if text is None else parse_end(text)

    def finish(self, job_id: int, task_id: Optional[int], end: End) -> None:
        """Record the end of a task, and let the supervisor know."""
        _write(self._task(job_id, task_id, "end"), render_end(end))
        self.wake()

    def status(self, job_id: int, task_id: Optional[int]) -> NativeStatus:
        """Say how a task stands."""
        end, start = self.end(job_id, task_id), self.start(job_id, task_id)
        alive = start is not None and end is None and has_process(start)
        if end is None and not alive:
            end = self.end(job_id, task_id)  # again: it may have been written before its process went
        cancelled = None if start else self.cancelled(job_id)
        return task_status(start, end, cancelled, alive=alive)

    def statuses(self, job_id: int) -> TaskStatuses:
        """Say how all tasks of a job stand.

        Raises:
            NoSuchJobError: There is no such job.
        """
        return {task_id: self.status(job_id, task_id) for task_id in self.load(job_id).task_ids}

    def facts(self, job_id: int) -> frozenset[str]:
        """Return the names of the files about a job, for `task_file` to look in."""
        return frozenset(path.name for path in self._folder(job_id).iterdir())

    def _task(self, job_id: int, task_id: Optional[int], fact: str) -> Path:
        return self._folder(job_id) / task_file(task_id, fact)

    def _folder(self, job_id: int) -> Path:
        return self._jobs / str(job_id)


def task_file(task_id: Optional[int], fact: str) -> str:
    """Name the file of a fact about a task: `task.start`, `task.7.end`."""
    return f"task.{fact}" if task_id is None else f"task.{task_id}.{fact}"


def has_process(start: Start) -> bool:
    """Tell whether the watching process of a task or its script is alive."""
    return is_alive(start.pid, start.birth) or is_alive(start.script_pid, start.script_birth)


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _read(path: Path) -> Optional[str]:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def _write(path: Path, text: str) -> None:
    _write_beside(path, text).replace(path)


def _write_beside(path: Path, text: str) -> Path:
    """Write a temporary file (mode 0600) in the same directory, down to the disk."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return Path(name)
