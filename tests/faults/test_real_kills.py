"""`kill -9` of the real agent before every effect that it has, on real Slurm and a real S3 server."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Callable

import pytest

from cloudq.agent.folders import Folders
from cloudq.bundle import Bundles
from cloudq.job import ArrayRange, Job, JobKind, JobState, new_job_id
from cloudq.store import StoreAddress
from cloudq.store.s3 import S3Store
from tests.faults.doomed_agent import DIED, DOOM, NOTED
from tests.store.conftest import _new_bucket, _real_endpoint, _remove_bucket

ROOT = Path(__file__).resolve().parents[2]
SYSTEM = "doomed"
PATIENCE_SECONDS = 200.0
SCRIPT = """#!/bin/sh
#$ run_on: doomed
echo "{label}$SLURM_ARRAY_TASK_ID" >> {outside}/runs
echo one
{work}
while ! test -e {outside}/go.{label}; do sleep 0.2; done
echo two
exit {status}
"""

CONFIG = """[default]
name = doomed
cloudq_endpoint_url = {store.endpoint_url}
cloudq_bucket = {store.bucket}
[agent]
type = slurm
cloudq_directory = {folder}
daemon_interval = 1
heartbeat_interval = 3600
"""
BY_CHANCE = {"os.remove observed.json"}
"""Effects only of a poll that comes just when Slurm has no answer yet."""

WORK = {"done": "touch result; head -c 24000000 /dev/urandom > large"}
"""An output that is uploaded in parts."""

KINDS = ("done", "failed", "array", "cancelled")

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(shutil.which("sbatch") is None, reason="there is no Slurm on this host"),
]


@dataclass
class World:
    """Bucket, scheduler, and a supervisor that starts the agent whenever it was killed.

    Args:
        folder: An empty folder that the nodes see.
    """

    folder: Path
    store: S3Store
    jobs: dict[str, Job] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.bundles = Bundles(self.store)
        self.agent_folder, self.notes = self.folder / "agent", self.folder / "notes"
        self.notes.mkdir()
        self.config = self.folder / "config.ini"
        self.address = StoreAddress(_real_endpoint("seaweedfs"), self.store.bucket)
        self.config.write_text(CONFIG.format(store=self.address, folder=self.agent_folder))

    @property
    def folders(self) -> Folders:
        return Folders(self.agent_folder, SYSTEM)

    def submit(self, label: str, kind: str) -> None:
        """Put a job into the bucket, as the client does."""
        array_range = ArrayRange.parse("1-2") if kind == "array" else None
        packed = _packed("data", "42")
        text = SCRIPT.format(
            outside=self.folder,
            label=label,
            status=7 if kind == "failed" else 0,
            work=WORK.get(kind, "touch result"),
        )
        job = Job(new_job_id(), "job.sh", JobKind.META, run_on=SYSTEM, array_range=array_range,
                  submitted=datetime.now(timezone.utc), input_size=len(text) + len(packed))  # fmt: skip
        self.bundles.write(job.id, job.name, text.encode())
        self.bundles.write(job.id, "input.zip", packed)
        self.jobs[label] = self.bundles.create(job).job
        self.bundles.markers.notify(job)

    def job(self, label: str) -> Job:
        """Return a job as the client sees it."""
        return self.bundles.load(self.jobs[label].id).job

    def states(self) -> dict[str, str]:
        """Return the states of all jobs."""
        return {label: self.job(label).state.value for label in self.jobs}

    def live(self, run: str) -> None:
        """Bring one job of each kind to its end."""
        labels = {kind: f"{run}.{kind}." for kind in KINDS}
        for kind, label in labels.items():
            self.submit(label, kind)
        self.wait(lambda: all(self._prints(label) for label in labels.values()))
        self.bundles.request_cancel(self.job(labels["cancelled"]))
        for kind in set(KINDS) - {"cancelled"}:
            (self.folder / f"go.{labels[kind]}").touch()
        self.wait(lambda: all(self._settled(label) for label in labels.values()))

    def _prints(self, label: str) -> bool:
        """Tell whether the first line of a running job is in the bucket."""
        return any(self.bundles.entries(self.jobs[label].id, "live/"))

    def _settled(self, label: str) -> bool:
        return self.job(label).state.final and self.jobs[label].id not in self.bundles.markers.active(SYSTEM)

    def wait(self, until: Callable[[], bool]) -> None:
        """Wait for something; say what there is if it does not come."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not until():
            assert time.monotonic() < deadline, f"{self.states()}\n{self.log()}"
            time.sleep(0.2)

    def log(self) -> str:
        """Return the end of the agent's log."""
        file = self.folders.agent_log
        return file.read_text()[-6000:] if file.exists() else "no log"

    def effects(self, name: str) -> list[str]:
        """Return what is in a file of the notes."""
        return (self.notes / name).read_text().splitlines()

    def wrong(self, label: str, kind: str) -> str:
        """Say what is wrong with a job in the end; nothing if all is right."""
        job, entries = self.job(label), self.bundles.entries(self.jobs[label].id)
        tasks = ("1", "2") if kind == "array" else ("",)
        logs = {f"{stream}{task and '.'}{task}" for task in tasks for stream in ("stdout", "stderr")}
        wanted = {"input.zip", "job.sh", "job_local.sh", "manifest.json", "output.zip", *logs}
        wanted |= {"cancel"} if kind == "cancelled" else set()
        state = {"failed": JobState.ERROR, "cancelled": JobState.DELETED}.get(kind, JobState.DONE)
        runs = Counter((self.folder / "runs").read_text().splitlines())
        text = "one\n" if kind == "cancelled" else "one\ntwo\n"
        checks = {
            f"runs {runs}": all(runs[label + task] == 1 for task in tasks),
            f"ended as {job.state} {job.error}": job.state is state,
            f"error {job.error}": job.error == ("exit 7" if kind == "failed" else ""),
            f"objects {sorted(entries)}": set(entries) == wanted,
        }
        found = [words for words, right in checks.items() if not right]
        # Slurm says in the other one that it cancels the job.
        for log in {log for log in logs & set(entries) if kind != "cancelled" or log == "stdout"}:
            if self.bundles.read(job.id, log).decode() != text * log.startswith("stdout"):
                found.append(f"{log} is not whole")
        if "output.zip" in entries:
            with zipfile.ZipFile(io.BytesIO(self.bundles.read(job.id, "output.zip"))) as packed:
                if not {"data", "result"} <= set(packed.namelist()):
                    found.append(f"outputs {packed.namelist()}")
        return "; ".join(found)


def _packed(name: str, text: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(name, text)
    return packed.getvalue()


@pytest.fixture
def world() -> Iterator[World]:
    """A world with a bucket of its own; what is left of its agents and jobs is ended afterwards."""
    endpoint = _real_endpoint("seaweedfs")
    folder, store = Path(tempfile.mkdtemp(prefix="cloudq-doomed-")), _new_bucket(endpoint)
    try:
        yield World(folder, store)
    finally:
        for path in folder.glob("runs"):
            print(path.read_text())
        _remove_bucket(endpoint, store)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def supervisor(world: World) -> Iterator[subprocess.Popen[bytes]]:
    """A process that starts the agent whenever it was killed."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "AWS_EC2_METADATA_DISABLED": "true"}
    environment["AWS_ACCESS_KEY_ID"] = os.environ.get("CLOUDQ_TEST_ACCESS_KEY", "")
    environment["AWS_SECRET_ACCESS_KEY"] = os.environ.get("CLOUDQ_TEST_SECRET_KEY", "")
    argv = [sys.executable, "-m", "tests.faults.doomed_agent", str(world.config), str(world.notes)]
    with (world.folder / "said").open("wb") as said:
        process = subprocess.Popen(argv, cwd=ROOT, env=environment, stdout=said, stderr=said)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        finally:
            print((world.folder / "said").read_text()[-3000:])


def test_the_agent_killed_before_each_effect_runs_each_script_once_and_leaves_nothing(
    world: World, supervisor: subprocess.Popen[bytes]
) -> None:
    world.live("calm")
    recorded = set(world.effects(NOTED)) - BY_CHANCE
    (world.notes / DOOM).touch()
    os.kill(supervisor.pid, signal.SIGUSR1)
    world.bundles.agents.delete_presence(SYSTEM)
    world.live("doomed")
    (world.notes / DOOM).unlink()
    os.kill(supervisor.pid, signal.SIGUSR1)
    killed = set(world.effects(DIED))
    print(len(killed), "kills:", *sorted(killed), sep="\n")
    wrong = {
        f"{run} {kind}": world.wrong(f"{run}.{kind}.", kind) for run in ("calm", "doomed") for kind in KINDS
    }
    assert {where: words for where, words in wrong.items() if words} == {}
    assert recorded - killed == set()
    assert list(world.folders.job_ids()) == []
    uploads = world.store._client.list_multipart_uploads(Bucket=world.store.bucket)
    assert uploads.get("Uploads", []) == []
    # The next start removes what a killed one has left of its trial of the bucket.
    published = {"agent/.systems/doomed.json", "agent/doomed"}
    world.wait(lambda: {entry.key for entry in world.store.list("agent/")} == published)
