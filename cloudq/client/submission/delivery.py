"""The delivery of a checked job: its objects are stored, the manifest last of all, and its agents told."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Optional

from cloudq.bundle import INPUT, JOB_SIGNATURE, MANIFEST, Bundles
from cloudq.client.display.progress import transfer
from cloudq.client.signatures import sign_job
from cloudq.client.systems.outlook import Outlook
from cloudq.config import ClientConfig
from cloudq.errors import ConflictError, InputError, ManifestError, NoSuchJobError, StoreError
from cloudq.job import Job, JobKind, JobState, new_job_id

if TYPE_CHECKING:
    from cloudq.client.submission.archives import InputArchive

_ID_ATTEMPTS = 3

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parcel:
    """A checked job, who may take it, and what is stored with it: its inputs in the bundle or beside it."""

    job: Job
    outlook: Outlook
    objects: dict[str, bytes] = field(default_factory=dict)
    archive: Optional[InputArchive] = None
    shared: tuple[InputArchive, ...] = ()


def deliver(bundles: Bundles, config: ClientConfig, parcel: Parcel, *, now: datetime) -> Job:
    """Store a checked job, signed if there is a key, and tell the agents; return it as it was stored.

    Raises:
        InputError: There are inputs, and the agent does not know such, or they have changed meanwhile.
        StoreError: Not everything could be stored; what was is removed again as far as possible.
    """
    brings_inputs = bool(parcel.archive or parcel.shared)
    if brings_inputs:
        _check_knows_inputs(bundles, parcel.outlook)
    # An agent of 1.2 makes a meta job an ERROR, also another system's, that lacks what only it wants.
    new_only = parcel.job.kind is JobKind.META and parcel.outlook.is_new
    new_only = new_only or brings_inputs  # It would run any job without its inputs.
    job = replace(parcel.job, submitted=now, new_agents_only=new_only)
    job = _store(bundles, config, replace(parcel, job=job))
    _notify(bundles, job, parcel.outlook, now)
    return job


def _check_knows_inputs(bundles: Bundles, outlook: Outlook) -> None:
    """Refuse to send inputs to an agent of 1.2; the outlook may be of a time before it was replaced."""
    system = outlook.demand.system
    if outlook.is_old and bundles.agents.presence(system) is None:
        raise InputError(
            f"--input: the agent of {system} is of CloudQ 1.2, which would run the job without its inputs",
            hint="install a newer agent there, or have the script fetch the files",
        )


def _store(bundles: Bundles, config: ClientConfig, parcel: Parcel) -> Job:
    """Store a job under an id that is free, and return it as it was stored."""
    for _ in range(_ID_ATTEMPTS - 1):
        try:
            return _store_as(bundles, config, parcel)
        except ConflictError:
            # Somebody else's job has this id: one chance in 2**48 for each job in the bucket.
            parcel = replace(parcel, job=replace(parcel.job, id=new_job_id()))
    return _store_as(bundles, config, parcel)


def _store_as(bundles: Bundles, config: ClientConfig, parcel: Parcel) -> Job:
    job = parcel.job
    size, digest = len(parcel.objects[job.name]), ""
    with _taken_back_on_failure(bundles, job.id) as stored:

        def add(name: str, data: bytes) -> None:
            bundles.add(job.id, name, data)
            stored.append(name)

        for name, data in parcel.objects.items():
            add(name, data)
        if parcel.shared:
            # After the script, by which whoever removes blobs sees that there is such a job.
            from cloudq.client.submission.sharing import place

            job = replace(job, input_blobs=place(bundles, job.id, parcel.shared))
            size += sum(blob.size for blob in job.input_blobs)
        if parcel.archive:
            digest, archive_size = _send(bundles, job.id, parcel.archive)
            size += archive_size
            stored.append(INPUT)
        # What inputs are that are made while they are sent is not known before.
        job = replace(job, input_size=size)
        signature = sign_job(config, job, parcel.objects, digest)
        if signature is not None:
            add(JOB_SIGNATURE, signature)
        # Named before it is tried: a write that gave no answer may have taken effect.
        stored.append(MANIFEST)
        return bundles.create(job).job


def _send(bundles: Bundles, job_id: str, archive: InputArchive) -> tuple[str, int]:
    """Store inputs in the bundle, and return their digest and size. Raises InputError, StoreError."""
    from cloudq.digests import RunningDigest  # jobs without inputs do without

    running = RunningDigest(archive.algorithm)
    with transfer("sending inputs", archive.size):
        entry = bundles.upload_blocks(job_id, INPUT, archive.blocks(running), expected=archive.size)
    return running.digest(), entry.size


@contextmanager
def _taken_back_on_failure(bundles: Bundles, job_id: str) -> Iterator[list[str]]:
    """Yield a list for the names of what was stored, and remove that if the block fails."""
    stored: list[str] = []
    try:
        yield stored
    except ConflictError:
        raise  # Another job has this id, so nothing here is surely ours.
    except BaseException:
        if stored:
            _take_back(bundles, job_id, stored)
        raise


def _take_back(bundles: Bundles, job_id: str, names: Sequence[str]) -> None:
    try:
        if MANIFEST in names and not _withdraw(bundles, job_id):
            logger.warning(
                "job %s: submitted all the same: an agent has it; `cloudqcli cancel %s` stops it",
                job_id,
                job_id,
            )
            return
        bundles.discard(job_id, [*names, INPUT])
    except StoreError:
        said = "it is not known whether it was submitted" if MANIFEST in names else "not submitted"
        command = f"cloudqcli delete --force {job_id}"
        logger.warning("job %s: %s; `%s` removes what is left of it", job_id, said, command)
    else:
        logger.warning("job %s: not submitted; what was stored of it has been removed", job_id)


def _withdraw(bundles: Bundles, job_id: str) -> bool:
    """Remove a manifest whose write was not confirmed; False if an agent has claimed the job meanwhile.

    It is made final first, on condition that nobody has changed it: then nobody can claim it any more.
    """
    try:
        record = bundles.load(job_id)
        if record.job.run_system:
            return False
        if not record.job.state.final:
            bundles.save(record, replace(record.job, state=JobState.DELETED))
    except (NoSuchJobError, ConflictError) as error:
        return isinstance(error, NoSuchJobError)
    bundles.discard(job_id, [MANIFEST])
    return True


def _notify(bundles: Bundles, job: Job, outlook: Outlook, now: datetime) -> None:
    try:
        bundles.markers.notify(job)
        for warning in outlook.warnings(bundles, now=now):
            logger.warning("job %s: %s", job.id, warning)
    except (StoreError, ManifestError) as error:
        # Agents find it all the same when they next look through the whole bucket.
        logger.warning("job %s: submitted, but its system could not be told: %s", job.id, error)
