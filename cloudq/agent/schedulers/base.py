"""What a scheduler module offers: commands as lists, and parsers of what the commands print. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Optional, Protocol, runtime_checkable

from cloudq.job import ArrayRange


class NativeState(str, Enum):
    """What a scheduler says of a job or task, in words that all schedulers share."""

    QUEUED = "queued"
    RUNNING = "running"
    SUSPENDED = "suspended"
    ENDING = "ending"
    COMPLETED = "completed"
    FAILED = "failed"
    TIMED_OUT = "timed out"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """True when the scheduler will not run it any further."""
        return self in _FINAL


_FINAL = frozenset({NativeState.COMPLETED, NativeState.FAILED, NativeState.TIMED_OUT, NativeState.CANCELLED})


@dataclass(frozen=True)
class NativeStatus:
    """What a scheduler says of one job, or of one task of an array job.

    Attributes:
        state: Its state.
        exit_code: Exit status of the script, where the scheduler knows it.
        signal: The signal that ended the script, if one did.
        reason: Why it waits or failed, as a phrase for a person (`out of memory`, `node n2 failed`,
            `walltime 0:01:00 exceeded`); empty where the exit status says all.
        started, finished: When, as the scheduler knows it (aware).
        settles_after: How long a final state must stand before it is believed, because the scheduler
            may yet requeue the job (a failed node); zero for states that are final at once.
        tag: The tag of the job that this is about, where the answer has it; the scheduler may have used
            the native id before, or use it again.
        cancel_needed: It has failed, but the scheduler keeps it in a state of error, from which it would
            start again if somebody cleared that: it must be cancelled (Grid Engine's `Eqw`).
    """

    state: NativeState
    exit_code: Optional[int] = None
    signal: Optional[int] = None
    reason: str = ""
    started: Optional[datetime] = None
    finished: Optional[datetime] = None
    settles_after: timedelta = timedelta(0)
    cancel_needed: bool = False
    tag: str = ""


TaskStatuses = Mapping[Optional[int], NativeStatus]
"""Task id -> status; the one key of a job that is no array is None."""

Snapshot = Mapping[str, TaskStatuses]
"""Native id -> its tasks, as far as an answer tells."""


def cluster_of(native_id: str) -> str:
    """Return the other cluster that a native id names after a `;`; an empty text for the scheduler's own."""
    return native_id.partition(";")[2]


@dataclass(frozen=True)
class Submission:
    """What a scheduler must know to take a job.

    Attributes:
        script: The script to run, absolute.
        work_dir: The working directory of the job, absolute; unique to the job.
        stdout, stderr: Log files, absolute; those of a task have `.TASK` appended.
        tag: What the scheduler must be able to find the job by.
        name: A name for listings.
        text: The script, if it is the user's own for this scheduler: it may have options in it.
        options: The user's options (of a local job), already split into words.
        array_range: The tasks, if it is an array job.
        project: What the project of a meta script is called here, for schedulers that cannot be told in
            the script; empty if it has none.
    """

    script: Path
    work_dir: Path
    stdout: Path
    stderr: Path
    tag: str
    name: str
    text: str = ""
    options: tuple[str, ...] = ()
    array_range: Optional[ArrayRange] = None
    project: str = ""


class Scheduler(Protocol):
    """The commands of one kind of batch system, and how its answers are read.

    A poll has two steps. `poll_command` asks once about everything that is active. What its answer
    leaves out has ended or is unknown: about that `detail_commands` ask. What they leave out, too,
    is *missing*, which is no evidence of anything.
    """

    @property
    def name(self) -> str:
        """The word of the configuration (`type`), and of the template."""
        ...

    def version_command(self) -> Optional[list[str]]:
        """The command that submits, asked for its version, which its first line tells; None without one."""
        ...

    @property
    def keeps_accounts(self) -> bool:
        """Whether how a job ended can still be asked long after; False where it is known to be forgotten."""
        ...

    def probe_command(self) -> Optional[list[str]]:
        """The command whose output `probed` needs, run once at start; None where nothing is to be known."""
        ...

    def probed(self, output: str) -> Scheduler:
        """Return the scheduler as this site has it (for instance with accounting)."""
        ...

    def submit_command(self, submission: Submission) -> list[str]:
        """The command that submits; run in the working directory.

        Raises:
            InputError: This scheduler cannot express what is asked (for instance an array range).
        """
        ...

    def parse_submit(self, output: str) -> str:
        """Return the native id. Raises SchedulerOutputError."""
        ...

    def poll_command(self, native_ids: Sequence[str]) -> list[str]:
        """The one command that tells about all these jobs."""
        ...

    def parse_poll(self, output: str) -> Snapshot:
        """Read its answer; only what is certain. Raises SchedulerOutputError."""
        ...

    def detail_commands(self, native_ids: Sequence[str]) -> list[list[str]]:
        """Commands that tell how these jobs ended; empty where the poll tells all there is."""
        ...

    def parse_detail(self, output: str) -> Snapshot:
        """Read the answer of one of them. Raises SchedulerOutputError."""
        ...

    def find_commands(self, tag: str, work_dir: Path) -> list[list[str]]:
        """Commands that together tell whether the scheduler ever took the job of this tag."""
        ...

    def parse_find(self, output: str, tag: str, work_dir: Path) -> Optional[str]:
        """Return the native id that an answer gives for the tag, None if it has none."""
        ...

    def cancel_command(self, native_id: str) -> list[str]:
        """The command that cancels a job with all its tasks."""
        ...

    def is_unknown_job(self, said: str) -> bool:
        """Tell whether a poll, detail, find or cancel command failed because the job is not known (any more).

        Args:
            said: What it printed, on either stream.
        """
        ...

    def is_temporary(self, stderr: str) -> bool:
        """Tell whether a refused submission may succeed later (controller down, limit on submissions)."""
        ...


@runtime_checkable
class KillExplainer(Protocol):
    """What a scheduler offers besides if its statuses do not tell why a job was killed (signal 9)."""

    def kill_commands(self, native_id: str) -> list[list[str]]:
        """Commands that tell it of a job that has ended; empty where there is nobody to ask."""
        ...

    def parse_kill(self, output: str) -> Mapping[str, Mapping[Optional[int], str]]:
        """Read an answer: native id -> task -> cause, as far as known. Raises SchedulerOutputError."""
        ...

    def kill_in_log(self, stderr: str) -> str:
        """Return the cause that the scheduler has written to the end of the job's stderr; empty if none."""
        ...
