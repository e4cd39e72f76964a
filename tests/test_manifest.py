"""Manifests: what 1.2 writes is read, what we write 1.2 reads."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudq.errors import ManifestError
from cloudq.job import ArrayRange, Job, JobKind, JobState, Task
from cloudq.manifest import (
    MEMBERS,
    format_time,
    manifest_members,
    next_revision,
    parse_manifest,
    parse_time,
    program_members,
    render_manifest,
)

MOMENT = datetime(2026, 11, 21, 22, 8, 1, tzinfo=timezone.utc)
MEMBERS_OF_1_2 = {
    "uuid": "e5b685e0",
    "jobid": "",
    "name": "job.sh",
    "jobscript_type": "meta",
    "hold_jid": "",
    "array_tid": "",
    "submit_to": "",
    "submit_opt": "",
    "state": "INIT",
    "workdir": "",
    "run_system": "",
    "local_account": "",
    "local_group": "",
    "submit_command": "",
    "time_submit": "2026-11-21T22:08:01+00:00",
    "time_receive": "-",
    "time_ready": "-",
    "time_start": "-",
    "time_stageout_start": "-",
    "time_stageout_finish": "-",
    "time_finish": "-",
    "size_input": 10,
    "size_output": 0,
    "error_msg": "",
}


def parse(**changes: Any) -> Job:
    return parse_manifest(json.dumps({**MEMBERS_OF_1_2, **changes}).encode(), "e5b685e0")


def test_a_manifest_of_1_2_is_read() -> None:
    assert parse() == Job(id="e5b685e0", name="job.sh", kind=JobKind.META, submitted=MOMENT, input_size=10)


def test_a_manifest_is_written_byte_for_byte_as_1_2_does() -> None:
    job = Job(id="e5b685e0", name="job.sh", kind=JobKind.META, submitted=MOMENT, input_size=10)
    assert render_manifest(job) == json.dumps(MEMBERS_OF_1_2, indent=4).encode()


def test_members_of_others_travel_along() -> None:
    job = parse(site_note="läuft", nested={"a": [1, None]})
    assert dict(job.extra) == {"site_note": "läuft", "nested": {"a": [1, None]}}
    assert parse_manifest(render_manifest(job), job.id) == job
    assert list(manifest_members(job))[-2:] == ["site_note", "nested"]


def test_nothing_but_strings_and_numbers_is_written() -> None:
    """1.2's `stat` fails at lists, objects and null."""
    job = Job(
        id="a1",
        name="job.sh",
        kind=JobKind.LOCAL,
        array_range=ArrayRange.parse("1-3"),
        exit_code=7,
        tasks={1: Task(JobState.DONE, exit_code=0), 2: Task(JobState.ERROR, "exit 7", 7)},
    )
    assert all(isinstance(value, (str, int)) for value in manifest_members(job).values())


def test_every_member_that_is_written_is_known() -> None:
    job = replace(parse(), exit_code=1, reason="r", claim_token="c", revision=1, native_script="x")
    assert set(manifest_members(job)) <= set(MEMBERS)


def test_the_id_is_that_of_the_key_whatever_the_member_says() -> None:
    assert parse_manifest(json.dumps({**MEMBERS_OF_1_2, "uuid": "../x"}).encode(), "a1").id == "a1"


def test_any_type_but_local_is_meta() -> None:
    assert parse(jobscript_type="local").kind is JobKind.LOCAL
    assert parse(jobscript_type="other").kind is JobKind.META


def test_missing_members_are_empty() -> None:
    job = parse_manifest(b'{"name": "job.sh", "state": "RUN"}', "a1")
    assert job == Job(id="a1", name="job.sh", kind=JobKind.META, state=JobState.RUN)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("-", None),
        ("", None),
        ("2026-11-21T22:08:01+00:00", MOMENT),
        ("2026-11-21T22:08:01Z", MOMENT),
        ("2026-11-21T22:08:01", MOMENT),
        ("2026-11-22T07:08:01+09:00", MOMENT),
        ("2026-11-22T07:08:01+0900", MOMENT),
        ("2026-11-21T22:08:01.123456+00:00", MOMENT),
    ],
    ids=repr,
)
def test_every_form_of_time_is_read_as_utc(text: str, moment: datetime) -> None:
    """Defect 51: times without an offset stopped listings."""
    assert parse_time(text) == moment
    assert parse(time_submit=text).submitted == moment


@pytest.mark.parametrize(
    "value",
    ["yesterday", "2026-13-01T00:00:00", "2026-11-21", None, 5, [], "0001-01-01T00:00:00+09:00"],
    ids=repr,
)
def test_what_is_no_time_is_a_manifest_error(value: object) -> None:
    with pytest.raises(
        ManifestError, match="job e5b685e0: manifest.json: time_start: expected a time such as"
    ):
        parse(time_start=value)


def test_times_are_written_in_whole_seconds_of_utc() -> None:
    moment = datetime(2026, 11, 22, 7, 8, 1, 999_999, tzinfo=timezone(timedelta(hours=9)))
    assert format_time(moment) == "2026-11-21T22:08:01+00:00"
    assert format_time(None) == "-"


@pytest.mark.parametrize(
    ("member", "value", "expected"),
    [
        ("name", None, "a string, got None"),
        ("name", "", "the name of the script"),
        ("run_system", 5, "a string, got 5"),
        ("state", None, "one of INIT, READY"),
        ("state", "SLEEP", "one of INIT, READY"),
        ("state", ["RUN"], "one of INIT, READY"),
        ("size_input", "10", "a whole number"),
        ("size_input", -1, "a whole number"),
        ("revision", True, "a whole number"),
        ("hold_jid", ["a"], "job ids separated by commas"),
        ("array_tid", "x", "FIRST-LAST:STEP"),
        ("array_tid", 3.5, "array_tid: expected"),
        ("array_tid", "1%" + "9" * 5000, "array_tid: expected"),
        ("hold_jid", "a," * 10_000 + "a", "at most 10000 job ids, got 10001"),
        ("exit_code", "-1", "digits"),
        ("exit_code", 7, "digits"),
        ("task_states", "1-2", "tasks and states such as"),
        ("task_states", "x:DONE", "tasks and states such as"),
        ("task_states", "1-1000000:DONE 1000001-2000000:DONE", "tasks and states such as"),
        ("task_errors", '[["1-1000000", 1, "x"], ["1", 1, "x"]]', "tasks and states such as"),
        ("task_states", 5, "tasks and states such as"),
        ("task_errors", "{", "tasks and states such as"),
        ("task_errors", '[["9", 1, "x"]]', "tasks and states such as"),
        ("task_errors", '[["1", "1", "x"]]', "tasks and states such as"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_wrong_value_is_named(member: str, value: object, expected: str) -> None:
    with pytest.raises(ManifestError, match=f"job e5b685e0: manifest.json: .*{expected}"):
        parse(**{"task_states": "1:RUN", member: value} if member == "task_errors" else {member: value})


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "not JSON in UTF-8"),
        (b"{", "not JSON in UTF-8"),
        (b"\xff\xfe", "not JSON in UTF-8"),
        (b"[" * 100_000, "not JSON in UTF-8"),
        (b"[]", "expected a JSON object"),
        (b'"x"', "expected a JSON object"),
        (b" " * (4 * 1024 * 1024 + 1), "at most 4194304 are read"),
    ],
    ids=["empty", "cut", "no text", "deep", "list", "string", "huge"],
)
def test_what_is_no_object_is_a_manifest_error(data: bytes, problem: str) -> None:
    """Defect 50: one such manifest stopped all listings."""
    with pytest.raises(ManifestError, match=problem):
        parse_manifest(data, "a1")


def test_each_revision_has_other_bytes() -> None:
    job = parse()
    assert render_manifest(next_revision(job)) != render_manifest(job)


def test_programs_get_an_object_for_each_task() -> None:
    tasks = {1: Task(JobState.DONE, exit_code=0), 12: Task(JobState.ERROR, "killed by signal 9", 137)}
    members = program_members(replace(parse(), tasks=tasks))
    assert members["task_states"] == {
        "1": {"state": "DONE", "exit_code": 0, "error": ""},
        "12": {"state": "ERROR", "exit_code": 137, "error": "killed by signal 9"},
    }
    assert "task_errors" not in members
    assert "task_states" not in program_members(parse())


_texts = st.text(max_size=20)
_moments = st.none() | st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1)).map(
    lambda moment: moment.replace(microsecond=0, tzinfo=timezone.utc)
)
_failed = st.builds(
    Task,
    st.sampled_from([JobState.ERROR, JobState.TIMEOUT, JobState.DELETED]),
    _texts,
    st.none() | st.integers(1, 255),
)
_unfailed = st.sampled_from([Task(JobState.DONE, exit_code=0), Task(JobState.RUN), Task(JobState.READY)])
_jobs = st.builds(
    Job,
    id=st.just("a1"),
    name=st.text(min_size=1, max_size=20),
    kind=st.sampled_from(JobKind),
    state=st.sampled_from(JobState),
    submit_to=_texts,
    hold_ids=st.lists(st.sampled_from(["a", "b2", "c-3"]), unique=True).map(tuple),
    array_range=st.sampled_from([None, ArrayRange.parse("1-9:2,12%3")]),
    error=_texts,
    exit_code=st.none() | st.integers(0, 255),
    submitted=_moments,
    finished=_moments,
    revision=st.integers(0, 10**6),
    tasks=st.dictionaries(st.integers(0, 10_000), _failed | _unfailed, max_size=6).map(
        lambda tasks: dict(sorted(tasks.items()))
    ),
    output_size=st.integers(0, 2**60),
    extra=st.dictionaries(_texts.map("x_".__add__), st.integers() | st.none() | _texts, max_size=2).map(
        lambda members: tuple(members.items())
    ),
)


@given(_jobs)
def test_what_was_written_is_read_again(job: Job) -> None:
    assert parse_manifest(render_manifest(job), job.id) == job
