"""What squeue and sacct of a real cluster say of jobs in every state."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Optional

import pytest

from cloudq.agent.schedulers.base import NativeState, NativeStatus, Snapshot
from cloudq.agent.schedulers.slurm import Slurm
from cloudq.errors import SchedulerOutputError
from tests.agent.schedulers.samples import slurm_sample

MINUTE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the host be where the samples were captured."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def poll(name: str = "poll-every-state.txt") -> Snapshot:
    return Slurm().parse_poll(slurm_sample(name))


def account(name: str) -> Snapshot:
    return Slurm(accounting=True).parse_detail(slurm_sample(f"detail-account-{name}.txt"))


def queue_detail() -> Snapshot:
    return Slurm().parse_detail(slurm_sample("detail-queue-every-state.txt"))


def clock(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-11-22T{text}").replace(tzinfo=timezone.utc)


# The jobs of the samples, by what was done to them.
DONE, EXIT_3, SEGV, KILL_9, CANCELLED_RUNNING, CANCELLED_HELD, TIMEOUT = map(str, range(68, 75))
NODE_FAILED, NODE_REQUEUED, PREEMPTED, PREEMPTOR, BAD_LOG, DEPENDENT, NEVER = map(str, range(75, 82))
BEGIN, ARRAY, SPECIAL, SUSPENDED, HELD, TOO_LONG, STUBBORN, REQUEUED = map(str, range(82, 90))


@pytest.mark.parametrize(
    ("native_id", "state", "reason"),
    [
        pytest.param(BEGIN, NativeState.QUEUED, "its begin time has not come yet", id="begin time"),
        pytest.param(HELD, NativeState.QUEUED, "held by the user", id="held"),
        pytest.param(
            TOO_LONG, NativeState.QUEUED, "the walltime is over the partition's limit", id="time limit"
        ),
        pytest.param(SPECIAL, NativeState.QUEUED, "job requeued in held state", id="special exit"),
        pytest.param(SUSPENDED, NativeState.SUSPENDED, "", id="suspended"),
        pytest.param(STUBBORN, NativeState.ENDING, "", id="completing"),
        pytest.param(NODE_REQUEUED, NativeState.RUNNING, "", id="running again after a node failed"),
        pytest.param(REQUEUED, NativeState.RUNNING, "", id="running again after a requeue"),
    ],
)
def test_a_poll_tells_of_jobs_that_have_not_ended(native_id: str, state: NativeState, reason: str) -> None:
    status = poll()[native_id][None]
    assert (status.state, status.reason) == (state, reason)


def test_a_poll_leaves_out_jobs_in_a_final_state() -> None:
    live = {BEGIN, ARRAY, HELD, TOO_LONG, SPECIAL, SUSPENDED, STUBBORN, NODE_REQUEUED, REQUEUED}
    assert set(poll()) == live


def test_a_poll_tells_of_every_task_of_an_array() -> None:
    started = clock("01:04:58")
    waits = NativeStatus(NativeState.QUEUED, reason="as many tasks of the array as allowed are running")
    runs = NativeStatus(NativeState.RUNNING, started=started)
    assert poll()[ARRAY] == {1: runs, 5: runs, 9: waits, 100: waits}


QUEUE_HEADER = "ARRAY_JOB_ID|ARRAY_TASK_ID|STATE|START_TIME|REASON\n"


def test_a_header_alone_tells_of_no_job() -> None:
    assert Slurm().parse_poll(QUEUE_HEADER) == {}
    assert Slurm().parse_detail(QUEUE_HEADER) == {}
    assert Slurm(accounting=True).parse_detail(QUEUE_HEADER) == {}
    assert Slurm(accounting=True).parse_detail("JobID|State|ExitCode\n") == {}


def test_silence_is_no_answer() -> None:
    for read in (Slurm().parse_poll, Slurm().parse_detail, Slurm(accounting=True).parse_detail):
        with pytest.raises(SchedulerOutputError, match="no answer, not even the header of one"):
            read("")


@pytest.mark.parametrize(
    ("output", "problem"),
    [
        pytest.param("12|N/A|PENDING|N/A|None", "cut off", id="no end of line"),
        pytest.param("12|N/A|PEND\n", "expected 5 fields", id="half a line"),
        pytest.param("12|N/A|HIBERNATING|N/A|None\n", "unknown job state 'HIBERNATING'", id="new state"),
        pytest.param("12|[3-4%2]|PENDING|N/A|None\n", "expected a task id", id="a list of tasks"),
        pytest.param("slurm_load_jobs error: x\n", "expected 5 fields", id="a message"),
        pytest.param("JOBID|A|RUNNING|N/A|None\n", "after a job id", id="a headline"),
    ],
)
def test_a_poll_with_another_answer_is_an_error(output: str, problem: str) -> None:
    with pytest.raises(SchedulerOutputError, match=problem.replace("[", r"\[")):
        Slurm().parse_poll(output)


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("None", ""),
        ("DependencyNeverSatisfied", "dependency never satisfied"),
        ("SomethingNew", "SomethingNew"),
        (
            "ReqNodeNotAvail, UnavailableNodes:n1|n2",
            "a requested node is not available, UnavailableNodes:n1|n2",
        ),
    ],
)
def test_reasons_for_waiting_are_said_in_words(word: str, text: str) -> None:
    assert Slurm().parse_poll(f"12|N/A|PENDING|N/A|{word}\n")["12"][None].reason == text


FAILED, CANCELLED = NativeState.FAILED, NativeState.CANCELLED
NOT_OPENED = "its log files or working directory could not be opened"
ENDS = [
    pytest.param(DONE, NativeStatus(NativeState.COMPLETED, exit_code=0), id="completed"),
    pytest.param(EXIT_3, NativeStatus(FAILED, exit_code=3), id="exit 3"),
    pytest.param(SEGV, NativeStatus(FAILED, signal=11), id="SIGSEGV"),
    pytest.param(KILL_9, NativeStatus(FAILED, signal=9), id="SIGKILL"),
    pytest.param(
        TIMEOUT, NativeStatus(NativeState.TIMED_OUT, reason="walltime 0:01:00 exceeded"), id="timeout"
    ),
    pytest.param(BAD_LOG, NativeStatus(FAILED, reason=NOT_OPENED), id="log not writable"),
]


def facts(status: NativeStatus) -> tuple[NativeState, Optional[int], Optional[int], str]:
    return status.state, status.exit_code, status.signal, status.reason


@pytest.mark.parametrize(("native_id", "expected"), ENDS)
def test_sacct_tells_how_a_job_ended(native_id: str, expected: NativeStatus) -> None:
    assert facts(account("ended")[native_id][None]) == facts(expected)


@pytest.mark.parametrize(("native_id", "expected"), ENDS)
def test_squeue_tells_how_a_job_ended(native_id: str, expected: NativeStatus) -> None:
    assert facts(queue_detail()[native_id][None]) == facts(expected)


@pytest.mark.parametrize("native_id", [CANCELLED_RUNNING, CANCELLED_HELD])
def test_a_cancelled_job_is_cancelled(native_id: str) -> None:
    by_account, by_queue = account("ended")[native_id][None], queue_detail()[native_id][None]
    assert (by_account.state, by_account.reason) == (CANCELLED, "cancelled by user 1001")
    assert (by_queue.state, by_queue.reason) == (CANCELLED, "")


@pytest.mark.parametrize(
    "status",
    [
        pytest.param(queue_detail()[NEVER][None], id="squeue"),
        pytest.param(account("cancelled-kill-on-invalid-dep")["20"][None], id="sacct"),
    ],
)
def test_a_job_cancelled_for_its_dependency_says_so(status: NativeStatus) -> None:
    assert (status.state, status.reason) == (CANCELLED, "dependency never satisfied")


def test_a_passed_deadline_is_a_time_out() -> None:
    status = account("deadline")["51"][None]
    assert (status.state, status.reason) == (NativeState.TIMED_OUT, "deadline passed")


@pytest.mark.parametrize(("native_id", "reason"), [(NODE_FAILED, "node n4 failed"), (PREEMPTED, "preempted")])
def test_what_slurm_may_run_again_has_to_settle(native_id: str, reason: str) -> None:
    status = account("ended")[native_id][None]
    assert (status.state, status.reason, status.settles_after) == (FAILED, reason, MINUTE)


@pytest.mark.parametrize("native_id", [NODE_FAILED, PREEMPTED])
def test_what_slurm_will_not_run_again_is_final_at_once(native_id: str) -> None:
    status = queue_detail()[native_id][None]
    assert (status.state, status.settles_after) == (FAILED, timedelta(0))


def test_times_are_those_of_this_host() -> None:
    status = account("ended")[TIMEOUT][None]
    assert (status.started, status.finished) == (clock("01:04:51"), clock("01:05:11"))


def test_times_in_another_zone_are_aware(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "JST-9")
    time.tzset()
    finished = account("ended")[TIMEOUT][None].finished
    assert finished == clock("01:05:11") - timedelta(hours=9)


def test_a_time_of_another_form_is_not_known() -> None:
    (status,) = Slurm().parse_poll("12|N/A|RUNNING|20 Nov 22:10|None\n")["12"].values()
    assert status == NativeStatus(NativeState.RUNNING)


@pytest.mark.parametrize(
    ("time_limit", "text"),
    [
        ("00:01:00", "walltime 0:01:00 exceeded"),
        ("1-00:10:00", "walltime 24:10:00 exceeded"),
        ("30:00", "walltime 0:30:00 exceeded"),
        ("", "walltime exceeded"),
        ("UNLIMITED", "walltime exceeded"),
        ("Partition_Limit", "walltime exceeded"),
    ],
)
def test_the_exceeded_walltime_is_told_in_hours(time_limit: str, text: str) -> None:
    row = f"12|TIMEOUT|0:0|Unknown|Unknown|{time_limit}|n1|None\n"
    assert Slurm(accounting=True).parse_detail(row)["12"][None].reason == text


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        pytest.param("OUT_OF_MEMORY|0:125", NativeStatus(FAILED, reason="out of memory"), id="memory"),
        pytest.param(
            "FAILED|1:0", NativeStatus(FAILED, exit_code=1), id="an exit code needs no further reason"
        ),
        pytest.param(
            "FAILED|0:0", NativeStatus(FAILED, reason="the job could not be launched"), id="launch failure"
        ),
        pytest.param(
            "BOOT_FAIL|0:0", NativeStatus(FAILED, reason="boot of a node of n[1-2] failed"), id="boot"
        ),
    ],
)
def test_states_that_are_rare_are_told_in_words(row: str, expected: NativeStatus) -> None:
    output = f"12|{row}|Unknown|Unknown|1:00|n[1-2]|JobLaunchFailure\n"
    assert facts(Slurm(accounting=True).parse_detail(output)["12"][None]) == facts(expected)


def test_a_requeued_job_is_queued() -> None:
    assert account("requeued-pending")["32"][None].state is NativeState.QUEUED


def test_a_job_whose_node_failed_looks_final_but_has_to_settle() -> None:
    status = account("node-down-requeued-pending")["56"][None]
    assert (status.state, status.reason, status.settles_after) == (FAILED, "node n2 failed", MINUTE)


def test_a_job_that_sacct_calls_pending_after_its_start_is_running() -> None:
    assert account("just-started-incomplete-row")["34"][None].state is NativeState.RUNNING


def test_a_suspended_job_is_suspended() -> None:
    assert account("suspended")["32"][None].state is NativeState.SUSPENDED


def test_sacct_tells_of_the_tasks_that_are_left_of_an_array() -> None:
    states = {task_id: status.state for task_id, status in account("array-2-running-2-pending")["27"].items()}
    running, queued = NativeState.RUNNING, NativeState.QUEUED
    assert states == {1: running, 2: running, 3: queued, 4: queued}


def test_all_tasks_of_an_array_that_was_cancelled_while_waiting_are_cancelled() -> None:
    tasks = account("array-cancelled-while-held")["31"]
    assert set(tasks) == {*range(1, 11), 30, 32, 34}
    assert {status.state for status in tasks.values()} == {CANCELLED}


def test_a_long_list_of_tasks_is_read_to_its_end() -> None:
    assert set(account("irregular-array")["1"]) == {n * n + n % 3 for n in range(1, 95)}


def test_of_a_list_that_is_cut_no_task_is_certain() -> None:
    assert account("irregular-array-cut") == {"1": {}}


def test_a_row_of_what_is_left_does_not_hide_a_task_that_has_started() -> None:
    rows = "27_3|COMPLETED|0:0|Unknown|Unknown||n1|None\n27_[3-4]|PENDING|0:0|Unknown|Unknown||n1|None\n"
    tasks = Slurm(accounting=True).parse_detail(rows)["27"]
    assert tasks[3].state is NativeState.COMPLETED
    assert tasks[4].state is NativeState.QUEUED


def test_further_components_of_a_heterogeneous_job_are_passed_over() -> None:
    rows = "27+0|RUNNING|0:0|Unknown|Unknown||n1|None\n27+1|FAILED|1:0|Unknown|Unknown||n1|None\n"
    tasks = Slurm(accounting=True).parse_detail(rows)["27"]
    assert tasks[None].state is NativeState.RUNNING


@pytest.mark.parametrize(
    ("output", "problem"),
    [
        pytest.param("12|FAILED|1:0|Unknown\n", "expected 8 fields", id="half a line"),
        pytest.param("12|FAILED|oops|Unknown|Unknown||n1|None\n", "expected an exit code", id="no exit code"),
        pytest.param("12.x|FAILED|1:0|Unknown|Unknown||n1|None\n", "expected a job id", id="a step"),
        pytest.param("12_[1-]|FAILED|1:0|Unknown|Unknown||n1|None\n", "array range", id="no list of tasks"),
    ],
)
def test_another_answer_of_sacct_is_an_error(output: str, problem: str) -> None:
    with pytest.raises(SchedulerOutputError, match=problem):
        Slurm(accounting=True).parse_detail(output)


@pytest.mark.parametrize(
    ("name", "tag", "work_dir", "native_id"),
    [
        pytest.param("queue", "cq-cap-1", "/elsewhere", "77", id="a job"),
        pytest.param("queue", "cq-cap-2", "/elsewhere", ARRAY, id="an array"),
        pytest.param("account", "cq-cap-1", "/elsewhere", "77", id="in the accounts"),
        pytest.param("queue", "cq-cap", "/elsewhere", None, id="a part of another tag"),
        pytest.param(
            "account", "cq-cap-3", "/home/cqtest/h1", "89", id="by directory where no comment is stored"
        ),
        pytest.param("account", "cq-cap-3", "/home/cqtest", None, id="a parent directory"),
    ],
)
def test_a_job_is_found_by_its_tag(name: str, tag: str, work_dir: str, native_id: Optional[str]) -> None:
    output = slurm_sample(f"find-{name}.txt")
    assert Slurm().parse_find(output, tag, Path(work_dir)) == native_id


def test_an_earlier_attempt_in_the_same_directory_is_not_found() -> None:
    assert Slurm().parse_find("12|cq-a-1|/w\n", "cq-a-2", Path("/w")) is None


def test_a_comment_of_several_lines_does_not_hide_the_job() -> None:
    assert Slurm().parse_find("11|two\nlines|/x\n12|cq-a-1|/w\n", "cq-a-1", Path("/w")) == "12"


@pytest.mark.parametrize("output", ["slurm_load_jobs error\n", "12|cq-a-1|/w"])
def test_another_answer_to_a_search_is_an_error(output: str) -> None:
    with pytest.raises(SchedulerOutputError, match=r"expected ID\|COMMENT|cut off"):
        Slurm().parse_find(output, "cq-a-1", Path("/w"))
