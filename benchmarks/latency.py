"""How long a job waits between its submission and its first line, at default settings, in an empty Slurm.

Usage: latency.py ENDPOINT [JOBS]; keys come from the environment. All jobs of the user who runs this are
cancelled at the end.
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

INTERVAL = 5.0
SCRIPT = b"#!/bin/sh\ndate +%s.%N\n"


def waits(agent: HostedAgent, number: int) -> list[float]:
    """Submit jobs at random moments, and return the seconds that each has waited."""
    submitted: dict[str, float] = {}
    for _ in range(number):
        time.sleep(INTERVAL * random.uniform(0.5, 1.5))  # noqa: S311 - no secret
        (job_id,) = agent.submit(1, script=SCRIPT, options="--nodes=1")
        submitted[job_id] = time.time()
    while not all(agent.bundles.load(job_id).job.state.final for job_id in submitted):
        time.sleep(1)
    return [float(agent.bundles.read(job_id, "stdout")) - begun for job_id, begun in submitted.items()]


def main() -> None:
    """Measure, and print a line."""
    with hosted_agent(sys.argv[1]) as agent:
        time.sleep(10)
        found = waits(agent, int(sys.argv[2]) if len(sys.argv) > 2 else 15)
    median, bound = statistics.median(found), INTERVAL / 2 + 1
    print(json.dumps({"jobs": len(found), "median_s": round(median, 2), "bound_s": bound}))


if __name__ == "__main__":
    main()
