"""Which jobs an agent takes: read, decide, claim."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Optional

from cloudq.agent.rights.admission import admit, has_expired
from cloudq.agent.rights.claims import let_go
from cloudq.agent.rights.contents import Contents
from cloudq.agent.rights.policing import check_script
from cloudq.agent.running.definitions import this_system
from cloudq.agent.running.finishing import remember_outcome
from cloudq.agent.workplace import ActiveJob, Workplace
from cloudq.bundle import PROJECT, RESOURCE, Record, check_script_name
from cloudq.errors import (
    ConfigError,
    ConflictError,
    InputError,
    NoSuchJobError,
    NotFoundError,
    RefusedError,
    TooLargeError,
)
from cloudq.job import Job, JobKind, JobState, Task
from cloudq.metascript import MetaScript, parse_meta_script, peek_run_on
from cloudq.system import ANY, System

logger = logging.getLogger(__name__)


_ENDED = Job("ended", "ended", JobKind.META, JobState.DONE)
"""Stands for a job of which only that it has ended is known."""


class Decision(Enum):
    """What an agent does with a job that it was asked to look at."""

    TAKE = "take"
    WAIT = "wait"
    """It may become ours later: a dependency, `any_delay`, a full queue."""

    NOT_OURS = "not ours"
    """It is another system's, or cannot run here; nobody will change that."""


@dataclass(frozen=True)
class Candidate:
    """An unclaimed job and what must be known to decide about it.

    Attributes:
        run_on: The system it is for, or `ANY`.
        outcome: How it ends without having run, if it can run nowhere.
        missing: Abstract names that have no meaning here.
        refusal: Why it is not taken from `ANY`: its signature, or the site's policy.
        tasks: Tasks that end without having run, because a condition of theirs cannot be met.
    """

    record: Record
    run_on: str
    outcome: Optional[Task] = None
    missing: tuple[str, ...] = ()
    refusal: str = ""
    tasks: Mapping[int, Task] = field(default_factory=dict)

    @property
    def job(self) -> Job:
        """The job."""
        return self.record.job


def read_candidate(place: Workplace, record: Record) -> Candidate:
    """Find out what an unclaimed job is for; script and definitions are read only where they must be."""
    job = record.job
    if job.kind is JobKind.LOCAL:
        return Candidate(record, job.submit_to or ANY)
    if job.run_on and job.run_on.upper() != ANY:
        return Candidate(record, job.run_on)
    try:
        check_script_name(job.name)
        text = place.bundles.read(job.id, job.name).decode("utf-8")
    except (InputError, NotFoundError, TooLargeError, UnicodeDecodeError) as error:
        fault = f"script {job.name}: {error}"
        return Candidate(record, job.run_on or ANY, outcome=Task(JobState.ERROR, fault))
    # What the manifest says goes first: `cloudqcli requeue --to ANY` changes nothing else.
    run_on = job.run_on or peek_run_on(text)
    if run_on.upper() != ANY:
        return Candidate(record, run_on)
    try:
        return _for_any(place, record, parse_meta_script(text, job.name))
    except (InputError, ConfigError, NotFoundError) as error:
        return Candidate(record, ANY, outcome=Task(JobState.ERROR, str(error)))


def _for_any(place: Workplace, record: Record, script: MetaScript) -> Candidate:
    """Find out whether this system may take a job for `ANY`; if not, others may.

    What is read here decides only about that: whoever takes a job checks everything again.
    """
    try:
        delivery = admit(place, record.job, Contents(place.bundles, record.job.id))
        system = this_system(place, delivery, script.directives)
        missing = _missing_names(script, system)
        if not missing:
            check_script(place, record.job, script, system)
        return Candidate(record, ANY, missing=missing)
    except RefusedError as error:
        return Candidate(record, ANY, refusal=str(error))


def decide(place: Workplace, candidate: Candidate, *, any_allowed: bool, held: bool) -> Decision:
    """Decide about a candidate.

    Args:
        any_allowed: Whether one more `ANY` job may wait in the local queue, and the store can do
            conditional writes.
        held: Whether a job it waits for has not ended.
    """
    job = candidate.job
    named = candidate.run_on.lower() == place.config.name.lower()
    if not named and candidate.run_on.upper() != ANY:
        return Decision.NOT_OURS
    if has_expired(job, place.now()) or (candidate.outcome and candidate.refusal):
        return Decision.TAKE
    if candidate.refusal:
        return Decision.NOT_OURS
    if held:
        return Decision.WAIT
    if named or candidate.outcome:
        return Decision.TAKE
    if candidate.missing:
        return Decision.NOT_OURS
    age_enough = job.submitted is None or place.now() - job.submitted >= place.config.any_delay
    return Decision.TAKE if any_allowed and age_enough else Decision.WAIT


def claim(place: Workplace, candidate: Candidate) -> Optional[ActiveJob]:
    """Make a job ours; None if another agent was faster.

    Its notice stays until it is marked as ours: whatever happens, the next start looks at this job. The
    spool folder is made first: while it is there, its contents tell whether a submission was begun.

    Raises:
        CopyRunsError: It was ours before, and is still being cancelled; try again later.
    """
    job_id, system = candidate.job.id, place.config.name
    spool = place.folders.spool(job_id)
    try:
        spool.mkdir(mode=0o700)
    except FileExistsError:
        let_go(place, candidate.job)  # The job was ours before, and was requeued.
        spool.mkdir(mode=0o700, exist_ok=True)
    try:
        # The folder is recorded with the claim: an agent of the same name elsewhere must not follow it.
        work_dir = str(place.folders.work_dir(job_id))
        job = replace(candidate.job, tasks=candidate.tasks, work_dir=work_dir)
        unclaimed = replace(candidate.record, job=job)
        record = place.bundles.claim(unclaimed, system, now=place.now())
    except (ConflictError, NotFoundError):
        logger.info("job %s: taken by another agent", job_id)
        place.folders.remove_unused(job_id)
        return None
    logger.info("job %s: claimed (%r)", job_id, candidate.job.name)
    active = ActiveJob(record, untouched=True, outcome=candidate.outcome)
    if active.outcome is not None:
        remember_outcome(place, active)  # Else a next start would not know that it is not to run.
    return active


def delete_unclaimed(place: Workplace, record: Record) -> None:
    """End a job that nobody has claimed, as its owner asked. Raises ConflictError."""
    now = place.now()
    if place.signed_only:
        place.ledger.close(record.job)
    place.bundles.save(record, replace(record.job, state=JobState.DELETED, finished=now, reason=""))
    logger.info("job %s: INIT -> DELETED, on request", record.job.id)


def read_awaited(place: Workplace, job: Job, known_final: set[str]) -> dict[str, Optional[Job]]:
    """Read the jobs that a job waits for; those that are known to be final are not read again
    where it does not matter how they ended.

    Raises:
        StoreError, ManifestError: They could not be read; nothing is released by a fault.
    """
    awaited: dict[str, Optional[Job]] = {}
    for job_id in job.hold_ids:
        if job_id in known_final and job_id not in job.conditions:
            awaited[job_id] = _ENDED
            continue
        try:
            awaited[job_id] = place.bundles.load(job_id).job
        except NoSuchJobError:
            awaited[job_id] = None
    return awaited


def _missing_names(script: MetaScript, system: System) -> tuple[str, ...]:
    directives = script.directives
    wanted = (
        (PROJECT, directives.project, system.projects),
        (RESOURCE, directives.resource, system.resources),
    )
    return tuple(f"{kind} {name}" for kind, name, meanings in wanted if name and name not in meanings)
