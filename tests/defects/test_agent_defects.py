"""What the agent of 1.2 did wrong, each tried on ours; the numbers are those of docs/known-defects.md."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from cloudq.agent.daemon.heartbeat import Heartbeat
from cloudq.agent.passes import Agent
from cloudq.agent.schedulers.base import NativeState
from cloudq.errors import StoreUnreachableError
from cloudq.job import Job, JobState
from cloudq.process import DEFAULT_TIMEOUT, Completed
from cloudq.store import Entry
from cloudq.store.memory import MemoryStore
from tests.agent.cluster import FakeCluster
from tests.agent.conftest import Site, run_passes

CLOUDQ = Path(__file__).resolve().parents[2] / "cloudq"
PATIENCE = 120


def test_jobs_taken_at_the_same_time_keep_their_scripts_and_folders(tmp_path: Path) -> None:
    """Defect 1: of 200 jobs with one script name 19 had their own output."""
    site = Site(tmp_path, MemoryStore(), settings={"transfers": 8})
    ended = site.submit(submit_to="here")
    site.bundles.save(site.bundles.load(ended.id), replace(ended, state=JobState.DONE))
    jobs = [site.submit(f"#!/bin/sh\necho {number}\n".encode(), submit_to="here") for number in range(60)]
    agent = site.new_agent()
    run_passes(agent, 2)
    agent.crew.stop()
    assert len(site.cluster.scripts) == len(jobs)
    by_folder = {script.parent.name: script.read_text() for script in site.cluster.scripts.values()}
    assert by_folder == {job.id: f"#!/bin/sh\necho {number}\n" for number, job in enumerate(jobs)}


def test_the_process_never_changes_its_directory() -> None:
    """Defects 1 and 19: threads that share a current directory mix their jobs up."""
    for file in CLOUDQ.rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"\b(os\.chdir|contextlib\.chdir|make_archive)\b", text), file


def test_a_folder_with_a_blank_and_a_dot_in_its_path_loses_no_log(tmp_path: Path) -> None:
    """Defect 14: log patterns were matched against whole paths."""
    site = Site(tmp_path / "my.org a.err", MemoryStore())
    agent, job = site.new_agent(), site.submit()
    run_passes(agent)
    site.folders.log(job.id, "stdout").write_text("out\n")
    site.folders.log(job.id, "stderr").write_text("err\n")
    site.cluster.move("1", NativeState.COMPLETED)
    run_passes(agent)
    agent.crew.stop()
    assert [site.bundles.read(job.id, name) for name in ("stdout", "stderr")] == [b"out\n", b"err\n"]


class NoAgentLog(MemoryStore):
    """A store that does not take the agent's own log and presence."""

    def upload(self, path: Path, key: str) -> Entry:
        if key.startswith("agent/"):
            raise StoreUnreachableError("no answer")
        return super().upload(path, key)


def test_a_fault_of_the_agents_log_holds_no_job_up(tmp_path: Path) -> None:
    """Defect 33: the poll ended at the first fault, and most new jobs were not looked at."""
    site = Site(tmp_path, NoAgentLog())
    jobs = [site.submit() for _ in range(40)]
    agent = site.new_agent()
    site.folders.agent_log.write_text("a line\n")
    Heartbeat(agent).beat()
    run_passes(agent)
    agent.crew.stop()
    assert {site.job(job.id).state for job in jobs} == {JobState.READY}


class HangingCluster(FakeCluster):
    """A cluster whose answer to a poll takes as long as a test wants."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.go_on = threading.Event(), threading.Event()

    def run(self, argv: list[str], *, cwd: object = None, timeout: timedelta = DEFAULT_TIMEOUT) -> Completed:  # type: ignore[override]
        if argv[1] == "poll":
            self.asked.set()
            assert self.go_on.wait(PATIENCE)
        return super().run(argv, timeout=timeout)


def pass_until_ready(site: Site, agent: Agent, job: Job) -> None:
    """Make passes, while others work, until a job has been submitted."""
    end = time.monotonic() + PATIENCE / 2
    while site.job(job.id).state is not JobState.READY:
        assert time.monotonic() < end, site.job(job.id)
        agent.run_pass()
        time.sleep(0.02)


def test_a_scheduler_that_hangs_holds_up_only_the_jobs_it_is_asked_about(tmp_path: Path) -> None:
    """Defect 34: nothing else happened until the command ended."""
    cluster = HangingCluster()
    site = Site(tmp_path, MemoryStore(), cluster=cluster)
    cluster.go_on.set()
    agent, first = site.new_agent(), site.submit()
    run_passes(agent)
    cluster.go_on.clear()
    agent.run_pass()
    assert cluster.asked.wait(PATIENCE)
    second = site.submit()
    pass_until_ready(site, agent, second)
    cluster.go_on.set()
    assert agent.crew.wait(timedelta(seconds=PATIENCE))
    agent.crew.stop()
    assert site.job(first.id).state is JobState.READY


class SlowUploads(MemoryStore):
    """A store to which an archive travels as long as a test wants."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.go_on = threading.Event(), threading.Event()

    def upload_blocks(self, blocks: Iterable[bytes], key: str, *, expected: int = 0) -> Entry:
        if key.endswith("output.zip"):
            self.begun.set()
            assert self.go_on.wait(PATIENCE)
        return super().upload_blocks(blocks, key, expected=expected)


def test_a_big_output_delays_no_other_job(tmp_path: Path) -> None:
    """Defect 35: a job put in meanwhile started when the archive was stored."""
    store = SlowUploads()
    site = Site(tmp_path, store)
    agent, big = site.new_agent(), site.submit()
    run_passes(agent)
    site.cluster.move("1", NativeState.COMPLETED)
    agent.run_pass()
    assert store.begun.wait(PATIENCE)
    other = site.submit()
    pass_until_ready(site, agent, other)
    assert not site.job(big.id).state.final
    store.go_on.set()
    assert agent.crew.wait(timedelta(seconds=PATIENCE))
    agent.crew.stop()


def test_a_job_is_known_by_its_whole_native_id(site: Site) -> None:
    """Defect 42: job 900 was cancelled because the queue had a 1900."""
    agent, job = site.new_agent(), site.submit()
    run_passes(agent)
    site.cluster.jobs = {"11": site.cluster.jobs.pop("1"), "1": {}}
    site.bundles.request_cancel(site.job(job.id))
    run_passes(agent)
    assert {call[1] for call in site.cluster.calls if call[0] == "cancel"} == {"1"}
    assert all(status.state is NativeState.QUEUED for status in site.cluster.jobs["11"].values())


@pytest.mark.parametrize(
    ("state", "native_id"), [("INIT", ""), ("READY", ""), ("RUN", "4711"), ("COMPLETING", "1")]
)
@pytest.mark.parametrize("cancelled", [False, True], ids=["left", "cancelled"])
def test_a_manifest_names_no_folder_that_is_read_or_removed(
    site: Site, tmp_path: Path, state: str, native_id: str, cancelled: bool
) -> None:
    """Defects 80 and 81: the folder `workdir` was deleted, or uploaded and then deleted."""
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis").write_text("secret")
    agent = site.new_agent()
    members = {
        "uuid": "evil",
        "name": "job.sh",
        "jobscript_type": "local",
        "submit_to": "here",
        "submit_opt": "",
        "state": state,
        "workdir": str(precious),
        "jobid": native_id,
        "run_system": "here" if state != "INIT" else "",
    }
    site.store.write("evil/job.sh", b"#!/bin/sh\n")
    site.store.write("evil/manifest.json", json.dumps(members).encode())
    if cancelled:
        site.store.write("evil/cancel", b"")
    for _ in range(12):
        run_passes(agent)
        site.clock.move(minutes=2)
    run_passes(site.new_agent(), 3)
    assert (precious / "thesis").read_text() == "secret"
    for entry in site.store.list("evil/"):
        assert b"secret" not in site.store.read(entry.key).data


@pytest.mark.parametrize("member", ["name", "local_name", "uuid"])
@pytest.mark.parametrize("value", ["{outside}/owned", "../../owned", "owned/../../../owned"])
def test_a_manifest_names_no_file_that_is_written(
    site: Site, tmp_path: Path, member: str, value: str
) -> None:
    """Defect 82: an absolute name wrote there, on the agent's host."""
    outside = tmp_path / "outside"
    outside.mkdir()
    value = value.format(outside=outside)
    members = {
        "uuid": "evil",
        "name": "job.sh",
        "jobscript_type": "meta",
        "submit_to": "",
        "submit_opt": "",
        "state": "INIT",
        member: value,
    }
    site.store.write("evil/job.sh", b"#!/bin/sh\n#$ run_on: here\n:\n")
    site.store.write(f"evil/{value}", b"#!/bin/sh\n#$ run_on: here\n:\n")
    site.store.write("evil/manifest.json", json.dumps(members).encode())
    agent = site.new_agent()
    for _ in range(3):
        run_passes(agent)
        site.clock.move(minutes=2)
    assert list(tmp_path.rglob("owned")) == []


def test_an_idle_agent_writes_nothing_to_its_log(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Defect 94: a line for each job in the bucket, at each poll."""
    agent = site.new_agent()
    for _ in range(5):
        job = site.submit()
        site.bundles.save(site.bundles.load(job.id), replace(job, state=JobState.DONE))
    run_passes(agent, 2)
    caplog.clear()
    for _ in range(5):
        site.clock.move(seconds=61)
        run_passes(agent)
    assert caplog.text == ""
