"""PBS's commands, and what their short answers mean."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cloudq.agent.schedulers.base import Submission
from cloudq.agent.schedulers.pbs import IDS_PER_COMMAND, Pbs, array_option
from cloudq.errors import InputError, SchedulerOutputError
from cloudq.job import ArrayRange
from tests.agent.schedulers.samples import pbs_sample

WORK_DIR = Path("/home/u/w/0123456789ab")
SUBMISSION = Submission(
    script=WORK_DIR / "job.sh",
    work_dir=WORK_DIR,
    stdout=WORK_DIR / "stdout",
    stderr=WORK_DIR / "stderr",
    tag="cq-0123456789ab-1",
    name="job.sh",
)


def test_a_job_is_submitted_with_logs_that_grow_in_place() -> None:
    assert Pbs().submit_command(SUBMISSION) == [
        "qsub",
        "-f",
        *("-k", "oed"),
        *("-o", "/home/u/w/0123456789ab/stdout"),
        *("-e", "/home/u/w/0123456789ab/stderr"),
        "/home/u/w/0123456789ab/job.sh",
    ]


def test_options_of_the_user_come_before_those_of_cloudq_so_that_these_win() -> None:
    command = Pbs().submit_command(replace(SUBMISSION, options=("-o", "x", "-q", "main")))
    assert command[2:6] == ["-o", "x", "-q", "main"]
    assert command.index("/home/u/w/0123456789ab/stdout") > 6


@pytest.mark.parametrize(
    ("file_name", "name"),
    [
        pytest.param("my job's.sh", "my_job_s_sh", id="blank and quote"),
        pytest.param("jöb.sh", "j_b_sh", id="umlaut"),
        pytest.param("7.sh", "job_7_sh", id="digit first"),
        pytest.param("计算.sh", "job____sh", id="no letter of ASCII first"),
        pytest.param("x" * 300, "x" * 90, id="long"),
    ],
)
def test_a_file_name_that_pbs_takes_for_no_name_is_replaced(file_name: str, name: str) -> None:
    command = Pbs().submit_command(replace(SUBMISSION, script=WORK_DIR / file_name, options=("-N", "own")))
    assert command[2:6] == ["-N", name, "-N", "own"]


def test_an_array_has_a_range_and_logs_with_the_task_id() -> None:
    command = Pbs().submit_command(replace(SUBMISSION, array_range=ArrayRange.parse("1-9:4%2")))
    assert command[2:4] == ["-J", "1-9:4%2"]
    assert f"{WORK_DIR}/stdout.^array_index^" in command
    assert f"{WORK_DIR}/stderr.^array_index^" in command


@pytest.mark.parametrize(
    ("tasks", "option"),
    [
        pytest.param("1-4", "1-4", id="from first to last"),
        pytest.param("0-30:10%3", "0-30:10%3", id="step and limit"),
        pytest.param("1-10:4", "1-9:4", id="last number not reached"),
        pytest.param("7", "7-8:2", id="one task"),
        pytest.param("0%1", "0-1:2%1", id="one task with a limit"),
        pytest.param("1-2:5", "1-2:2", id="one task by its step"),
        pytest.param("3,8", "3-8:5", id="two tasks"),
        pytest.param("1,3,5-9:2", "1-9:2", id="list that is a range"),
    ],
)
def test_tasks_are_written_as_one_range_of_at_least_two_numbers(tasks: str, option: str) -> None:
    array_range = ArrayRange.parse(tasks)
    assert array_option(array_range) == option
    assert ArrayRange.parse(option).task_ids() == array_range.task_ids()


def test_tasks_that_are_not_evenly_spaced_are_refused() -> None:
    with pytest.raises(InputError, match="array range 1-9:4,100%2: PBS takes only one range, FIRST-LAST or"):
        Pbs().submit_command(replace(SUBMISSION, array_range=ArrayRange.parse("1-9:4,100%2")))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        pytest.param(("-J", "1-4"), "", id="option"),
        pytest.param(("-J1-4",), "", id="option in one word"),
        pytest.param((), "#!/bin/sh\n#PBS -J 1-4\n", id="directive"),
        pytest.param((), "#!/bin/sh\n #PBS -N x -J1-4\n", id="directive with others"),
    ],
)
def test_an_array_that_cloudq_would_not_know_of_is_refused(options: tuple[str, ...], text: str) -> None:
    with pytest.raises(InputError, match="-J: the tasks of an array job are given at submission"):
        Pbs().submit_command(replace(SUBMISSION, options=options, text=text))


@pytest.mark.parametrize("text", ["#PBS -N a-J\n", "# PBS -J 1-4\n", "#PBS -j oe\n"])
def test_other_directives_are_no_array(text: str) -> None:
    assert "-J" not in Pbs().submit_command(replace(SUBMISSION, text=text))


@pytest.mark.parametrize(
    ("output", "native_id"),
    [
        pytest.param(pbs_sample("qsub.stdout"), "2.pbshost", id="a job"),
        pytest.param(pbs_sample("qsub-array.stdout"), "11[].pbshost", id="an array"),
        pytest.param(
            "Your balance: 10\n123.pbs.example.org\n", "123.pbs.example.org", id="after a hook's line"
        ),
    ],
)
def test_qsub_tells_the_native_id(output: str, native_id: str) -> None:
    assert Pbs().parse_submit(output) == native_id


@pytest.mark.parametrize("output", ["", "\n", "qsub: waiting for job 3.pbshost to start\n", "3[1].pbshost\n"])
def test_an_answer_of_qsub_without_an_id_is_an_error(output: str) -> None:
    with pytest.raises(SchedulerOutputError, match="PBS: expected a job id, got "):
        Pbs().parse_submit(output)


def test_one_request_polls_all_jobs() -> None:
    command = Pbs().poll_command(["12.s", "13[].s"])
    assert command == ["qstat", "-E", "-f", "-F", "json", "-t", "12.s", "13[].s"]


def test_the_history_tells_how_jobs_ended() -> None:
    ids = [f"{number}.s" for number in range(IDS_PER_COMMAND + 1)]
    first, second = Pbs().detail_commands(ids)
    assert first[-IDS_PER_COMMAND:] == ids[:IDS_PER_COMMAND]
    assert second == ["qstat", "-E", "-f", "-F", "json", "-x", "-t", ids[-1]]


def test_nothing_has_to_be_known_of_a_server() -> None:
    assert Pbs().probe_command() is None
    assert Pbs().probed("") == Pbs()


def test_a_job_is_cancelled_by_its_native_id() -> None:
    assert Pbs().cancel_command("12[].s") == ["qdel", "12[].s"]


def test_a_search_is_for_the_working_directory() -> None:
    (command,) = Pbs().find_commands("cq-0123456789ab-1", WORK_DIR)
    assert command[-1] == str(WORK_DIR)
    assert Pbs().parse_find("12[].s\n", "cq-0123456789ab-1", WORK_DIR) == "12[].s"


@pytest.mark.parametrize(
    "stderr",
    [
        pytest.param(pbs_sample("qstat-unknown-job.stderr"), id="qstat"),
        pytest.param(pbs_sample("qdel-unknown-job.stderr"), id="qdel"),
        pytest.param(pbs_sample("qstat-finished-without-x.stderr"), id="qstat, in the history"),
        pytest.param("qdel: Job has finished 9.pbshost\n", id="qdel, in the history"),
    ],
)
def test_an_unknown_job_is_recognised(stderr: str) -> None:
    assert Pbs().is_unknown_job(stderr)


@pytest.mark.parametrize("before", ["", "qstat: Unknown Job Id 9999.pbshost\n"])
def test_a_server_that_is_down_does_not_make_a_job_unknown(before: str) -> None:
    assert not Pbs().is_unknown_job(before + pbs_sample("qstat-server-down.stderr"))


@pytest.mark.parametrize(
    "stderr",
    [
        pytest.param(pbs_sample("qstat-server-down.stderr").replace("qstat", "qsub"), id="server down"),
        pytest.param("qsub: Request not allowed: Server shutting down\n", id="server going down"),
        pytest.param("qsub: would exceed queue workq's per-user limit\n", id="too many of the user's jobs"),
        pytest.param("qsub: would exceed complex's per-user limit of jobs in 'Q' state\n", id="waiting"),
        pytest.param("qsub: Maximum number of jobs for user cqtest already in complex\n", id="named user"),
        pytest.param("qsub: Queue is not enabled\n", id="queue closed"),
    ],
)
def test_a_refusal_that_may_pass_is_temporary(stderr: str) -> None:
    assert Pbs().is_temporary(stderr)


@pytest.mark.parametrize(
    "stderr",
    [
        pytest.param(pbs_sample("qsub-array-of-one.stderr"), id="option"),
        pytest.param(pbs_sample("qsub-bad-queue.stderr"), id="queue"),
        pytest.param(pbs_sample("qsub-bad-walltime.stderr"), id="walltime"),
        pytest.param("qsub: would exceed per-user limit on resource ncpus in queue workq\n", id="too large"),
        pytest.param("qsub: Job violates queue and/or server resource limits\n", id="limits"),
        pytest.param("qsub: Array job exceeds server or queue size limit\n", id="too many tasks"),
    ],
)
def test_a_refusal_for_what_is_asked_is_final(stderr: str) -> None:
    assert not Pbs().is_temporary(stderr)
