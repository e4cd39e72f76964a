"""How fast `cloudqcli history` shows 10,000 jobs, the first time and later, beside a bare boto3 reader.

    python benchmarks/listing.py ENDPOINT [--jobs 10000] [--rounds 3] [--latency 0]

Keys come from the environment. The reader lists the jobs and reads each manifest with 32 threads.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import record  # noqa: E402
from benchmarks.counting_proxy import counting_proxy  # noqa: E402
from benchmarks.original import AGENT, CLI, Side, configure, fill, measure  # noqa: E402
from benchmarks.rivals import boto3_client  # noqa: E402
from benchmarks.transfers import remove_bucket  # noqa: E402
from cloudq.store import StoreAddress, open_store  # noqa: E402


def seconds(argv: Sequence[str]) -> float:
    """Run a program that must succeed; return how long it took."""
    begun = time.perf_counter()
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def cold(side: Side) -> float:
    """Show the history without a cache."""
    shutil.rmtree(side.home / ".cache", ignore_errors=True)
    return side.run("history")


def main() -> None:
    """Measure, print, and write results/listing.json."""
    parser = argparse.ArgumentParser(description="Time the listing of many finished jobs.")
    parser.add_argument("endpoint")
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--latency", type=float, default=0.0, help="milliseconds added to each request")
    given = parser.parse_args()
    begun = {**record.machine(), "latency_ms": given.latency, "jobs": given.jobs}
    bucket = f"bench-{uuid.uuid4().hex[:12]}"
    client = boto3_client(given.endpoint)
    client.create_bucket(Bucket=bucket)
    rows: dict[str, list[float]] = {"boto3, 32 threads": [], "history, cold": [], "history, warm": []}
    try:
        fill(open_store(StoreAddress(given.endpoint, bucket)), given.jobs)
        with tempfile.TemporaryDirectory(prefix="cloudq-bench-") as place:
            home = Path(place)
            with counting_proxy(given.endpoint, given.latency / 1000) as (endpoint, proxy):
                configure(home, endpoint, bucket)
                side = Side(home, CLI, AGENT, {"history": ["history"]})
                counted = {
                    what: measure(partial(function, side), proxy, 1, 0.0)
                    for what, function in (("cold", cold), ("warm", lambda side: side.run("history")))
                }
            (home / ".cloudq/client/config.ini").unlink()
            direct = home / "direct"
            direct.mkdir()
            configure(direct, given.endpoint, bucket)
            side = Side(direct, CLI, AGENT, {"history": ["history"]})
            reader = [sys.executable, str(ROOT / "benchmarks" / "rivals.py"), "boto3", "read"]
            for _ in range(given.rounds):
                rows["boto3, 32 threads"].append(seconds([*reader, given.endpoint, bucket]))
                rows["history, cold"].append(cold(side))
                rows["history, warm"].append(side.run("history"))
                print({what: times[-1] for what, times in rows.items()}, flush=True)
    finally:
        remove_bucket(client, bucket)
    results = {
        "seconds": {what: record.median(times) for what, times in rows.items()},
        "requests": counted,
    }
    print(results)
    record.save("listing", begun=begun, versions={"cloudq": record.cloudq_version()}, results=results)


if __name__ == "__main__":
    main()
