"""How long a job waits between its submission and its first line, in an empty Slurm.

Usage: latency.py ENDPOINT [JOBS] [INTERVAL]; keys come from the environment. INTERVAL is the time between two
passes in seconds: 5 as while there is work, which is the default, 15 as of an agent that was idle for five
minutes. All jobs of the user who runs this are cancelled at the end.
"""

from __future__ import annotations

import json
import random
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from hosted import HostedAgent, hosted_agent  # noqa: E402

BETWEEN = 5.0
SCRIPT = b"#!/bin/sh\ndate +%s.%N\n"


def waits(agent: HostedAgent, number: int) -> list[float]:
    """Submit jobs at random moments, and return the seconds that each has waited."""
    submitted: dict[str, float] = {}
    for _ in range(number):
        time.sleep(BETWEEN * random.uniform(0.5, 1.5))  # noqa: S311 - no secret
        (job_id,) = agent.submit(1, script=SCRIPT, options="--nodes=1")
        submitted[job_id] = time.time()
    while not all(agent.bundles.load(job_id).job.state.final for job_id in submitted):
        time.sleep(1)
    return [float(agent.bundles.read(job_id, "stdout")) - begun for job_id, begun in submitted.items()]


def main() -> None:
    """Measure, and print a line."""
    number, interval = (int(word) for word in [*sys.argv[2:], *("15", "5")[len(sys.argv) - 2 :]])
    with hosted_agent(sys.argv[1], interval=interval) as agent:
        time.sleep(10)
        found = waits(agent, number)
    result = {"jobs": len(found), "interval_s": interval, "median_s": round(statistics.median(found), 2)}
    print(json.dumps({**result, "bound_s": interval / 2 + 1, "waits_s": [round(wait, 1) for wait in found]}))


if __name__ == "__main__":
    main()
