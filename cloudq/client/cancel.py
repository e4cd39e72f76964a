"""Requests to cancel jobs."""

from __future__ import annotations

from cloudq.bundle import Bundles
from cloudq.errors import JobStateError
from cloudq.job import JobState


def cancel(bundles: Bundles, job_id: str) -> None:
    """Ask the agent that has a job, or will have it, to cancel it.

    A request that is there already stays as it is: a 1.2 agent keeps a time in it.

    Raises:
        NoSuchJobError: There is no such job.
        JobStateError: It has ended, or is about to.
    """
    job = bundles.load(job_id).job
    if job.state.final or job.state is JobState.COMPLETING:
        raise JobStateError(f"The job is already completed: {job_id}")
    if bundles.cancel_requested(job_id):
        bundles.notify(job)
    else:
        bundles.request_cancel(job)
