"""The record of a job, whatever is in it."""

from __future__ import annotations

import json
from typing import Optional

import pytest

from cloudq.bundle import MANIFEST, Bundles
from cloudq.client.jobs.stat import load_members, render_members
from cloudq.errors import ManifestError, NoSuchJobError
from cloudq.job import JobState, Task
from tests.client.conftest import put_job


def test_members_are_shown_in_the_order_of_the_file(bundles: Bundles) -> None:
    put_job(bundles, run_on="", state=JobState.RUN)
    lines = render_members(load_members(bundles, "a1")).splitlines()
    assert lines[0] == "uuid                  a1"
    assert lines[8] == "state                 RUN"
    assert lines[14] == "time_submit           2026/11/21 22:06:26 UTC"
    assert lines[15] == "time_receive          -"
    assert lines[-1] == "error_msg             "
    assert len(lines) == 24


@pytest.mark.parametrize(
    ("member", "value", "shown"),
    [
        ("note", None, "null"),
        ("note", [1, "ä"], '[1, "ä"]'),
        ("note", {"a": {}}, '{"a": {}}'),
        ("note", True, "true"),
        ("note", 1.5, "1.5"),
        ("note", "\x1b[31mred", "\\x1b[31mred"),
        ("error_msg", "sbatch: error\nsecond\n", "sbatch: error\\nsecond"),
        ("time_start", "soon", "soon"),
        ("time_start", None, "null"),
        ("time_start", "", "-"),
        ("time_own", "2026-11-22T07:08:01+09:00", "2026/11/21 22:08:01 UTC"),
        ("bad\nname", "x", "x"),
    ],
    ids=str,
)
def test_any_value_is_shown_on_one_line(bundles: Bundles, member: str, value: object, shown: str) -> None:
    """Defect 64: null, lists, objects and times that are none stopped `stat`."""
    bundles.write("a1", MANIFEST, json.dumps({"uuid": "a1", member: value}).encode())
    lines = render_members(load_members(bundles, "a1")).splitlines()
    assert len(lines) == 2
    assert lines[1].partition("  ")[2].strip() == shown


def test_the_widest_name_makes_the_column(bundles: Bundles) -> None:
    bundles.write("a1", MANIFEST, b'{"x": "1", "longer": "2"}')
    assert render_members(load_members(bundles, "a1")) == "x       1\nlonger  2"


def test_an_empty_object_has_no_lines() -> None:
    assert render_members({}) == ""


def test_programs_get_tasks_as_objects(bundles: Bundles) -> None:
    put_job(bundles, array_range="1-2", tasks={1: Task(JobState.RUN), 2: Task(JobState.ERROR, "exit 7", 7)})
    assert load_members(bundles, "a1")["task_states"] == "1:RUN 2:ERROR"
    assert load_members(bundles, "a1", for_programs=True)["task_states"] == {
        "1": {"state": "RUN", "exit_code": None, "error": ""},
        "2": {"state": "ERROR", "exit_code": 7, "error": "exit 7"},
    }


@pytest.mark.parametrize("code", [None, 0, 7], ids=str)
def test_programs_get_numbers_and_null(bundles: Bundles, code: Optional[int]) -> None:
    put_job(bundles, state=JobState.RUN, exit_code=code, input_size=5, extra=(("time_own", "-"),))
    members = load_members(bundles, "a1", for_programs=True)
    assert (members["exit_code"], members["size_input"], members["size_output"]) == (code, 5, 0)
    assert members["time_submit"] == "2026-11-21T22:06:26+00:00"
    assert {members[name] for name in members if name.startswith("time_")} == {members["time_submit"], None}


def test_programs_get_what_cannot_be_understood_as_it_is(bundles: Bundles) -> None:
    bundles.write("a1", MANIFEST, b'{"state": null}')
    assert load_members(bundles, "a1", for_programs=True) == {"state": None}


def test_a_job_without_a_manifest_is_unknown(bundles: Bundles) -> None:
    with pytest.raises(NoSuchJobError, match="^Invalid job ID: a1$"):
        load_members(bundles, "a1")


def test_what_is_no_object_is_an_error(bundles: Bundles) -> None:
    bundles.write("a1", MANIFEST, b"no JSON")
    with pytest.raises(ManifestError, match=r"job a1: manifest\.json: not JSON in UTF-8"):
        load_members(bundles, "a1", for_programs=True)
