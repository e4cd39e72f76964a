"""The supervisor: starts waiting tasks in order, as many at once as there are slots, until none is left."""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Callable, Optional

from cloudq.agent.localqueue.events import Events
from cloudq.agent.localqueue.lock import lock
from cloudq.agent.localqueue.record import LOST, End, Record
from cloudq.agent.localqueue.spool import Spool, has_process, task_file
from cloudq.agent.schedulers.base import NativeState

if TYPE_CHECKING:
    from cloudq.process import Started

LOOK_SECONDS = 2.0
"""How often to look for tasks whose watching process was killed; everything else wakes the supervisor."""

NOT_STARTED = "could not be started: see supervisor.log of the local queue"

TaskStarter = Callable[[int, Optional[int]], "Started"]
"""Starts the process that runs a task."""


def supervise(spool: Spool, start_task: TaskStarter) -> None:
    """Run what is waiting, unless another supervisor does; return when nothing is left.

    A job that is submitted while the lock is being given back has seen a supervisor and starts none,
    therefore the last look is without the lock.
    """
    while any(map(spool.is_live, spool.job_ids())):
        with lock(spool.lock) as held:
            if not held:
                return
            _run(spool, start_task)


def is_supervised(spool: Spool) -> bool:
    """Tell whether a supervisor is running."""
    with lock(spool.lock) as held:
        return not held


def _run(spool: Spool, start_task: TaskStarter) -> None:
    spool.note_supervisor(os.getpid())
    with contextlib.suppress(FileExistsError):
        os.mkfifo(spool.wake_pipe, 0o600)
    pipe = os.open(spool.wake_pipe, os.O_RDWR | os.O_NONBLOCK)
    try:
        with Events([signal.SIGCHLD], pipe) as events:
            supervisor = Supervisor(spool, start_task)
            while supervisor.look():
                events.wait(LOOK_SECONDS)
    finally:
        os.close(pipe)


@dataclass(frozen=True)
class _View:
    """The tasks of a job that run, and those that may be started."""

    running: tuple[Optional[int], ...]
    waiting: tuple[Optional[int], ...]


class Supervisor:
    """What is kept between two looks: the records of live jobs, and this process's own children."""

    def __init__(self, spool: Spool, start_task: TaskStarter) -> None:
        self._spool = spool
        self._start_task = start_task
        self._children: dict[tuple[int, Optional[int]], Started] = {}
        self._records: dict[int, Record] = {}
        self._over: set[int] = set()

    def look(self) -> bool:
        """Look at all jobs once, start what may start, and tell whether any job is left."""
        ended = self._reap()
        job_ids = [job_id for job_id in self._spool.job_ids() if self._is_live(job_id)]
        views = {job_id: self._view(job_id, ended) for job_id in job_ids}
        free = self._spool.slots() - sum(len(view.running) for view in views.values())
        for job_id, view in views.items():
            free -= self._start(job_id, view, free)
        return any(map(self._is_live, job_ids))

    def _reap(self) -> set[tuple[int, Optional[int]]]:
        """Forget children that have ended, and return which they were."""
        ended = {key for key, child in self._children.items() if child.poll() is not None}
        for key in ended:
            del self._children[key]
        return ended

    def _is_live(self, job_id: int) -> bool:
        if job_id in self._over:
            return False
        if not self._spool.is_live(job_id):
            if self._records.pop(job_id, None):
                self._over.add(job_id)
            return False
        if job_id not in self._records:
            self._records[job_id] = self._spool.load(job_id)
        return True

    def _view(self, job_id: int, ended: set[tuple[int, Optional[int]]]) -> _View:
        """Sort out a job's tasks; write down the end of those that have lost their processes.

        A child is reaped before the facts are read, and it has written its facts before it ended.
        """
        facts = self._spool.facts(job_id)
        running: list[Optional[int]] = []
        waiting: list[Optional[int]] = []
        for task_id in self._records[job_id].task_ids:
            if task_file(task_id, "end") in facts:
                continue
            if (job_id, task_id) in self._children:
                running.append(task_id)
            elif task_file(task_id, "start") in facts:
                if not self._is_lost(job_id, task_id):
                    running.append(task_id)
            elif (job_id, task_id) in ended:
                self._finish(job_id, task_id, NOT_STARTED)
            elif "cancelled" not in facts:
                waiting.append(task_id)
        return _View(tuple(running), tuple(waiting))

    def _is_lost(self, job_id: int, task_id: Optional[int]) -> bool:
        start = self._spool.start(job_id, task_id)
        if start and has_process(start):
            return False
        if not self._spool.end(job_id, task_id):
            self._finish(job_id, task_id, LOST)
        return True

    def _finish(self, job_id: int, task_id: Optional[int], reason: str) -> None:
        self._spool.finish(
            job_id, task_id, End(NativeState.FAILED, datetime.now(timezone.utc), reason=reason)
        )

    def _start(self, job_id: int, view: _View, free: int) -> int:
        """Start as many tasks of a job as there is room for; return how many."""
        if not view.running and not view.waiting:
            self._spool.close(job_id)
            return 0
        array_range = self._records[job_id].array_range
        limit = array_range.limit if array_range else None
        room = free if limit is None else min(free, limit - len(view.running))
        chosen = view.waiting[: max(room, 0)]
        for task_id in chosen:
            self._children[job_id, task_id] = self._start_task(job_id, task_id)
        return len(chosen)
