"""Grid Engine's commands, and what their short answers mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Optional

import pytest

from cloudq.agent.queue import Queue
from cloudq.agent.schedulers.base import Submission
from cloudq.agent.schedulers.gridengine import GridEngine
from cloudq.errors import CommandError, InputError, SchedulerOutputError
from cloudq.job import ArrayRange
from cloudq.process import DEFAULT_TIMEOUT, Completed
from tests.agent.schedulers.samples import gridengine_sample

WORK_DIR = Path("/home/u/w/0123456789ab")
SUBMISSION = Submission(
    script=WORK_DIR / "job.sh",
    work_dir=WORK_DIR,
    stdout=WORK_DIR / "stdout",
    stderr=WORK_DIR / "stderr",
    tag="cq-0123456789ab-1",
    name="job.sh",
    text="#!/bin/sh\ntrue\n",
)
ABCI = GridEngine("abci", group_option=True)


def value(command: Sequence[str], option: str) -> str:
    """Return what follows the last occurrence of an option, which is the one that counts."""
    return command[len(command) - command[::-1].index(option)]


def submitted(submission: Submission) -> list[str]:
    return GridEngine().submit_command(submission)


def test_a_job_is_submitted_with_its_tag_directory_and_logs() -> None:
    assert submitted(SUBMISSION) == [
        "qsub",
        "-terse",
        *["-sync", "n", "-b", "n", "-j", "n"],
        *["-N", "job.sh.cq-0123456789ab-1"],
        *["-wd", "/home/u/w/0123456789ab"],
        *["-o", "/home/u/w/0123456789ab/stdout"],
        *["-e", "/home/u/w/0123456789ab/stderr"],
        "/home/u/w/0123456789ab/job.sh",
    ]


def test_options_of_the_user_come_before_those_of_cloudq_so_that_these_win() -> None:
    command = submitted(replace(SUBMISSION, options=("-o", "x", "-q", "all.q")))
    assert command[2:6] == ["-o", "x", "-q", "all.q"]
    assert value(command, "-o") == "/home/u/w/0123456789ab/stdout"


def test_options_of_a_translated_script_have_a_prefix_that_no_body_has() -> None:
    assert value(submitted(replace(SUBMISSION, text="")), "-C") == "#CQ$"
    assert "-C" not in submitted(SUBMISSION)


@pytest.mark.parametrize(
    ("scheduler", "project", "group"),
    [
        pytest.param(ABCI, "gaa50000", ["-g", "gaa50000"], id="abci"),
        pytest.param(ABCI, "", [], id="abci, no project"),
        pytest.param(GridEngine(), "gaa50000", [], id="elsewhere it is in the script"),
    ],
)
def test_a_group_is_named_on_the_command_line_where_the_site_wants_that(
    scheduler: GridEngine, project: str, group: list[str]
) -> None:
    command = scheduler.submit_command(replace(SUBMISSION, text="", project=project))
    assert (command[command.index("-g") :][:2] if "-g" in command else []) == group


@pytest.mark.parametrize(
    ("name", "native_name"),
    [
        pytest.param("run.sh", "run.sh", id="usual"),
        pytest.param("1.sh", "_1.sh", id="digit first"),
        pytest.param("-q.sh", "_-q.sh", id="looks like an option"),
        pytest.param("my job@é:1*.sh", "my_job___1_.sh", id="characters that are refused"),
        pytest.param("x" * 200, "x" * 100, id="long"),
    ],
)
def test_any_script_gets_a_name_that_grid_engine_takes(name: str, native_name: str) -> None:
    command = submitted(replace(SUBMISSION, name=name))
    assert value(command, "-N") == f"{native_name}.cq-0123456789ab-1"


@pytest.mark.parametrize(
    ("array_range", "options"),
    [
        pytest.param("1-4", ["-t", "1-4:1"], id="plain"),
        pytest.param("7", ["-t", "7-7:1"], id="one task"),
        pytest.param("2-10:3%2", ["-t", "2-10:3", "-tc", "2"], id="step and limit"),
        pytest.param("1,3,5", ["-t", "1-5:2"], id="a list with even steps"),
        pytest.param("1-3,4-6", ["-t", "1-6:1"], id="two spans that are one"),
        pytest.param("3,3", ["-t", "3-3:1"], id="the same twice"),
    ],
)
def test_an_array_has_a_range_and_logs_with_the_task_id(array_range: str, options: list[str]) -> None:
    command = submitted(replace(SUBMISSION, array_range=ArrayRange.parse(array_range)))
    assert command[-1 - len(options) : -1] == options
    assert value(command, "-o") == f"{WORK_DIR}/stdout.$TASK_ID"
    assert value(command, "-e") == f"{WORK_DIR}/stderr.$TASK_ID"


@pytest.mark.parametrize("array_range", ["0-3", "1,3,4", "1-9:4,100", "1-4,3-9:2"])
def test_a_range_that_grid_engine_does_not_have_is_refused(array_range: str) -> None:
    with pytest.raises(InputError, match=f"array range {array_range}: Grid Engine can only do FIRST-LAST"):
        submitted(replace(SUBMISSION, array_range=ArrayRange.parse(array_range)))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"options": ("-q", "all.q", "-t", "1-3")}, id="options"),
        pytest.param({"text": "#!/bin/sh\n#$ -l h_rt=60 -t 1-3\ntrue\n"}, id="script"),
        pytest.param({"text": "true\n#$-t 1-3"}, id="end of the script"),
    ],
)
def test_an_array_job_that_cloudq_would_not_know_of_is_refused(change: Mapping[str, object]) -> None:
    with pytest.raises(InputError, match="-t: the tasks of an array job are given at submission"):
        submitted(replace(SUBMISSION, **change))  # type: ignore[arg-type]


def test_an_option_that_begins_alike_is_no_array() -> None:
    text = "#!/bin/sh\n#$ -tc 3 -l some-t=1\n## -t 3\necho '-t 3'\n"
    assert submitted(replace(SUBMISSION, text=text, options=("-terse", "-tc", "3")))


def test_what_stands_before_a_colon_in_a_path_is_no_host() -> None:
    command = submitted(replace(SUBMISSION, stdout=Path("/w/a:b/stdout")))
    assert value(command, "-o") == ":/w/a:b/stdout"


@pytest.mark.parametrize("path", ["/w/$HOME/x", "/w/a,b/x"])
@pytest.mark.parametrize("member", ["work_dir", "stdout", "stderr"])
def test_a_path_that_grid_engine_would_change_is_refused(member: str, path: str) -> None:
    with pytest.raises(InputError, match="cannot use a path with a dollar sign or a comma"):
        submitted(replace(SUBMISSION, **{member: Path(path)}))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("output", "native_id"),
    [
        pytest.param(gridengine_sample("qsub-terse.stdout"), "2", id="a job"),
        pytest.param(gridengine_sample("qsub-terse-array-step.stdout"), "5", id="an array"),
        pytest.param("Your balance: 10\n123\n", "123", id="after a line of a wrapper"),
    ],
)
def test_qsub_tells_the_native_id(output: str, native_id: str) -> None:
    assert GridEngine().parse_submit(output) == native_id


@pytest.mark.parametrize("output", ["", "\n", gridengine_sample("qsub-plain.stdout"), "12x\n"])
def test_an_answer_of_qsub_without_an_id_is_an_error(output: str) -> None:
    with pytest.raises(SchedulerOutputError, match="qsub: expected a job id, got "):
        GridEngine().parse_submit(output)


def test_one_command_polls_all_jobs_of_the_user_whatever_the_site_has_as_default() -> None:
    assert GridEngine().poll_command(["12", "13"]) == ["qstat", "-xml", "-u", "$user", "-s", "prs"]


def test_only_jobs_that_have_ended_are_looked_up_in_the_accounts() -> None:
    assert GridEngine().detail_commands(["12", "13"]) == [["qacct", "-j", "12"], ["qacct", "-j", "13"]]
    assert GridEngine().detail_commands([]) == []


def test_nothing_is_to_be_known_of_a_site() -> None:
    assert GridEngine().probe_command() is None
    assert ABCI.probed("") is ABCI


@pytest.mark.parametrize(
    "name",
    [
        "qacct-j-unknown-job.stderr",
        "qacct-j-before-any-job.stdout",
        "qdel-unknown-job.stdout",
        "qdel-finished-job.stdout",
    ],
)
def test_an_unknown_job_is_recognised(name: str) -> None:
    assert GridEngine().is_unknown_job(gridengine_sample(name))


@pytest.mark.parametrize(
    "name",
    [
        "qstat-xml-qmaster-down.stderr",
        "qdel-qmaster-down.stdout",
        "qdel-qmaster-down.stderr",
        "qdel-other-users-job.stdout",
    ],
)
def test_another_fault_does_not_make_a_job_unknown(name: str) -> None:
    assert not GridEngine().is_unknown_job(gridengine_sample(name))


@pytest.mark.parametrize(
    "stderr",
    [
        pytest.param(gridengine_sample("qsub-qmaster-down.stderr"), id="qmaster down"),
        pytest.param(
            "Unable to run job: job rejected: only 2 jobs are allowed per user (current job count: 2)\n",
            id="too many of the user's jobs",
        ),
        pytest.param(
            "Unable to run job: job rejected: only 9 jobs are allowed per cluster\n", id="too many jobs"
        ),
    ],
)
def test_a_refusal_that_may_pass_is_temporary(stderr: str) -> None:
    assert GridEngine().is_temporary(stderr)


@pytest.mark.parametrize("name", ["unknown-queue", "array-too-large", "bad-h_rt"])
def test_a_refusal_for_ever_is_not_temporary(name: str) -> None:
    assert not GridEngine().is_temporary(gridengine_sample(f"qsub-error-{name}.stderr"))


class Cell:
    """A Grid Engine that answers each command in one way, for a Queue."""

    def __init__(self, answers: Mapping[str, object]) -> None:
        self._answers = answers

    def __call__(
        self, argv: Sequence[str], *, cwd: Optional[Path] = None, timeout: timedelta = DEFAULT_TIMEOUT
    ) -> Completed:
        answer = self._answers[argv[0]]
        if isinstance(answer, str):
            return Completed(answer)
        assert isinstance(answer, tuple)
        raise CommandError(argv, 1, *answer)


EMPTY = gridengine_sample("qstat-xml-empty.xml")
UNKNOWN = ("", gridengine_sample("qacct-j-unknown-job.stderr"))


def queue(answers: Mapping[str, object]) -> Queue:
    return Queue(GridEngine(), Cell(answers), DEFAULT_TIMEOUT)


def test_a_job_that_neither_command_knows_is_missing_and_no_fault() -> None:
    answer = queue({"qstat": EMPTY, "qacct": UNKNOWN}).poll({"18": [None]})
    assert (answer.statuses, answer.faults) == ({"18": {}}, ())


def test_a_job_is_not_found_if_neither_command_knows_its_tag() -> None:
    assert queue({"qstat": EMPTY, "qacct": UNKNOWN}).find("cq-0123456789ab-1", WORK_DIR) is None


def test_an_ended_job_is_found_in_the_accounts() -> None:
    answers = {"qstat": EMPTY, "qacct": gridengine_sample("detail-exit-99-then-4.txt")}
    assert queue(answers).find("cq-000000000008-1", WORK_DIR) == "146"


def test_to_cancel_an_ended_job_is_no_fault() -> None:
    queue({"qdel": (gridengine_sample("qdel-finished-job.stdout"), "")}).cancel("33")


def test_to_cancel_while_the_qmaster_is_down_is_a_fault() -> None:
    down = (
        gridengine_sample("qdel-qmaster-down.stdout"),
        gridengine_sample("qdel-qmaster-down.stderr"),
    )
    with pytest.raises(CommandError, match="commlib error"):
        queue({"qdel": down}).cancel("50")


def test_a_qmaster_that_is_down_changes_no_job() -> None:
    down = ("", gridengine_sample("qstat-xml-qmaster-down.stderr"))
    with pytest.raises(CommandError, match="unable to send message to qmaster"):
        queue({"qstat": down, "qacct": UNKNOWN}).poll({"18": [None]})
