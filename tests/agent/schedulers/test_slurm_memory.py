"""Jobs of Slurm that were killed for their memory where no cgroup says so."""

from __future__ import annotations

import pytest

from cloudq.agent.schedulers.slurm import Slurm
from cloudq.agent.schedulers.slurm_memory import memory_cause, parse_memory_causes
from cloudq.errors import SchedulerOutputError
from tests.agent.schedulers.samples import slurm_sample

STEPS = slurm_sample("account-steps-over-memory.txt")


def cause(used: str, asked: str) -> str:
    return f"killed by signal 9, probably out of memory ({used} used, {asked} asked for)"


def test_jobs_and_tasks_whose_steps_used_more_than_was_asked_for_were_probably_killed_for_it() -> None:
    assert parse_memory_causes(STEPS) == {
        "1320": {None: cause("216M", "50M")},
        "1323": {1: cause("208M", "50M"), 2: cause("208M", "50M")},
        "1324": {None: cause("208M", "50M")},
    }


def test_records_that_are_not_complete_yet_tell_nothing() -> None:
    assert parse_memory_causes(slurm_sample("account-steps-over-memory-at-once.txt")) == {}


@pytest.mark.parametrize(
    ("asked", "cores", "used", "expected"),
    [
        pytest.param("1Gn", "4", "1258291K", cause("1.2G", "1G"), id="for each node, before 21.08"),
        pytest.param("500Mc", "2", "1100M", cause("1.07G", "1000M"), id="for each core, before 21.08"),
        pytest.param("500Mc", "4", "1100M", None, id="less than for all cores"),
        pytest.param("1G", "1", "1048576K", None, id="just as much"),
        pytest.param("0", "1", "5G", None, id="all of the node"),
        pytest.param("1.50G", "1", "2T", cause("2T", "1.5G"), id="terabytes"),
        pytest.param("1G", "1", "", None, id="use not recorded"),
    ],
)
def test_what_was_asked_for_is_compared_with_what_was_used(
    asked: str, cores: str, used: str, expected: str
) -> None:
    rows = f"7|FAILED|0:9||{asked}|{cores}\n7.batch|CANCELLED|0:9|{used}||{cores}\n"
    assert parse_memory_causes(rows) == ({"7": {None: expected}} if expected else {})


def test_a_step_that_ended_well_is_no_cause() -> None:
    rows = "7|FAILED|0:9||1G|1\n7.batch|CANCELLED|0:9|1M||1\n7.0|COMPLETED|0:0|2G||1\n"
    assert parse_memory_causes(rows) == {}


def test_garbage_about_steps_is_an_error() -> None:
    with pytest.raises(SchedulerOutputError, match="expected 6 fields after a job id"):
        parse_memory_causes("sacct: what?\n")


def test_steps_are_asked_for_once_and_only_where_there_are_accounts() -> None:
    slurm = Slurm(accounting=True, cluster="here")
    ((*_, first, second, _, third, number, fields),) = slurm.kill_commands("7")
    assert (first, second, third, number) == ("sacct", "--federation", "-j", "7")
    assert fields == "--format=JobID,State,ExitCode,MaxRSS,ReqMem,AllocCPUS"
    (there,) = slurm.kill_commands("8;there")
    assert there[there.index("-M") + 1] == "there"
    assert Slurm().kill_commands("7") == []


def test_a_job_on_another_cluster_is_explained_by_its_name() -> None:
    rows = "{0}|8|FAILED|0:9||1G|1\n{0}|8.batch|CANCELLED|0:9|2G||1\n"
    slurm = Slurm(accounting=True, cluster="here")
    assert list(slurm.parse_kill(rows.format("there"))) == ["8;there"]
    assert list(slurm.parse_kill(rows.format("here"))) == ["8"]


# The third and fourth line are from the manuals of clusters with cgroups.
@pytest.mark.parametrize(
    ("stderr", "expected"),
    [
        pytest.param(
            slurm_sample("stderr-over-memory.txt"), "out of memory (208M used, 50M asked for)", id="captured"
        ),
        pytest.param("slurmstepd: error: Exceeded job memory limit\n", "out of memory", id="without numbers"),
        pytest.param(
            "x\nslurmstepd: error: Detected 1 oom-kill event(s) in step 370626.batch cgroup\n",
            "out of memory",
            id="cgroup",
        ),
        pytest.param(
            "[2026-01-31T17:14:38.784] error: Detected 1 oom_kill event in StepId=7.0.\n",
            "out of memory",
            id="cgroup of newer releases",
        ),
        pytest.param("", "", id="silence"),
        pytest.param("myprogram: error: exceeded memory limit\n", "", id="words of the job itself"),
        pytest.param("slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT now ***\n", "", id="other words"),
    ],
)
def test_slurms_words_in_the_log_are_recognised(stderr: str, expected: str) -> None:
    assert memory_cause(stderr) == expected
