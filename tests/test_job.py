"""Jobs, their states, ids and array ranges."""

from __future__ import annotations

import pytest

from cloudq.errors import InputError
from cloudq.job import (
    ArrayRange,
    Job,
    JobKind,
    JobState,
    format_task_ids,
    is_job_id,
    new_job_id,
)


@pytest.mark.parametrize(
    ("text", "task_ids", "limit"),
    [
        ("3", (3,), None),
        ("1-4", (1, 2, 3, 4), None),
        ("1-4:1", (1, 2, 3, 4), None),
        ("0-30:10", (0, 10, 20, 30), None),
        ("1-10:4", (1, 5, 9), None),
        ("1,3,7-9", (1, 3, 7, 8, 9), None),
        (" 5 , 1-2 ", (1, 2, 5), None),
        ("1-3,2-4", (1, 2, 3, 4), None),
        ("1-100%2", tuple(range(1, 101)), 2),
    ],
    ids=repr,
)
def test_an_array_range_is_parsed(text: str, task_ids: tuple[int, ...], limit: int) -> None:
    parsed = ArrayRange.parse(text)
    assert parsed.task_ids() == task_ids
    assert parsed.limit == limit


@pytest.mark.parametrize("text", ["3", "1-4", "0-30:10", "1,3,7-9", "1-100%2", "1-10:4"], ids=repr)
def test_an_array_range_is_written_as_it_was(text: str) -> None:
    assert str(ArrayRange.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "expected FIRST-LAST:STEP"),
        ("a", "expected FIRST-LAST:STEP"),
        ("1-", "expected FIRST-LAST:STEP"),
        ("-3", "expected FIRST-LAST:STEP"),
        ("1:2", "expected FIRST-LAST:STEP"),
        ("1,,2", "expected FIRST-LAST:STEP"),
        ("١", "expected FIRST-LAST:STEP"),
        ("4-1", "expected FIRST <= LAST and STEP > 0"),
        ("1-4:0", "expected FIRST <= LAST and STEP > 0"),
        ("1-4%", "a whole number above 0 after '%'"),
        ("1-4%0", "a whole number above 0 after '%'"),
        ("1-4%-1", "a whole number above 0 after '%'"),
        ("1-4%x", "a whole number above 0 after '%'"),
        ("1-4%" + "9" * 5000, "a whole number above 0 after '%'"),
        ("1-9999999999", "more than 1000000 tasks"),
    ],
    ids=lambda text: repr(text)[:40],
)
def test_another_array_range_is_refused(text: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        ArrayRange.parse(text)


@pytest.mark.parametrize(
    ("task_ids", "text"),
    [((), ""), ((7,), "7"), ((1, 2, 3), "1-3"), ((3, 1, 7, 2, 2), "1-3,7"), ((1, 3, 5), "1,3,5")],
    ids=repr,
)
def test_task_ids_are_written_shortly(task_ids: tuple[int, ...], text: str) -> None:
    assert format_task_ids(task_ids) == text


@pytest.mark.parametrize("text", ["a1b2c3d4", "e5b685e0a1b2", "my.job-1_x", "7", "x" * 128], ids=repr)
def test_a_safe_single_part_is_an_id(text: str) -> None:
    assert is_job_id(text)


@pytest.mark.parametrize(
    "text", ["", "agent", ".", "..", ".hidden", "a/b", "a b", "a\n", "-x", "ä", "x" * 129, "a\0"], ids=repr
)
def test_anything_else_is_no_id(text: str) -> None:
    assert not is_job_id(text)


def test_new_ids_are_ids_of_48_bits() -> None:
    """Defect 61: 32 bits collide soon."""
    ids = {new_job_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(is_job_id(job_id) and len(job_id) == 12 for job_id in ids)


def test_four_states_are_final() -> None:
    assert {state for state in JobState if state.final} == {
        JobState.DONE,
        JobState.ERROR,
        JobState.TIMEOUT,
        JobState.DELETED,
    }


def test_the_tag_names_job_and_attempt() -> None:
    assert Job("a1", "job.sh", JobKind.META, attempt=2).tag == "cq-a1-2"
