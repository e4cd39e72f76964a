"""How fast outputs go to a bucket and come back, beside boto3, obstore, AWS CLI, rclone and s5cmd.

    python benchmarks/transfers.py ENDPOINT [--rounds 3] [--scale 1] [--latency 20] [--sets 1x1GB …]

Keys come from the environment. Each tool is a process that starts from nothing; they take turns on the same
server, and what came back is counted. CloudQ stores one archive, the others one object per file;
`cloudq` are outputs, `inputs` are inputs that several jobs may share.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import record  # noqa: E402
from benchmarks.counting_proxy import counting_proxy  # noqa: E402
from benchmarks.rivals import boto3_client  # noqa: E402

SETS: Mapping[str, tuple[int, int]] = {
    "1x1GB": (1, 10**9),
    "10x100MB": (10, 10**8),
    "100x10MB": (100, 10**7),
    "1000x1MB": (1000, 10**6),
    "10000x10KB": (10_000, 10**4),
}
OWN = ("cloudq", "inputs")
LIBRARIES = ("boto3", "obstore")
_BLOCK = 1 << 22
_TIMEOUT = 1200
_KEPT = 2 * 10**8
"""Bytes of a set up to which what came back is removed only when the set is done.

Without a journal ext4 takes no inodes that were freed in the last minutes, and looks for others one by one
(`recently_deleted` in fs/ext4/ialloc.c): with many files that would take longer than the tools do.
"""


def make_set(folder: Path, number: int, size: int) -> None:
    """Fill a folder with files that do not compress."""
    folder.mkdir()
    for index in range(number):
        with (folder / f"f{index:05}.dat").open("wb") as file:
            for start in range(0, size, _BLOCK):
                file.write(os.urandom(min(_BLOCK, size - start)))


def commands(
    endpoint: str, bucket: str, name: str, source: Path, target: Path
) -> dict[str, tuple[list[str], ...]]:
    """Return for each tool that is here how it goes up and down."""
    rivals = [sys.executable, str(ROOT / "benchmarks" / "rivals.py")]
    prefix = f"s3://{bucket}/{{}}/{name}"
    found: dict[str, tuple[list[str], ...]] = {}
    for library in (*OWN, *LIBRARIES):
        place = f"{library}-{name}" if library in OWN else f"{library}/{name}"
        found[library] = (
            [*rivals, library, "up", str(source), endpoint, bucket, place],
            [*rivals, library, "down", str(target), endpoint, bucket, place],
        )
    aws = ["aws", "--endpoint-url", endpoint, "s3", "cp", "--recursive", "--only-show-errors"]
    found["aws"] = (
        [*aws, str(source), prefix.format("aws")],
        [*aws, prefix.format("aws"), str(target)],
    )
    rclone = [
        "rclone",
        "copy",
        "--transfers",
        "16",
        "--multi-thread-streams",
        "8",
        "--s3-upload-concurrency",
        "8",
    ]
    remote = (
        f':s3,provider=Other,env_auth=true,endpoint="{endpoint}",no_check_bucket=true:{bucket}/rclone/{name}'
    )
    found["rclone"] = ([*rclone, str(source), remote], [*rclone, remote, str(target)])
    s5cmd = ["s5cmd", "--log", "error", "--endpoint-url", endpoint, "cp"]
    found["s5cmd"] = (
        [*s5cmd, f"{source}/", f"{prefix.format('s5cmd')}/"],
        [*s5cmd, f"{prefix.format('s5cmd')}/*", f"{target}/"],
    )
    return {tool: both for tool, both in found.items() if shutil.which(both[0][0])}


def run(argv: Sequence[str]) -> tuple[float, float]:
    """Run a program that must succeed; return its seconds, and its seconds of CPU."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("AWS_CA_BUNDLE", None)  # rclone gives up with it; there is no TLS here.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    before, begun = os.times(), time.perf_counter()
    done = subprocess.run(
        argv, env=environment, capture_output=True, text=True, timeout=_TIMEOUT, check=False
    )
    seconds, after = time.perf_counter() - begun, os.times()
    if done.returncode:
        raise SystemExit(f"{argv[0]}: status {done.returncode}: {done.stderr[-500:]}")
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return seconds, cpu


def check(target: Path, number: int, size: int) -> None:
    """Make sure that everything came back."""
    sizes = [path.stat().st_size for path in target.rglob("*.dat")]
    if sizes != [size] * number:
        raise SystemExit(f"{target}: {len(sizes)} files of {number}, {sum(sizes)} bytes")


def measure(
    endpoint: str, sets: Mapping[str, tuple[int, int]], rounds: int, tools: Sequence[str]
) -> dict[str, object]:
    """Let the tools take turns; return for each set, direction and tool the medians."""
    results: dict[str, object] = {}
    with tempfile.TemporaryDirectory(prefix="cloudq-bench-") as place:
        for name, (number, size) in sets.items():
            folder = Path(place) / name
            source = folder / "source"
            folder.mkdir()
            make_set(source, number, size)
            times: dict[str, dict[str, list[tuple[float, float]]]] = {"up": {}, "down": {}}
            for turn in range(rounds):
                bucket = f"bench-{uuid.uuid4().hex[:12]}"
                client = boto3_client(endpoint)
                client.create_bucket(Bucket=bucket)
                # The first object of a bucket may be slow: SeaweedFS makes its volumes then.
                client.put_object(Bucket=bucket, Key="first", Body=b"")
                here = commands(endpoint, bucket, name, source, folder)
                taking_part = [tool for tool in here if not tools or tool in tools]
                random.shuffle(taking_part)
                try:
                    for tool in taking_part:
                        target = folder / f"{tool}-{turn}"
                        up, down = commands(endpoint, bucket, name, source, target)[tool]
                        times["up"].setdefault(tool, []).append(run(up))
                        times["down"].setdefault(tool, []).append(run(down))
                        check(target, number, size)
                        if number * size > _KEPT:
                            shutil.rmtree(target)
                        print(f"{name:12} {tool:8} up {times['up'][tool][-1]} down {times['down'][tool][-1]}")
                finally:
                    remove_bucket(client, bucket)
            shutil.rmtree(folder)
            results[name] = {
                way: {
                    tool: {
                        "seconds": record.median([seconds for seconds, _ in found]),
                        "cpu_seconds": record.median([cpu for _, cpu in found]),
                        "each": [round(seconds, 2) for seconds, _ in found],
                    }
                    for tool, found in tools.items()
                }
                for way, tools in times.items()
            }
    return results


def remove_bucket(client: object, bucket: str) -> None:
    """Delete a bucket and all that is in it."""
    import boto3

    resource = boto3.resource("s3", endpoint_url=client.meta.endpoint_url)  # type: ignore[attr-defined]
    resource.Bucket(bucket).objects.all().delete()
    resource.Bucket(bucket).delete()


def versions() -> dict[str, str]:
    """Tell what was compared; a tool that is not here is empty."""
    python = [sys.executable, "-c"]
    return {
        **dict.fromkeys(OWN, record.cloudq_version()),
        "boto3": record.version([*python, "import boto3; print(boto3.__version__)"]),
        "obstore": record.version([*python, "import importlib.metadata as m; print(m.version('obstore'))"]),
        "aws": record.version(["aws", "--version"]),
        "rclone": record.version(["rclone", "version"]),
        "s5cmd": record.version(["s5cmd", "version"]),
    }


def main() -> None:
    """Measure and write results/transfers.json and docs/transfers.svg."""
    parser = argparse.ArgumentParser(description="Compare transfers of many and of large files.")
    parser.add_argument("endpoint")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="size of the files, 1 for the stated ones")
    parser.add_argument("--latency", type=float, default=0.0, help="milliseconds added to each request")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--tools", nargs="+", default=[], help="only these; all that are here if not given")
    parser.add_argument("--name", default="transfers", help="of the results")
    given = parser.parse_args()
    sets = {name: (SETS[name][0], int(SETS[name][1] * given.scale)) for name in given.sets}
    begun = {
        **record.machine(),
        "rounds": given.rounds,
        "scale": given.scale,
        "latency_ms": given.latency,
    }
    # As installers leave it.
    run([sys.executable, "-m", "compileall", "-q", str(ROOT / "cloudq"), str(ROOT / "benchmarks")])
    with ExitStack() as stack:
        endpoint = given.endpoint
        if given.latency:
            endpoint, _ = stack.enter_context(counting_proxy(endpoint, given.latency / 1000))
        results: dict[str, object] = {}
        for name, files in sets.items():
            # Written after each set: a long run may be broken off.
            results.update(measure(endpoint, {name: files}, given.rounds, given.tools))
            show(given.name, begun, results)


def show(name: str, begun: Mapping[str, object], results: Mapping[str, object]) -> None:
    """Write results and picture, and print the table."""
    record.save(name, begun=begun, versions=versions(), results=results)
    groups = {
        f"{label}, {way}": {tool: row["seconds"] for tool, row in tools.items()}
        for label, ways in results.items()
        for way, tools in ways.items()  # type: ignore[attr-defined]
    }
    picture = record.bars("Seconds for a folder to the bucket (up) and back (down)", groups, "s")
    (record.PICTURES / f"{name}.svg").write_text(picture, encoding="utf-8")
    rows = [(label, *(row.get(tool, "") for tool in versions())) for label, row in groups.items()]
    print(record.table(("set", *versions()), rows), flush=True)


if __name__ == "__main__":
    main()
