"""Which jobs and which files are meant; tables on a terminal; jobs submitted once more."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from cloudq.bundle import Bundles
from cloudq.client.commands.screen import render_jobs, watch
from cloudq.client.display.tables import render_table
from cloudq.client.jobs.selection import Patterns, Selection
from cloudq.client.jobs.waits import Pace
from cloudq.job import Job, JobKind, JobState, Task
from tests.client.conftest import NOW, Laptop, put_done_job, put_job
from tests.client.test_stageout import put_output

LATER = NOW + timedelta(minutes=5)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("results/*.csv", ["results/a.csv"]),
        ("results", ["results/a.csv", "results/b.txt", "results/deep/c.csv"]),
        ("results/", ["results/a.csv", "results/b.txt", "results/deep/c.csv"]),
        ("**/*.csv", ["results/a.csv", "results/deep/c.csv", "top.csv"]),
        ("results/**", ["results/a.csv", "results/b.txt", "results/deep/c.csv"]),
        ("./top.?sv", ["top.csv"]),
        ("results/[!a].*", ["results/b.txt"]),
        ("results/[a-b].*", ["results/a.csv", "results/b.txt"]),
        ("*.txt", []),
    ],
    ids=str,
)
def test_patterns_are_those_of_a_shell(pattern: str, names: list[str]) -> None:
    files = ["results/a.csv", "results/b.txt", "results/deep/c.csv", "top.csv"]
    assert [name for name in files if Patterns([pattern]).admits(name)] == names


def test_only_files_of_a_pattern_are_fetched(laptop: Laptop) -> None:
    put_done_job(laptop.bundles)
    put_output(laptop.bundles, results_S_a__csv=b"1,2", results_S_b__txt=b"", big=b"x" * 1000)
    laptop.bundles.write("a1", "stdout", b"log")
    laptop.answer("stageout", "a1", "results/*.csv")
    laptop.answer("stageout", "--id", "a1", "--to", "log", "stdout")
    files = sorted(
        str(path.relative_to(laptop.home)) for path in laptop.home.glob("*/**/*") if path.is_file()
    )
    assert [name for name in files if not name.startswith(".")] == ["a1/results/a.csv", "log/stdout"]
    assert "not allowed with argument PATTERN" in laptop.error(2, "stageout", "a1", "x", "--zip")


@pytest.mark.parametrize(
    ("selection", "admitted"),
    [
        (Selection(), True),
        (Selection([JobState.RUN]), True),
        (Selection([JobState.READY]), False),
        (Selection(system="ABCI"), True),
        (Selection(system="hut"), False),
        (Selection(name="sw*.sh"), True),
        (Selection(name="sw"), False),
        (Selection(newer=timedelta(minutes=5)), True),
        (Selection(newer=timedelta(minutes=4)), False),
        (Selection(older=timedelta(minutes=6)), False),
    ],
    ids=repr,
)
def test_jobs_are_selected(selection: Selection, admitted: bool) -> None:
    job = Job("a1", "sweep.sh", JobKind.META, JobState.RUN, run_system="abci", submitted=NOW)
    assert selection.admits(job, now=LATER) is admitted


def test_listings_are_filtered(laptop: Laptop) -> None:
    put_job(laptop.bundles, "a1", name="sweep.sh", state=JobState.RUN, run_system="abci")
    put_job(laptop.bundles, "b1")
    assert laptop.answer("list", "--state", "run", "--ids") == "a1\n"
    assert laptop.answer("list", "--name", "job*", "--ids") == "b1\n"
    assert [job["uuid"] for job in laptop.json("list", "--system", "ABCI", "--json")] == ["a1"]
    assert laptop.answer("list", "--newer", "1s", "--ids") == ""
    assert "a1" in laptop.answer("list", "--older", "1s")
    assert "is not one of" in laptop.error(2, "list", "--state", "busy")
    assert "--watch: not allowed" in laptop.error(2, "list", "-w", "--json")


def test_a_table_gives_way_where_it_is_widest() -> None:
    narrow = render_table(("first", "last"), [("x" * 12, "y" * 30)], width=20, yielding=1)
    assert narrow.splitlines() == ["first         last", "x" * 12 + "  yyyyy…"]
    narrow = render_table(("first", "last"), [("x" * 12, "y" * 30)], width=12, yielding=1)
    assert narrow.splitlines()[1] == "xxxxx…  yyy…"
    table = render_table(("id", "name"), [("a1", "x" * 50)], width=20)
    assert table.splitlines() == ["id  name", "a1  " + "x" * 15 + "…"]


def test_the_screen_shows_progress_and_why(bundles: Bundles) -> None:
    tasks = {1: Task(JobState.DONE), 2: Task(JobState.RUN)}
    jobs = [
        put_job(bundles, "a1", run_on="ANY"),
        put_job(bundles, "b1", state=JobState.READY, run_system="abci", reason="no free nodes"),
        put_job(bundles, "c1", state=JobState.RUN, run_system="abci", started=NOW, progress=40),
        put_job(bundles, "d1", state=JobState.RUN, run_system="abci", array_range="1-2", tasks=tasks),
    ]
    table = render_jobs(jobs, final=False, now=LATER, width=200)
    lines = [" ".join(line.split()) for line in table.splitlines()]
    assert lines[0] == "job-ID name state system submitted for why"
    assert lines[1].startswith("a1 job.sh INIT ANY ")
    assert lines[1].endswith(" 5 min waits for a system")
    assert lines[2].endswith(" 5 min no free nodes")
    assert lines[3].startswith("c1 job.sh RUN 40% abci")
    assert lines[4].startswith("d1 job.sh RUN 1/2 abci")


def test_the_live_list_reads_ended_jobs_once(bundles: Bundles) -> None:
    put_done_job(bundles, "a1")
    put_job(bundles, "b1")
    shown: list[list[str]] = []

    def table(jobs: Sequence[Job]) -> str:
        shown.append([job.state.value for job in jobs])
        return ""

    def sleep(_: float) -> None:
        bundles.write("a1", "manifest.json", b"never read again")
        put_done_job(bundles, "b1")
        if len(shown) == 2:
            raise KeyboardInterrupt

    watch(bundles, table, Pace(sleep=sleep))
    assert shown == [["DONE", "INIT"], ["DONE", "DONE"]]


def test_a_job_is_submitted_once_more_with_all_it_had(laptop: Laptop) -> None:
    laptop.write("data/x", "x")
    old = laptop.answer("submit", "job.sh", "--parsable", "--input", "data", "-e", "A=1").strip()
    answer = laptop.answer("resubmit", "@last", "-D", "walltime=1:00:00")
    new = laptop.json("stat", "@last", "--json")["uuid"]
    assert answer == f"Job ({new}) job.sh has been submitted.\n"
    assert new != old
    for name in ("project", "resource", "input.zip"):
        assert laptop.bundles.read(new, name) == laptop.bundles.read(old, name)
    script = laptop.bundles.read(new, "job.sh").decode()
    assert "#$ walltime: 1:00:00\n" in script
    assert "export A=1\n" in script
    assert new in laptop.bundles.markers.inbox("sys1")


def test_only_tasks_that_failed_are_submitted_once_more(laptop: Laptop) -> None:
    tasks = {1: Task(JobState.DONE), 2: Task(JobState.ERROR, "exit 1", 1), 3: Task(JobState.TIMEOUT)}
    put_done_job(laptop.bundles, state=JobState.ERROR, array_range="1-3%2", tasks=tasks)
    laptop.bundles.write("a1", "job.sh", Path("job.sh").read_bytes())
    laptop.answer("resubmit", "a1", "--failed")
    assert laptop.json("stat", "@last", "--json")["array_tid"] == "2-3%2"
    put_job(laptop.bundles, "b1")
    assert "--failed is for array jobs that have ended; it is INIT" in laptop.error(
        1, "resubmit", "b1", "--failed"
    )
