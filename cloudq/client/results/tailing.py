"""Logs as they grow: each look at the bucket costs the bytes that are new."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Optional

from cloudq.bundle import LIVE, Bundles, parse_segment_name
from cloudq.client.jobs.waits import Pace
from cloudq.client.results.logs import BLOCK, Log, is_log, read_log
from cloudq.errors import NotFoundError
from cloudq.job import Job, JobState

_FIRST_TAIL = 64 * 1024


@dataclass(frozen=True)
class Piece:
    """Some bytes of a log, named as in the bundle: `stdout`, `stderr.12`."""

    log: str
    data: bytes

    @property
    def stream(self) -> str:
        """`stdout` or `stderr`."""
        return self.log.partition(".")[0]

    @property
    def task(self) -> str:
        """The task id, empty if the job is no array job."""
        return self.log.partition(".")[2]


class Follower:
    """Reads the logs of one job from where it stopped the last time.

    Args:
        bundles: The bucket.
        job: The job, as it is now.
        streams: `stdout`, `stderr` or both.
        task: Only this task of an array job; empty for all.
    """

    def __init__(self, bundles: Bundles, job: Job, streams: Sequence[str], task: str = "") -> None:
        self._bundles = bundles
        self._job_id = job.id
        self._task = task
        # A single log is listed from its last known segment on; those of an array as they are.
        self._single = bool(task) or job.array_range is None
        self._streams = tuple(streams)
        self._positions: dict[str, int] = {}
        self._last: dict[str, str] = {}

    def skip(self, log: str, position: int) -> None:
        """Leave out the bytes of a log before a position."""
        self._positions[log] = position

    def begin_anew(self) -> None:
        """Forget all positions: the scheduler has started the job again, with new logs."""
        self._positions.clear()
        self._last.clear()

    def new_pieces(self) -> Iterator[Piece]:
        """Yield what a running job's logs have gained."""
        for stream in self._streams:
            yield from self._new_pieces(stream)

    def last_pieces(self) -> Iterator[Piece]:
        """Yield what is left of the logs of a job that has ended."""
        for stream in self._streams:
            beginning = f"{stream}.{self._task}" if self._task else stream
            for name, entry in self._bundles.entries(self._job_id, beginning).items():
                if is_log(name) and (not self._task or name == beginning):
                    yield from self._read(name, name, 0, entry.size)

    def _new_pieces(self, stream: str) -> Iterator[Piece]:
        tasks = f".{self._task}/" if self._task else "/" if self._single else "."
        found = self._bundles.entries(
            self._job_id, f"{LIVE}/{stream}{tasks}", after=self._last.get(stream, "")
        )
        for name, entry in found.items():
            segment = parse_segment_name(name)
            if segment is None:
                continue
            log, offset = segment
            try:
                yield from self._read(log, name, offset, entry.size)
            except NotFoundError:
                return  # The job has ended: the whole logs are there by the next look.
            if self._single:
                self._last[stream] = name

    def _read(self, log: str, name: str, offset: int, size: int) -> Iterator[Piece]:
        """Yield what is new in an object that holds `size` bytes of a log from `offset` on."""
        position = max(self._positions.get(log, 0), offset)
        while position < offset + size:
            start = position - offset
            data = bytes(self._bundles.read_range(self._job_id, name, start, min(start + BLOCK, size)))
            if not data:
                return
            position += len(data)
            self._positions[log] = position
            yield Piece(log, data)


def follow(
    bundles: Bundles,
    job_id: str,
    follower: Follower,
    pace: Pace,
    *,
    show: Callable[[Piece], None],
    note: Callable[[Job], None] = lambda _: None,
) -> Job:
    """Show what a job prints until it has ended, and return it as it ended.

    Args:
        show: Called with each new piece.
        note: Called with the job at each look.

    Raises:
        NoSuchJobError: It was deleted meanwhile.
        TimeLimitError: The time limit of the pace is over.
    """
    before: Optional[Job] = None
    while True:
        job = pace.ask(lambda: bundles.load(job_id).job)
        if job is not None:
            note(job)
            if _was_started_again(before, job):
                follower.begin_anew()
            before = job
            pieces = follower.last_pieces if job.state.final else follower.new_pieces
            done = pace.ask(lambda: _show_all(pieces(), show))  # noqa: B023 - called at once
            if job.state.final and done:
                return job
        pace.pause()


def _show_all(pieces: Iterator[Piece], show: Callable[[Piece], None]) -> bool:
    for piece in pieces:
        show(piece)
    return True


def _was_started_again(before: Optional[Job], job: Job) -> bool:
    return before is not None and before.state is JobState.RUN and job.state is JobState.READY


def tail_start(bundles: Bundles, job_id: str, log: Log, lines: int) -> int:
    """Return where the last lines of a log begin, reading it from its end."""
    span = _FIRST_TAIL
    while True:
        start = max(log.start, log.size - span)
        data = b"".join(read_log(bundles, job_id, log, start=start))
        found = _last_lines(data, lines)
        if found is not None or start == log.start:
            return start + (found or 0)
        span *= 8


def _last_lines(data: bytes, lines: int) -> Optional[int]:
    """Return where the last lines begin, None if there are fewer."""
    position = len(data) - data.endswith(b"\n")
    if lines == 0:
        return len(data)
    for _ in range(lines):
        position = data.rfind(b"\n", 0, position)
        if position < 0:
            return None
    return position + 1
