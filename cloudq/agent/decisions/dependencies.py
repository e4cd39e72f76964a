"""What a job's dependencies say about it. Values in, values out; no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Optional

from cloudq.job import Condition, Job, JobState, Task

Awaited = Mapping[str, Optional[Job]]
"""Id -> the job that is waited for; None if it is not in the bucket (any more)."""


@dataclass(frozen=True)
class Verdict:
    """What the dependencies say.

    Attributes:
        waits: Whether one of the jobs has not ended.
        outcome: How the job ends without having run, because a condition can no longer be met.
        tasks: Tasks that end so, while the others may run.
    """

    waits: bool = False
    outcome: Optional[Task] = None
    tasks: Mapping[int, Task] = field(default_factory=dict)


def judge(job: Job, awaited: Awaited) -> Verdict:
    """Judge a job by the jobs it waits for.

    A job that is gone counts as ended: only final jobs can be deleted, and our client refuses unknown
    ids. Whether it ended well cannot be known, so that no condition on that is met. A 1.2 client (no
    submit token) refuses nothing, so that an unknown id of its is taken for a typo.
    """
    tasks: dict[int, Task] = {}
    waits = False
    for job_id in job.hold_ids:
        other, condition = awaited[job_id], job.conditions.get(job_id, Condition.ANY)
        if other is None and not job.submit_token:
            return Verdict(outcome=Task(JobState.ERROR, f"hold_jid: no such job: {job_id}"))
        if other is not None and not other.state.final:
            waits = True
        elif condition is Condition.CORR and other is not None and other.tasks:
            tasks.update(_failed_tasks(job, other))
        elif fault := _fault(condition, job_id, other):
            return Verdict(outcome=Task(JobState.DELETED, fault))
    if waits:
        return Verdict(waits=True)
    wanted = job.array_range.task_ids() if job.array_range else ()
    if wanted and set(wanted) <= set(tasks):
        return Verdict(outcome=Task(JobState.DELETED, tasks[min(tasks)].error))
    return Verdict(tasks=tasks)


def _fault(condition: Condition, job_id: str, other: Optional[Job]) -> str:
    """Say why a condition on a job that has ended is not met; nothing if it is."""
    if condition is Condition.ANY:
        return ""
    if other is None:
        return f"after_{condition.value}: job {job_id} was deleted, so that how it ended is not known"
    ended_well = other.state is JobState.DONE
    if ended_well is (condition is Condition.NOT_OK):
        return f"after_{condition.value}: job {job_id} ended as {other.state}"
    return ""


def _failed_tasks(job: Job, other: Job) -> dict[int, Task]:
    """Return the tasks whose counterparts did not end well; a task without one waits for nothing."""
    wanted = job.array_range.task_ids() if job.array_range else ()
    ended = {i: other.tasks[i].state for i in wanted if i in other.tasks}
    return {
        i: Task(JobState.DELETED, f"after_corr: task {i} of job {other.id} ended as {state}")
        for i, state in ended.items()
        if state is not JobState.DONE
    }
