"""Jobs submitted once more, with what the first submission brought along."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from cloudq.bundle import INPUT, PROJECT, RESOURCE, Bundles
from cloudq.client.display.progress import transfer
from cloudq.client.signatures import check_own
from cloudq.client.submission.archives import archive_in, archive_of
from cloudq.client.submission.delivery import Parcel, deliver
from cloudq.client.submission.request import expires_of
from cloudq.client.submission.scripts import demand_of, known_definitions, parse_script, rewrite
from cloudq.client.systems.outlook import look_out
from cloudq.config import ClientConfig
from cloudq.errors import InputError, JobStateError
from cloudq.job import ArrayRange, Job, JobKind, JobState, new_job_id
from cloudq.metascript import check_names


def resubmit(
    bundles: Bundles,
    config: ClientConfig,
    job_id: str,
    *,
    failed_only: bool,
    directives: Mapping[str, str],
    now: datetime,
) -> Job:
    """Submit a job once more, as a new job: script, definitions, inputs, options; it waits for no other.

    Args:
        failed_only: Only those tasks of an array job that did not end as DONE.
        directives: What the head of its meta script shall say now.

    Raises:
        NoSuchJobError: There is no such job.
        JobStateError: `failed_only`, and no task has failed, or the job has not ended.
        InputError: It is refused as it is now.
        NotFoundError: Its script is gone.
    """
    old = bundles.load(job_id).job
    array_range = _failed(old) if failed_only else old.array_range
    if directives and old.kind is JobKind.LOCAL:
        raise InputError("-D: expected a meta script")
    script = rewrite(
        Path(old.name), bundles.read(job_id, old.name), directives=directives, arguments=(), variables={}
    )
    job = Job(
        id=new_job_id(),
        name=old.name,
        kind=old.kind,
        submit_to=old.submit_to,
        submit_options=old.submit_options,
        array_range=array_range,
    )
    if job.kind is JobKind.META:
        meta_script = parse_script(Path(old.name), script)
        check_names(meta_script, *known_definitions(bundles, config, meta_script.directives))
        job = replace(job, run_on=meta_script.directives.run_on)
    return _deliver(bundles, config, job, script, old=old, now=now)


def _deliver(
    bundles: Bundles, config: ClientConfig, job: Job, script: bytes, *, old: Job, now: datetime
) -> Job:
    names = bundles.entries(old.id)
    objects = {name: bundles.read(old.id, name) for name in (PROJECT, RESOURCE) if name in names}
    with tempfile.TemporaryDirectory(prefix="cloudq-") as folder:
        archive = None
        if INPUT in names:
            with transfer("fetching inputs", names[INPUT].size):
                bundles.download(old.id, INPUT, Path(folder) / INPUT)
            archive = archive_of(Path(folder) / INPUT, config)
        brought = {job.name: bundles.read(old.id, job.name), **objects}
        check_own(bundles, config, old, brought, archive.digest if archive else "")
        job = replace(job, expires=expires_of(config, None, now))
        demand = replace(demand_of(config, job, script), input_digests=old.input_digests)
        outlook = look_out(bundles, config, demand, now=now, sparing=False)
        if job.kind is JobKind.META and not outlook.is_new:
            objects = {PROJECT: b"", RESOURCE: b"", **objects}
        shared = tuple(map(archive_in, old.input_blobs))
        parcel = Parcel(job, outlook, {job.name: script, **objects}, archive, shared)
        return deliver(bundles, config, parcel, now=now)


def _failed(job: Job) -> ArrayRange:
    if job.array_range is None or not job.state.final:
        raise JobStateError(f"job {job.id}: --failed is for array jobs that have ended; it is {job.state}")
    done = {task_id for task_id, task in job.tasks.items() if task.state is JobState.DONE}
    failed = [task_id for task_id in job.array_range.task_ids() if task_id not in done]
    if not failed:
        raise JobStateError(f"job {job.id}: no task has failed")
    return job.array_range.only(failed)
