"""Jobs taken away from agents that are gone for good, and sent to be run once more."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Optional

from cloudq.bundle import REQUEUE_SIGNATURE, Bundles, Record
from cloudq.errors import ConflictError, InputError, JobStateError
from cloudq.job import Job, JobKind, JobState, is_job_id
from cloudq.store.probe import has_conditional_writes, store_time
from cloudq.system import ANY

QUIET_1_2 = timedelta(minutes=10)
"""An agent of 1.2, which has no heartbeat, is gone if its log has not been written for so long."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Requeue:
    """How jobs are to be requeued.

    Attributes:
        to: The system to send them to, `ANY`, or empty for where they were to go anyway.
        force: Take them away from an agent that is alive, too, and where claims cannot be safe.
    """

    to: str = ""
    force: bool = False


Sign = Callable[[Job], Optional[bytes]]
"""Signs the requeueing of a job, which has its new addressee; None without a key."""


def requeue(bundles: Bundles, job_id: str, wanted: Requeue, sign: Sign = lambda _: None) -> Job:
    """Free a job from the agent that has it, and announce it again; return it as it is now.

    The claim is taken away by a conditional write: when the old agent returns, it sees that, cancels its
    copy and writes nothing. Until then its copy may run on.

    Raises:
        NoSuchJobError: There is no such job.
        JobStateError: It has ended, nobody has it, its agent is alive, or claims are not safe in this store.
        InputError: It cannot be sent there.
    """
    record = bundles.load(job_id)
    job = record.job
    if job.state.final:
        raise JobStateError(f"The job is already completed: {job_id}")
    target = _sent_to(job, wanted.to)
    if not job.run_system and not wanted.to:
        raise JobStateError(
            f"job {job_id}: no system has taken it yet: nothing to requeue",
            hint="`cloudqcli requeue --to SYSTEM` sends it elsewhere",
        )
    if job.run_system:
        _check_agent(bundles, job, force=wanted.force)
    _check_store(bundles, force=wanted.force)
    signature = sign(target)
    if signature is not None:
        bundles.write(job_id, REQUEUE_SIGNATURE, signature)
    try:
        freed = _freed(bundles, record, target)
    except ConflictError as error:
        raise JobStateError(f"job {job_id}: was changed by somebody else at this moment") from error
    _announce(bundles, before=job, now=freed)
    return freed


def unclaimed(job: Job) -> Job:
    """Return the job as if nobody had taken it yet; only the number of its last attempt is kept."""
    blank = Job(job.id, job.name, job.kind)
    of_the_client = (
        "run_on",
        "submit_to",
        "submit_options",
        "hold_ids",
        "conditions",
        "array_range",
        "expires",
        "new_agents_only",
        "input_blobs",
    )
    kept = (*of_the_client, "submitted", "submit_token", "input_size", "attempt", "revision", "extra")
    return replace(blank, **{name: getattr(job, name) for name in kept})


def _sent_to(job: Job, to: str) -> Job:
    """Return the job with another addressee. Raises InputError if it cannot be sent there."""
    if not to:
        return job
    if not is_job_id(to):
        raise InputError(f"--to: expected the name of a system or ANY, got {to!r}")
    if job.kind is JobKind.LOCAL and to.upper() == ANY:
        raise InputError(f"--to ANY: job {job.id} has a script for the scheduler of {job.submit_to} only")
    if job.kind is JobKind.LOCAL:
        return replace(job, submit_to=to)
    return replace(job, run_on=ANY if to.upper() == ANY else to)


def _check_agent(bundles: Bundles, job: Job, *, force: bool) -> None:
    """Refuse to take a job from an agent that is alive, by the store's clock and nobody else's."""
    heard = bundles.agents.last_sign_of_life(job.run_system)
    if heard is None:
        return
    presence = bundles.agents.presence(job.run_system)
    if presence is not None and presence.stopped:
        return
    patience = QUIET_1_2 if presence is None else presence.patience
    age = store_time(bundles.store, bundles.probe_folder) - heard
    if age >= patience:
        return
    said = f"job {job.id}: agent {job.run_system} was heard of {max(0, round(age.total_seconds()))} s ago"
    if not force:
        raise JobStateError(
            f"{said}; it is gone only after {round(patience.total_seconds())} s of silence",
            hint="`cloudqcli cancel` asks a living agent to end the job; --force takes it away all the same",
        )
    logger.warning("%s: its copy may run beside the new one until it notices", said)


def _check_store(bundles: Bundles, *, force: bool) -> None:
    if not has_conditional_writes(bundles.store, bundles.probe_folder):
        message = f"{bundles.store.url} does not do conditional writes: nobody can be sure to have a job"
        if not force:
            raise JobStateError(message, hint="--force requeues it all the same")
        logger.warning("%s", message)


def _freed(bundles: Bundles, record: Record, target: Job) -> Job:
    """Take the claim away, remove what the old copy has stored, and only then let others claim the job."""
    job = record.job
    if job.run_system:
        held = replace(unclaimed(job), run_system=job.run_system, claim_token=secrets.token_hex(8))
        record = bundles.save(record, replace(held, reason="being requeued"))
        bundles.markers.unmark_active(job.run_system, job.id)
        bundles.discard_products(job)
    return bundles.save(record, replace(unclaimed(target), revision=record.job.revision)).job


def _announce(bundles: Bundles, *, before: Job, now: Job) -> None:
    """Tell those who may take the job, and the agent that had it, which may be alive after all."""
    markers = bundles.markers
    if before.run_system:
        markers.request(before)
    elif (old := markers.addressee(before)) != markers.addressee(now):
        markers.remove_all_mail([before.id], [old])
        if bundles.cancel_requested(now.id):
            markers.request(now)
    markers.notify(now)
    if before.state is JobState.COMPLETING:
        logger.warning("job %s: had ended on %s, and runs once more", now.id, before.run_system)
    elif before.native_id:
        logger.warning(
            "job %s: its copy on %s may run on until an agent is there again", now.id, before.run_system
        )
