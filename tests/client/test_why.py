"""Why jobs are as they are, and what systems there are, in words."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from cloudq.bundle import Bundles
from cloudq.client.diagnosis.why import explain
from cloudq.client.jobs.events import event_members, events_of, render_events
from cloudq.client.systems.fitness import Demand, objections, warnings
from cloudq.client.systems.outlook import HEARTBEAT
from cloudq.client.systems.overview import load_systems, render_systems, system_members
from cloudq.job import Condition, Job, JobKind, JobState, Task
from cloudq.metascript import parse_meta_script
from cloudq.presence import Presence
from tests.client.conftest import NOW, Laptop, put_done_job, put_job

LATER = NOW + timedelta(minutes=5)
HEARD = LATER - timedelta(seconds=12)


def presence(
    system: str = "sys1", heard: datetime = LATER - timedelta(seconds=12), **values: object
) -> Presence:
    plain = Presence(system, "2.0", "slurm", "host", 1, heard, timedelta(minutes=1))
    return replace(plain, **values)  # type: ignore[arg-type]


def text(bundles: Bundles, job: Job) -> str:
    return "\n".join(explain(bundles, job, now=LATER))


def demand(head: str, system: str = "ANY") -> Demand:
    return Demand(system, parse_meta_script(f"{head}\necho\n", "job.sh").directives)


@pytest.mark.parametrize(
    ("asked", "found", "expected"),
    [
        (demand(""), presence(), []),
        (demand(""), presence(stopped=True), ["its agent was stopped 12 s ago"]),
        (demand(""), presence(heard=NOW - timedelta(hours=1)), ["its agent was last heard of 1 h 5 min ago"]),
        (
            demand(""),
            presence(takes_any=False),
            ["it takes only jobs that name it (its store does no conditional writes)"],
        ),
        (demand("", "SYS1"), presence(takes_any=False), []),
        (
            demand("#$ project: p\n#$ resource: r"),
            presence(projects={"p": "x"}),
            ["resource r has no meaning there"],
        ),
        (
            demand("#$ container_img: docker://alpine:3"),
            presence(container_runtime="none"),
            ["it has nothing that runs containers"],
        ),
    ],
    ids=["fits", "stopped", "silent", "no-any", "named", "no-resource", "no-containers"],
)
def test_what_stands_against_a_system(asked: Demand, found: Presence, expected: list[str]) -> None:
    assert objections(asked, found, now=LATER) == expected


def test_what_a_job_brings_along_gives_names_a_meaning() -> None:
    asked = replace(demand("#$ project: p"), projects={"p": {"sys1": "x"}})
    assert objections(asked, presence("SYS1"), now=LATER) == []
    assert objections(asked, presence("sys2"), now=LATER) == ["project p has no meaning there"]


def test_a_warning_only_if_nobody_can_take_the_job() -> None:
    alive, stopped = presence("a"), presence("b", stopped=True)
    assert warnings(Demand("ANY"), [alive, stopped], now=LATER) == []
    assert warnings(Demand("b"), [alive, stopped], now=LATER) == [
        "no agent can take it now: b: its agent was stopped 12 s ago"
    ]
    assert warnings(Demand("c"), [alive], now=LATER) == [
        "no agent of the name c has been seen in this bucket"
    ]
    assert warnings(Demand("ANY"), [], now=LATER) == ["no agent has been seen in this bucket"]


def test_an_unclaimed_job_is_explained_by_the_systems(bundles: Bundles) -> None:
    job = put_job(bundles, run_on="ANY")
    bundles.write("a1", "job.sh", b"#!/bin/sh\n#$ resource: gpu\necho\n")
    bundles.agents.publish(presence("abci", resources={"gpu": "x"}, counts={"READY": 3}))
    bundles.agents.publish(presence("hut"))
    assert text(bundles, job).splitlines() == [
        "Job a1 (job.sh): INIT for 5 min.",
        "It is for the first system that can take it.",
        "- abci: can take it, with 3 of its jobs waiting in the queue; its settings any_delay and "
        "any_max_pending may make it wait.",
        "- hut: resource gpu has no meaning there.",
    ]


def test_a_job_for_a_system_without_an_agent_says_so(bundles: Bundles) -> None:
    assert "- No agent for it was seen." in text(bundles, put_job(bundles))
    for system in ("abci", "hut"):
        bundles.agents.publish(Presence(system, "0", "local", "host", 1, NOW, timedelta(minutes=1)))
    assert "- No agent for it was seen. In this bucket: abci, hut." in text(bundles, put_job(bundles))
    bundles.store.write("agent/sys1", b"log")
    assert "- Its agent is of CloudQ 1.2, which tells nothing." in text(bundles, put_job(bundles))


def test_a_held_job_names_what_it_waits_for(bundles: Bundles) -> None:
    put_job(bundles, "b1", state=JobState.RUN, run_system="abci")
    put_done_job(bundles, "c1")
    job = put_job(bundles, hold_ids=("b1", "c1"), conditions={"c1": Condition.NOT_OK})
    bundles.agents.publish(presence())
    said = text(bundles, job)
    assert "It waits for job b1 (job.sh), which is RUN on abci." in said
    assert "Job c1, on which it depends (not_ok), has ended as DONE." in said
    assert "- sys1: can take it when the jobs it waits for have ended." in said


def test_a_queued_job_is_explained_by_its_scheduler_and_its_agent(bundles: Bundles) -> None:
    job = put_job(bundles, state=JobState.READY, run_system="sys1", native_id="42", reason="no free nodes")
    bundles.agents.publish(presence())
    assert text(bundles, job).splitlines()[1:] == [
        "It is in the queue of sys1 as 42: no free nodes.",
        "The agent of sys1 was heard of 12 s ago.",
    ]
    bundles.agents.publish(presence(heard=NOW - timedelta(hours=1)), over=bundles.agents.published("sys1")[1])
    assert "It is silent: what is said here may be old" in text(bundles, job)


def test_a_running_array_shows_its_tasks_and_its_last_lines(bundles: Bundles) -> None:
    tasks = {1: Task(JobState.DONE), 2: Task(JobState.RUN), 3: Task(JobState.RUN)}
    job = put_job(
        bundles,
        state=JobState.RUN,
        run_system="sys1",
        native_id="42",
        array_range="1-3",
        tasks=tasks,
        started=NOW,
    )
    bundles.write("a1", "live/stdout.2/000000000000000", b"".join(b"line %d\n" % i for i in range(9)))
    said = text(bundles, job)
    assert "Its tasks: 1 DONE (1); 2 RUN (2-3)." in said
    assert said.endswith("Last lines of stdout.2:\n  line 4\n  line 5\n  line 6\n  line 7\n  line 8")


@pytest.mark.parametrize(
    ("state", "error", "native_id", "fault"),
    [
        (JobState.ERROR, "exit 7", "42", "the script's: it ended with an error of its own"),
        (JobState.ERROR, "exit 127 (a command was not found)", "42", "the script's: a command was not found"),
        (JobState.ERROR, "out of memory", "42", "the request's: it needed more memory than it had"),
        (JobState.ERROR, "killed by signal 9 (SIGKILL)", "42", "unclear: it was killed"),
        (JobState.ERROR, "lost by the scheduler: it has not", "42", "the site's: submit it again"),
        (
            JobState.ERROR,
            "sbatch: error: invalid account",
            "",
            "the request's: it was refused",
        ),
        (
            JobState.TIMEOUT,
            "walltime 1:00:00 exceeded",
            "42",
            "the request's: it needed more time",
        ),
        (JobState.ERROR, "something else", "42", "unclear"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_whose_fault_an_end_was(
    bundles: Bundles, state: JobState, error: str, native_id: str, fault: str
) -> None:
    said = text(bundles, put_done_job(bundles, state=state, error=error, native_id=native_id))
    assert f"It ended so because: {error}." in said
    assert f"The fault is {fault}" in said


def test_a_good_end_is_nobodys_fault(bundles: Bundles) -> None:
    assert "fault" not in text(bundles, put_done_job(bundles))
    assert "It was cancelled on request." in text(bundles, put_done_job(bundles, state=JobState.DELETED))


def test_events_are_told_in_order_with_the_time_between() -> None:
    job = Job(
        *("a1", "job.sh", JobKind.META, JobState.ERROR),
        submitted=NOW,
        received=NOW + timedelta(seconds=2),
        run_system="abci",
        started=NOW + timedelta(minutes=1),
        finished=NOW + timedelta(hours=1),
        error="exit 7\n",
    )
    assert [line.split("  ") for line in render_events(events_of(job), width=200, local=False).splitlines()][
        1:
    ] == [
        ["2026/11/21 22:06:26 UTC", "", "", "", "", " submitted, 0 bytes of script and inputs"],
        ["2026/11/21 22:06:28 UTC", "+2 s", "", " claimed by abci"],
        ["2026/11/21 22:07:26 UTC", "+58 s", "", "started"],
        ["2026/11/21 23:06:26 UTC", "+59 min", "ended as ERROR: exit 7"],
    ]
    assert event_members(events_of(job))[1] == {
        "time": "2026-11-21T22:06:28+00:00",
        "event": "claimed by abci",
    }


def test_the_systems_are_shown_with_what_they_have_to_do(bundles: Bundles) -> None:
    bundles.agents.publish(presence("hut", stopped=True, takes_any=False))
    bundles.agents.publish(presence("ABCI", counts={"READY": 2, "RUN": 5}, resources={"gpu": "-l rt_F=1"}))
    bundles.markers.notify(put_job(bundles, run_on="abci"))
    bundles.markers.notify(put_job(bundles, "b1", run_on="ANY"))
    views, unclaimed = load_systems(bundles)
    lines = render_systems(views, unclaimed, now=LATER, width=200).splitlines()
    assert [" ".join(line.split()) for line in lines[:3]] == [
        "system agent heard scheduler containers wait run end any projects resources",
        "ABCI alive 12 s ago slurm none 3 5 0 yes - gpu",
        "hut stopped 12 s ago slurm none 0 0 0 no - -",
    ]
    assert lines[-1] == "1 jobs for any system are not taken yet."
    assert system_members(views[0], now=LATER)["announced"] == 1
    assert max(map(len, render_systems(views, 0, now=LATER, width=66).splitlines())) <= 66
    narrow = render_systems(views, 0, now=LATER, width=80).splitlines()[0].split()
    assert narrow[3:] == ["scheduler", "containers", "wait", "run", "end", "any", "resources"]


def test_the_commands_answer(laptop: Laptop) -> None:
    put_done_job(laptop.bundles, error="exit 7", state=JobState.ERROR, native_id="1")
    assert laptop.answer("why", "a1").splitlines()[1] == "It ended so because: exit 7."
    assert "submitted, 0 bytes" in laptop.answer("stat", "--events", "a1")
    assert laptop.json("stat", "--events", "a1", "--json")[0]["event"].startswith("submitted")
    assert laptop.answer("systems") == "No agent has been seen in this bucket.\n"
    laptop.bundles.agents.publish(presence())
    assert laptop.json("systems", "--json")[0]["system"] == "sys1"


def test_a_submission_that_nobody_can_take_is_warned_of(laptop: Laptop) -> None:
    laptop.bundles.agents.publish(presence(stopped=True))
    (file,) = (laptop.home.parent / "bucket").rglob("sys1.json*")
    earlier = file.stat().st_mtime - HEARTBEAT.total_seconds()
    os.utime(file, (earlier, earlier))
    assert "no agent can take it now: sys1: its agent was stopped" in laptop.run("submit", "job.sh").stderr
