"""How fast an agent submits many jobs at once to Slurm, against a bare loop of sbatch in the same run.

Usage: throughput.py ENDPOINT [NUMBER] [RESULT.json]; keys come from the environment. All jobs of the user
who runs this are cancelled at the end.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from hosted import HELD, HostedAgent, cancel_all, hosted_agent  # noqa: E402


def bare_rate(number: int) -> float:
    """Return jobs a second of a loop of sbatch."""
    begun = time.monotonic()
    for _ in range(number):
        script = ["--wrap", "true", "--output=/dev/null"]
        subprocess.run(["sbatch", "--quiet", *HELD.split(), *script], check=True)
    rate = number / (time.monotonic() - begun)
    cancel_all()
    return rate


def agent_rate(agent: HostedAgent, number: int) -> float:
    """Return jobs a second between the first claim and the last submission."""
    ids = agent.submit(number)
    while agent.count("sbatch") < number:
        time.sleep(1)
    while True:
        jobs = [agent.bundles.load(job_id).job for job_id in ids]
        ready = [job.ready for job in jobs if job.ready]
        if len(ready) == number:
            break
        time.sleep(1)
    begun = min(job.received for job in jobs if job.received)
    return number / max(1.0, (max(ready) - begun).total_seconds())


def main() -> None:
    """Measure both, the loop before and after, and print a line."""
    endpoint = sys.argv[1]
    number = int(sys.argv[2]) if len(sys.argv) > 2 else 500
    before = bare_rate(number // 2)
    with hosted_agent(endpoint) as agent:
        rate = agent_rate(agent, number)
    after = bare_rate(number // 2)
    bare = 2 / (1 / before + 1 / after)
    result = {"jobs": number, "sbatch_per_s": round(bare, 1), "agent_per_s": round(rate, 1)}
    result["ratio"] = round(rate / bare, 2)
    print(json.dumps(result))
    if len(sys.argv) > 3:
        Path(sys.argv[3]).write_text(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
