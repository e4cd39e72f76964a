"""Whether a job may run here at all: its signature, its age, and what the site's policy says of it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Optional

from cloudq import signing
from cloudq.agent.rights.contents import Contents
from cloudq.agent.workplace import Workplace
from cloudq.bundle import CANCEL_SIGNATURE, INPUT, JOB_SIGNATURE, PROJECT, REQUEUE_SIGNATURE, RESOURCE
from cloudq.digests import digest_file
from cloudq.errors import NotFoundError, RefusedError
from cloudq.job import Job, JobKind
from cloudq.manifest import MEMBERS, signed_members
from cloudq.policy import matches
from cloudq.signing import Statement
from cloudq.system import ANY

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Delivery:
    """What came with an admitted job, each object compared with what was signed as it is read.

    Attributes:
        contents: The bundle's objects.
        principals: Who signed the job; empty where nobody must.
        digests: Name -> SHA-256 of each signed object; None where nobody must sign.
    """

    place: Workplace
    job: Job
    contents: Contents
    principals: tuple[str, ...] = ()
    digests: Optional[Mapping[str, str]] = None

    @property
    def is_signed(self) -> bool:
        """Tell whether it must be what somebody signed."""
        return self.digests is not None

    def __contains__(self, name: str) -> bool:
        return name in (self.contents if self.digests is None else self.digests)

    def read(self, name: str) -> bytes:
        """Read one small object. Raises NotFoundError, RefusedError."""
        data = self.place.bundles.read(self.job.id, name)
        self._check(name, signing.digest(data))
        return data

    def download(self, name: str, path: Path) -> None:
        """Fetch an object into a file. Raises NotFoundError, RefusedError."""
        self.place.bundles.download(self.job.id, name, path)
        self._check(name, digest_file(path) if self.is_signed else "")

    def _check(self, name: str, digest: str) -> None:
        if self.digests is not None and self.digests.get(name) != digest:
            raise RefusedError(f"refused: {name} is not what was signed")


def admit(place: Workplace, job: Job, contents: Contents) -> Delivery:
    """Check everything that can be told without the script.

    Raises:
        RefusedError: The job must not run here, or not any more.
        StoreError, CommandError: It could not be checked; nothing is known.
    """
    if has_expired(job, place.now()):
        raise RefusedError(f"expired: it was not to be started after {job.expires:%Y-%m-%dT%H:%M:%SZ}")
    _check_addressee(place, job)
    delivery = Delivery(place, job, contents)
    if place.config.allowed_signers is not None:
        statement, principals = _verified(place, job, JOB_SIGNATURE, signing.JOB)
        moved = find_requeue(place, job, principals) if REQUEUE_SIGNATURE in contents else None
        _compare(job, _readdressed(statement, moved), contents)
        place.ledger.check(job, _attempt(moved))
        delivery = Delivery(place, job, contents, principals, statement.files)
    _check_policy(place, delivery)
    return delivery


def has_expired(job: Job, now: datetime) -> bool:
    """Tell whether a job may not be started any more."""
    return job.expires is not None and now >= job.expires


def cancel_requested(place: Workplace, job: Job) -> bool:
    """Tell whether a job is to be cancelled; where jobs are signed, by whom it was signed.

    Raises:
        StoreError, CommandError: It could not be found out.
    """
    if not place.bundles.cancel_requested(job.id):
        return False
    if place.config.allowed_signers is None:
        return True
    try:
        statement, principals = _verified(place, job, CANCEL_SIGNATURE, signing.CANCEL)
        if statement.members.get("uuid") != job.id:
            raise RefusedError("refused: it was signed for another job")
        if not set(principals) & set(_signers(place, job)):
            raise RefusedError("refused: it was signed by somebody else than the job")
    except RefusedError as error:
        logger.warning("job %s: the request to cancel it is ignored: %s", job.id, error)
        return False
    return True


def find_requeue(place: Workplace, job: Job, signers: tuple[str, ...]) -> Optional[Statement]:
    """Return the signed order to run a job once more; None if there is none that counts.

    Raises:
        StoreError, CommandError: It could not be found out.
    """
    try:
        statement, principals = _verified(place, job, REQUEUE_SIGNATURE, signing.REQUEUE)
    except RefusedError:
        return None
    if statement.members.get("uuid") != job.id or not set(principals) & set(signers):
        return None
    return statement


def given_up(place: Workplace, job: Job) -> bool:
    """Tell whether the attempt that we have of a job was given up: anybody may say so, or its signer must.

    Raises:
        StoreError, CommandError: It could not be found out.
    """
    page = place.ledger.find(job.id) if place.signed_only else None
    if page is None:
        return not place.signed_only
    return _attempt(find_requeue(place, job, page.principals)) == page.attempt


def _attempt(requeue: Optional[Statement]) -> Optional[int]:
    attempt = requeue.members.get("attempt") if requeue else None
    return attempt if isinstance(attempt, int) else None


def _readdressed(statement: Statement, requeue: Optional[Statement]) -> Statement:
    """Return what was signed, with the addressee that was signed last."""
    if requeue is None:
        return statement
    moved = {member: requeue.members.get(member) for member in ("run_on", "submit_to")}
    members = {**statement.members, **moved}
    return replace(statement, members={member: value for member, value in members.items() if value != ""})


def _signers(place: Workplace, job: Job) -> tuple[str, ...]:
    """Return who signed a job: as noted when it was begun, or as its signature says now."""
    page = place.ledger.find(job.id)
    return page.principals if page else _verified(place, job, JOB_SIGNATURE, signing.JOB)[1]


def _verified(place: Workplace, job: Job, name: str, kind: str) -> tuple[Statement, tuple[str, ...]]:
    """Read and verify a signature. Raises RefusedError."""
    config = place.config
    if config.allowed_signers is None:
        raise ValueError("nobody must sign here")
    try:
        signed = place.bundles.read(job.id, name)
    except NotFoundError:
        raise RefusedError(f"refused: not signed, and {config.name} takes only what is signed") from None
    try:
        statement, principals = signing.verify(signed, config.allowed_signers)
    except RefusedError as error:
        raise RefusedError(f"refused: {error}") from error
    if statement.kind != kind:
        raise RefusedError(f"refused: the signature is for a {statement.kind}, not for a {kind}")
    if statement.bucket != config.bucket:
        raise RefusedError(f"refused: signed for the bucket {statement.bucket!r}, this is {config.bucket!r}")
    return statement, principals


def _compare(job: Job, statement: Statement, contents: Contents) -> None:
    """Refuse a job that is not the one that was signed, and one whose signature would never expire."""
    members = signed_members(job)
    signed = statement.members
    if signed.get("uuid") != job.id:
        raise RefusedError(f"refused: the signature is for job {signed.get('uuid')!r:.40}")
    for member in sorted({*members, *(member for member in signed if member in MEMBERS)}):
        if members.get(member) != signed.get(member):
            raise RefusedError(f"refused: {member} is not what was signed")
    if job.expires is None:
        raise RefusedError("refused: signed without a time at which it expires")
    added = {INPUT, PROJECT, RESOURCE} & set(contents.entries) - set(statement.files)
    if added:
        raise RefusedError(f"refused: {', '.join(sorted(added))} was not signed")
    if job.name not in statement.files:
        raise RefusedError(f"refused: the script {job.name} was not signed")


def _check_addressee(place: Workplace, job: Job) -> None:
    addressee = job.submit_to if job.kind is JobKind.LOCAL else job.run_on
    if addressee and addressee.lower() not in (place.config.name.lower(), ANY.lower()):
        raise RefusedError(f"refused: it is for system {addressee}, this is {place.config.name}")


def _check_policy(place: Workplace, delivery: Delivery) -> None:
    policy, job = place.config.policy, delivery.job
    if policy.principals is not None and not any(matches(p, policy.principals) for p in delivery.principals):
        raise by_policy(f"jobs of {', '.join(delivery.principals)} are not taken")
    if job.kind is JobKind.LOCAL and not policy.takes_local_scripts:
        raise by_policy("local scripts are not taken, only meta scripts")
    tasks = len(job.array_range.task_ids()) if job.array_range else 1
    if policy.most_tasks is not None and tasks > policy.most_tasks:
        raise by_policy(f"{tasks} tasks, at most {policy.most_tasks} are taken")
    if policy.largest_input is not None:
        brought, entries = (INPUT, PROJECT, RESOURCE, job.name), delivery.contents.entries
        size = sum(entries[name].size for name in brought if name in entries)
        size += sum(blob.size for blob in job.input_blobs)
        if size > policy.largest_input:
            raise by_policy(f"{size} bytes of input, at most {policy.largest_input} are taken")


def by_policy(problem: str) -> RefusedError:
    """Make the error that says what the site's policy does not allow."""
    return RefusedError(f"refused by policy: {problem}")
