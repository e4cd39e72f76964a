"""Requests to cancel jobs."""

from __future__ import annotations

from typing import Optional

from cloudq.bundle import CANCEL_SIGNATURE, Bundles
from cloudq.errors import JobStateError
from cloudq.job import JobState


def cancel(bundles: Bundles, job_id: str, signature: Optional[bytes] = None) -> None:
    """Ask the agent that has a job, or will have it, to cancel it.

    A request that is there already stays as it is: a 1.2 agent keeps a time in it.

    Args:
        bundles: The bucket.
        job_id: The job.
        signature: The signed request, stored beside it: 1.2 agents want the request itself to be empty.

    Raises:
        NoSuchJobError: There is no such job.
        JobStateError: It has ended, or is about to.
    """
    job = bundles.load(job_id).job
    if job.state.final or job.state is JobState.COMPLETING:
        raise JobStateError(f"The job is already completed: {job_id}")
    if signature is not None:
        bundles.write(job_id, CANCEL_SIGNATURE, signature)
    if bundles.cancel_requested(job_id):
        bundles.markers.request(job)
    else:
        bundles.request_cancel(job)
