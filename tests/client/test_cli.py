"""`cloudqcli` as it is typed: options, answers on stdout, errors on stderr, exit statuses."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import cloudq
from cloudq.bundle import Bundles
from cloudq.cli import EXIT_STATUSES, log_to_stderr, report_error
from cloudq.client.cli import COMMANDS as HELP
from cloudq.client.cli import main
from cloudq.client.jobs import waits
from cloudq.errors import CloudQError
from cloudq.job import Job, JobState, Task
from tests.client.conftest import Laptop, put_done_job, put_job

COMMANDS = tuple(main.list_commands(click.Context(main)))


def submitted_id(answer: str) -> str:
    match = re.fullmatch(r"Job \(([0-9a-f]{12})\) job\.sh has been submitted\.\n", answer)
    assert match
    return match[1]


def test_submit_stat_list_cancel_as_in_1_2(laptop: Laptop) -> None:
    job_id = submitted_id(laptop.answer("submit", "--script", "job.sh"))
    assert laptop.bundles.load(job_id).job.run_on == "sys1"
    assert laptop.answer("stat", "--id", job_id).startswith(f"uuid                  {job_id}\njobid  ")
    assert laptop.answer("list").splitlines()[2].startswith(f"{job_id}                job.sh        INIT")
    assert laptop.answer("cancel", "--id", job_id) == f"Job ({job_id}) is canceled\n"
    assert laptop.bundles.cancel_requested(job_id)


def test_a_job_may_wait_for_the_one_that_was_submitted_last(laptop: Laptop) -> None:
    first = laptop.answer("submit", "job.sh", "--parsable").strip()
    second = laptop.answer("submit", "job.sh", "--parsable", "--after-ok", "@last").strip()
    third = laptop.answer("submit", "job.sh", "--parsable", "--hold-jid", f"@last,{first}").strip()
    assert laptop.json("stat", third, "--json")["hold_jid"] == f"{second},{first}"


def test_options_of_1_2_with_underscores_are_the_same(laptop: Laptop) -> None:
    put_job(laptop.bundles, "b1")
    laptop.answer(
        "submit", "--script", "job.sh", "--submit_to", "sys1", "--submit_opt", "-p x", "--hold_jid", "b1",
        "--array_tid", "1-4:1", "--log_level", "DEBUG",
    )  # fmt: skip
    job = next(job for job in map(laptop.bundles.load, laptop.bundles.ids()) if job.job.id != "b1").job
    assert (job.submit_to, job.submit_options, job.hold_ids) == ("sys1", "-p x", ("b1",))
    assert str(job.array_range) == "1-4"


def test_a_script_may_be_an_argument(laptop: Laptop) -> None:
    submitted_id(laptop.answer("submit", "job.sh"))


def test_submit_prints_the_id_only_for_scripts(laptop: Laptop) -> None:
    assert re.fullmatch(r"[0-9a-f]{12}\n", laptop.answer("submit", "job.sh", "--parsable"))


def test_submit_prints_the_manifest_for_programs(laptop: Laptop) -> None:
    members = laptop.json("submit", "job.sh", "--json")
    assert members["state"] == "INIT"
    assert members == laptop.json("stat", members["uuid"], "--json")


def test_inputs_are_sent(laptop: Laptop) -> None:
    laptop.write("data/x", "x")
    job_id = submitted_id(laptop.answer("submit", "job.sh", "--input", "data:in", "--input", "job.sh:copy"))
    assert laptop.bundles.entries(job_id)["input.zip"].size > 0


def test_ids_may_be_shortened_and_be_arguments(laptop: Laptop) -> None:
    put_done_job(laptop.bundles, "3f7e11112222")
    put_job(laptop.bundles, "b1")
    laptop.bundles.write("3f7e11112222", "stdout", b"text\n")
    assert laptop.json("stat", "3f", "--json")["uuid"] == "3f7e11112222"
    assert laptop.answer("log", "3") == "text\n"
    assert laptop.answer("stageout", "3f7") == "Saved as 3f7e11112222.\n"
    assert (laptop.home / "3f7e11112222/stdout").read_text() == "text\n"
    assert laptop.answer("delete", "3f7e") == "Job (3f7e11112222) is deleted.\n"


def test_a_folder_for_the_outputs_may_be_named(laptop: Laptop) -> None:
    put_done_job(laptop.bundles)
    laptop.bundles.write("a1", "stdout", b"text\n")
    assert laptop.answer("stageout", "a1", "--to", "out/here") == "Saved as out/here.\n"
    assert (laptop.home / "out/here/stdout").read_text() == "text\n"


def test_the_outputs_of_jobs_named_on_stdin_have_a_folder_each(laptop: Laptop) -> None:
    for job_id in ("a1", "b1"):
        put_done_job(laptop.bundles, job_id)
        laptop.bundles.write(job_id, "stdout", job_id.encode())
    result = laptop.run("stageout", "-", "stdout", "--to", "all", stdin="a1\nzz\nb1\n", status=3)
    assert result.stdout == "Saved as all/a1.\nSaved as all/b1.\n"
    assert result.stderr.startswith("Error: Invalid job ID: zz\n")
    assert (laptop.home / "all/b1/stdout").read_text() == "b1"
    assert laptop.run("stageout", "-", stdin="a1\n").stdout == "Saved as a1.\n"


def test_ctrl_c_ends_a_command_with_one_line_and_status_130(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: Bundles, ids: Iterable[str]) -> list[Job]:
        raise KeyboardInterrupt

    put_job(laptop.bundles)
    monkeypatch.setattr(waits, "load_all", interrupted)
    assert laptop.error(130, "wait", "a1") == "\nInterrupted.\n"


def test_several_jobs_are_cancelled_one_that_fails_does_not_stop_the_others(laptop: Laptop) -> None:
    put_job(laptop.bundles, "a1")
    put_done_job(laptop.bundles, "b1")
    put_job(laptop.bundles, "c1")
    result = laptop.run("cancel", "a1", "b1", "zz", "--id", "c1", status=1)
    assert result.stdout == "Job (a1) is canceled\nJob (c1) is canceled\n"
    assert result.stderr == (
        "Error: The job is already completed: b1\nError: Invalid job ID: zz\n"
        "Hint: `cloudqcli list` shows the jobs of this bucket that are open, `history` the others\n"
    )


def test_several_jobs_are_deleted(laptop: Laptop) -> None:
    for job_id in ("a1", "b1"):
        put_done_job(laptop.bundles, job_id)
    assert laptop.answer("delete", "a1", "b1") == "Job (a1) is deleted.\nJob (b1) is deleted.\n"


def test_all_jobs_that_have_ended_are_deleted_without_a_terminal_as_in_1_2(laptop: Laptop) -> None:
    put_done_job(laptop.bundles, "a1")
    put_job(laptop.bundles, "b1")
    put_done_job(laptop.bundles, "c1", state=JobState.ERROR)
    laptop.bundles.write("d1", "manifest.json", b"no JSON")
    assert laptop.answer("delete", "--all") == "Job (a1) is deleted.\nJob (c1) is deleted.\n"
    assert list(laptop.bundles.ids()) == ["b1", "d1"]


def test_an_agents_log_is_shown_and_deleted(laptop: Laptop) -> None:
    laptop.bundles.store.write("agent/sys1", b"a line\n")
    assert laptop.answer("log", "--agent", "sys1") == "a line\n"
    assert laptop.answer("delete", "--agent", "sys1") == "Agent log (sys1) is deleted.\n"
    assert laptop.error(3, "delete", "--agent", "sys1") == "Error: The log file is not exist: sys1\n"


def test_history_lists_what_has_ended(laptop: Laptop) -> None:
    put_done_job(laptop.bundles, "a1")
    put_job(laptop.bundles, "b1")
    assert [row.split()[0] for row in laptop.answer("history").splitlines()[2:]] == ["a1"]
    assert [row.split()[0] for row in laptop.answer("list").splitlines()[2:]] == ["b1"]
    assert [job["uuid"] for job in laptop.json("history", "--json")] == ["a1"]


def test_corrupted_jobs_are_named_below_the_table(laptop: Laptop) -> None:
    for job_id in ("a1", "b1"):
        laptop.bundles.write(job_id, "manifest.json", b"no JSON")
    assert laptop.answer("list").endswith("\n\nThe following jobs are corrupted: a1, b1\n")
    result = laptop.run("list", "--json")
    assert (result.stdout, result.stderr) == ("[]\n", "The following jobs are corrupted: a1, b1\n")


def test_programs_get_the_states_of_tasks_as_objects(laptop: Laptop) -> None:
    put_job(laptop.bundles, array_range="1-2", tasks={1: Task(JobState.RUN), 2: Task(JobState.RUN)})
    expected = {str(number): {"state": "RUN", "exit_code": None, "error": ""} for number in (1, 2)}
    assert laptop.json("stat", "a1", "--json")["task_states"] == expected
    assert laptop.json("list", "--json")[0]["task_states"] == expected


def test_logs_of_tasks(laptop: Laptop) -> None:
    put_done_job(laptop.bundles)
    for task in ("1", "10", "2"):
        laptop.bundles.write("a1", f"stdout.{task}", f"of {task}\n".encode())
        laptop.bundles.write("a1", f"stderr.{task}", b"\xff\x1b[0m")
    assert re.findall(r"task (\d+)", laptop.answer("log", "a1")) == ["1", "2", "10"]
    assert laptop.answer("log", "a1", "--tid", "10") == "of 10\n"
    assert laptop.run("log", "a1", "--tid", "2", "--error").stdout_bytes == b"\xff\x1b[0m"
    assert laptop.error(3, "log", "a1", "--tid", "3") == "Error: Invalid task ID: 3\n"


def test_programs_get_logs_as_an_array(laptop: Laptop) -> None:
    put_done_job(laptop.bundles)
    for task in ("1", "2"):
        laptop.bundles.write("a1", f"stderr.{task}", f"of {task}\n".encode())
    laptop.bundles.store.write("agent/sys1", b"\xff\n")
    first, second = ({"log": f"stderr.{task}", "task": task, "text": f"of {task}\n"} for task in ("1", "2"))
    assert laptop.json("log", "a1", "--json") == []
    assert laptop.json("log", "a1", "--error", "--json") == [first, second]
    assert laptop.json("log", "a1", "--error", "--tid", "2", "--json") == [second]
    assert laptop.json("log", "--agent", "sys1", "--json") == [{"log": "sys1", "task": "", "text": "\\xff\n"}]


def test_listings_for_programs_have_the_members_of_stat(laptop: Laptop) -> None:
    put_done_job(laptop.bundles, "a1", exit_code=0)
    put_job(laptop.bundles, "b1")
    assert laptop.json("history", "--json") == [laptop.json("stat", "a1", "--json")]
    assert laptop.json("list", "--json") == [laptop.json("stat", "b1", "--json")]
    assert (
        laptop.json("stat", "a1", "--json")["exit_code"],
        laptop.json("list", "--json")[0]["exit_code"],
    ) == (0, None)


def test_a_job_without_logs_has_an_empty_answer(laptop: Laptop) -> None:
    put_job(laptop.bundles)
    assert laptop.answer("log", "a1") == ""


@pytest.mark.parametrize(
    ("status", "argv", "message"),
    [
        (2, ["submit"], "Error: Job script is not specified.\n"),
        (2, ["submit", "none.sh"], "Error: The script file is not found: none.sh\n"),
        (2, ["submit", "job.sh", "--script", "job.sh"], "Error: expected --script or an argument, got both"),
        (2, ["submit", "job.sh", "--submit_opt", "x"], "Error: --submit-opt: expected --submit-to, too"),
        (2, ["submit", "job.sh", "--array-tid", "4-1"], "Error: array range '4-1': expected FIRST <= LAST"),
        (3, ["submit", "job.sh", "--hold-jid", "zz"], "Error: Invalid job ID: zz\n"),
        (2, ["submit", "job.sh", "--input", "nothing"], "Error: --input nothing: no such file or folder"),
        (2, ["stat"], "Error: Job ID is not specified.\n"),
        (2, ["cancel"], "Error: Job ID is not specified.\n"),
        (2, ["delete"], "Error: Job ID is not specified.\n"),
        (3, ["stat", "zz"], "Error: Invalid job ID: zz\n"),
        (3, ["log", "zz"], "Error: Invalid job ID: zz\n"),
        (3, ["cancel", "zz"], "Error: Invalid job ID: zz\n"),
        (3, ["stageout", "zz"], "Error: Invalid job ID: zz\n"),
        (3, ["delete", "zz"], "Error: Invalid job ID: zz\n"),
        (3, ["stat", "../x"], "Error: Invalid job ID: ../x\n"),
        (3, ["log", "--agent", "sys1"], "Error: The log file is not exist: sys1\n"),
        (1, ["delete", "a1"], "Error: The job is not completed: a1\n"),
        (1, ["cancel", "done"], "Error: The job is already completed: done\n"),
        (1, ["stat", "bad"], "Error: job bad: manifest.json: not JSON in UTF-8"),
    ],
    ids=str,
)
def test_errors_are_one_line_on_stderr_and_an_exit_status(
    laptop: Laptop, status: int, argv: list[str], message: str
) -> None:
    """Defect 48: errors exited with 0, on stdout, with a traceback and the help."""
    put_job(laptop.bundles, "a1")
    put_done_job(laptop.bundles, "done")
    laptop.bundles.write("bad", "manifest.json", b"no JSON")
    error = laptop.error(status, *argv)
    assert error.startswith(message)
    assert len([line for line in error.splitlines() if not line.startswith("Hint: ")]) == 1


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["log", "--agent", "s", "--error"], "Argument --agent: not allowed with argument --error"),
        (["log", "--agent", "s", "--tid", "1"], "Argument --agent: not allowed with argument --tid"),
        (["log", "--agent", "s", "a1"], "Argument --agent: not allowed with argument --id"),
        (["log", "a1", "--raw", "--json"], "Argument --raw: not allowed with argument --json"),
        (
            ["submit", "job.sh", "--json", "--parsable"],
            "Argument --parsable: not allowed with argument --json",
        ),
        (["delete", "--all", "a1"], "only one of ID, --agent and --all is allowed"),
        (["delete", "--all", "--agent", "s"], "only one of ID, --agent and --all is allowed"),
        (["stat", "a1", "b1"], "Got unexpected extra argument (b1)"),
        (["list", "--log_level", "LOUD"], "Invalid value for '--log-level'"),
        (["list", "--frobnicate"], "No such option"),
        (["frobnicate"], "No such command 'frobnicate'.\n"),
        (["sumbit"], "No such command 'sumbit'. Did you mean 'submit'?\n"),
    ],
    ids=str,
)
def test_wrong_usage_is_told_with_the_usage(laptop: Laptop, argv: list[str], message: str) -> None:
    error = laptop.error(2, *argv)
    assert error.startswith("Usage: cloudqcli ")
    assert message in error


def test_a_fault_of_the_configuration_is_its_message(laptop: Laptop) -> None:
    """Defect 58: it was a NameError."""
    laptop.write(".cloudq/client/config.ini", "[default]\nname = x\n")
    assert laptop.error(1, "list") == (
        f"Error: {laptop.config_file}: [default] cloudq_bucket: expected a value, got nothing\n"
    )
    laptop.config_file.unlink()
    assert laptop.error(1, "list") == (
        f"Error: no configuration file: {laptop.config_file}\n"
        "Hint: `cloudqcli init` writes one; --config FILE names another\n"
    )


def test_a_store_that_is_not_there_is_status_4(laptop: Laptop) -> None:
    """Defect 30: it read as an unknown job."""
    laptop.write(
        "other.ini",
        f"[default]\ncloudq_endpoint_url = {(laptop.home / 'none').as_uri()}\ncloudq_bucket = b\n",
    )
    laptop.write("plain.sh", "#!/bin/sh\necho\n")
    for argv in (["list"], ["stat", "a1"], ["cancel", "a1", "b1"], ["submit", "plain.sh"]):
        error = laptop.error(4, "--config", "other.ini", *argv)
        assert "no such directory" in error
        assert len(error.splitlines()) == 2


@pytest.mark.parametrize(
    "argv", [["--config", "other.ini", "list"], ["list", "--config", "other.ini"]], ids=["before", "after"]
)
def test_the_configuration_may_be_named_before_and_after_the_command(laptop: Laptop, argv: list[str]) -> None:
    put_job(laptop.bundles)
    laptop.write(
        "other.ini", laptop.config_file.read_text().partition("[client]")[0].replace("bucket\n", "empty\n")
    )
    assert "a1" in laptop.answer("list")
    assert "a1" not in laptop.answer(*argv)


def test_the_configuration_may_be_named_by_a_variable(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOUDQ_CONFIG", "none.ini")
    assert laptop.error(1, "list").startswith("Error: no configuration file: none.ini\n")


def test_a_traceback_is_shown_at_debug_level_only(laptop: Laptop) -> None:
    assert "Traceback" not in laptop.error(3, "stat", "zz")
    assert "Traceback" in laptop.error(3, "stat", "zz", "--log-level", "debug")
    assert "Traceback" in laptop.error(3, "--log_level", "DEBUG", "stat", "zz")


def test_an_error_of_the_system_is_one_line(laptop: Laptop) -> None:
    put_done_job(laptop.bundles)
    laptop.write("taken/stdout/x", "")
    laptop.bundles.write("a1", "stdout.log", b"")
    laptop.bundles.write("a1", "x", b"")
    laptop.write("taken/x/y", "")
    error = laptop.error(1, "stageout", "a1", "--to", "taken")
    assert re.fullmatch(r"Error: .*: Is a directory\n", error)


def test_no_command_but_init_writes_below_the_home_other_than_its_cache(laptop: Laptop) -> None:
    """Defects 59 and 60."""

    def files() -> list[Path]:
        return [path for path in sorted(laptop.home.rglob("*")) if ".cache" not in path.parts]

    before = files()
    job_id = laptop.answer("submit", "job.sh", "--parsable").strip()
    for argv in (["list"], ["history"], ["stat", job_id], ["log", job_id], ["cancel", job_id]):
        laptop.answer(*argv)
    laptop.error(3, "stat", "zz")
    laptop.error(3, "log", "zz")
    assert files() == before


def test_nothing_is_said_before_the_answer(laptop: Laptop) -> None:
    """Defect 49: a banner of ten lines came first."""
    assert laptop.answer("list").startswith("      job-ID  ")
    assert laptop.run("list").stderr == ""


def test_the_version_is_that_of_the_package(laptop: Laptop) -> None:
    assert laptop.answer("--version") == f"cloudqcli {cloudq.__version__}\n"


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_the_help_names_all_commands_and_exit_statuses(laptop: Laptop, flag: str) -> None:
    text = " ".join(laptop.answer(flag).split())
    assert all(f" {command} " in text for command in COMMANDS)
    assert all(f"{status} {meaning}" in text for status, meaning in EXIT_STATUSES.items())


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help(laptop: Laptop, command: str) -> None:
    assert laptop.answer(command, "-h").startswith(f"Usage: cloudqcli {command} ")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_of_each_what_its_help_says(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    assert (command.name, command.get_short_help_str(limit=100)) == (name, HELP[name][2])


def test_the_help_needs_no_heavy_modules() -> None:
    heavy = (
        "cloudq.job",
        "cloudq.bundle",
        "obstore",
        "boto3",
        "botocore",
        "jinja2",
        "zipfile",
        "subprocess",
        "concurrent",
        "yaml",
        "daemon",
    )
    program = (
        "import sys; from cloudq.client.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        f"print(*[name for name in {heavy!r} if name in sys.modules], file=sys.stderr)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(cloudq.__file__).parent.parent)}
    done = subprocess.run(
        [sys.executable, "-S", "-c", "import site; site.main()\n" + program],
        env=environment, capture_output=True, encoding="utf-8", check=True, timeout=60,
    )  # fmt: skip
    assert done.stderr == "\n"


def test_a_reader_that_leaves_is_no_traceback(laptop: Laptop) -> None:
    put_done_job(laptop.bundles)
    laptop.bundles.write("a1", "stdout", b"line\n" * 200_000)
    environment = {**os.environ, "PYTHONPATH": str(Path(cloudq.__file__).parent.parent)}
    program = "from cloudq.client.cli import main; main(prog_name='cloudqcli')"
    with subprocess.Popen(
        [sys.executable, "-c", program, "log", "a1"],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(5) == b"line\n"
        process.stdout.close()
        assert process.stderr.read() == b""


def test_control_characters_are_visible_on_a_terminal(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch
) -> None:
    pty = pytest.importorskip("pty")
    put_done_job(laptop.bundles)
    laptop.bundles.write("a1", "stdout", b"\x1b[31mred\x07\n")
    assert _on_a_terminal(pty, "log", "a1") == b"\\x1b[31mred\\x07\r\n"
    assert _on_a_terminal(pty, "log", "a1", "--raw") == b"\x1b[31mred\x07\r\n"


def test_all_jobs_are_deleted_on_a_terminal_only_after_a_question(laptop: Laptop) -> None:
    """Defect 47: nothing was asked."""
    pty = pytest.importorskip("pty")
    put_done_job(laptop.bundles)
    shown = _on_a_terminal(pty, "delete", "--all", answer=b"n\n")
    assert b"Delete 1 jobs that have ended? [y/N]: " in shown
    assert list(laptop.bundles.ids()) == ["a1"]
    assert _on_a_terminal(pty, "delete", "--all", "--yes") == b"Job (a1) is deleted.\r\n"


def _on_a_terminal(pty, *argv: str, answer: bytes = b"") -> bytes:  # type: ignore[no-untyped-def]
    """Run a command in a process whose stdin, stdout and stderr are a terminal, and return what is shown."""
    leader, follower = pty.openpty()
    program = "from cloudq.client.cli import main; main(prog_name='cloudqcli')"
    environment = {**os.environ, "PYTHONPATH": str(Path(cloudq.__file__).parent.parent)}
    with subprocess.Popen(
        [sys.executable, "-c", program, *argv],
        env=environment, stdin=follower, stdout=follower, stderr=follower,
    ) as process:  # fmt: skip
        os.close(follower)
        os.write(leader, answer)
        process.wait(timeout=60)
    shown = b""
    try:
        while block := os.read(leader, 4096):
            shown += block
    except OSError:  # how Linux tells that nobody has the other side any more
        pass
    os.close(leader)
    return shown


def test_a_group_without_a_command_shows_its_help() -> None:
    result = CliRunner().invoke(main, [], prog_name="cloudqcli")  # stdout or stderr, as click has it
    assert "Usage: cloudqcli [OPTIONS] COMMAND" in result.output


def test_an_error_that_quotes_a_hostile_name_does_not_act_on_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    report_error(CloudQError("a\x1b[2J\x9b\u202e\udcffb\nc", hint="\x07d"))
    assert capsys.readouterr().err == "Error: a\\x1b[2J\\x9b\\u202e\\udcffb\nc\nHint: \\x07d\n"


def test_the_log_on_a_terminal_shows_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    log_to_stderr("INFO")
    logging.getLogger("cloudq.x").warning("%s: not fetched", "a\x1b[2J")
    assert capsys.readouterr().err == "WARNING: a\\x1b[2J: not fetched\n"
