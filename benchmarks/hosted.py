"""An agent as a process of its own, with a bucket of its own, on the Slurm of this host."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Optional

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from cloudq.bundle import Bundles  # noqa: E402
from cloudq.job import ArrayRange, Job, JobKind, new_job_id  # noqa: E402
from cloudq.store import StoreAddress, open_store  # noqa: E402
from cloudq.store.s3_client import make_client  # noqa: E402

SYSTEM = "bench"
TRUE = b"#!/bin/sh\ntrue\n"
HELD = "--hold --nodes=1"
"""Options of jobs that stay in the queue until they are cancelled."""

_TICKS = os.sysconf("SC_CLK_TCK")
_CLOUDQD = [sys.executable, "-c", "from cloudq.agent.cli import main; main(prog_name='cloudqd')"]
_COUNTED = ("squeue", "sacct", "sbatch", "scontrol")


@dataclass(frozen=True)
class HostedAgent:
    """A running agent: its process, its bucket, the scheduler commands that it has run, and its log."""

    process: subprocess.Popen[bytes]
    bundles: Bundles
    calls: Path
    log: Path

    def cpu_seconds(self) -> tuple[float, float]:
        """Return what the process has used of a core, and what its scheduler commands have."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        own, children = sum(map(int, fields[11:13])), sum(map(int, fields[13:15]))
        return own / _TICKS, children / _TICKS

    def resident_megabytes(self) -> float:
        """Return the memory that it has."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise RuntimeError("the agent has ended")

    def count(self, command: str) -> int:
        """Return how often a command of the scheduler was run."""
        return self.calls.read_text().split().count(command) if self.calls.exists() else 0

    @contextmanager
    def halted(self) -> Iterator[None]:
        """Stop the agent while the block is at work, so that one pass finds all that it has done."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def submit(
        self, number: int, *, script: bytes = TRUE, options: str = HELD, tasks: Optional[ArrayRange] = None
    ) -> list[str]:
        """Put jobs into the bucket, as the client does, and return their ids."""
        jobs = [
            Job(
                id=new_job_id(),
                name="job.sh",
                kind=JobKind.LOCAL,
                submit_to=SYSTEM,
                submit_options=options,
                array_range=tasks,
                submitted=datetime.now(timezone.utc),
            )
            for _ in range(number)
        ]
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda job: self._store(job, script), jobs))
            list(pool.map(self.bundles.markers.notify, jobs))
        return [job.id for job in jobs]

    def _store(self, job: Job, script: bytes) -> None:
        self.bundles.write(job.id, job.name, script)
        self.bundles.create(job)


@contextmanager
def hosted_agent(
    endpoint: str,
    *,
    through: str = "",
    interval: int = 5,
    counted: Sequence[str] = _COUNTED,
    top: Optional[Path] = None,
) -> Iterator[HostedAgent]:
    """Start an agent; at the end it, its jobs and its bucket are gone.

    Args:
        endpoint: The S3 server.
        through: What the agent itself asks instead, such as a proxy before that server.
        top: Where its folder is made, and stays: files that are removed slow those that are made after them.
        interval: Seconds between its passes; all other settings are the default ones.
        counted: Commands of the scheduler that are counted; by a script for each, which takes time.
    """
    folder = Path(tempfile.mkdtemp(prefix="cloudq-bench-", dir=top))
    address = StoreAddress(endpoint, f"bench-{uuid.uuid4().hex[:12]}")
    client = make_client(address)
    client.create_bucket(Bucket=address.bucket)
    store = open_store(address)
    process = _start(folder, replace(address, endpoint_url=through or endpoint), interval, counted)
    try:
        yield HostedAgent(process, Bundles(store), folder / "calls", folder / "log")
    finally:
        process.terminate()
        process.wait(60)
        cancel_all()
        store.delete(entry.key for entry in store.list(""))
        client.delete_bucket(Bucket=address.bucket)
        if top is None:
            shutil.rmtree(folder)


def cancel_all() -> None:
    """Cancel all jobs of this user."""
    subprocess.run(["scancel", "--me"], check=True)


def _start(
    folder: Path, address: StoreAddress, interval: int, counted: Sequence[str]
) -> subprocess.Popen[bytes]:
    commands = folder / "commands"
    commands.mkdir()
    for name in counted:
        real = shutil.which(name)
        (commands / name).write_text(f'#!/bin/sh\necho {name} >> {folder}/calls\nexec {real} "$@"\n')
        (commands / name).chmod(0o755)
    config = folder / "config.ini"
    config.write_text(
        f"[default]\nname = {SYSTEM}\ncloudq_endpoint_url = {address.endpoint_url}\n"
        f"cloudq_bucket = {address.bucket}\n[agent]\ntype = slurm\ncloudq_directory = {folder}/agent\n"
        f"daemon_interval = {interval}\n"
    )
    environment = {
        **os.environ,
        "PATH": f"{commands}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "CLOUDQ_CONFIG": str(config),
    }
    with (folder / "log").open("wb") as log:
        argv = [*_CLOUDQD, "--foreground"]
        return subprocess.Popen(argv, env=environment, stdout=log, stderr=log)
