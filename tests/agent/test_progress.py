"""Progress that jobs tell in their logs."""

from __future__ import annotations

from typing import Optional

import pytest

from cloudq.agent.decisions.progress import overall_progress, parse_progress
from cloudq.agent.schedulers.base import NativeState
from cloudq.job import ArrayRange, Job, JobKind, JobState, Task
from tests.agent.conftest import Site, run_passes


@pytest.mark.parametrize(
    ("data", "progress"),
    [
        (b"# cloudq progress=50\n", 50),
        (b"text\n#cloudq  progress=7%\nmore\n", 7),
        (b"# cloudmesh status=running progress=3 pid=17\n# cloudmesh status=done progress=100\n", 100),
        (b"# cloudq progress=250\n", 100),
        (b"# cloudq progress=5", None),
        (b"# cloudq progress=x\n", None),
        (b"echo '# cloudq progress=5'\n", None),
        (b"# cloudqprogress=5\n", None),
        (b"# cloudq noprogress=5\n", None),
        (b"# cloudq progress=1234\n", None),
        (b"\xff\n# cloudq progress=9\r\n", 9),
    ],
    ids=repr,
)
def test_only_whole_lines_tell_progress(data: bytes, progress: Optional[int]) -> None:
    assert parse_progress(data) == progress


def test_an_array_is_as_far_as_its_tasks_in_the_mean() -> None:
    tasks = {1: Task(JobState.DONE), 2: Task(JobState.RUN)}
    job = Job("a1", "job.sh", JobKind.META, array_range=ArrayRange.parse("1-4"), tasks=tasks)
    assert overall_progress(job, {}) == 0
    assert overall_progress(job, {"stdout.1": 100, "stdout.2": 50, "stderr.3": 10}) == 40


def test_progress_is_recorded_from_new_bytes_also_in_the_middle_of_a_line(site: Site) -> None:
    agent, job = site.new_agent(), site.submit()
    run_passes(agent)
    site.cluster.move("1", NativeState.RUNNING)
    log = site.folders.log(job.id, "stdout")
    found = []
    for text in ("# cloudq progress=25\n", "work\n# cloudq pro", "gress=50\n", "no news\n"):
        with log.open("a") as file:
            file.write(text)
        run_passes(agent)
        found.append((site.job(job.id).progress, site.job(job.id).revision))
    assert [progress for progress, _ in found] == [25, 25, 50, 50]
    # A manifest is written only when there is something new.
    assert found[0][1] == found[1][1]
    assert found[2][1] == found[3][1] == found[0][1] + 1


def test_progress_on_stderr_shows_in_the_manifest(site: Site) -> None:
    agent = site.new_agent()
    job = site.submit()
    run_passes(agent)
    site.cluster.move("1", NativeState.RUNNING)
    site.folders.log(job.id, "stderr").write_text("# cloudmesh status=running progress=60 pid=1\n")
    run_passes(agent)
    assert b'"progress": 60' in site.bundles.read(job.id, "manifest.json")
