"""Deletion of jobs that have ended, of what is left of broken ones, and of agents' logs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

from cloudq.bundle import Bundles
from cloudq.client.jobs.listing import READERS
from cloudq.errors import JobStateError, ManifestError, NoSuchJobError, NotFoundError
from cloudq.job import Job

GONE_AFTER = timedelta(days=1)
"""Silence of an agent after which it may be forgotten, even if the clocks differ."""

_FORCE = "if it is one that was never submitted to its end, `cloudqcli delete --force` removes it"


def delete_job(bundles: Bundles, job_id: str, *, force: bool = False) -> None:
    """Delete all objects of a job that has ended.

    Args:
        force: Delete it also if its manifest is missing or cannot be understood.

    Raises:
        NoSuchJobError: It has no manifest.
        ManifestError: Its manifest cannot be understood.
        JobStateError: It has not ended.
    """
    try:
        job = bundles.load(job_id).job
    except (NoSuchJobError, ManifestError) as error:
        if not force:
            error.hint = _FORCE
            raise
        _delete(bundles, job_id)
        return
    if not job.state.final:
        raise JobStateError(f"The job is not completed: {job_id}")
    _delete(bundles, job_id)
    bundles.blobs.release([job])


def delete_jobs(bundles: Bundles, jobs: Iterable[Job]) -> Iterator[str]:
    """Delete jobs that are known to have ended, many at a time, and yield their ids in order."""

    def delete(job_id: str) -> str:
        bundles.delete(job_id)
        return job_id

    jobs = list(jobs)
    job_ids = [job.id for job in jobs]
    bundles.markers.remove_all_mail(job_ids)
    with ThreadPoolExecutor(READERS) as pool:
        yield from pool.map(delete, job_ids)
    bundles.blobs.release(jobs)


def delete_agent_log(bundles: Bundles, system: str, *, now: datetime) -> None:
    """Delete the log of exactly this agent; if it is gone, what it published, too.

    The presence of an agent that is alive is the right to its name, and stays.

    Raises:
        NoSuchJobError: There is none.
    """
    try:
        bundles.agents.delete_log(system)
    except NotFoundError as error:
        raise NoSuchJobError(f"The log file is not exist: {system}") from error
    presence, etag = bundles.agents.published(system)
    if etag and (presence is None or presence.stopped or now - presence.heartbeat > GONE_AFTER):
        bundles.agents.delete_presence(system)


def _delete(bundles: Bundles, job_id: str) -> None:
    # The markers first: without a bundle nobody would look for them. The claim's is the agent's to remove.
    bundles.markers.remove_all_mail([job_id])
    bundles.delete(job_id)
