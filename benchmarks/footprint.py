"""What an agent takes of a login node, idle and with many jobs in the queue of Slurm.

Usage: footprint.py ENDPOINT [JOBS] [SECONDS] [RESULT.json]; keys come from the environment. All jobs of the
user who runs this are cancelled at the end.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from hosted import HostedAgent, hosted_agent  # noqa: E402

INTERVAL = 5
"""Seconds between the passes of an agent that is not idle for long."""


def look(agent: HostedAgent, seconds: int) -> dict[str, float]:
    """Watch an agent for some time."""
    (own, children), queries = agent.cpu_seconds(), agent.count("squeue") + agent.count("sacct")
    time.sleep(seconds)
    own_after, children_after = agent.cpu_seconds()
    passes = seconds / INTERVAL
    return {
        "percent_of_a_core": round(100 * (own_after - own) / seconds, 2),
        "percent_of_its_commands": round(100 * (children_after - children) / seconds, 2),
        "megabytes": round(agent.resident_megabytes(), 1),
        "queries_a_pass": round((agent.count("squeue") + agent.count("sacct") - queries) / passes, 2),
    }


def main() -> None:
    """Watch an idle agent, and then the same one with jobs; print both."""
    endpoint, numbers = sys.argv[1], list(map(int, sys.argv[2:4]))
    jobs, seconds = [*numbers, *(1000, 60)[len(numbers) :]]
    with hosted_agent(endpoint) as agent:
        time.sleep(20)
        results = {"idle": look(agent, seconds)}
        agent.submit(jobs)
        while agent.count("sbatch") < jobs:
            time.sleep(1)
        time.sleep(20)
        results[f"{jobs} jobs"] = look(agent, seconds)
    print(json.dumps(results, indent=1))
    if len(sys.argv) > 4:
        Path(sys.argv[4]).write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
