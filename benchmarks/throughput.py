"""How fast an agent submits many jobs at once to Slurm, against a bare loop of sbatch in the same run.

    python benchmarks/throughput.py ENDPOINT [--jobs 500] [--rounds 9] [--latency 0] [--pause 45]

Keys come from the environment. The agent's rate is that of its log: from the first claim to the last
submission. Between two rounds nothing is done, as the server still clears up what was deleted; and no files
of an agent are removed before the end, because ext4 without a journal is slow to make files for some minutes
after many were removed. All jobs of the user are cancelled.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Optional

sys.path.insert(0, str(Path(__file__).resolve().parent))

import record  # noqa: E402
from delaying_proxy import delaying_proxy  # noqa: E402
from hosted import HELD, HostedAgent, cancel_all, hosted_agent  # noqa: E402

CLAIMED, SUBMITTED = ": claimed", ": submitted as"
_TIME_LENGTH = len("2026-01-31 08:00:00,000")


def bare_rate(number: int) -> float:
    """Return jobs a second of a loop of sbatch."""
    begun = time.monotonic()
    for _ in range(number):
        script = ["--wrap", "true", "--output=/dev/null"]
        subprocess.run(["sbatch", "--quiet", *HELD.split(), *script], check=True)
    rate = number / (time.monotonic() - begun)
    cancel_all()
    return rate


def agent_rate(agent: HostedAgent, number: int) -> tuple[float, float]:
    """Return jobs a second from the first claim to the last submission, and until the last was recorded."""
    with agent.halted():
        ids = agent.submit(number)
    while len(_times(agent.log, SUBMITTED)) < number:
        time.sleep(0.5)
    for job_id in ids:
        while agent.bundles.load(job_id).job.ready is None:
            time.sleep(0.1)
    recorded = datetime.now()  # noqa: DTZ005 - as in the log
    begun, submitted = min(_times(agent.log, CLAIMED)), max(_times(agent.log, SUBMITTED))
    return number / (submitted - begun).total_seconds(), number / (recorded - begun).total_seconds()


def _times(log: Path, words: str) -> list[datetime]:
    lines = log.read_text(encoding="utf-8").splitlines()
    return [_time(line) for line in lines if words in line]


def _time(line: str) -> datetime:
    return datetime.strptime(line[:_TIME_LENGTH], "%Y-%m-%d %H:%M:%S,%f")  # noqa: DTZ007 - as in the log


def one_round(endpoint: str, through: str, number: int, top: Path) -> dict[str, float]:
    """Measure the loop, the agent, and the loop again."""
    before = bare_rate(number // 2)
    with hosted_agent(endpoint, through=through, counted=(), top=top) as agent:
        rate, recorded = agent_rate(agent, number)
    after = bare_rate(number // 2)
    bare = 2 / (1 / before + 1 / after)
    return {
        "sbatch_per_s": round(bare, 1),
        "agent_per_s": round(rate, 1),
        "recorded_per_s": round(recorded, 1),
        "ratio": round(rate / bare, 2),
    }


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Measure some rounds, and print each and the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("endpoint")
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--latency", type=float, default=0.0, help="milliseconds added to each request")
    parser.add_argument("--pause", type=float, default=45.0, help="seconds between two rounds")
    given = parser.parse_args(argv)
    begun = {**record.machine(), "latency_ms": given.latency, "jobs": given.jobs}
    rounds: list[dict[str, float]] = []
    with contextlib.ExitStack() as stack:
        top, through = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cloudq-bench-"))), ""
        if given.latency:
            through = stack.enter_context(delaying_proxy(given.endpoint, given.latency / 1000))
        for number in range(given.rounds):
            time.sleep(given.pause if number else 0)
            rounds.append(one_round(given.endpoint, through, given.jobs, top))
            print(rounds[-1], flush=True)
    medians = {name: record.median([one[name] for one in rounds]) for name in rounds[0]}
    print(f"medians of {given.rounds}: {medians}")
    name = "throughput-latency" if given.latency else "throughput"
    versions = {"slurm": record.version(["sbatch", "--version"])}
    record.save(name, begun=begun, versions=versions, results={"rounds": rounds, "medians": medians})


if __name__ == "__main__":
    main()
