"""Scripts with arguments, variables and directives of the command line; sweeps; dry runs; run."""

from __future__ import annotations

import subprocess
import threading

import pytest

from cloudq.job import JobState
from cloudq.metascript import parse_meta_script
from tests.client.conftest import Laptop, put_done_job


def script_of(laptop: Laptop, job_id: str) -> str:
    return laptop.bundles.read(job_id.strip(), "job.sh").decode()


def test_arguments_and_variables_reach_the_script(laptop: Laptop) -> None:
    laptop.write("job.sh", '#!/bin/sh\n#$ run_on: sys1\n\necho "$A" "$1" "$2" $#\n')
    job_id = laptop.answer(
        "submit", "job.sh", "--parsable", "-e", "A=it's; $HOME", "--", "two words", "--json", "*"
    )
    script = script_of(laptop, job_id)
    parse_meta_script(script, "job.sh")
    done = subprocess.run(["sh", "-c", script], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout == "it's; $HOME two words --json 3\n"


def test_variables_are_exported_by_a_local_script_below_its_options(laptop: Laptop) -> None:
    laptop.write("job.sh", "#!/bin/bash\n#SBATCH -n 1\n# more\necho $A\n")
    job_id = laptop.answer("submit", "job.sh", "--parsable", "--submit-to", "sys1", "-e", "A=1")
    assert script_of(laptop, job_id) == "#!/bin/bash\n#SBATCH -n 1\n# more\nexport A=1\necho $A\n"


def test_a_variable_without_value_is_taken_from_here(laptop: Laptop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLOUR", "blue")
    assert "export COLOUR=blue\n" in script_of(
        laptop, laptop.answer("submit", "job.sh", "--parsable", "-e", "COLOUR")
    )


def test_directives_of_the_command_line_win(laptop: Laptop) -> None:
    laptop.write("job.sh", "#!/bin/sh\n#$ run_on: sys1\n#$ walltime: \\\n 0:10:00\n# why\necho\n")
    job_id = laptop.answer("submit", "job.sh", "--parsable", "-D", "walltime=2:00:00", "-D", "cores=4")
    assert script_of(laptop, job_id) == (
        "#!/bin/sh\n#$ run_on: sys1\n#$ walltime: 2:00:00\n\n#$ cores: 4\n# why\necho\n"
    )
    laptop.answer("submit", "job.sh", "-D", "run_on=ANY")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["-D", "walltime"], "-D walltime: expected KEY=VALUE such as walltime=2:00:00"),
        (["-D", "waltime=1"], "-D waltime: unknown directive: did you mean 'walltime'?"),
        (["-D", "walltime=soon"], "job.sh:"),
        (["-D", "cores=1", "--submit-to", "x"], "-D: expected a meta script"),
        (["-e", "1A=x"], "-e 1A: expected a name of letters, digits and '_'"),
        (["-e", "NOT_SET_HERE"], "-e NOT_SET_HERE: expected NAME=VALUE, or a variable that is set here"),
        (["--each", "rows.csv"], "--each rows.csv: row 2: expected 2 values"),
        (["--each", "empty.csv"], "--each empty.csv: expected a line with the names of variables"),
        (["--each-line", "empty.csv"], "--each-line empty.csv: expected at least one line"),
        (["--each", "nope.csv"], "--each nope.csv: No such file or directory\n"),
        (["--each-line", "."], "--each-line .: Is a directory\n"),
        (["--each-line", "quote.txt"], '--each-line quote.txt: "it\'s": No closing quotation'),
    ],
    ids=str,
)
def test_what_is_refused_is_told_and_nothing_submitted(laptop: Laptop, argv: list[str], message: str) -> None:
    laptop.write("rows.csv", "a,b\n1,2\n3\n")
    laptop.write("empty.csv", "")
    laptop.write("quote.txt", "it's\n")
    error = laptop.error(2, "submit", "job.sh", *argv)
    assert error.startswith(f"Error: {message}")
    assert list(laptop.bundles.ids()) == []


def test_arguments_for_another_language_are_refused(laptop: Laptop) -> None:
    laptop.write("job.py", "#!/usr/bin/env python3\nprint()\n")
    assert laptop.error(2, "submit", "job.py", "--submit-to", "sys1", "--", "x") == (
        "Error: arguments and variables: expected a shell script, got one for 'python3'\n"
    )


def test_a_job_for_each_row_of_a_table(laptop: Laptop) -> None:
    laptop.write("rows.csv", "alpha, name\n0.1,a b\n0.2,c\n")
    laptop.write("data/a b.txt", "")
    laptop.write("data/c.txt", "")
    argv = ("submit", "job.sh", "--each", "rows.csv", "--input", "data/{name}.txt:in.txt")
    ids = laptop.answer(*argv, "--parsable").split()
    assert len(ids) == 2
    assert "export alpha=0.1; export name='a b'\n" in script_of(laptop, ids[0])
    assert "export alpha=0.2; export name=c\n" in script_of(laptop, ids[1])
    assert len(laptop.json(*argv, "--json")) == 2


def test_a_job_for_each_line_of_stdin(laptop: Laptop) -> None:
    result = laptop.run("submit", "job.sh", "--each-line", "-", "--parsable", stdin="1 'a b'\n\n2\n")
    first, second = result.stdout.split()
    assert "set -- 1 'a b'\n" in script_of(laptop, first)
    assert "set -- 2\n" in script_of(laptop, second)


def test_a_dry_run_checks_and_submits_nothing(laptop: Laptop) -> None:
    laptop.write("data/x", "")
    answer = laptop.answer("submit", "job.sh", "--dry-run", "--array-tid", "1-20", "--input", "data")
    assert answer == (
        f"Would submit job.sh ({len((laptop.home / 'job.sh').read_bytes())} bytes, 20 tasks) for sys1\n"
        f"  input {laptop.home}/data as data\n"
    )
    assert list(laptop.bundles.ids()) == []
    assert laptop.error(2, "submit", "job.sh", "--dry-run", "-D", "cores=many").startswith("Error: job.sh:")


def test_last_stands_for_the_job_submitted_last_from_here(laptop: Laptop) -> None:
    assert laptop.error(3, "stat", "@last") == (
        "Error: @last: no job has been submitted from here to this bucket\n"
    )
    laptop.answer("submit", "job.sh")
    job_id = laptop.answer("submit", "job.sh", "--parsable").strip()
    assert laptop.json("stat", "@last", "--json")["uuid"] == job_id
    assert laptop.answer("cancel", "@last") == f"Job ({job_id}) is canceled\n"


def test_ids_may_come_from_stdin(laptop: Laptop) -> None:
    for job_id in ("a1", "b1", "c1"):
        put_done_job(laptop.bundles, job_id)
    assert laptop.run("delete", "a1", "-", stdin="b1\nc1\n").stdout == (
        "Job (a1) is deleted.\nJob (b1) is deleted.\nJob (c1) is deleted.\n"
    )


def test_run_shows_logs_fetches_outputs_and_ends_with_the_jobs_status(laptop: Laptop) -> None:
    def agent() -> None:
        while not (ids := list(laptop.bundles.ids())):
            pass
        while laptop.bundles.entries(ids[0]).get("manifest.json") is None:
            pass
        laptop.bundles.write(ids[0], "stdout", b"hello\n")
        laptop.bundles.write(ids[0], "stderr", b"oh\n")
        put_done_job(laptop.bundles, ids[0], state=JobState.ERROR, exit_code=7, error="exit 7")

    thread = threading.Thread(target=agent)
    thread.start()
    result = laptop.run("run", "--to", "out", "job.sh", "--verbose", "--input=x", status=7)
    thread.join()
    assert result.stdout == "hello\n"
    assert "oh\n" in result.stderr
    assert result.stderr.endswith("Saved as out.\n" + result.stderr.splitlines()[-1] + "\n")
    assert result.stderr.splitlines()[-1].endswith("job.sh: ERROR: exit 7")
    assert (laptop.home / "out/stdout").read_text() == "hello\n"
    assert "set -- --verbose --input=x\n" in (laptop.home / "out/job.sh").read_text()
    assert result.stderr.startswith(
        "WARNING: --input=x goes to the script; an option of `run` stands before SCRIPT\n"
    )
    assert "--verbose goes" not in result.stderr
