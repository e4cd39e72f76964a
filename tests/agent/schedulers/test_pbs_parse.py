"""What qstat's answers mean: captured ones of OpenPBS 23.06.06, and what older servers write."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Optional

import pytest

from cloudq.agent.schedulers.base import NativeState, NativeStatus, Snapshot
from cloudq.agent.schedulers.pbs import Pbs
from cloudq.agent.schedulers.pbs_parse import find_by_directory, load_jobs
from cloudq.errors import SchedulerOutputError
from tests.agent.schedulers.samples import pbs_sample

QUEUED, RUNNING, CANCELLED = NativeState.QUEUED, NativeState.RUNNING, NativeState.CANCELLED
COMPLETED, FAILED, TIMED_OUT = NativeState.COMPLETED, NativeState.FAILED, NativeState.TIMED_OUT


def answer(**attributes: object) -> str:
    """Write an answer about one job."""
    return json.dumps({"timestamp": 1, "Jobs": {"5.s": attributes}})


def status(output: str) -> NativeStatus:
    (tasks,) = Pbs().parse_detail(output).values()
    return tasks[None]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("f-json-queued", (QUEUED, None, "Not enough free nodes available"), id="queued"),
        pytest.param("f-json-held", (QUEUED, None, "held by the user"), id="held"),
        pytest.param("f-json-held-by-dependency", (QUEUED, None, "waiting for another job"), id="dependency"),
        pytest.param("f-json-running", (RUNNING, None, ""), id="running"),
        pytest.param("x-f-json-finished-exit0", (COMPLETED, 0, ""), id="exit 0"),
        pytest.param("x-f-json-finished-exit7", (FAILED, 7, ""), id="exit 7"),
        pytest.param("x-f-json-command-not-found", (FAILED, 127, ""), id="command not found"),
        pytest.param("x-f-json-killed-by-SEGV", (FAILED, 139, ""), id="signal in the script"),
        pytest.param(
            "x-f-json-walltime-exceeded", (TIMED_OUT, None, "walltime 0:00:03 exceeded"), id="walltime"
        ),
        pytest.param("x-f-json-deleted-while-queued", (CANCELLED, None, ""), id="deleted while queued"),
        pytest.param("x-f-json-deleted-while-running", (RUNNING, None, ""), id="just deleted"),
        pytest.param(
            "x-f-json-deleted-while-running-finished",
            (CANCELLED, None, "deleted by cqtest@pbshost"),
            id="deleted while running",
        ),
        pytest.param(
            "x-f-json-deleted-by-force", (CANCELLED, None, "deleted by cqtest@pbshost"), id="deleted by force"
        ),
        pytest.param(
            "x-f-json-afterok-of-failed",
            (CANCELLED, None, "dependency never satisfied"),
            id="dependency failed",
        ),
        pytest.param(
            "x-f-json-dependency-never-satisfied", (QUEUED, None, "waiting for another job"), id="in vain"
        ),
    ],
)
def test_a_captured_answer_is_read(name: str, expected: tuple[object, ...]) -> None:
    told = status(pbs_sample(f"qstat-{name}.json"))
    assert (told.state, told.exit_code, told.reason) == expected
    assert told.signal is None


def test_times_are_those_of_this_host() -> None:
    told = status(pbs_sample("qstat-x-f-json-walltime-exceeded.json"))
    assert told.started == datetime(2026, 11, 21, 22, 3, 2).astimezone()
    assert told.finished == datetime(2026, 11, 21, 22, 3, 24).astimezone()


def states(snapshot: Snapshot) -> dict[str, dict[Optional[int], str]]:
    return {
        native_id: {task: told.state.value for task, told in tasks.items()}
        for native_id, tasks in snapshot.items()
    }


def test_a_waiting_array_waits_with_all_its_tasks() -> None:
    snapshot = Pbs().parse_poll(pbs_sample("qstat-t-f-json-array-queued.json"))
    assert states(snapshot) == {"7[].pbshost": {1: "queued", 2: "queued", 3: "queued"}}


def test_the_tasks_of_an_ended_array_have_ends_of_their_own() -> None:
    (tasks,) = Pbs().parse_detail(pbs_sample("qstat-x-t-f-json-array-one-task-failed.json")).values()
    assert {task: told.exit_code for task, told in tasks.items()} == {1: 0, 2: 1, 3: 0}


def test_all_jobs_of_a_history_are_read() -> None:
    assert states(Pbs().parse_detail(pbs_sample("qstat-x-f-json-all.json"))) == {
        "0.pbshost": {None: "failed"},
        "1[].pbshost": {},
        "2.pbshost": {None: "cancelled"},
        "3.pbshost": {None: "cancelled"},
        "4.pbshost": {None: "cancelled"},
        "5.pbshost": {None: "cancelled"},
        "6.pbshost": {None: "cancelled"},
        "7[].pbshost": {1: "cancelled", 2: "cancelled", 3: "cancelled"},
        "8.pbshost": {None: "failed"},
        "9.pbshost": {None: "completed"},
        "10.pbshost": {None: "timed out"},
        "11[].pbshost": {},
        "12[].pbshost": {},
    }


def array_answer(parent: Mapping[str, object], **tasks: Mapping[str, object]) -> str:
    jobs = {"5[].s": parent, **{f"5[{name[1:]}].s": attributes for name, attributes in tasks.items()}}
    return json.dumps({"timestamp": 1, "Jobs": jobs})


def test_tasks_that_a_server_does_not_list_wait_with_the_array() -> None:
    parent = {"job_state": "B", "array_indices_remaining": "3-4,8", "comment": "Job Array Began at Sat"}
    output = array_answer(parent, t1={"job_state": "R", "stime": "Sat Nov 21 22:03:02 2026"})
    assert states(Pbs().parse_poll(output)) == {
        "5[].s": {1: "running", 3: "queued", 4: "queued", 8: "queued"}
    }


def test_of_a_task_that_has_ended_first_the_details_tell() -> None:
    parent = {"job_state": "B", "array_indices_remaining": "-"}
    output = array_answer(parent, t1={"job_state": "X", "comment": "Subjob finished"}, t2={"job_state": "X"})
    assert states(Pbs().parse_poll(output)) == {"5[].s": {}}
    assert states(Pbs().parse_detail(output)) == {"5[].s": {1: "completed"}}


@pytest.mark.parametrize(
    ("comment", "state"),
    [("Subjob finished", COMPLETED), ("Subjob failed", FAILED), ("Subjob terminated", CANCELLED)],
)
def test_a_record_that_is_made_up_from_the_array_is_read_by_its_comment(
    comment: str, state: NativeState
) -> None:
    output = array_answer(
        {"job_state": "F", "substate": 93, "Exit_status": 0},
        t1={"job_state": "F", "substate": 93, "Exit_status": 0, "comment": comment},
    )
    told = Pbs().parse_detail(output)["5[].s"][1]
    assert (told.state, told.exit_code) == (state, None)


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        pytest.param({"Exit_status": 271}, (FAILED, None, 15, ""), id="the shell got a signal"),
        pytest.param({"Exit_status": 265}, (FAILED, None, 9, ""), id="the shell was killed"),
        pytest.param({"Exit_status": -27}, (FAILED, None, None, "out of memory"), id="memory"),
        pytest.param({"Exit_status": -1}, (FAILED, None, None, "PBS could not start it"), id="not started"),
        pytest.param(
            {"Exit_status": -99}, (FAILED, None, None, "PBS gave the exit status -99"), id="not in the table"
        ),
        pytest.param({"Exit_status": -29}, (TIMED_OUT, None, None, "walltime exceeded"), id="unknown limit"),
        pytest.param(
            {
                "Exit_status": 271,
                "Resource_List": {"walltime": "00:01:00"},
                "resources_used": {"walltime": "00:01:02"},
            },
            (TIMED_OUT, None, None, "walltime 0:01:00 exceeded"),
            id="walltime, older server",
        ),
        pytest.param(
            {
                "Exit_status": 143,
                "Resource_List": {"walltime": "30:00:00"},
                "resources_used": {"walltime": "30:00:00"},
            },
            (TIMED_OUT, None, None, "walltime 30:00:00 exceeded"),
            id="walltime, script that caught the signal",
        ),
        pytest.param(
            {
                "Exit_status": 271,
                "Resource_List": {"walltime": "00:01:00"},
                "resources_used": {"walltime": "00:00:59"},
            },
            (FAILED, None, 15, ""),
            id="signal before the walltime",
        ),
        pytest.param(
            {"comment": "Aborted by PBS Server"},
            (FAILED, None, None, "Aborted by PBS Server"),
            id="never ran",
        ),
        pytest.param({}, (FAILED, None, None, "PBS could not run it"), id="never ran, nothing told"),
    ],
)
def test_the_end_of_a_job_is_told_by_its_exit_status(
    attributes: dict[str, object], expected: tuple[object, ...]
) -> None:
    told = status(answer(job_state="F", substate=93, **attributes))
    assert (told.state, told.exit_code, told.signal, told.reason) == expected


@pytest.mark.parametrize(
    ("attributes", "state", "reason"),
    [
        pytest.param({"job_state": "E"}, NativeState.ENDING, "", id="exiting"),
        pytest.param({"job_state": "S"}, NativeState.SUSPENDED, "", id="suspended"),
        pytest.param({"job_state": "U"}, NativeState.SUSPENDED, "", id="suspended by a user at work"),
        pytest.param({"job_state": "T"}, QUEUED, "", id="in transit"),
        pytest.param({"job_state": "M"}, QUEUED, "moved to another server", id="moved"),
        pytest.param({"job_state": "W"}, QUEUED, "its begin time has not come yet", id="waiting"),
        pytest.param(
            {"job_state": "W", "substate": 37}, QUEUED, "files could not be staged in", id="stage-in failed"
        ),
        pytest.param({"job_state": "H", "Hold_Types": "s"}, QUEUED, "held by an administrator", id="held"),
        pytest.param({"job_state": "H", "Hold_Types": "p"}, QUEUED, "bad password", id="password"),
        pytest.param(
            {"job_state": "H", "Hold_Types": "s", "comment": "job held, too many failed attempts to run"},
            QUEUED,
            "job held, too many failed attempts to run",
            id="held after failures",
        ),
        pytest.param({"job_state": "Q", "comment": 42}, QUEUED, "42", id="comment that is a number"),
        pytest.param({"job_state": "Q", "comment": "Job run at Sat and requeued"}, QUEUED, "", id="requeued"),
    ],
)
def test_every_other_state_has_a_meaning(
    attributes: dict[str, object], state: NativeState, reason: str
) -> None:
    told = status(answer(**attributes))
    assert (told.state, told.reason) == (state, reason)


@pytest.mark.parametrize("read", [Pbs().parse_poll, Pbs().parse_detail], ids=["poll", "detail"])
@pytest.mark.parametrize(
    ("output", "problem"),
    [
        pytest.param("", "not an answer about jobs", id="nothing"),
        pytest.param("[]", "not an answer about jobs", id="a list"),
        pytest.param("{}", "not an answer about jobs", id="another object"),
        pytest.param('{"timestamp": 1, "Jobs": {"5.s": 3}}', "not an answer about jobs", id="no attributes"),
        pytest.param('{"timestamp": 1, "Jobs": {"x": {}}}', "expected a job id, got 'x'", id="no id"),
        pytest.param(answer(job_state="Z"), "unknown job state 'Z'", id="state"),
        pytest.param(answer(), "unknown job state ''", id="no state"),
        pytest.param(
            answer(job_state="F", Exit_status="x"), "Exit_status: expected a whole number, got 'x'", id="exit"
        ),
        pytest.param(
            array_answer({"job_state": "Q", "array_indices_remaining": "1-"}),
            "array_indices_remaining: array range",
            id="indices",
        ),
    ],
)
def test_another_answer_is_an_error(read: object, output: str, problem: str) -> None:
    assert callable(read)
    with pytest.raises(SchedulerOutputError, match=problem):
        read(output)


@pytest.mark.parametrize("name", ["qstat-server-down.stdout", "qstat-x-f-json-history-disabled.json"])
def test_an_answer_without_jobs_tells_nothing(name: str) -> None:
    assert Pbs().parse_poll(pbs_sample(name)) == {}


# As written by PBS 18 and 19: https://github.com/openpbs/openpbs/pull/2049, issues 1255 and 2541.
BROKEN = r"""{
    "timestamp":1479277336,
    "pbs_version":"19.1.1",
    "pbs_server":"s",
    "Jobs":{
        "5.s":{
            "Job_Name":005,
            "job_state":"F",
            "substate":93,
            "Variable_List":{
                "PBS_O_HOME":"/home/u",
                "BASH_FUNC_f()":"() {  echo "a" \'b\' c\,
                d;
}",
                "X":"\"
            },
            "comment":"Job run at "noon" in C:\dir",
            "Exit_status":7,
            "Submit_arguments":"-N 005 /w/0123456789ab/job.sh"
        }
    }
}
"""


def test_broken_json_of_older_servers_is_mended() -> None:
    told = status(BROKEN)
    assert (told.state, told.exit_code) == (FAILED, 7)
    job = load_jobs(BROKEN)["5.s"]
    assert job["comment"] == 'Job run at "noon" in C:\\dir'
    assert find_by_directory({"5.s": job}, Path("/w/0123456789ab")) == "5.s"


def test_half_an_answer_is_not_mended() -> None:
    with pytest.raises(SchedulerOutputError, match="not an answer about jobs"):
        Pbs().parse_poll(BROKEN[:400])


@pytest.mark.parametrize(
    ("work_dir", "native_id"),
    [
        pytest.param("/w/a", "9.s", id="the newest that was submitted there"),
        pytest.param("/w/b", "5[].s", id="by the path of the script"),
        pytest.param("/w", None, id="not below it"),
    ],
)
def test_a_job_is_found_by_the_directory_of_its_submission(work_dir: str, native_id: Optional[str]) -> None:
    jobs: dict[str, dict[str, object]] = {
        "9.s": {"Variable_List": {"PBS_O_WORKDIR": "/w/a"}},
        "8.s": {"Variable_List": {"PBS_O_WORKDIR": "/w/a"}},
        "5[].s": {"Submit_arguments": "-J 1-4 -k oed /w/b/job.sh", "Variable_List": "?"},
        "4.s": {},
    }
    assert find_by_directory(jobs, Path(work_dir)) == native_id
