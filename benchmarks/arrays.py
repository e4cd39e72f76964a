"""One array job of many tasks through an agent on Slurm: how it is submitted, how it ends, what it costs.

Usage: arrays.py ENDPOINT [TASKS] [RESULT.json]; keys come from the environment. Every thousandth task fails.
All jobs of the user who runs this are cancelled at the end.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from counting_proxy import counting_proxy  # noqa: E402
from hosted import HostedAgent, hosted_agent  # noqa: E402

from cloudq.job import ArrayRange, Job  # noqa: E402

FAILS = 1000
SCRIPT = f"#!/bin/sh\n[ $((SLURM_ARRAY_TASK_ID % {FAILS})) -ne 0 ] || exit 3\n".encode()


def ended(agent: HostedAgent, job_id: str) -> Job:
    """Wait until a job has ended, and return its record."""
    while True:
        job = agent.bundles.load(job_id).job
        if job.state.final:
            return job
        time.sleep(2)


def check(job: Job, tasks: int) -> None:
    """Make sure that each task ended as its script says."""
    for task_id, task in job.tasks.items():
        expected = ("ERROR", 3) if task_id % FAILS == 0 else ("DONE", 0)
        if (task.state.value, task.exit_code) != expected:
            raise SystemExit(f"task {task_id}: expected {expected}, got {task}")
    if len(job.tasks) != tasks:
        raise SystemExit(f"expected {tasks} tasks, got {len(job.tasks)}")


def main() -> None:
    """Run one array, and print a line."""
    tasks = int(sys.argv[2]) if len(sys.argv) > 2 else 10_000
    with counting_proxy(sys.argv[1], 0.0) as (endpoint, proxy), hosted_agent(endpoint) as agent:
        time.sleep(10)
        proxy.reset()
        options = "--nodes=1 --mem=100"
        (job_id,) = agent.submit(1, script=SCRIPT, options=options, tasks=ArrayRange.parse(f"1-{tasks}"))
        job = ended(agent, job_id)
        result = {
            "tasks": tasks,
            "seconds": job.finished and job.received and (job.finished - job.received).total_seconds(),
            "state": job.state.value,
            "states": Counter(task.state.value for task in job.tasks.values()),
            "commands": {name: agent.count(name) for name in ("sbatch", "squeue", "sacct", "scontrol")},
            "megabytes": round(agent.resident_megabytes(), 1),
            **proxy.counts(),
        }
        print(json.dumps(result))
        check(job, tasks)
    if len(sys.argv) > 3:
        Path(sys.argv[3]).write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
