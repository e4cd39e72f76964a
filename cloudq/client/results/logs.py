"""What jobs and agents printed: whole logs, or while a job runs the segments that are there so far."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Optional

from cloudq.bundle import LIVE, Bundles, parse_segment_name
from cloudq.errors import NoSuchJobError, NotFoundError
from cloudq.store import Entry

BLOCK = 1024 * 1024
"""Bytes of a log that are read at once."""

_FROM_THE_BEGINNING: Mapping[str, int] = MappingProxyType({})
_LOG = re.compile(r"(?:stdout|stderr)(?:\.(?P<task>[^/]+))?\Z")


@dataclass(frozen=True)
class Log:
    """One log of a job.

    Attributes:
        name: Name of the whole log in the bundle: `stdout`, `stderr.12`.
        segments: Offsets and names of its parts, in order; empty if the whole log is there.
        size: Where it ends, in bytes.
    """

    name: str
    segments: tuple[tuple[int, str], ...] = ()
    size: int = 0

    @property
    def task(self) -> str:
        """The task id, empty if the job is no array job."""
        return self.name.partition(".")[2]

    @property
    def start(self) -> int:
        """Where the first byte that is here stood in the log."""
        return self.segments[0][0] if self.segments else 0


def is_log(name: str) -> bool:
    """Tell whether an object of a bundle is a whole log."""
    return bool(_LOG.match(name))


def find_logs(bundles: Bundles, job_id: str, stream: str, *, since: Optional[datetime] = None) -> list[Log]:
    """Return all logs of one stream (`stdout` or `stderr`), in the order of task numbers.

    Args:
        since: Leave out what came to the bucket earlier; the log of a job that has ended came as a whole.
    """
    return select_logs(_entries(bundles, job_id, stream), stream, since=since)


def select_logs(entries: Mapping[str, Entry], stream: str, *, since: Optional[datetime] = None) -> list[Log]:
    """Return the same of the objects of a bundle, which were listed in the order of their names."""
    segments: dict[str, list[tuple[int, str, int]]] = {}
    for name, entry in entries.items():
        segment = parse_segment_name(name)
        if segment is not None and segment[0].startswith(stream) and _is_since(entry, since):
            log, offset = segment
            segments.setdefault(log, []).append((offset, name, offset + entry.size))
    whole = {name: entry for name, entry in entries.items() if is_log(name) and name.startswith(stream)}
    finished = [Log(name, size=entry.size) for name, entry in whole.items() if _is_since(entry, since)]
    unfinished = [_unfinished(name, sorted(found)) for name, found in segments.items() if name not in whole]
    return sorted([*finished, *unfinished], key=lambda log: _order(log.task))


def find_task_log(bundles: Bundles, job_id: str, stream: str, task: str) -> Log:
    """Return the log of exactly this task.

    Raises:
        NoSuchJobError: There is none.
    """
    name = f"{stream}.{task}"
    for log in select_logs(_entries(bundles, job_id, name), name):
        if log.task == task:
            return log
    raise NoSuchJobError(f"Invalid task ID: {task}")


def read_log(bundles: Bundles, job_id: str, log: Log, *, start: int = 0) -> Iterator[bytes]:
    """Yield the bytes of a log from a position on, in blocks of at most 1 MiB."""
    position = start
    try:
        for number, (offset, name) in enumerate(log.segments, 1):
            if number < len(log.segments) and log.segments[number][0] <= position:
                continue
            for block in _blocks(bundles, job_id, name, max(0, position - offset)):
                yield block
                position = max(position, offset) + len(block)
        if log.segments:
            return
    except NotFoundError:
        pass  # The job ended meanwhile: its segments are gone, and the whole log is there.
    yield from _blocks(bundles, job_id, log.name, position)


def read_logs(
    bundles: Bundles, job_id: str, logs: Sequence[Log], starts: Mapping[str, int] = _FROM_THE_BEGINNING
) -> Iterator[bytes]:
    """Yield the bytes of logs as they are; those of tasks under a line that names the task.

    1.2 prints one newline more after each; here a log can be compared and piped.

    Args:
        starts: Name of a log -> where to begin in it.
    """
    end = b"\n"
    for log in logs:
        if log.task:
            line_feed = "" if end == b"\n" else "\n"
            yield f"{line_feed}{'=' * 20} task {log.task} {'=' * 20}\n".encode("utf-8", "surrogateescape")
        for block in read_log(bundles, job_id, log, start=starts.get(log.name, 0)):
            yield block
            end = block[-1:]


def log_members(
    bundles: Bundles, job_id: str, logs: Sequence[Log], starts: Mapping[str, int] = _FROM_THE_BEGINNING
) -> list[dict[str, str]]:
    """Return logs for programs: of each its name, its task (empty without one), and its text."""

    def text(log: Log) -> str:
        return _text(b"".join(read_log(bundles, job_id, log, start=starts.get(log.name, 0))))

    return [{"log": log.name, "task": log.task, "text": text(log)} for log in logs]


def agent_log_members(bundles: Bundles, system: str) -> list[dict[str, str]]:
    """Return an agent's log in the same form, named as its system. Raises NoSuchJobError."""
    return [{"log": system, "task": "", "text": _text(read_agent_log(bundles, system))}]


def read_agent_log(bundles: Bundles, system: str) -> bytes:
    """Return the log of exactly this agent.

    Raises:
        NoSuchJobError: There is none.
    """
    try:
        return bundles.agents.log(system)
    except NotFoundError as error:
        raise NoSuchJobError(f"The log file is not exist: {system}") from error


def _entries(bundles: Bundles, job_id: str, beginning: str) -> dict[str, Entry]:
    # Segments first: if the job ends between the two requests, the whole log is there.
    segments = bundles.entries(job_id, f"{LIVE}/{beginning}")
    return {**segments, **bundles.entries(job_id, beginning)}


def _is_since(entry: Entry, since: Optional[datetime]) -> bool:
    return since is None or entry.modified >= since


def _unfinished(name: str, segments: Sequence[tuple[int, str, int]]) -> Log:
    return Log(
        name, tuple((offset, part) for offset, part, _ in segments), max(end for _, _, end in segments)
    )


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")


def _order(task: str) -> tuple[bool, int, str]:
    number = int(task) if task.isascii() and task.isdigit() and len(task) < 20 else 0
    return not (task == "" or number or task == "0"), number, task


def _blocks(bundles: Bundles, job_id: str, name: str, start: int) -> Iterator[bytes]:
    while True:
        block = bytes(bundles.read_range(job_id, name, start, start + BLOCK))
        if block:
            yield block
        if len(block) < BLOCK:
            return
        start += len(block)
