"""A job, its states, its tasks: plain values, and the few rules that hold among them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from typing import Optional

from cloudq.digests import algorithm_of
from cloudq.errors import InputError

ID_DIGITS = 12
"""Hexadecimal digits of a new job id: 48 bits, the width of the `job-ID` column."""

MAX_TASKS = 1_000_000
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")
_LIMIT = re.compile(r"[0-9]{1,10}\Z")
_SPAN = re.compile(r"(\d{1,10})(?:-(\d{1,10})(?::(\d{1,10}))?)?\Z")
_INPUT_BLOB = re.compile(r"([0-9a-f]{64}):((?:blake3-)?[0-9a-f]{64}):([0-9]{1,18}):([^:]+)\Z")
RESERVED_FIRST_PARTS = frozenset({"agent"})


class JobState(str, Enum):
    """The states of CloudQ 1.2, with its words."""

    INIT = "INIT"
    READY = "READY"
    RUN = "RUN"
    DELETING = "DELETING"
    COMPLETING = "COMPLETING"
    DONE = "DONE"
    ERROR = "ERROR"
    TIMEOUT = "TIMEOUT"
    DELETED = "DELETED"

    def __str__(self) -> str:
        return self.value

    @property
    def final(self) -> bool:
        """True for the four states that a job never leaves."""
        return self in _FINAL


_FINAL = frozenset({JobState.DONE, JobState.ERROR, JobState.TIMEOUT, JobState.DELETED})


class JobKind(str, Enum):
    """How the script is written: for every system (`meta`), or for one scheduler (`local`)."""

    META = "meta"
    LOCAL = "local"

    def __str__(self) -> str:
        return self.value


class Condition(str, Enum):
    """How a job must have ended before another one that depends on it may start."""

    ANY = "any"
    OK = "ok"
    NOT_OK = "not_ok"
    CORR = "corr"
    """Task by task: task N starts if task N of the other job ended as DONE."""


def new_job_id() -> str:
    """Make a random job id."""
    return os.urandom(ID_DIGITS // 2).hex()


def is_job_id(text: str) -> bool:
    """Tell whether a text may be a job id: a safe single part of a key and of a file name."""
    return bool(_ID.match(text)) and text not in RESERVED_FIRST_PARTS


def tag_of(job_id: str, attempt: int) -> str:
    """Return what a scheduler knows one attempt of a job by."""
    return f"cq-{job_id}-{attempt}"


@dataclass(frozen=True)
class ArrayRange:
    """The tasks of an array job: `1-4`, `0-30:10`, `1,3,7-9`, with `%2` at most two at once.

    Attributes:
        spans: `(first, last, step)`, each as written; `last` may not be reached by the steps.
        limit: Most tasks that run at the same time; None for no limit.
    """

    spans: tuple[tuple[int, int, int], ...]
    limit: Optional[int] = None

    @classmethod
    def parse(cls, text: str) -> ArrayRange:
        """Parse `FIRST[-LAST[:STEP]][,…][%LIMIT]`.

        Raises:
            InputError: It has another form, counts down, has step or limit 0, or too many tasks.
        """
        spans_text, percent, limit_text = text.strip().partition("%")
        if percent and not (_LIMIT.match(limit_text) and int(limit_text) > 0):
            raise InputError(f"array range {text!r:.200}: expected a whole number above 0 after '%'")
        spans = tuple(_parse_span(part.strip(), text) for part in spans_text.split(","))
        if sum(len(range(first, last + 1, step)) for first, last, step in spans) > MAX_TASKS:
            raise InputError(f"array range {text!r:.200}: more than {MAX_TASKS} tasks")
        return cls(spans, int(limit_text) if percent else None)

    def only(self, task_ids: Iterable[int]) -> ArrayRange:
        """Return the range of some of these tasks, with the same limit."""
        kept = tuple(sorted(task_ids))
        if kept == self.task_ids():
            return self
        return replace(ArrayRange.parse(format_task_ids(kept)), limit=self.limit)

    def __str__(self) -> str:
        limit = "" if self.limit is None else f"%{self.limit}"
        return ",".join(_span_text(*span) for span in self.spans) + limit

    def task_ids(self) -> tuple[int, ...]:
        """Return the ids of all tasks, each once, in ascending order."""
        if len(self.spans) == 1:
            first, last, step = self.spans[0]
            return tuple(range(first, last + 1, step))
        return tuple(sorted({i for first, last, step in self.spans for i in range(first, last + 1, step)}))


def _parse_span(part: str, text: str) -> tuple[int, int, int]:
    match = _SPAN.match(part)
    if not match or not part.isascii():
        expected = "expected FIRST-LAST:STEP such as 1-10:2"
        raise InputError(f"array range {text!r:.200}: {expected}, got {part!r:.60}")
    first = int(match[1])
    last = first if match[2] is None else int(match[2])
    step = 1 if match[3] is None else int(match[3])
    if step == 0 or last < first:
        raise InputError(f"array range {text!r:.200}: expected FIRST <= LAST and STEP > 0, got {part!r}")
    return first, last, step


def _span_text(first: int, last: int, step: int) -> str:
    if first == last:
        return str(first)
    return f"{first}-{last}" if step == 1 else f"{first}-{last}:{step}"


def format_task_ids(task_ids: Iterable[int]) -> str:
    """Write task ids shortly: `1-3,7`."""
    runs: list[list[int]] = []
    for task_id in sorted(set(task_ids)):
        if runs and task_id == runs[-1][1] + 1:
            runs[-1][1] = task_id
        else:
            runs.append([task_id, task_id])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


@dataclass(frozen=True)
class Task:
    """One task of an array job.

    Attributes:
        state: Its state, in the words of jobs.
        error: Why it did not end well, in words; empty otherwise.
        exit_code: Exit status of its script (128 + N when signal N ended it), None if unknown.
    """

    state: JobState
    error: str = ""
    exit_code: Optional[int] = None


@dataclass(frozen=True)
class InputBlob:
    """An archive of inputs that lies beside the bundles, for every job that has the same inputs.

    Attributes:
        fingerprint: SHA-256, in hexadecimal digits, of the names, sizes and times of what it was made of: all
            archives with the same one lie in one folder.
        digest: SHA-256 of its bytes, in hexadecimal digits, or `blake3-` and its BLAKE3.
        size: Its bytes.
        holder: The job that brought it; a part of its key, so that no key is ever used again.
    """

    fingerprint: str
    digest: str
    size: int
    holder: str

    @classmethod
    def parse(cls, text: str) -> InputBlob:
        """Parse `FINGERPRINT:DIGEST:SIZE:HOLDER`. Raises InputError."""
        match = _INPUT_BLOB.match(text)
        if not (match and is_job_id(match[4])):
            raise InputError(f"expected FINGERPRINT:DIGEST:SIZE:JOB, got {text!r:.100}")
        return cls(match[1], match[2], int(match[3]), match[4])

    def __str__(self) -> str:
        return f"{self.fingerprint}:{self.digest}:{self.size}:{self.holder}"


@dataclass(frozen=True)
class Job:
    """One submission, as its manifest records it.

    Attributes:
        id: Its id, and the first part of all its keys.
        name: Base name of the script.
        kind: Meta or local.
        state: Derived from the tasks if it is an array job.
        run_on: What a meta script's `run_on` says, `ANY` if it says nothing; empty for a local job,
            and for jobs of a 1.2 client, whose script must be read to know.
        submit_to: The system of a local job.
        submit_options: Scheduler options of a local job, as one text.
        hold_ids: Jobs that must have ended before.
        conditions: How some of these must have ended; any end does for the others.
        array_range: The tasks, if it is an array job.
        run_system: The system whose agent has it, in lower case; empty if none has.
        native_id: The local scheduler's id.
        work_dir: Absolute path of the working directory on the agent's host.
        local_account, local_group: Who runs it there, and what it is charged to.
        submit_command: The submission command's words, joined by blanks.
        native_script: File name of the translated script.
        native_options: Scheduler options that the agent added.
        error: Why it did not end well, in words; empty otherwise.
        exit_code: Exit status of the script (128 + N when signal N ended it), None if unknown.
        reason: Why it waits, in the scheduler's or the agent's words; empty otherwise.
        expires: When it must have been given to a scheduler; after that it is not run any more.
        submit_token: Made by the client, so that it knows its own manifest again.
        claim_token: Made by the agent at each claim; empty if nobody claimed it.
        new_agents_only: Agents of CloudQ 1.2 must leave it alone: not all that they need is stored.
        revision: Raised by one at each write of the manifest.
        attempt: How many times it was given to a scheduler; part of the tag.
        tasks: State of each task of an array job, once the scheduler has it.
        progress: How far it is, in percent, as it says itself in its logs; 0 if it says nothing.
        input_size: Bytes of the script and of all inputs.
        output_size: Bytes of `output.zip`.
        input_blobs: Archives of its inputs that lie beside the bundles; all of them, if there is one.
        extra: Members of the manifest that this version does not know, kept as they are.
    """

    id: str
    name: str
    kind: JobKind
    state: JobState = JobState.INIT
    run_on: str = ""
    submit_to: str = ""
    submit_options: str = ""
    hold_ids: tuple[str, ...] = ()
    conditions: Mapping[str, Condition] = field(default_factory=dict)
    array_range: Optional[ArrayRange] = None
    run_system: str = ""
    native_id: str = ""
    work_dir: str = ""
    local_account: str = ""
    local_group: str = ""
    submit_command: str = ""
    native_script: str = ""
    native_options: str = ""
    error: str = ""
    exit_code: Optional[int] = None
    reason: str = ""
    submitted: Optional[datetime] = None
    received: Optional[datetime] = None
    ready: Optional[datetime] = None
    started: Optional[datetime] = None
    stage_out_started: Optional[datetime] = None
    stage_out_finished: Optional[datetime] = None
    finished: Optional[datetime] = None
    expires: Optional[datetime] = None
    submit_token: str = ""
    claim_token: str = ""
    new_agents_only: bool = False
    revision: int = 0
    attempt: int = 0
    tasks: Mapping[int, Task] = field(default_factory=dict)
    progress: int = 0
    input_size: int = 0
    output_size: int = 0
    input_blobs: tuple[InputBlob, ...] = ()
    extra: tuple[tuple[str, object], ...] = ()

    @property
    def input_digests(self) -> frozenset[str]:
        """The algorithms by which its inputs are named that lie beside the bundles."""
        return frozenset(algorithm_of(blob.digest) for blob in self.input_blobs)

    @property
    def tag(self) -> str:
        """The name by which a scheduler can be asked whether it has this attempt of the job."""
        return tag_of(self.id, self.attempt)
