"""The answers of squeue and sacct: one line per job or task, `|` between the fields."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Optional

from cloudq.agent.schedulers.base import NativeState, NativeStatus, Snapshot
from cloudq.agent.schedulers.slurm_states import Row, live_state, parse_time, reason_text, row_status
from cloudq.errors import InputError, SchedulerOutputError
from cloudq.job import ArrayRange

POLL_FORMAT = "%F|%K|%T|%S|%r"
"""For `squeue -o`: array or job id, task id, state, start, reason (which is free text, therefore last)."""

QUEUE_FORMAT = (
    "ArrayJobID:|,ArrayTaskID:|,State:|,exit_code:|,StartTime:|,EndTime:|,"
    "TimeLimit:|,Requeue:|,NodeList:|,Reason:"
)
"""For `squeue -O`, which knows the exit code; the text after a colon follows the field."""

ACCOUNT_FORMAT = "JobID,State,ExitCode,Start,End,Timelimit,NodeList,Reason"
"""For `sacct -P`, which puts `|` between the fields."""

FIND_QUEUE_FORMAT = "%F|%k|%Z"
FIND_ACCOUNT_FORMAT = "Cluster,JobID,Comment,WorkDir"
"""The same three fields from squeue and sacct (id, comment, working directory), here after the cluster."""

CLUSTERS_POLL_FORMAT = "Cluster:|,ArrayJobID:|,ArrayTaskID:|,State:|,StartTime:|,Reason:"
"""POLL_FORMAT with the cluster before it, for `squeue -O`: `-o` has no letter for that."""

CLUSTER_QUEUE_FORMAT = f"Cluster:|,{QUEUE_FORMAT}"
CLUSTER_ACCOUNT_FORMAT = f"Cluster,{ACCOUNT_FORMAT}"
"""The formats for details with the cluster before them."""

_QUEUE_HEADERS = ("CLUSTER: ", "CLUSTER|", "ARRAY_JOB_ID|")
_HEADER = re.compile(r"CLUSTER: |(?:CLUSTER|Cluster|ARRAY_JOB_ID|JobID)\|")
_NO_TASK = "N/A"
# The copy of a job that another cluster of the federation has taken; there it goes on.
_SIBLING = "REVOKED"
_ACCOUNT_ID = re.compile(r"(\d+)(?:_(\d+)|_\[(.+)\]|\+0)?\Z")
_QUEUE_LINE = re.compile(r"\s*\d+\s*\|\s*(?:N/A|\d+)\s*\|")
_EXIT_CODE = re.compile(r"(\d+)(?::(\d+))?\Z")
# What is not a number, and stands before a job id.
_CLUSTER = re.compile(r"(?!\d+\s*\|)\s*([\w.-]+)\s*\|(?=\s*\d)")
_FOUND = re.compile(r"(\d+)[^|]*\|(.*)\Z")
_NO_COMMENT = ("(null)", "")


def parse_queue(output: str) -> Snapshot:
    """Read squeue's answer in POLL_FORMAT; jobs and tasks in a final state are left out.

    Raises:
        SchedulerOutputError: A line has another form, or a state that Slurm does not have.
    """
    snapshot: dict[str, dict[Optional[int], NativeStatus]] = {}
    for cluster, (native_id, task, word, started, reason) in records(output, 5):
        state = live_state(word)
        if state is NativeState.QUEUED:
            status = NativeStatus(state, reason=reason_text(reason))
        elif state is not None:
            status = NativeStatus(state, started=parse_time(started))
        else:
            continue
        snapshot.setdefault(native_id + cluster, {})[_task_id(task)] = status
    return snapshot


def is_queue_detail(output: str) -> bool:
    """Tell an answer in QUEUE_FORMAT, where the task follows the job, from one in ACCOUNT_FORMAT."""
    first = next(filter(str.strip, output.splitlines()), "")
    if _HEADER.match(first):
        return first.startswith(_QUEUE_HEADERS)
    return _QUEUE_LINE.match(_CLUSTER.sub("", output, count=1)) is not None


def parse_queue_detail(output: str) -> Snapshot:
    """Read squeue's answer in QUEUE_FORMAT.

    Raises:
        SchedulerOutputError: A line has another form, or a state that Slurm does not have.
    """
    snapshot: dict[str, dict[Optional[int], NativeStatus]] = {}
    for cluster, fields in records(output, 10):
        native_id, task, state, code, started, finished, limit, requeue, nodes, reason = fields
        if state == _SIBLING:
            continue
        exit_code, signal = _wait_status(code)
        row = Row(state, exit_code, signal, started, finished, limit, nodes, reason, requeues=requeue != "0")
        snapshot.setdefault(native_id + cluster, {})[_task_id(task)] = row_status(row)
    return snapshot


def parse_account(output: str) -> Snapshot:
    """Read sacct's answer in ACCOUNT_FORMAT.

    An exit code here is uncertain: 130 is stored as 2, and 128 as 0.

    Raises:
        SchedulerOutputError: A line has another form, or a state that Slurm does not have.
    """
    snapshot: dict[str, dict[Optional[int], NativeStatus]] = {}
    for cluster, (job, state, code, started, finished, limit, nodes, reason) in records(output, 8):
        if state == _SIBLING:
            continue
        if "+" in job and not job.endswith("+0"):
            continue  # a further component of a heterogeneous job: the first one speaks for it
        # A job that started before sacct had heard of it stays PENDING there for seconds, but has a start.
        word = "RUNNING" if state == "PENDING" and parse_time(started) else state
        exit_code, signal = _exit_code(code)
        status = row_status(Row(word, exit_code, signal, started, finished, limit, nodes, reason))
        native_id, task_ids = account_ids(job)
        tasks = snapshot.setdefault(native_id + cluster, {})
        # The row of what is left of an array may lag behind those of tasks that have started.
        tasks.update({task_id: status for task_id in task_ids if len(task_ids) == 1 or task_id not in tasks})
    return snapshot


def parse_found(output: str, tag: str, work_dir: str) -> Optional[str]:
    """Return the id of the newest job whose comment is the tag, with its cluster if that is told.

    Where the comment is not stored (AccountingStoreFlags without job_comment) the working
    directory decides. A line that goes on after a line break in a comment is passed over.

    Raises:
        SchedulerOutputError: The answer does not begin with a line of the right form.
    """
    rows = [_split_cluster(line) for line in _lines(output)]
    clusters, lines = zip(*rows) if rows else ((), ())
    if lines and not _FOUND.match(lines[0]):
        raise SchedulerOutputError(f"Slurm: expected ID|COMMENT|DIRECTORY, got {lines[0]!r}")
    untagged = {f"{comment}|{work_dir}" for comment in _NO_COMMENT}
    matches = ((cluster, _FOUND.match(line)) for cluster, line in zip(clusters, lines))
    found = [
        (int(match[1]), cluster)
        for cluster, match in matches
        if match and (match[2].startswith(f"{tag}|") or match[2] in untagged)
    ]
    return "{}{}".format(*max(found)) if found else None


def _lines(output: str) -> list[str]:
    """Return the lines below the header of each cluster, which is asked for so that silence is no answer."""
    if not output.strip():
        raise SchedulerOutputError("Slurm: no answer, not even the header of one")
    if not output.endswith("\n"):
        raise SchedulerOutputError(f"Slurm: the answer is cut off after {output[-40:]!r}")
    return [line for line in output.split("\n") if line.strip() and not _HEADER.match(line)]


def records(output: str, count: int) -> Iterator[tuple[str, list[str]]]:
    """Split each line into `;CLUSTER`, or nothing, and so many fields.

    Only the last field may contain the separator.

    Raises:
        SchedulerOutputError: There is no answer, or a line has another form.
    """
    for cluster, line in map(_split_cluster, _lines(output)):
        fields = [field.strip() for field in line.split("|", count - 1)]
        if len(fields) != count or not fields[0][:1].isdigit():
            raise SchedulerOutputError(f"Slurm: expected {count} fields after a job id, got {line!r}")
        yield cluster, fields


def _split_cluster(line: str) -> tuple[str, str]:
    match = _CLUSTER.match(line)
    return (f";{match[1]}", line[match.end() :]) if match else ("", line)


def _task_id(text: str) -> Optional[int]:
    if text == _NO_TASK:
        return None
    if not text.isdigit():
        raise SchedulerOutputError(f"Slurm: expected a task id, got {text!r}")
    return int(text)


def account_ids(text: str) -> tuple[str, tuple[Optional[int], ...]]:
    """Read `27`, `27_3` or `27_[1-10,20%2]`; of a list that is cut (`...`) only the job is certain.

    Raises:
        SchedulerOutputError: It has another form.
    """
    match = _ACCOUNT_ID.match(text)
    if not match:
        raise SchedulerOutputError(f"sacct: expected a job id, got {text!r}")
    native_id, task, tasks = match.groups()
    if tasks is None:
        return native_id, (None if task is None else int(task),)
    if "..." in tasks:
        return native_id, ()
    try:
        return native_id, ArrayRange.parse(tasks).task_ids()
    except InputError as error:
        raise SchedulerOutputError(f"sacct: job id {text!r}: {error}") from error


def _exit_code(text: str) -> tuple[int, int]:
    """Read `3:0` or `0:9` as exit code and signal."""
    match = _EXIT_CODE.match(text)
    if not match:
        raise SchedulerOutputError(f"Slurm: expected an exit code such as 0:0, got {text!r}")
    return int(match[1]), int(match[2] or 0)


def _wait_status(text: str) -> tuple[int, int]:
    """Read the wait status that `squeue -O` gives (768 is exit 3, 139 is signal 11) as code and signal."""
    code, signal = _exit_code(text)
    return (code, signal) if ":" in text else (code >> 8 & 0xFF, code & 0x7F)
