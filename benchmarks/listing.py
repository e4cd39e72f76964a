"""How fast `cloudqcli history` shows 10,000 jobs, the first time and later, beside a bare boto3 reader.

    python benchmarks/listing.py ENDPOINT [--jobs 10000] [--rounds 9] [--latency 0] [--bucket NAME]

Keys come from the environment. The reader lists the jobs and reads each manifest with 32 threads. All take
turns, through the proxy only if there is a latency to add. A bucket that is named was filled before, and
stays.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import record  # noqa: E402
from benchmarks.counting_proxy import counting_proxy  # noqa: E402
from benchmarks.original import AGENT, CLI, NAME, Side, configure, measure  # noqa: E402
from benchmarks.rivals import boto3_client  # noqa: E402
from benchmarks.transfers import remove_bucket  # noqa: E402
from cloudq.bundle import MANIFEST  # noqa: E402
from cloudq.job import Job, JobKind, JobState, new_job_id  # noqa: E402
from cloudq.manifest import render_manifest  # noqa: E402

_WRITERS = 64


def seconds(argv: Sequence[str]) -> float:
    """Run a program that must succeed; return how long it took."""
    begun = time.perf_counter()
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def fill(endpoint: str, bucket: str, number: int) -> None:
    """Put so many finished jobs into a bucket, five objects each."""
    import obstore
    from obstore.store import S3Store

    store = S3Store(bucket, endpoint=endpoint, client_options={"allow_http": True})
    objects = finished_jobs(number)

    async def write() -> None:
        for key, data in objects:
            await obstore.put_async(store, key, data)

    async def all_writers() -> None:
        await asyncio.gather(*(write() for _ in range(_WRITERS)))

    asyncio.run(all_writers())


def finished_jobs(number: int) -> Iterator[tuple[str, bytes]]:
    """Yield the keys and bytes of the objects of so many finished jobs."""
    now = datetime.now(timezone.utc)
    for _ in range(number):
        job_id = new_job_id()
        job = Job(job_id, "job.sh", JobKind.LOCAL, JobState.DONE, submit_to=NAME, submitted=now, finished=now)
        for name in ("job.sh", "stdout", "stderr", "output.zip"):
            yield f"{job_id}/{name}", b"hello\n"
        yield f"{job_id}/{MANIFEST}", render_manifest(job)


def cold(side: Side) -> float:
    """Show the history without a cache."""
    shutil.rmtree(side.home / ".cache", ignore_errors=True)
    return side.run("history")


@contextmanager
def filled_bucket(given: argparse.Namespace) -> Iterator[str]:
    """Make a bucket with finished jobs, and remove it in the end."""
    bucket = f"bench-{uuid.uuid4().hex[:12]}"
    client = boto3_client(given.endpoint)
    client.create_bucket(Bucket=bucket)
    try:
        fill(given.endpoint, bucket, given.jobs)
        yield bucket
    finally:
        remove_bucket(client, bucket)


def used() -> float:
    """Return the seconds of a core that all programs have used that were run and have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Measure, print, and write results/listing.json."""
    parser = argparse.ArgumentParser(description="Time the listing of many finished jobs.")
    parser.add_argument("endpoint")
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--latency", type=float, default=0.0, help="milliseconds added to each request")
    parser.add_argument("--bucket", default="", help="a bucket that has such jobs already")
    given = parser.parse_args()
    begun = {**record.machine(), "latency_ms": given.latency, "jobs": given.jobs, "rounds": given.rounds}
    with ExitStack() as stack:
        results = compare(stack, given, given.bucket or stack.enter_context(filled_bucket(given)))
    print(results)
    record.save("listing", begun=begun, versions={"cloudq": record.cloudq_version()}, results=results)


def compare(stack: ExitStack, given: argparse.Namespace, bucket: str) -> dict[str, object]:
    """Count the requests once, then let all take turns."""
    home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cloudq-bench-")))
    counting, proxy = stack.enter_context(counting_proxy(given.endpoint, given.latency / 1000))
    endpoint = counting if given.latency else given.endpoint
    sides = {}
    for name, place in (("counted", counting), ("timed", endpoint)):
        (home / name).mkdir()
        configure(home / name, place, bucket)
        sides[name] = Side(home / name, CLI, AGENT, {"history": ["history"]})
    runs = {"history, cold": cold, "history, warm": lambda side: side.run("history")}
    counted = {
        what: measure(partial(run, sides["counted"]), proxy, 1, 0.0)["requests"] for what, run in runs.items()
    }
    reader = [sys.executable, str(ROOT / "benchmarks" / "rivals.py"), "boto3", "read", endpoint, bucket]
    turns = {"boto3, 32 threads": partial(seconds, reader)}
    turns.update({what: partial(run, sides["timed"]) for what, run in runs.items()})
    wall: dict[str, list[float]] = {what: [] for what in turns}
    cpu: dict[str, list[float]] = {what: [] for what in turns}
    for _ in range(given.rounds):
        for what, turn in turns.items():
            before = used()
            wall[what].append(turn())
            cpu[what].append(used() - before)
        print({what: times[-1] for what, times in wall.items()}, flush=True)
    return {
        "requests": counted,
        "seconds": {what: record.median(times) for what, times in wall.items()},
        "seconds_of_a_core": {what: record.median(times) for what, times in cpu.items()},
    }


if __name__ == "__main__":
    main()
