"""The user's signature under jobs and cancel requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Optional

from cloudq.bundle import INPUT, JOB_SIGNATURE, Bundles
from cloudq.config import ClientConfig
from cloudq.errors import InputError, NotFoundError, RefusedError
from cloudq.job import Job
from cloudq.manifest import signed_members

_RESUBMITTED = ("uuid", "name", "jobscript_type", "submit_to", "submit_opt", "array_tid", "input_blobs")


def sign_job(
    config: ClientConfig, job: Job, objects: Mapping[str, bytes], archive_digest: str
) -> Optional[bytes]:
    """Sign a job and all its files; None if the configuration has no key. Raises CloudQError.

    Args:
        archive_digest: SHA-256 of the inputs in its bundle; empty if there are none.
    """
    if config.signing_key is None:
        return None
    from cloudq import signing

    statement = signing.Statement(
        signing.JOB, config.bucket, signed_members(job), _digests(objects, archive_digest)
    )
    return signing.sign(statement, config.signing_key)


def check_own(
    bundles: Bundles, config: ClientConfig, old: Job, objects: Mapping[str, bytes], archive_digest: str
) -> None:
    """Make sure that what is about to be signed once more is what this key has signed before.

    It was fetched from a bucket that others may write to. Without a key there is nothing to check.

    Raises:
        InputError: It is not, or that cannot be told.
    """
    key = config.signing_key
    if key is None:
        return
    from cloudq import signing

    files = _digests(objects, archive_digest)
    try:
        statement = signing.verify_own(bundles.read(old.id, JOB_SIGNATURE), key)
        members = signed_members(old)
        same = all(statement.members.get(member) == members.get(member) for member in _RESUBMITTED)
        if statement.kind != signing.JOB or not same or dict(statement.files) != files:
            raise RefusedError("it is not what was signed")
    except (NotFoundError, RefusedError) as error:
        hint = "submit the files that you have yourself"
        raise InputError(f"job {old.id}: cannot be signed once more: {error}", hint=hint) from error


def _digests(objects: Mapping[str, bytes], archive_digest: str) -> dict[str, str]:
    from cloudq import signing

    digests = {name: signing.digest(data) for name, data in objects.items()}
    return {**digests, INPUT: archive_digest} if archive_digest else digests


def sign_requeue(config: ClientConfig, job: Job) -> Optional[bytes]:
    """Sign that a job is to be run once more, by its addressee; None without a key. Raises CloudQError."""
    if config.signing_key is None:
        return None
    from cloudq import signing

    members = {"uuid": job.id, "attempt": job.attempt, "run_on": job.run_on, "submit_to": job.submit_to}
    return signing.sign(signing.Statement(signing.REQUEUE, config.bucket, members), config.signing_key)


def sign_cancel(config: ClientConfig, job_id: str) -> Optional[bytes]:
    """Sign the request to cancel a job; None if the configuration has no key. Raises CloudQError."""
    if config.signing_key is None:
        return None
    from cloudq import signing

    statement = signing.Statement(signing.CANCEL, config.bucket, {"uuid": job_id})
    return signing.sign(statement, config.signing_key)
