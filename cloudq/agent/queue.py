"""The local scheduler's queue: runs the commands of a scheduler and reads their answers."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Optional

from cloudq.agent.pace import Pace
from cloudq.agent.schedulers.base import (
    KillExplainer,
    NativeStatus,
    Scheduler,
    Submission,
    TaskStatuses,
    cluster_of,
)
from cloudq.errors import CloudQError, CommandError, CommandTimeoutError, SchedulerOutputError
from cloudq.process import Runner

Expected = Mapping[str, Collection[Optional[int]]]
"""Native id -> the tasks that had not ended when last seen."""


@dataclass(frozen=True)
class Answer:
    """What one poll found out.

    Attributes:
        statuses: Native id -> tasks, for each job the scheduler was asked about with success. A task
            that is not in it is missing: the scheduler was asked and does not know it.
        faults: What went wrong on the way; the jobs concerned are not in `statuses`.
    """

    statuses: Mapping[str, TaskStatuses]
    faults: tuple[CloudQError, ...] = ()


class Queue:
    """A scheduler, its commands run for real.

    Args:
        scheduler: What to run and how to read it.
        run: Runs a command.
        timeout: Longest time a command may take.
        clock: Tells seconds.
        at_once: So many turns to submit there are at the same time: a scheduler takes one job after the other
            anyway, and may refuse a user who asks too much of it.

    Attributes:
        polls: When it may be asked about jobs.
        submissions: When it may be given jobs.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        run: Runner,
        timeout: timedelta,
        *,
        clock: Callable[[], float] = time.monotonic,
        at_once: int = 8,
    ) -> None:
        self.scheduler = scheduler
        self._run = run
        self._timeout = timeout
        self._clock = clock
        self._turns = threading.BoundedSemaphore(at_once)
        self.polls = Pace("the scheduler is asked about jobs", clock)
        self.submissions = Pace("the scheduler is given jobs", clock)

    @property
    def pauses(self) -> str:
        """Say what is done less often just now, and why; empty if nothing is."""
        return "; ".join(filter(None, (self.polls.text, self.submissions.text)))

    def probe(self) -> None:
        """Learn how this site has set up its scheduler.

        Raises:
            CommandError: The scheduler's commands do not work here (now).
        """
        command = self.scheduler.probe_command()
        if command is not None:
            self.scheduler = self.scheduler.probed(self._output(command))

    @contextlib.contextmanager
    def turn(self) -> Iterator[bool]:
        """Wait for a turn to submit, which lasts as long as the block; tell whether that is still permitted.

        What must be true, or be noted, just before a submission belongs into the block: the wait may be long.
        """
        with self._turns:
            yield self.submissions.permits

    def submit(self, submission: Submission) -> tuple[list[str], str]:
        """Submit and return the command's words and the native id; only in a turn.

        Raises:
            InputError: The scheduler cannot express this.
            CommandError: It was refused.
            CommandTimeoutError, SchedulerOutputError: Whether it was taken is not known.
        """
        command, begun = self.scheduler.submit_command(submission), self._clock()
        try:
            done = self._run(command, cwd=submission.work_dir, timeout=self._timeout)
        except CommandError as error:
            if isinstance(error, CommandTimeoutError) or self.scheduler.is_temporary(error.stderr):
                self.submissions.refused(self._clock() - begun)
            raise
        self.submissions.answered()
        if not done.stdout.endswith("\n"):
            # Half an id is an id, too.
            raise SchedulerOutputError(f"{command[0]}: expected a line with a job id, got {done.stdout!r}")
        return command, self.scheduler.parse_submit(done.stdout)

    def find(self, tag: str, work_dir: Path) -> Optional[str]:
        """Return the native id of the job of this tag, None if the scheduler says it has none.

        Raises:
            CommandError: It could not be asked.
        """
        begun = self._clock()
        for command in self.scheduler.find_commands(tag, work_dir):
            try:
                output = self._output_or_nothing(command)
            except CommandError:
                self.submissions.refused(self._clock() - begun)
                raise
            native_id = None if output is None else self.scheduler.parse_find(output, tag, work_dir)
            if native_id is not None:
                return native_id
        return None

    def cancel(self, native_id: str) -> None:
        """Cancel a job; one that has ended already is no error. Raises CommandError."""
        self._output_or_nothing(self.scheduler.cancel_command(native_id))

    def kill_causes(self, native_id: str) -> Mapping[Optional[int], str]:
        """Ask once why tasks of a job were killed: task -> cause, of those for which it can be told.

        Without an answer they were killed all the same: nothing is raised, and no job waits for it.
        """
        causes: dict[Optional[int], str] = {}
        if isinstance(self.scheduler, KillExplainer):
            with contextlib.suppress(CommandError, SchedulerOutputError):
                for command in self.scheduler.kill_commands(native_id):
                    causes.update(self.scheduler.parse_kill(self._output(command)).get(native_id, {}))
        return causes

    def kill_in_log(self, stderr: str) -> str:
        """Return why a job was killed, if the scheduler has written that to the end of its stderr."""
        return self.scheduler.kill_in_log(stderr) if isinstance(self.scheduler, KillExplainer) else ""

    def poll(self, expected: Expected) -> Answer:
        """Ask once about all these jobs, and once more about those that the answer leaves out.

        Each cluster is asked by itself, so that one that is away leaves only its own jobs unknown.

        Raises:
            CommandError, SchedulerOutputError: There was no usable answer; nothing is known.
        """
        begun = self._clock()
        try:
            answer = self._poll_all(expected)
        except (CommandError, SchedulerOutputError):
            self.polls.refused(self._clock() - begun)
            raise
        self.polls.answered(self._clock() - begun)
        return answer

    def _poll_all(self, expected: Expected) -> Answer:
        statuses: dict[str, TaskStatuses] = {}
        faults: list[CloudQError] = []
        groups = _by_cluster(expected)
        for group in groups:
            try:
                answer = self._poll_cluster(group)
            except (CommandError, SchedulerOutputError) as error:
                if len(groups) == 1:
                    raise
                faults.append(error)
                continue
            statuses.update(answer.statuses)
            faults.extend(answer.faults)
        return Answer(statuses, tuple(faults))

    def _poll_cluster(self, expected: Expected) -> Answer:
        native_ids = list(expected)
        output = self._output_or_nothing(self.scheduler.poll_command(native_ids))
        found = {
            native_id: dict(tasks)
            for native_id, tasks in ({} if output is None else self.scheduler.parse_poll(output)).items()
            if native_id in expected
        }
        left_out = [i for i in native_ids if not set(expected[i]) <= set(found.get(i, {}))]
        faults = self._add_details(found, left_out)
        unanswered = left_out if faults else []
        statuses = {i: found.get(i, {}) for i in native_ids if i not in unanswered}
        return Answer(statuses, tuple(faults))

    def _add_details(
        self, found: dict[str, dict[Optional[int], NativeStatus]], native_ids: list[str]
    ) -> list[CloudQError]:
        """Add how jobs ended to what was found.

        What the poll said of a task goes first. That something runs is not believed here: records of
        the past lag behind, and the poll has just said that it does not know it.
        """
        faults: list[CloudQError] = []
        if not native_ids:
            return faults
        for command in self.scheduler.detail_commands(native_ids):
            try:
                output = self._output_or_nothing(command)
                answer = {} if output is None else self.scheduler.parse_detail(output)
            except (CommandError, SchedulerOutputError) as error:
                faults.append(error)
                continue
            for native_id, tasks in answer.items():
                ended = {i: status for i, status in tasks.items() if status.state.final}
                found[native_id] = {**ended, **found.get(native_id, {})}
        return faults

    def _output(self, command: list[str]) -> str:
        return self._run(command, timeout=self._timeout).stdout

    def _output_or_nothing(self, command: list[str]) -> Optional[str]:
        """Return a command's output.

        If it failed only because an id is not known, that is what it printed about others, or None.
        """
        try:
            return self._output(command)
        except CommandError as error:
            if self.scheduler.is_unknown_job(f"{error.stderr}\n{error.stdout}"):
                return error.stdout or None
            raise


def _by_cluster(expected: Expected) -> list[Expected]:
    groups: dict[str, dict[str, Collection[Optional[int]]]] = {}
    for native_id, tasks in expected.items():
        groups.setdefault(cluster_of(native_id), {})[native_id] = tasks
    return list(groups.values())
