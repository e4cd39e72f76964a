"""What every scheduler of the table keeps to."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest

from cloudq.agent.schedulers import SCHEDULERS, open_scheduler
from cloudq.agent.schedulers.base import Scheduler, Submission
from cloudq.errors import ConfigError, SchedulerOutputError
from cloudq.job import ArrayRange

WORK_DIR = Path("/home/u/work dir/0123456789ab")
TAG = "cq-0123456789ab-1"
SUBMISSION = Submission(
    script=WORK_DIR / "job.sh",
    work_dir=WORK_DIR,
    stdout=WORK_DIR / "stdout",
    stderr=WORK_DIR / "stderr",
    tag=TAG,
    name="job.sh",
)
GARBAGE = ("<html>504 Gateway Time-out</html>\n", "Segmentation fault\n", '{"jobs": [')


@pytest.fixture(params=sorted(SCHEDULERS))
def scheduler(request: pytest.FixtureRequest, tmp_path: Path) -> Scheduler:
    return open_scheduler(request.param, root=tmp_path / "queue", slots=2)


def is_command(words: object) -> bool:
    return isinstance(words, list) and bool(words) and all(isinstance(word, str) for word in words)


def test_an_unknown_scheduler_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected one of .*local, .*slurm.*, got 'abacus'"):
        open_scheduler("abacus", root=tmp_path)


def test_opening_a_scheduler_touches_nothing(scheduler: Scheduler, tmp_path: Path) -> None:
    assert list(tmp_path.iterdir()) == []


def test_its_name_is_the_word_of_the_table_and_has_a_template(scheduler: Scheduler) -> None:
    assert scheduler.name in SCHEDULERS
    assert (files("cloudq.metascript") / "templates" / f"{scheduler.name}.sh").is_file()


def test_commands_are_lists_of_words(scheduler: Scheduler) -> None:
    probe = scheduler.probe_command()
    commands = [
        *([probe] if probe else []),
        scheduler.submit_command(SUBMISSION),
        scheduler.poll_command(["12", "13"]),
        *scheduler.detail_commands(["12", "13"]),
        *scheduler.find_commands(TAG, WORK_DIR),
        scheduler.cancel_command("12"),
    ]
    assert all(map(is_command, commands))


def test_a_submission_has_the_script_last_and_everything_else_in_options(scheduler: Scheduler) -> None:
    command = scheduler.submit_command(SUBMISSION)
    assert command[-1] == str(SUBMISSION.script)
    for value in (WORK_DIR, SUBMISSION.stdout, SUBMISSION.stderr):
        assert any(str(value) in word for word in command)


def test_the_words_of_the_user_stay_whole(scheduler: Scheduler) -> None:
    command = scheduler.submit_command(replace(SUBMISSION, options=("--x=a b; $(c)",)))
    assert any(word.endswith("--x=a b; $(c)") for word in command)


def test_an_array_is_submitted_with_its_range(scheduler: Scheduler) -> None:
    command = scheduler.submit_command(replace(SUBMISSION, array_range=ArrayRange.parse("1-9:4%2")))
    assert any("1-9:4" in word for word in command)


def test_every_job_is_asked_about_and_cancelled_by_its_id(scheduler: Scheduler) -> None:
    asked = " ".join(scheduler.poll_command(["1012", "1013"])).replace(",", " ").split()
    # Grid Engine's qstat cannot be asked about some jobs: it tells of all of the user's.
    assert {"1012", "1013"} <= set(asked) or "$user" in asked
    assert scheduler.cancel_command("1012")[-1] == "1012"


def test_a_search_that_finds_nothing_gives_nothing(scheduler: Scheduler) -> None:
    assert scheduler.find_commands(TAG, WORK_DIR)
    nothing = "ARRAY_JOB_ID|COMMENT|WORK_DIR\n" if scheduler.name == "slurm" else ""
    assert scheduler.parse_find(nothing, TAG, WORK_DIR) is None


@pytest.mark.parametrize("output", GARBAGE)
def test_garbage_is_an_error_and_no_answer(scheduler: Scheduler, output: str) -> None:
    with pytest.raises(SchedulerOutputError):
        scheduler.parse_submit(output)
    with pytest.raises(SchedulerOutputError):
        scheduler.parse_poll(output)
    with pytest.raises(SchedulerOutputError):
        scheduler.parse_detail(output)
    with pytest.raises(SchedulerOutputError):
        scheduler.parse_find(output, TAG, WORK_DIR)


def test_no_id_is_no_submission(scheduler: Scheduler) -> None:
    with pytest.raises(SchedulerOutputError):
        scheduler.parse_submit("")


@pytest.mark.parametrize("stderr", ["", "Permission denied\n"])
def test_other_failures_are_neither_unknown_jobs_nor_temporary(scheduler: Scheduler, stderr: str) -> None:
    assert not scheduler.is_unknown_job(stderr)
    assert not scheduler.is_temporary(stderr)
