"""Logs: whole ones, those of tasks, and the segments of running jobs."""

from __future__ import annotations

import pytest

from cloudq.bundle import Bundles
from cloudq.client.results.logs import (
    BLOCK,
    Log,
    find_logs,
    find_task_log,
    log_members,
    read_agent_log,
    read_log,
    read_logs,
)
from cloudq.errors import NoSuchJobError, NotFoundError
from cloudq.store.memory import MemoryStore


def text(bundles: Bundles, stream: str = "stdout") -> bytes:
    return b"".join(read_logs(bundles, "a1", find_logs(bundles, "a1", stream)))


def put_segment(bundles: Bundles, log: str, offset: int, data: bytes) -> None:
    bundles.write("a1", f"live/{log}/{offset:015d}", data)


def test_a_log_is_shown_as_it_is(bundles: Bundles) -> None:
    bundles.write("a1", "stdout", b"one\ntwo\n")
    bundles.write("a1", "stderr", b"bad")
    assert text(bundles) == b"one\ntwo\n"
    assert text(bundles, "stderr") == b"bad"


def test_without_logs_there_is_no_text(bundles: Bundles) -> None:
    bundles.write("a1", "stdout_parser.py", b"")
    bundles.write("a1", "stdoutput", b"")
    assert text(bundles) == b""


def test_tasks_are_sorted_by_number_and_headed(bundles: Bundles) -> None:
    for task in ("10", "9", "1", "o101", "0"):
        bundles.write("a1", f"stdout.{task}", f"of {task}\n".encode())
    lines = text(bundles).decode().split("\n")
    assert lines[:2] == ["==================== task 0 ====================", "of 0"]
    assert [line.split()[2] for line in lines if "====" in line] == ["0", "1", "9", "10", "o101"]


def test_any_bytes_survive(bundles: Bundles) -> None:
    """Defect 55: a log that is not UTF-8 could not be shown."""
    bundles.write("a1", "stdout", bytes(range(256)))
    assert text(bundles) == bytes(range(256))


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 7], ids=str)
def test_a_log_comes_in_blocks(bundles: Bundles, size: int) -> None:
    """Defect 57: it was loaded into memory as a whole."""
    data = bytes(i % 251 for i in range(1000)) * (size // 1000 + 1)
    bundles.write("a1", "stdout", data[:size])
    blocks = list(read_log(bundles, "a1", Log("stdout")))
    assert b"".join(blocks) == data[:size]
    assert all(0 < len(block) <= BLOCK for block in blocks)


def test_only_the_log_of_exactly_this_task_is_found(bundles: Bundles) -> None:
    """Defect 56: task 1 of a job that has only task 10 gave an empty text."""
    bundles.write("a1", "stdout.10", b"ten")
    assert find_task_log(bundles, "a1", "stdout", "10") == Log("stdout.10", size=3)
    for task in ("1", "", "100", "../x"):
        with pytest.raises(NoSuchJobError, match=f"^Invalid task ID: {task}$"):
            find_task_log(bundles, "a1", "stdout", task)


def test_a_running_job_has_segments(bundles: Bundles) -> None:
    put_segment(bundles, "stdout", 0, b"one\n")
    put_segment(bundles, "stdout", 4, b"two\n")
    put_segment(bundles, "stderr", 0, b"bad\n")
    put_segment(bundles, "stdout.2", 0, b"task\n")
    bundles.write("a1", "live/stdout/strange", b"")
    assert text(bundles) == b"one\ntwo\n==================== task 2 ====================\ntask\n"
    assert text(bundles, "stderr") == b"bad\n"
    assert find_task_log(bundles, "a1", "stdout", "2").segments


@pytest.mark.parametrize(
    ("segments", "expected"),
    [
        ([(0, b"abc"), (3, b"def")], b"abcdef"),
        ([(0, b"abc"), (10, b"klm")], b"abcklm"),
        ([(0, b"abcd"), (2, b"cdef")], b"abcdef"),
        ([(0, b"abcdef"), (2, b"cd")], b"abcdef"),
        ([(0, b"abcdef"), (2, b"cd"), (6, b"g")], b"abcdefg"),
        ([(9, b"j"), (10, b"k"), (0, b"a")], b"ajk"),
    ],
    ids=["joined", "gap", "overlap", "repeated", "repeated before", "sorted"],
)
def test_segments_are_joined_by_their_offsets(
    bundles: Bundles, segments: list[tuple[int, bytes]], expected: bytes
) -> None:
    for offset, data in segments:
        put_segment(bundles, "stdout", offset, data)
    assert text(bundles) == expected


def test_the_whole_log_counts_when_it_is_there(bundles: Bundles) -> None:
    put_segment(bundles, "stdout", 0, b"early")
    bundles.write("a1", "stdout", b"whole")
    assert text(bundles) == b"whole"


def test_a_job_that_ends_meanwhile_is_read_on_from_the_whole_log() -> None:
    class EndingStore(MemoryStore):
        """Ends the job after the first segment was read."""

        def read_range(self, key: str, start: int, end: int) -> memoryview:
            data = super().read_range(key, start, end)
            if "live" in key:
                self.write("a1/stdout", b"onetwothree")
                self.delete([entry.key for entry in self.list("a1/live/")])
            return data

    bundles = Bundles(EndingStore())
    put_segment(bundles, "stdout", 0, b"one")
    put_segment(bundles, "stdout", 3, b"two")
    assert text(bundles) == b"onetwothree"


def test_a_log_that_is_gone_altogether_is_an_error(bundles: Bundles) -> None:
    with pytest.raises(NotFoundError):
        list(read_log(bundles, "a1", Log("stdout", ((0, "live/stdout/000000000000000"),))))


def test_programs_get_each_log_with_its_task(bundles: Bundles) -> None:
    bundles.write("a1", "stdout.10", b"ten\n")
    put_segment(bundles, "stdout.9", 0, b"\xff\x1b\n")
    assert log_members(bundles, "a1", find_logs(bundles, "a1", "stdout")) == [
        {"log": "stdout.9", "task": "9", "text": "\\xff\x1b\n"},
        {"log": "stdout.10", "task": "10", "text": "ten\n"},
    ]


def test_an_unknown_agents_log_is_named(bundles: Bundles) -> None:
    bundles.store.write("agent/sys10", b"text")
    assert read_agent_log(bundles, "sys10") == b"text"
    with pytest.raises(NoSuchJobError, match="^The log file is not exist: sys1$"):
        read_agent_log(bundles, "sys1")
