"""What qstat and qacct of a real Grid Engine say of jobs in every state."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Optional

import pytest

from cloudq.agent.schedulers.base import NativeState, NativeStatus, Snapshot
from cloudq.agent.schedulers.gridengine import GridEngine
from cloudq.agent.schedulers.gridengine_states import live_state, parse_duration, parse_size, parse_time
from cloudq.errors import SchedulerOutputError
from tests.agent.schedulers.samples import gridengine_sample


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the host be where the samples were captured."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def poll(name: str = "poll-every-state.xml") -> Snapshot:
    return GridEngine().parse_poll(gridengine_sample(name))


def detail(name: str) -> Snapshot:
    return GridEngine().parse_detail(gridengine_sample(f"detail-{name}.txt"))


def clock(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-11-22T{text}").replace(tzinfo=timezone.utc)


# The jobs of the samples, by what was done to them.
DONE, EXIT_3, SEGV, KILL_9, H_RT, S_RT, H_CPU, MEMORY = map(str, range(138, 146))
TRIED_AGAIN, EXIT_100, NO_LOG, NO_DIRECTORY = map(str, range(146, 150))
ARRAY, SUSPENDED, RESCHEDULED, STUBBORN, DELETED, HELD_ARRAY, HELD, SINGLE_TASK = map(str, range(151, 159))
FORCED, PENDING, TRANSFERRING = map(str, range(159, 162))


@pytest.mark.parametrize(
    ("native_id", "task_id", "state", "reason"),
    [
        pytest.param(PENDING, None, NativeState.QUEUED, "", id="pending"),
        pytest.param(HELD, None, NativeState.QUEUED, "held", id="held"),
        pytest.param(SUSPENDED, None, NativeState.SUSPENDED, "", id="suspended"),
        pytest.param(RESCHEDULED, None, NativeState.RUNNING, "", id="starting again"),
        pytest.param(TRANSFERRING, None, NativeState.RUNNING, "", id="starting"),
        pytest.param(STUBBORN, None, NativeState.ENDING, "", id="being deleted"),
        pytest.param(SINGLE_TASK, 7, NativeState.RUNNING, "", id="array of one task"),
        pytest.param(ARRAY, 4, NativeState.RUNNING, "", id="last task of an array"),
    ],
)
def test_a_poll_tells_of_jobs_that_have_not_ended(
    native_id: str, task_id: Optional[int], state: NativeState, reason: str
) -> None:
    assert set(poll()[native_id]) == {task_id}
    status = poll()[native_id][task_id]
    assert (status.state, status.reason) == (state, reason)


def test_a_poll_tells_since_when_a_job_runs() -> None:
    assert poll()[ARRAY][4].started == clock("01:52:19")


def test_a_poll_leaves_out_jobs_in_an_error_state_so_that_the_accounts_are_asked() -> None:
    assert not {EXIT_100, NO_LOG, NO_DIRECTORY} & set(poll())


def test_waiting_tasks_of_an_array_are_told_as_a_range() -> None:
    held = NativeStatus(NativeState.QUEUED, reason="held")
    assert poll()[HELD_ARRAY] == dict.fromkeys(range(5, 101), held)


@pytest.mark.parametrize("form", ["qstat-xml", "qstat-g-d-xml"])
def test_running_and_waiting_tasks_are_told_in_either_form_of_the_list(form: str) -> None:
    started = datetime(2026, 11, 21, 23, 7, 8, tzinfo=timezone.utc)
    runs, waits = NativeStatus(NativeState.RUNNING, started=started), NativeStatus(NativeState.QUEUED)
    tasks = poll(f"{form}-array-2-running-2-pending.xml")["25"]
    assert tasks == {1: runs, 2: runs, 3: waits, 4: waits}


@pytest.mark.parametrize(
    ("name", "native_id", "state", "reason"),
    [
        pytest.param("dependency-hold-hqw", "20", NativeState.QUEUED, "held", id="waits for another job"),
        pytest.param("exit-99-rescheduled", "14", NativeState.RUNNING, "", id="starts once more"),
    ],
)
def test_a_job_that_is_not_its_usual_self_is_told(
    name: str, native_id: str, state: NativeState, reason: str
) -> None:
    status = poll(f"qstat-xml-{name}.xml")[native_id][None]
    assert (status.state, status.reason) == (state, reason)


def test_an_empty_answer_tells_of_no_job() -> None:
    assert poll("qstat-xml-empty.xml") == {}
    assert GridEngine().parse_detail("") == {}


@pytest.mark.parametrize(
    ("state", "letters"),
    [
        (NativeState.QUEUED, "qw hqw Rq hRwq"),
        (NativeState.RUNNING, "r t hr Rr Rt"),
        (NativeState.SUSPENDED, "s ts S tS T tT Rs Rts RS RtS RT RtT P N"),
        (NativeState.ENDING, "dr dt dRr dRt ds dS dT dRs dRS dRT"),
        (None, "Eqw Ehqw EhRqw z"),
    ],
)
def test_every_state_of_the_manual_has_a_meaning(state: Optional[NativeState], letters: str) -> None:
    assert {word: live_state(word) for word in letters.split()} == dict.fromkeys(letters.split(), state)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        pytest.param("</job_info>", "", "qstat: not an answer in XML", id="half an answer"),
        pytest.param("<state>hqw<", "<state>hQw<", "unknown job state 'hQw'", id="a new state"),
        pytest.param("<state>hqw<", "<state><", "expected a state in each job, got ''", id="no state"),
        pytest.param(">156<", ">x<", "expected a JB_job_number in each job, got 'x'", id="no number"),
        pytest.param("5-100:1", "5-:1", "qstat: tasks '5-:1': array range", id="no range"),
    ],
)
def test_a_poll_with_another_answer_is_an_error(old: str, new: str, problem: str) -> None:
    output = gridengine_sample("poll-every-state.xml").replace(old, new)
    with pytest.raises(SchedulerOutputError, match=re.escape(problem)):
        GridEngine().parse_poll(output)


def test_xml_about_something_else_is_an_error() -> None:
    with pytest.raises(SchedulerOutputError, match="expected a list of jobs .*, got 'unknown_jobs'"):
        poll("qstat-j-xml-unknown-job.stdout")


FAILED, TIMED_OUT = NativeState.FAILED, NativeState.TIMED_OUT


def facts(status: NativeStatus) -> tuple[NativeState, Optional[int], Optional[int], str, bool]:
    return status.state, status.exit_code, status.signal, status.reason, status.cancel_needed


@pytest.mark.parametrize(
    ("native_id", "expected"),
    [
        pytest.param(DONE, NativeStatus(NativeState.COMPLETED, exit_code=0), id="completed"),
        pytest.param(EXIT_3, NativeStatus(FAILED, exit_code=3), id="exit 3"),
        pytest.param(SEGV, NativeStatus(FAILED, signal=11), id="SIGSEGV"),
        pytest.param(KILL_9, NativeStatus(FAILED, signal=9), id="SIGKILL"),
        pytest.param(DELETED, NativeStatus(FAILED, signal=9), id="deleted, which is not told"),
        pytest.param(H_RT, NativeStatus(TIMED_OUT, reason="walltime 0:00:02 exceeded"), id="h_rt"),
        pytest.param(S_RT, NativeStatus(TIMED_OUT, reason="walltime 0:00:02 (s_rt) exceeded"), id="s_rt"),
        pytest.param(H_CPU, NativeStatus(TIMED_OUT, reason="CPU time 0:00:02 (h_cpu) exceeded"), id="h_cpu"),
        pytest.param(
            MEMORY, NativeStatus(FAILED, signal=9, reason="out of memory (h_vmem=250M)"), id="h_vmem"
        ),
        pytest.param(
            EXIT_100,
            NativeStatus(
                FAILED,
                exit_code=100,
                reason="exit 100, by which a job tells Grid Engine to put it into the error state",
                cancel_needed=True,
            ),
            id="exit 100",
        ),
        pytest.param(
            NO_LOG,
            NativeStatus(FAILED, reason="its log files could not be opened", cancel_needed=True),
            id="log not writable",
        ),
        pytest.param(
            NO_DIRECTORY,
            NativeStatus(FAILED, reason="its working directory could not be entered", cancel_needed=True),
            id="no directory",
        ),
        pytest.param(
            FORCED,
            NativeStatus(NativeState.CANCELLED, reason="deleted by force (qdel -f): it may still be running"),
            id="qdel -f, which looks like success",
        ),
    ],
)
def test_qacct_tells_how_a_job_ended(native_id: str, expected: NativeStatus) -> None:
    assert facts(detail("every-end")[native_id][None]) == facts(expected)


def test_qacct_tells_when_a_job_started_and_ended() -> None:
    status = detail("every-end")[H_RT][None]
    assert (status.started, status.finished) == (clock("01:52:10"), clock("01:52:13"))
    assert detail("every-end")[NO_LOG][None].started is None


def test_each_task_has_a_record() -> None:
    codes = {i: status.exit_code for i, status in detail("array-task-4-running")[ARRAY].items()}
    assert codes == {1: 1, 7: 7, 10: 10}


def test_the_last_try_of_a_job_counts() -> None:
    assert facts(detail("exit-99-then-4")[TRIED_AGAIN][None]) == facts(NativeStatus(FAILED, exit_code=4))


def test_a_job_that_will_be_tried_again_has_not_ended() -> None:
    assert detail("rescheduled")[RESCHEDULED][None].state is NativeState.QUEUED


def test_the_record_of_an_older_job_with_the_same_number_is_not_believed() -> None:
    assert GridEngine().parse_detail(gridengine_sample("qacct-j-completed.stdout")) == {}


def test_a_record_says_by_its_tag_whose_it_is() -> None:
    tag = detail("exit-99-then-4")[TRIED_AGAIN][None].tag
    assert re.match(r"cq-[0-9a-f]+-1\Z", tag)


RECORD = gridengine_sample("detail-exit-99-then-4.txt").rpartition("====\n")[2]


def changed(**fields: str) -> NativeStatus:
    """Read the record of a job that exited with 4, some fields of it changed or added."""
    record = RECORD
    for name, text in fields.items():
        record = re.sub(rf"(?m)^{name} .*\n", "", record) + f"{name} {text}\n"
    return GridEngine().parse_detail(f"====\n{record}")[TRIED_AGAIN][None]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param(
            {"deleted_by": "admin@host", "failed": "100 : assumedly after job", "exit_status": "137"},
            NativeStatus(NativeState.CANCELLED, reason="deleted by admin@host"),
            id="deleted, as Univa tells",
        ),
        pytest.param({"deleted_by": "NONE"}, NativeStatus(FAILED, exit_code=4), id="deleted by nobody"),
        pytest.param(
            {"failed": "37  : qmaster enforced h_rt, h_cpu, or h_vmem limit", "exit_status": "137 (Killed)"},
            NativeStatus(
                TIMED_OUT, reason="walltime or another limit of the queue (h_rt, h_cpu, h_vmem) exceeded"
            ),
            id="a limit of the queue",
        ),
        pytest.param(
            {"failed": "8   : in prolog", "exit_status": "1"},
            NativeStatus(
                FAILED, reason="Grid Engine could not run it: in prolog (failed 8)", cancel_needed=True
            ),
            id="prolog failed",
        ),
        pytest.param(
            {"failed": "15  : in epilog", "exit_status": "0"},
            NativeStatus(NativeState.COMPLETED, exit_code=0),
            id="only the epilog failed",
        ),
        pytest.param(
            {"failed": "100 : assumedly after job", "exit_status": "0"},
            NativeStatus(
                FAILED,
                reason="killed, or its node failed: Grid Engine knows neither signal nor exit status",
            ),
            id="lost with its node",
        ),
        pytest.param({"exit_status": "137"}, NativeStatus(FAILED, exit_code=137), id="exit 137 by itself"),
        pytest.param(
            {"category": "-l h_vmem=1G -pe smp 4", "maxvmem": "3.9G", "slots": "4", "exit_status": "137"},
            NativeStatus(FAILED, exit_code=137),
            id="less memory than all its slots have",
        ),
        pytest.param(
            {"category": "-u x -l a=b,h_rt=1:00:00", "ru_wallclock": "3600.5", "exit_status": "137"},
            NativeStatus(TIMED_OUT, reason="walltime 1:00:00 exceeded"),
            id="walltime in other forms",
        ),
    ],
)
def test_other_records_are_read(fields: dict[str, str], expected: NativeStatus) -> None:
    assert facts(changed(**fields)) == facts(expected)


def test_records_of_parts_of_a_parallel_job_are_passed_over() -> None:
    part = RECORD.replace("exit_status  4", "exit_status  0") + "pe_taskid 1.node7\n"
    status = GridEngine().parse_detail(f"====\n{RECORD}pe_taskid NONE\n====\n{part}")[TRIED_AGAIN][None]
    assert status.exit_code == 4


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("====\njobnumber 12\n", "not a record of a job: 'failed'", id="fields are missing"),
        pytest.param(
            f"====\n{RECORD}".replace("failed       0", "failed       ?"),
            "not a record of a job: failed '?'",
            id="no code",
        ),
        pytest.param(f"====\n{RECORD}"[:-5], "qacct: expected records, got", id="cut off"),
        pytest.param("Total System Usage\n", "qacct: expected records, got", id="a summary"),
    ],
)
def test_another_answer_of_qacct_is_an_error(text: str, problem: str) -> None:
    with pytest.raises(SchedulerOutputError, match=re.escape(problem)):
        GridEngine().parse_detail(text)


@pytest.mark.parametrize(
    ("output", "tag", "native_id"),
    [
        pytest.param("poll-every-state.xml", "cq-000000000013-1", HELD, id="in the queue"),
        pytest.param("poll-every-state.xml", "cq-00000000000a-1", NO_LOG, id="in an error state"),
        pytest.param("detail-every-end.txt", "cq-000000000001-1", EXIT_3, id="in the accounts"),
        pytest.param("poll-every-state.xml", "cq-000000000013", None, id="a part of another tag"),
        pytest.param("poll-every-state.xml", "000000000013-1", None, id="the end of another tag"),
        pytest.param("qstat-xml-empty.xml", "cq-000000000013-1", None, id="no job"),
    ],
)
def test_a_job_is_found_by_its_tag(output: str, tag: str, native_id: Optional[str]) -> None:
    assert GridEngine().parse_find(gridengine_sample(output), tag, Path("/w")) == native_id


@pytest.mark.parametrize(
    "text",
    [
        "Sun Nov 22 01:52:10 2026",
        "2026-11-22T01:52:10",
        "11/22/2026 01:52:10.123",
        "2026-11-22 01:52:10.123456",
    ],
)
def test_times_are_read_in_the_forms_of_all_versions(text: str) -> None:
    assert parse_time(text) == clock("01:52:10")


@pytest.mark.parametrize("text", ["-/-", "", "soon"])
def test_another_time_is_not_known(text: str) -> None:
    assert parse_time(text) is None


@pytest.mark.parametrize(
    ("text", "seconds"), [("3s", 3.0), ("3.5", 3.5), ("1:0:1", 3601.0), ("::1", 1.0), ("INFINITY", None)]
)
def test_durations_are_read(text: str, seconds: Optional[float]) -> None:
    duration = parse_duration(text)
    assert (duration.total_seconds() if duration is not None else None) == seconds


@pytest.mark.parametrize(
    ("text", "size"), [("0.000B", 0.0), ("2k", 2000.0), ("2K", 2048.0), ("1.5GB", 1.5 * 2**30), ("x", None)]
)
def test_sizes_are_read(text: str, size: Optional[float]) -> None:
    assert parse_size(text) == size
