"""How far a job is, as it says itself in its logs: lines such as `# cloudq progress=50`. No I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Optional

from cloudq.agent.decisions.lifecycle import unfinished
from cloudq.job import Job

# The second word is that of Cloudmesh: `# cloudmesh status=running progress=50 pid=1`.
_LINE = re.compile(
    rb"^#[ \t]*(?:cloudq|cloudmesh)\b[^\n]*?[ \t]progress=(\d{1,3})(?=[\s%])[^\n]*$", re.MULTILINE
)


def parse_progress(data: bytes) -> Optional[int]:
    """Return the last percentage that a piece of a log tells in a whole line, None if there is none."""
    found = _LINE.findall(data[: data.rfind(b"\n") + 1])
    return min(100, int(found[-1])) if found else None


def overall_progress(job: Job, told: Mapping[str, int]) -> int:
    """Return how far a job is as a whole: what it told last, or the mean of its tasks.

    Args:
        told: Name of a log -> the percentage that it told last.
    """
    if not told:
        return job.progress
    if job.array_range is None:
        return list(told.values())[-1]
    by_task: dict[Optional[int], int] = {}
    for log, percentage in told.items():
        task = log.partition(".")[2]
        if task.isdigit():
            by_task[int(task)] = percentage
    open_tasks = unfinished(job)
    number = len(job.array_range.task_ids())
    done = 100 * (number - len(open_tasks))
    mean = (done + sum(by_task.get(task_id, 0) for task_id in open_tasks)) // number
    # After a restart of the agent it is known only of the tasks that have told since.
    return max(mean, job.progress)
