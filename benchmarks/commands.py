"""How long commands take as whole processes, against a bare boto3 script that makes the same requests.

Usage: commands.py [ENDPOINT]; without an endpoint an S3 server of moto is started. Keys come from the
environment. The two sides take turns, so that whatever else the machine does hits both. Writes
results/commands.json.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import record  # noqa: E402
from cloudq.store import StoreAddress  # noqa: E402
from cloudq.store.s3_client import make_client  # noqa: E402
from tests.servers import moto_server  # noqa: E402

ROUNDS = 11
CLI = [sys.executable, "-c", "from cloudq.client.program import main; main()"]
BARE = """
import sys, boto3
endpoint, bucket, job, what = sys.argv[1:]
client = boto3.client("s3", endpoint_url=endpoint)
def listing(prefix, **more): return client.list_objects_v2(Bucket=bucket, Prefix=prefix, **more)
def read(key): return client.get_object(Bucket=bucket, Key=key)["Body"].read()
if what == "stat":
    listing(job + "/"); read(job + "/manifest.json")
elif what == "log":
    listing(job + "/"); listing(job + "/live/stdout"); listing(job + "/stdout"); read(job + "/stdout")
elif what == "list":
    for folder in listing("", Delimiter="/").get("CommonPrefixes", ()):
        if not folder["Prefix"].startswith("agent/"):
            read(folder["Prefix"] + "manifest.json")
elif what == "submit":
    listing("agent/", StartAfter="agent/.systems")
    for name in ("job.sh", "manifest.json"):
        client.put_object(Bucket=bucket, Key="bare/" + name, Body=b"x")
    client.put_object(Bucket=bucket, Key="agent/.inbox/none/bare", Body=b"")
"""


def seconds(argv: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Run a program that must succeed; return how long it took, and what it used of a core."""
    begun = time.perf_counter()
    process = subprocess.Popen(argv, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    taken = time.perf_counter() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{argv}: status {process.returncode}")
    return taken, usage.ru_utime + usage.ru_stime


def compare(
    ours: list[str], other: list[str], environment: dict[str, str], rounds: int = ROUNDS
) -> dict[str, float]:
    """Run both in turn; return medians in milliseconds, also of the time on a core, and their ratios."""
    rows = [(*seconds(ours, environment), *seconds(other, environment)) for _ in range(rounds)]
    mine, my_core, theirs, their_core = (statistics.median(times) * 1000 for times in zip(*rows))
    return {
        "cloudq_ms": round(mine),
        "other_ms": round(theirs),
        "ratio": round(theirs / mine, 2),
        "cloudq_core_ms": round(my_core),
        "other_core_ms": round(their_core),
        "core_ratio": round(their_core / my_core, 2),
    }


def main() -> None:
    """Measure, print a table, and write the results if a file is named."""
    begun = {**record.machine(), "rounds": ROUNDS}
    with ExitStack() as stack:
        endpoint = sys.argv[1] if len(sys.argv) > 1 else stack.enter_context(moto_server())
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        environment = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", **os.environ}
        environment.update(HOME=str(home), PYTHONPATH=str(ROOT), AWS_DEFAULT_REGION="us-east-1")
        # Compiled modules are kept, as they are where CloudQ is installed.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        environment["PYTHONPYCACHEPREFIX"] = str(home / "compiled")
        os.environ.update(environment)
        bucket = f"bench-{uuid.uuid4().hex[:12]}"
        client = make_client(StoreAddress(endpoint, bucket))
        client.create_bucket(Bucket=bucket)
        (home / "job.sh").write_text("#!/bin/sh\necho hello\n")
        subprocess.run(
            [*CLI, "init", "--endpoint-url", endpoint, "--bucket", bucket], env=environment, check=True
        )
        submit = [*CLI, "submit", "--parsable", "--submit-to", "none", str(home / "job.sh")]
        jobs = [
            subprocess.run(submit, env=environment, check=True, capture_output=True, text=True)
            for _ in range(5)
        ]
        job = jobs[0].stdout.strip()
        client.put_object(Bucket=bucket, Key=f"{job}/stdout", Body=b"hello\n")
        commands = {
            "stat": ["stat", job],
            "log": ["log", job],
            "list": ["list"],
            "submit": submit[len(CLI) :],
        }
        results = {}
        for what, words in commands.items():
            bare = [sys.executable, "-c", BARE, endpoint, bucket, job, what]
            compare([*CLI, *words], bare, environment, rounds=1)
            results[what] = compare([*CLI, *words], bare, environment)
        results["--help"] = compare([*CLI, "--help"], [sys.executable, "-c", "import click"], environment)
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
            for entry in page.get("Contents", ()):
                client.delete_object(Bucket=bucket, Key=entry["Key"])
        client.delete_bucket(Bucket=bucket)
    for what, row in results.items():
        print(f"{what:8} {row['cloudq_ms']:6} ms  {row['other_ms']:6} ms  {row['ratio']:5}", end="   ")
        print(f"core {row['cloudq_core_ms']:6} ms  {row['other_core_ms']:6} ms  {row['core_ratio']:5}")
    record.save("commands", begun=begun, versions={"cloudq": record.cloudq_version()}, results=results)


if __name__ == "__main__":
    main()
