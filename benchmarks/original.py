"""CloudQ 1.2.0 and this one doing the same, in turn, on one S3 server through a proxy that counts and delays.

    python benchmarks/original.py ENDPOINT PROGRAMS [--jobs 0 100] [--latency 20] [--rounds 9] [--longest 20]

PROGRAMS is the folder with `cloudqcli` and `cloudqd` of CloudQ 1.2.0, in an environment of its own:

    python3 -m venv original && original/bin/pip install cloudq==1.2.0 boto3 setuptools pyyaml

Keys come from the environment. What takes longer than `--longest` seconds is not repeated.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import record  # noqa: E402
from benchmarks.counting_proxy import CountingProxy, counting_proxy  # noqa: E402
from benchmarks.rivals import boto3_client  # noqa: E402
from benchmarks.transfers import remove_bucket  # noqa: E402
from cloudq.bundle import MANIFEST  # noqa: E402
from cloudq.job import Job, JobKind, JobState  # noqa: E402
from cloudq.manifest import render_manifest  # noqa: E402
from cloudq.store import Store, StoreAddress, open_store  # noqa: E402

NAME = "here"
CLI = [sys.executable, "-c", "from cloudq.client.program import main; main()"]
AGENT = [sys.executable, "-c", "from cloudq.agent.cli import main; main(prog_name='cloudqd')"]
_TIMEOUT = 900
_WRITERS = 16


@dataclass
class Side:
    """One of the two, with a home of its own.

    Attributes:
        cli, agent: How its programs begin.
        words: Command -> its arguments.
    """

    home: Path
    cli: Sequence[str]
    agent: Sequence[str]
    words: Mapping[str, Sequence[str]]

    def command(self, what: str) -> list[str]:
        """Return a whole command line."""
        return [*self.agent] if what == "agent pass" else [*self.cli, *self.words[what]]

    def run(self, what: str) -> float:
        """Run a command; return how many seconds it took."""
        environment = {**os.environ, "HOME": str(self.home), "PYTHONPATH": str(ROOT)}
        if self.cli != CLI:
            del environment["PYTHONPATH"]
        begun = time.perf_counter()
        done = subprocess.run(
            self.command(what), env=environment, capture_output=True, text=True, timeout=_TIMEOUT, check=False
        )
        # 1.2.0 ends with status 0 whatever happens.
        if done.returncode or "\nError: " in done.stdout:
            raise SystemExit(
                f"{self.command(what)}: status {done.returncode}: {done.stdout[-800:]}{done.stderr[-800:]}"
            )
        return time.perf_counter() - begun


def fill(store: Store, number: int) -> str:
    """Put so many finished jobs into a bucket, five objects each; return the id of one."""
    now = datetime.now(timezone.utc)
    ids = [f"{uuid.uuid4().hex[:8]}" for _ in range(max(1, number))]

    def put(job_id: str) -> None:
        job = Job(
            job_id, "job.sh", JobKind.LOCAL, JobState.DONE, submit_to=NAME, run_system=NAME, submitted=now
        )
        for name in ("job.sh", "stdout", "stderr", "output.zip"):
            store.write(f"{job_id}/{name}", b"hello\n")
        store.write(f"{job_id}/{MANIFEST}", render_manifest(job))

    with ThreadPoolExecutor(_WRITERS) as pool:
        list(pool.map(put, ids))
    return ids[0]


def configure(home: Path, endpoint: str, bucket: str) -> None:
    """Write the configuration, which both understand."""
    (home / "job.sh").write_text("#!/bin/sh\necho hello\n")
    for side in ("client", "agent"):
        folder = home / ".cloudq" / side
        folder.mkdir(parents=True, exist_ok=True)
        scheduler = "slurm" if "original" in home.name else "local"
        (folder / "config.ini").write_text(
            f"[default]\nname = {NAME}\naws_profile = default\ncloudq_endpoint_url = {endpoint}\n"
            f"cloudq_bucket = {bucket}\nlog_level = INFO\n"
            f"[agent]\ntype = {scheduler}\nnum_procs = 8\ndaemon_interval = 5\n"
            f"cloudq_directory = {home}/.cloudq\n"
            "[client]\nresource_profile = resource.ini\nproject_profile = project.ini\n"
        )
        for name in ("project.ini", "resource.ini"):
            (folder / name).write_text("")
    aws = home / ".aws"
    aws.mkdir(exist_ok=True)
    (aws / "credentials").write_text(
        f"[default]\naws_access_key_id = {os.environ['AWS_ACCESS_KEY_ID']}\n"
        f"aws_secret_access_key = {os.environ['AWS_SECRET_ACCESS_KEY']}\n"
    )
    (aws / "config").write_text("[default]\nregion = us-east-1\n")


def _copy_templates(home: Path, programs: Path) -> None:
    """Let 1.2.0 copy its templates into a new home; each program does so when it starts."""
    environment = {"HOME": str(home), "PATH": os.environ["PATH"]}
    for argv in ([str(programs / "cloudqcli"), "list"], [str(programs / "cloudqd")]):
        subprocess.run(argv, env=environment, capture_output=True, timeout=_TIMEOUT, check=False)


def sides(place: Path, endpoint: str, bucket: str, programs: Path, job_id: str) -> dict[str, Side]:
    """Make homes for both."""
    found = {}
    for name in ("cloudq", "original"):
        home = place / name
        home.mkdir()
        if name == "original":
            _copy_templates(home, programs)
        configure(home, endpoint, bucket)
        script = str(home / "job.sh")
        if name == "cloudq":
            words = {
                "stat": ["stat", job_id],
                "log": ["log", job_id],
                "submit": ["submit", "--submit-to", "nobody", script],
            }
            found[name] = Side(home, CLI, AGENT, {**words, "list": ["list"], "history": ["history"]})
        else:
            words = {
                "stat": ["stat", "--id", job_id],
                "log": ["log", "--id", job_id],
                "submit": ["submit", "--submit_to", "nobody", "--script", script],
            }
            cli, agent = [str(programs / "cloudqcli")], [str(programs / "cloudqd")]
            found[name] = Side(home, cli, agent, {**words, "list": ["list"], "history": ["history"]})
    return found


def measure(run: Callable[[], float], proxy: CountingProxy, rounds: int, longest: float) -> dict[str, object]:
    """Run a command until it was often enough; return requests of the last run and the median."""
    times: list[float] = []
    while len(times) < rounds:
        proxy.reset()
        times.append(run())
        if times[-1] > longest:
            break
    return {"seconds": record.median(times), "runs": len(times), **proxy.counts()}


def compare(
    place: Path, server: str, programs: Path, number: int, given: argparse.Namespace
) -> dict[str, dict[str, object]]:
    """Compare all commands with so many jobs in the bucket."""
    bucket = f"bench-{uuid.uuid4().hex[:12]}"
    client = boto3_client(server)
    client.create_bucket(Bucket=bucket)
    rows: dict[str, dict[str, object]] = {}
    try:
        job_id = fill(open_store(StoreAddress(server, bucket)), number)
        with counting_proxy(server, given.latency / 1000) as (endpoint, proxy):
            both = sides(place, endpoint, bucket, programs, job_id)
            for what in ("stat", "log", "submit", "list", "history", "agent pass"):
                row: dict[str, object] = {}
                for name, side in both.items():
                    if name == "cloudq" and what in ("list", "history"):
                        shutil.rmtree(side.home / ".cache", ignore_errors=True)
                        row["cloudq, cold"] = measure(partial(side.run, what), proxy, 1, 0.0)
                    row[name] = measure(partial(side.run, what), proxy, given.rounds, given.longest)
                rows[what] = row
                print(number, what, {k: (v["total"], v["seconds"]) for k, v in row.items()}, flush=True)  # type: ignore[index]
    finally:
        remove_bucket(client, bucket)
    return rows


def main() -> None:
    """Measure, print a table, write results/original.json and docs/original.svg."""
    parser = argparse.ArgumentParser(description="Compare with CloudQ 1.2.0.")
    parser.add_argument("endpoint")
    parser.add_argument("programs", type=Path)
    parser.add_argument("--jobs", type=int, nargs="+", default=[0, 100])
    parser.add_argument("--latency", type=float, default=20.0, help="milliseconds added to each request")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--longest", type=float, default=20.0, help="seconds after which nothing is repeated")
    given = parser.parse_args()
    begun = {**record.machine(), "latency_ms": given.latency}
    results = {}
    for number in given.jobs:
        with ExitStack() as stack:
            place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cloudq-bench-")))
            results[str(number)] = compare(place, given.endpoint, given.programs, number, given)
    versions = {"cloudq": record.cloudq_version(), "original": "1.2.0"}
    record.save("original", begun=begun, versions=versions, results=results)
    groups = {
        f"{what}, {number} old jobs": {name: float(found["seconds"]) for name, found in row.items()}  # type: ignore[index]
        for number, rows in results.items()
        for what, row in rows.items()
    }
    picture = record.bars(f"Seconds of a whole process, {given.latency:g} ms a request", groups, "s")
    (record.PICTURES / "original.svg").write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()
