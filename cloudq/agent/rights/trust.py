"""What an agent believes of its own jobs' manifests when it finds them again, where jobs are signed."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Optional

from cloudq.agent.ledger import NEVER_RUN, Page
from cloudq.agent.rights.admission import given_up
from cloudq.agent.workplace import Workplace
from cloudq.bundle import Record
from cloudq.errors import RefusedError
from cloudq.job import Job, JobState

logger = logging.getLogger(__name__)


def is_known(place: Workplace, job: Job) -> bool:
    """Tell whether a job with a native id is one that this agent has submitted."""
    return not place.signed_only or not job.native_id or _page(place, job.id) is not None


def checked(place: Workplace, record: Record) -> Record:
    """Return a record with what the ledger knows better than the bucket; see `ledger`.

    A job that was submitted here stays ours, under its native id. That it is being cancelled or has ended
    counts only if the request is signed, or this agent itself has put down how it ended: whoever says
    so else may want to stop it, or to have it run once more.
    """
    job = record.job
    page = _page(place, job.id)
    if page is None or page.native_id in ("", NEVER_RUN):
        return record
    if job.claim_token != page.claim_token and given_up(place, job):
        return record
    state, work_dir = job.state, place.folders.work_dir(job.id)
    if work_dir.is_dir() and not place.folders.outcome(job.id).exists():
        changes = {"run_system": place.config.name.lower(), "work_dir": str(work_dir)}
        changes.update(native_id=page.native_id, claim_token=page.claim_token)
        if state.final or state in (JobState.INIT, JobState.DELETING):
            state = JobState.READY
        job = replace(job, state=state, **changes)  # type: ignore[arg-type]
    elif job.native_id:
        job = replace(job, native_id=page.native_id)
    if job != record.job:
        logger.warning(
            "job %s: somebody else has written its manifest; the agent's own record counts", job.id
        )
    return replace(record, job=job)


def own(mine: Record, found: Record) -> Record:
    """Return our own record, so that it can be written over what was found."""
    revision = max(mine.job.revision, found.job.revision)
    return replace(found, job=replace(mine.job, revision=revision))


def _page(place: Workplace, job_id: str) -> Optional[Page]:
    """Return the ledger's page of a job; None where nobody must sign, and where nothing is known."""
    if not place.signed_only:
        return None
    try:
        return place.ledger.find(job_id)
    except RefusedError as error:
        logger.warning("job %s: %s", job_id, error)
        return None
