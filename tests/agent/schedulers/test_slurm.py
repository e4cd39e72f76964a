"""Slurm's commands, and what their short answers mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Optional

import pytest

from cloudq.agent.queue import Queue
from cloudq.agent.schedulers.base import NativeState, Submission
from cloudq.agent.schedulers.slurm import IDS_PER_COMMAND, Slurm
from cloudq.errors import CommandError, InputError, SchedulerOutputError
from cloudq.job import ArrayRange
from cloudq.process import DEFAULT_TIMEOUT, Completed
from tests.agent.schedulers.samples import slurm_sample

WORK_DIR = Path("/home/u/w/0123456789ab")
SUBMISSION = Submission(
    script=WORK_DIR / "job.sh",
    work_dir=WORK_DIR,
    stdout=WORK_DIR / "stdout",
    stderr=WORK_DIR / "stderr",
    tag="cq-0123456789ab-1",
    name="job.sh",
)


def test_a_job_is_submitted_with_its_tag_directory_and_logs() -> None:
    assert Slurm().submit_command(SUBMISSION) == [
        "sbatch",
        "--parsable",
        "--ignore-pbs",
        "--comment=cq-0123456789ab-1",
        "--chdir=/home/u/w/0123456789ab",
        "--output=/home/u/w/0123456789ab/stdout",
        "--error=/home/u/w/0123456789ab/stderr",
        "/home/u/w/0123456789ab/job.sh",
    ]


def test_options_of_the_user_come_before_those_of_cloudq_so_that_these_win() -> None:
    command = Slurm().submit_command(replace(SUBMISSION, options=("--output=x", "-p", "main")))
    assert command[3:6] == ["--output=x", "-p", "main"]
    assert "--output=/home/u/w/0123456789ab/stdout" in command[6:]


def test_lines_for_pbs_count_in_local_scripts_as_without_cloudq() -> None:
    command = Slurm().submit_command(replace(SUBMISSION, text="#!/bin/sh\n#PBS -l nodes=1\n"))
    assert "--ignore-pbs" not in command


def test_an_array_has_a_range_and_logs_with_the_whole_task_id() -> None:
    command = Slurm().submit_command(replace(SUBMISSION, array_range=ArrayRange.parse("1-9:4,100%2")))
    assert "--array=1-9:4,100%2" in command
    assert f"--output={WORK_DIR}/stdout.%a" in command
    assert f"--error={WORK_DIR}/stderr.%a" in command


def test_a_percent_sign_in_a_path_is_no_pattern() -> None:
    command = Slurm().submit_command(replace(SUBMISSION, stdout=Path("/w/50%a/stdout")))
    assert "--output=/w/50%%a/stdout" in command


def test_a_log_path_with_a_backslash_is_refused() -> None:
    with pytest.raises(InputError, match="cannot write logs to a path with a backslash"):
        Slurm().submit_command(replace(SUBMISSION, stdout=Path("/w/a\\b/stdout")))


@pytest.mark.parametrize(
    ("output", "native_id"),
    [
        pytest.param(slurm_sample("sbatch-parsable.stdout"), "1", id="a job"),
        pytest.param(slurm_sample("sbatch-parsable-array.stdout"), "3", id="an array"),
        pytest.param("123;cluster2\n", "123;cluster2", id="another cluster"),
        pytest.param("123;here\n", "123", id="our own cluster"),
        pytest.param("Your balance: 10\n123\n", "123", id="after a line of a plugin"),
    ],
)
def test_sbatch_tells_the_native_id(output: str, native_id: str) -> None:
    assert Slurm(cluster="here").parse_submit(output) == native_id


def test_jobs_on_other_clusters_are_asked_about_there() -> None:
    slurm = Slurm(accounting=True, cluster="here")
    poll = slurm.poll_command(["7", "8;there"])
    assert poll[poll.index("-M") + 1] == "here,there"
    assert "-j" not in poll
    own_queue, own_accounts, queue, accounts = slurm.detail_commands(["7", "8;there"])
    assert "--federation" in own_queue
    assert "--federation" in own_accounts
    for command in (queue, accounts):
        assert command[command.index("-M") + 1] == "there"
        assert command[command.index("-j") + 1] == "8"
    assert slurm.cancel_command("8;there") == ["scancel", "-M", "there", "8"]


def run_without_a_cluster(
    argv: Sequence[str], *, cwd: Optional[Path] = None, timeout: timedelta = DEFAULT_TIMEOUT
) -> Completed:
    """Answer for our own cluster; the others cannot be reached."""
    del cwd, timeout
    if "-M" in argv:
        raise CommandError(argv, 1, "", slurm_sample("squeue-controller-down.stderr"))
    return Completed("ARRAY_JOB_ID|ARRAY_TASK_ID|STATE|START_TIME|REASON\n8|N/A|RUNNING|N/A|None\n")


def test_a_cluster_that_is_away_leaves_only_its_own_jobs_without_an_answer() -> None:
    queue = Queue(Slurm(accounting=True, cluster="here"), run_without_a_cluster, DEFAULT_TIMEOUT)
    answer = queue.poll({"8;there": [None], "8": [None], "9;yonder": [None]})
    assert {i: tasks[None].state for i, tasks in answer.statuses.items()} == {"8": NativeState.RUNNING}
    assert [" ".join(fault.argv[:6]) for fault in answer.faults if isinstance(fault, CommandError)] == [
        "squeue -r -t all --me -M",
        "squeue -r -t all --me -M",
    ]
    with pytest.raises(CommandError, match="ontact"):
        queue.poll({"8;there": [None]})


def test_jobs_of_one_number_on_two_clusters_are_kept_apart() -> None:
    slurm = Slurm(accounting=True, cluster="here")
    poll = "here|8|N/A|PENDING|N/A|Resources\n\nthere|8|N/A|RUNNING|N/A|None\n"
    assert {i: tasks[None].state.value for i, tasks in slurm.parse_poll(poll).items()} == {
        "8": "queued",
        "8;there": "running",
    }
    queue = "there|8|3|FAILED|768|Unknown|Unknown|1:00|1|n1|NonZeroExitCode\n"
    assert slurm.parse_detail(queue)["8;there"][3].exit_code == 3
    accounts = "there|8_[1-2]|CANCELLED by 7|0:0|Unknown|Unknown|1:00|n1|None\n"
    assert set(slurm.parse_detail(accounts)["8;there"]) == {1, 2}


def test_a_job_is_found_on_the_cluster_that_has_it() -> None:
    slurm, found = Slurm(accounting=True, cluster="here"), "there|7|cq-a-1|/w\nhere|9|cq-b-1|/w2\n"
    assert slurm.parse_find(found, "cq-a-1", Path("/w")) == "7;there"
    assert slurm.parse_find(found, "cq-b-1", Path("/w")) == "9"
    assert slurm.parse_find(found, "cq-c-1", Path("/w3")) is None


def test_a_copy_that_another_cluster_of_the_federation_has_taken_tells_nothing() -> None:
    row = "67108865|REVOKED|0:0|Unknown|Unknown|1:00|n1|None\n"
    assert Slurm(accounting=True).parse_detail(row) == {}
    row = "67108865|N/A|REVOKED|0|Unknown|Unknown|1:00|1|n1|None\n"
    assert Slurm(accounting=True).parse_detail(row) == {}


@pytest.mark.parametrize("output", ["", "\n", slurm_sample("sbatch-plain.stdout"), "12x\n"])
def test_an_answer_of_sbatch_without_an_id_is_an_error(output: str) -> None:
    with pytest.raises(SchedulerOutputError, match="sbatch: expected a job id, got "):
        Slurm().parse_submit(output)


def test_the_configuration_tells_whether_there_is_accounting() -> None:
    config = slurm_sample("scontrol-show-config.stdout")
    without = config.replace("accounting_storage/slurmdbd", "accounting_storage/none")
    assert Slurm().probed(config) == Slurm(accounting=True, cluster="testbed")
    assert not Slurm(accounting=True).probed(without).accounting


def test_a_configuration_that_does_not_tell_is_an_error() -> None:
    with pytest.raises(SchedulerOutputError, match="expected a line AccountingStorageType"):
        Slurm().probed("Slurm is down\n")


def test_one_command_polls_all_jobs_of_the_user() -> None:
    command = Slurm().poll_command(["12", "13"])
    assert command[0] == "squeue"
    assert command[command.index("-j") + 1] == "12,13"
    assert {"-r", "--me"} <= set(command)


def test_a_poll_for_very_many_jobs_does_not_name_them() -> None:
    command = Slurm().poll_command([str(number) for number in range(IDS_PER_COMMAND + 1)])
    assert "-j" not in command


def test_with_accounting_sacct_tells_how_jobs_ended_after_squeue_told_what_failed() -> None:
    queue, account = Slurm(accounting=True).detail_commands(["12", "13"])
    assert "squeue" in queue
    assert queue[queue.index("-t") + 1] == "FAILED,OUT_OF_MEMORY"
    assert "sacct" in account
    assert [command[command.index("-j") + 1] for command in (queue, account)] == ["12,13", "12,13"]


def test_without_accounting_squeue_tells_how_jobs_ended() -> None:
    (command,) = Slurm().detail_commands(["12", "13"])
    assert "squeue" in command
    assert command[command.index("-t") + 1] == "all"


def test_details_of_very_many_jobs_are_asked_for_in_several_commands() -> None:
    ids = [str(number) for number in range(2 * IDS_PER_COMMAND + 1)]
    commands = Slurm(accounting=True).detail_commands(ids)
    chunks = [
        ids[:IDS_PER_COMMAND],
        ids[IDS_PER_COMMAND : 2 * IDS_PER_COMMAND],
        ids[2 * IDS_PER_COMMAND :],
    ]
    assert [command[command.index("-j") + 1].split(",") for command in commands] == chunks + chunks
    assert ["sacct" in command for command in commands] == [False] * 3 + [True] * 3


def test_accounts_are_searched_for_a_tag_only_where_there_are_any() -> None:
    assert [command[0] for command in Slurm().find_commands("t", WORK_DIR)] == ["squeue"]
    with_accounts = Slurm(accounting=True).find_commands("t", WORK_DIR)
    assert [command[0] for command in with_accounts] == ["squeue", "sacct"]


def test_a_job_is_cancelled_by_its_native_id() -> None:
    assert Slurm().cancel_command("12") == ["scancel", "12"]


@pytest.mark.parametrize("name", ["squeue-unknown-job.stderr", "scancel-v-unknown-job.stderr"])
def test_an_unknown_job_is_recognised(name: str) -> None:
    assert Slurm().is_unknown_job(slurm_sample(name))


def test_a_controller_that_is_down_does_not_make_a_job_unknown() -> None:
    assert not Slurm().is_unknown_job(slurm_sample("squeue-controller-down.stderr"))


@pytest.mark.parametrize(
    "stderr",
    [
        pytest.param(slurm_sample("sbatch-controller-down.stderr"), id="controller down"),
        pytest.param(
            "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation\n",
            id="controller slow",
        ),
        pytest.param(
            "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying\n", id="table full"
        ),
        pytest.param(
            "sbatch: error: AssocMaxSubmitJobLimit\n"
            "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy "
            "(job submit limit, user's size and/or time limits)\n",
            id="too many of the user's jobs",
        ),
    ],
)
def test_a_refusal_that_may_pass_is_temporary(stderr: str) -> None:
    assert Slurm().is_temporary(stderr)


@pytest.mark.parametrize(
    "name",
    [
        "array-too-large",
        "bad-dependency",
        "bad-gres",
        "bad-time",
        "invalid-feature",
        "invalid-partition",
        "no-input",
        "script-missing",
        "script-without-shebang",
        "too-much-memory",
        "unknown-option",
    ],
)
def test_a_refusal_for_what_is_asked_is_final(name: str) -> None:
    assert not Slurm().is_temporary(slurm_sample(f"sbatch-error-{name}.stderr"))


def test_a_job_that_may_be_too_large_for_ever_is_refused_finally() -> None:
    stderr = (
        "sbatch: error: QOSMaxCpuPerJobLimit\n"
        "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy "
        "(job submit limit, user's size and/or time limits)\n"
    )
    assert not Slurm().is_temporary(stderr)
