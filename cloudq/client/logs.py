"""What jobs and agents printed: whole logs, or while a job runs the segments that are there so far."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cloudq.bundle import LIVE, Bundles, parse_segment_name
from cloudq.errors import NoSuchJobError, NotFoundError

BLOCK = 1024 * 1024
"""Bytes of a log that are read at once."""

_LOG = re.compile(r"(?:stdout|stderr)(?:\.(?P<task>[^/]+))?\Z")


@dataclass(frozen=True)
class Log:
    """One log of a job.

    Attributes:
        name: Name of the whole log in the bundle: `stdout`, `stderr.12`.
        segments: Offsets and names of its parts, in order; empty if the whole log is there.
    """

    name: str
    segments: tuple[tuple[int, str], ...] = ()

    @property
    def task(self) -> str:
        """The task id, empty if the job is no array job."""
        return self.name.partition(".")[2]


def is_log(name: str) -> bool:
    """Tell whether an object of a bundle is a whole log."""
    return bool(_LOG.match(name))


def find_logs(bundles: Bundles, job_id: str, stream: str) -> list[Log]:
    """Return all logs of one stream (`stdout` or `stderr`), in the order of task numbers."""
    return sorted(_find(bundles, job_id, stream), key=lambda log: _order(log.task))


def find_task_log(bundles: Bundles, job_id: str, stream: str, task: str) -> Log:
    """Return the log of exactly this task.

    Raises:
        NoSuchJobError: There is none.
    """
    for log in _find(bundles, job_id, f"{stream}.{task}"):
        if log.task == task:
            return log
    raise NoSuchJobError(f"Invalid task ID: {task}")


def read_log(bundles: Bundles, job_id: str, log: Log) -> Iterator[bytes]:
    """Yield the bytes of a log in blocks of at most 1 MiB."""
    position = 0
    try:
        for offset, name in log.segments:
            for block in _blocks(bundles, job_id, name, max(0, position - offset)):
                yield block
                position = max(position, offset) + len(block)
        if log.segments:
            return
    except NotFoundError:
        pass  # The job ended meanwhile: its segments are gone, and the whole log is there.
    yield from _blocks(bundles, job_id, log.name, position)


def read_logs(bundles: Bundles, job_id: str, logs: Sequence[Log]) -> Iterator[bytes]:
    """Yield the bytes of logs as they are; those of tasks under a line that names the task.

    1.2 prints one newline more after each; here a log can be compared and piped.
    """
    end = b"\n"
    for log in logs:
        if log.task:
            line_feed = "" if end == b"\n" else "\n"
            yield f"{line_feed}{'=' * 20} task {log.task} {'=' * 20}\n".encode("utf-8", "surrogateescape")
        for block in read_log(bundles, job_id, log):
            yield block
            end = block[-1:]


def log_members(bundles: Bundles, job_id: str, logs: Sequence[Log]) -> list[dict[str, str]]:
    """Return logs for programs: of each its name, its task (empty without one), and all its text."""
    return [
        {"log": log.name, "task": log.task, "text": _text(b"".join(read_log(bundles, job_id, log)))}
        for log in logs
    ]


def agent_log_members(bundles: Bundles, system: str) -> list[dict[str, str]]:
    """Return an agent's log in the same form, named as its system. Raises NoSuchJobError."""
    return [{"log": system, "task": "", "text": _text(read_agent_log(bundles, system))}]


def read_agent_log(bundles: Bundles, system: str) -> bytes:
    """Return the log of exactly this agent.

    Raises:
        NoSuchJobError: There is none.
    """
    try:
        return bundles.agent_log(system)
    except NotFoundError as error:
        raise NoSuchJobError(f"The log file is not exist: {system}") from error


def _find(bundles: Bundles, job_id: str, beginning: str) -> list[Log]:
    # Segments first: if the job ends between the two requests, the whole log is there.
    segments: dict[str, list[tuple[int, str]]] = {}
    for name in bundles.entries(job_id, f"{LIVE}/{beginning}"):
        segment = parse_segment_name(name)
        if segment is not None:
            log, offset = segment
            segments.setdefault(log, []).append((offset, name))
    whole = {name for name in bundles.entries(job_id, beginning) if is_log(name)}
    unfinished = [Log(name, tuple(sorted(found))) for name, found in segments.items() if name not in whole]
    return [*(Log(name) for name in whole), *unfinished]


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")


def _order(task: str) -> tuple[bool, int, str]:
    number = int(task) if task.isascii() and task.isdigit() and len(task) < 20 else 0
    return not (task == "" or number or task == "0"), number, task


def _blocks(bundles: Bundles, job_id: str, name: str, start: int) -> Iterator[bytes]:
    while True:
        block = bundles.read_range(job_id, name, start, start + BLOCK)
        if block:
            yield block
        if len(block) < BLOCK:
            return
        start += len(block)
