"""Logs that grow: only new bytes are fetched, tasks are told apart, nothing is lost at the end."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from cloudq.bundle import Bundles
from cloudq.client.commands.printing import PiecePrinter
from cloudq.client.results.logs import Log
from cloudq.client.results.tailing import Follower, Piece, follow, tail_start
from cloudq.job import Job, JobState
from cloudq.store.memory import MemoryStore
from tests.client.conftest import Laptop, put_done_job, put_job
from tests.client.test_logs import put_segment
from tests.client.test_waits import Sleeper

BOTH = ("stdout", "stderr")


@dataclass
class CountingStore(MemoryStore):
    """Counts the bytes that are read from logs."""

    fetched: list[int] = field(default_factory=list)

    def __init__(self) -> None:
        super().__init__()
        self.fetched = []

    def read_range(self, key: str, start: int, end: int) -> memoryview:
        data = super().read_range(key, start, end)
        self.fetched.append(len(data))
        return data


def followed(
    bundles: Bundles, job: Job, *events: Callable[[], object], task: str = ""
) -> list[tuple[str, bytes]]:
    """Follow a job; the events happen one in each pause."""
    pieces: list[Piece] = []
    follower = Follower(bundles, job, BOTH, task)
    end = follow(bundles, job.id, follower, Sleeper(list(events)).pace(), show=pieces.append)
    assert end.state.final
    return [(piece.log, piece.data) for piece in pieces]


def end(bundles: Bundles, job: Job, **logs: bytes) -> None:
    """Do what the agent does at the end: whole logs, the final manifest, no segments."""
    for name, data in logs.items():
        bundles.write(job.id, name.replace("_", "."), data)
    put_done_job(bundles, job.id)
    bundles.discard(job.id, list(bundles.entries(job.id, "live/")))


def test_each_byte_of_a_log_is_fetched_once() -> None:
    store = CountingStore()
    bundles = Bundles(store)
    job = put_job(bundles, state=JobState.RUN)
    put_segment(bundles, "stdout", 0, b"one\n")
    found = followed(
        bundles,
        job,
        lambda: put_segment(bundles, "stdout", 4, b"two\n"),
        lambda: put_segment(bundles, "stderr", 0, b"oh\n"),
        lambda: end(bundles, job, stdout=b"one\ntwo\nthree\n", stderr=b"oh\n"),
    )
    assert found == [("stdout", b"one\n"), ("stdout", b"two\n"), ("stderr", b"oh\n"), ("stdout", b"three\n")]
    assert sum(store.fetched) == len(b"one\ntwo\nthree\noh\n")


def test_all_tasks_of_an_array_are_followed(bundles: Bundles) -> None:
    job = put_job(bundles, state=JobState.RUN, array_range="1-12")
    put_segment(bundles, "stdout.1", 0, b"a\n")

    def more() -> None:
        put_segment(bundles, "stdout.12", 0, b"b\n")
        put_segment(bundles, "stdout.1", 2, b"c\n")

    found = followed(
        bundles,
        job,
        more,
        lambda: end(bundles, job, stdout_1=b"a\nc\n", stdout_12=b"b\nd\n"),
    )
    assert found == [("stdout.1", b"a\n"), ("stdout.1", b"c\n"), ("stdout.12", b"b\n"), ("stdout.12", b"d\n")]


def test_one_task_of_an_array_is_followed(bundles: Bundles) -> None:
    job = put_job(bundles, state=JobState.RUN, array_range="1-12")
    put_segment(bundles, "stdout.1", 0, b"a\n")
    put_segment(bundles, "stdout.12", 0, b"b\n")
    last = lambda: end(bundles, job, stdout_1=b"a\nc\n", stdout_12=b"b\nd\n")  # noqa: E731
    assert followed(bundles, job, last, task="1") == [("stdout.1", b"a\n"), ("stdout.1", b"c\n")]


def test_a_job_that_is_started_again_is_shown_again(bundles: Bundles) -> None:
    job = put_job(bundles, state=JobState.RUN)
    put_segment(bundles, "stdout", 0, b"first run\n")

    def again() -> None:
        put_job(bundles, state=JobState.READY)
        bundles.discard("a1", list(bundles.entries("a1", "live/")))

    def runs() -> None:
        put_job(bundles, state=JobState.RUN)
        put_segment(bundles, "stdout", 0, b"second\n")

    found = followed(
        bundles,
        job,
        again,
        runs,
        lambda: end(bundles, job, stdout=b"second\n"),
    )
    assert found == [("stdout", b"first run\n"), ("stdout", b"second\n")]


def test_a_job_that_ends_between_listing_and_reading_loses_nothing() -> None:
    class HastyStore(MemoryStore):
        def read_range(self, key: str, start: int, stop: int) -> memoryview:
            if "/live/" in key:
                end(bundles, job, stdout=b"all of it\n")
            return super().read_range(key, start, stop)

    bundles = Bundles(HastyStore())
    job = put_job(bundles, state=JobState.RUN)
    put_segment(bundles, "stdout", 0, b"all")
    assert followed(bundles, job) == [("stdout", b"all of it\n")]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [(0, b""), (1, b"three"), (2, b"two\nthree"), (3, b"one\ntwo\nthree"), (9, b"one\ntwo\nthree")],
)
def test_the_last_lines_of_a_log(bundles: Bundles, lines: int, expected: bytes) -> None:
    data = b"one\ntwo\nthree"
    bundles.write("a1", "stdout", data)
    assert data[tail_start(bundles, "a1", Log("stdout", size=len(data)), lines) :] == expected


def test_the_last_lines_are_found_without_reading_the_whole_log() -> None:
    store = CountingStore()
    bundles = Bundles(store)
    data = b"x" * 99 + b"\n"
    bundles.write("a1", "stdout", data * 100_000)
    start = tail_start(bundles, "a1", Log("stdout", size=len(data) * 100_000), 10)
    assert start == len(data) * 99_990
    assert sum(store.fetched) <= 64 * 1024


def test_lines_of_tasks_are_printed_whole_under_their_task() -> None:
    binary_out, binary_err = io.BytesIO(), io.BytesIO()
    out, err = io.TextIOWrapper(binary_out), io.TextIOWrapper(binary_err)
    printer = PiecePrinter(by_task=True, raw=False, apart=True, stdout=out, stderr=err)
    for log, data in (("stdout.1", b"a"), ("stdout.2", b"x\ny"), ("stdout.1", b"b\n"), ("stderr.1", b"oh\n")):
        printer.show(Piece(log, data))
    printer.end()
    assert binary_out.getvalue() == b"[2] x\n[1] ab\n[2] y\n"
    assert binary_err.getvalue() == b"[1!] oh\n"


def test_log_follows_to_the_end_with_both_streams(laptop: Laptop) -> None:
    put_done_job(laptop.bundles)
    laptop.bundles.write("a1", "stdout", b"one\ntwo\n")
    laptop.bundles.write("a1", "stderr", b"bad\n")
    result = laptop.run("log", "-f", "a1")
    assert (result.stdout, result.stderr) == ("one\ntwo\n", "bad\n")
    result = laptop.run("log", "-f", "a1", "--error")
    assert (result.stdout, result.stderr) == ("bad\n", "")
    assert laptop.answer("log", "-f", "a1", "--tail", "1") == "two\n"


def test_log_shows_the_last_lines_and_what_is_recent(laptop: Laptop) -> None:
    put_done_job(laptop.bundles, array_range="1-2")
    for task in ("1", "2"):
        laptop.bundles.write("a1", f"stdout.{task}", b"one\ntwo\n")
    assert laptop.answer("log", "a1", "--tail", "1", "--tid", "2") == "two\n"
    assert laptop.answer("log", "a1", "-n", "1").split("\n")[1:3] == ["two", "=" * 20 + " task 2 " + "=" * 20]
    assert laptop.answer("log", "a1", "--since", "1h", "--tid", "1") == "one\ntwo\n"
    assert laptop.answer("log", "a1", "--since", "0") == ""
    assert laptop.json("log", "a1", "--tid", "1", "--tail", "1", "--json")[0]["text"] == "two\n"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["log", "a1", "-f", "--json"], "Argument --follow: not allowed with argument --json"),
        (["log", "--agent", "s", "-f"], "Argument --agent: not allowed with argument --follow"),
        (["log", "--agent", "s", "-n", "0"], "Argument --agent: not allowed with argument --tail"),
    ],
    ids=str,
)
def test_what_cannot_be_followed_is_told(laptop: Laptop, argv: list[str], message: str) -> None:
    assert message in laptop.error(2, *argv)
