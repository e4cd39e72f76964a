"""What a job can do to the agent that runs it by what it puts in the place of its own files and folders."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cloudq.agent.folders import open_of_job, read_note
from cloudq.agent.passes import Agent
from cloudq.agent.running.following import read_exit_code
from cloudq.agent.schedulers.base import NativeState
from cloudq.job import Job
from tests.agent.conftest import Site, run_passes

pytestmark = pytest.mark.skipif(os.name != "posix", reason="links and pipes of Unix")


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    """A folder of somebody else, with modes that nobody must change."""
    folder = tmp_path / "precious"
    folder.mkdir()
    (folder / "secret").write_text("secret")
    (folder / "secret").chmod(0o200)
    folder.chmod(0o500)
    return folder


def running(site: Site) -> tuple[Agent, Job]:
    agent, job = site.new_agent(), site.submit()
    run_passes(agent)
    site.cluster.move("1", NativeState.RUNNING)
    run_passes(agent)
    return agent, job


def test_a_link_in_the_place_of_the_work_folder_leads_the_agent_nowhere(site: Site, precious: Path) -> None:
    agent, job = running(site)
    work_dir = site.folders.work_dir(job.id)
    work_dir.rename(work_dir.with_name("moved"))
    work_dir.symlink_to(precious)
    site.cluster.move("1", NativeState.COMPLETED)
    run_passes(agent)
    ended = site.job(job.id)
    assert (ended.state, ended.reason) == ("DONE", "no output.zip: the job's working directory is gone")
    assert not work_dir.is_symlink()
    assert [path.stat().st_mode & 0o777 for path in (precious, precious / "secret")] == [0o500, 0o200]
    assert site.keys(f"{job.id}/output") == []


def test_pipes_and_links_in_the_place_of_logs_are_neither_waited_for_nor_read(
    site: Site, precious: Path
) -> None:
    agent, job = running(site)
    spool = site.folders.spool(job.id)
    (precious / "secret").chmod(0o600)
    os.mkfifo(spool / "stdout")
    (spool / "stderr").symlink_to(precious / "secret")
    run_passes(agent)
    site.cluster.move("1", NativeState.COMPLETED)
    run_passes(agent)
    assert site.job(job.id).state == "DONE"
    assert [key for key in site.keys(f"{job.id}/") if "std" in key] == []


@pytest.mark.parametrize("name", ["claim.json", "submitting", "observed.json", "outcome.json", "exit_status"])
def test_a_pipe_in_the_place_of_a_note_does_not_stop_an_agent_that_starts_anew(site: Site, name: str) -> None:
    agent, job = running(site)
    agent.crew.stop()
    note = site.folders.spool(job.id) / name
    note.unlink(missing_ok=True)
    os.mkfifo(note)
    agent = site.new_agent()
    site.cluster.move("1", NativeState.COMPLETED)
    run_passes(agent, 2)
    assert site.job(job.id).state == "DONE"


def test_what_a_job_leaves_for_an_exit_status_is_read_only_if_it_is_one(tmp_path: Path) -> None:
    file = tmp_path / "exit_status"
    with file.open("wb") as stream:
        stream.truncate(2**40)
    assert read_exit_code(file) is None
    file.write_text("9" * 10_000)
    assert read_exit_code(file) is None
    file.write_text("7\n")
    assert read_exit_code(file) == 7
    link = tmp_path / "link"
    link.symlink_to(file)
    assert read_exit_code(link) is None


def test_only_a_plain_file_of_a_job_is_opened(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for name in ("folder", "missing"):
        with pytest.raises(FileNotFoundError):
            open_of_job(tmp_path / name)
    (tmp_path / "plain").write_text("")
    with pytest.raises(NotADirectoryError):
        open_of_job(tmp_path / "plain" / "below")
    (tmp_path / "large").write_text("x" * (16 * 1024 * 1024 + 1))
    with pytest.raises(ValueError, match="expected at most 16777216"):
        read_note(tmp_path / "large")
