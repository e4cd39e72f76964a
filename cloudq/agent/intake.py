"""Which jobs an agent takes: read, decide, claim."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from enum import Enum
from typing import Optional

from cloudq.agent.starting import read_definitions
from cloudq.agent.workplace import ActiveJob, Workplace
from cloudq.bundle import PROJECT, RESOURCE, Record
from cloudq.errors import ConflictError, InputError, NoSuchJobError, NotFoundError
from cloudq.job import Job, JobKind, JobState, Task
from cloudq.metascript import MetaScript, parse_meta_script, peek_run_on
from cloudq.system import ANY, for_system

logger = logging.getLogger(__name__)


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
        fault: Why it can run nowhere, if so.
        missing: Abstract names that have no meaning here.
    """

    record: Record
    run_on: str
    fault: str = ""
    missing: tuple[str, ...] = ()

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
        text = place.bundles.read(job.id, job.name).decode("utf-8")
    except (NotFoundError, UnicodeDecodeError) as error:
        return Candidate(record, job.run_on or ANY, fault=f"script {job.name}: {error}")
    run_on = peek_run_on(text)
    if run_on.upper() != ANY:
        return Candidate(record, run_on)
    try:
        script = parse_meta_script(text, job.name)
    except InputError as error:
        return Candidate(record, ANY, fault=str(error))
    return Candidate(record, ANY, missing=_missing_names(place, job, script))


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
    if held:
        return Decision.WAIT
    if named or candidate.fault:
        return Decision.TAKE
    if candidate.missing:
        return Decision.NOT_OURS
    age_enough = job.submitted is None or place.now() - job.submitted >= place.config.any_delay
    return Decision.TAKE if any_allowed and age_enough else Decision.WAIT


def claim(place: Workplace, candidate: Candidate) -> Optional[ActiveJob]:
    """Make a job ours; None if another agent was faster.

    The active marker is written first: whatever happens after it, the next start looks at this job.
    The spool folder, too: while it is there, its contents tell whether a submission was begun.
    """
    job_id, system = candidate.job.id, place.config.name
    spool = place.folders.spool(job_id)
    spool.mkdir(mode=0o700, exist_ok=True)
    place.bundles.mark_active(system, job_id)
    try:
        record = place.bundles.claim(candidate.record, system, now=place.now())
    except (ConflictError, NotFoundError):
        logger.info("job %s: taken by another agent", job_id)
        place.bundles.unmark_active(system, job_id)
        spool.rmdir()
        return None
    logger.info("job %s: claimed (%s)", job_id, candidate.job.name)
    active = ActiveJob(record)
    if candidate.fault:
        active.outcome = Task(JobState.ERROR, candidate.fault)
    return active


def delete_unclaimed(place: Workplace, record: Record) -> None:
    """End a job that nobody has claimed, as its owner asked. Raises ConflictError."""
    now = place.now()
    place.bundles.save(record, replace(record.job, state=JobState.DELETED, finished=now, reason=""))
    logger.info("job %s: INIT -> DELETED, on request", record.job.id)


def hold_fault(place: Workplace, job: Job, known_final: set[str]) -> Optional[str]:
    """Look at the jobs that a job waits for.

    A job that is gone counts as ended: only final jobs can be deleted, and our client refuses unknown
    ids. A 1.2 client (no submit token) refuses nothing, so that its unknown id is taken for a typo.

    Returns:
        None when all have ended, an empty text while one has not, else why it can never run.

    Raises:
        StoreError: They could not be looked at; nothing is released by a fault.
    """
    for hold_id in job.hold_ids:
        if hold_id in known_final:
            continue
        try:
            if not place.bundles.load(hold_id).job.state.final:
                return ""
        except NoSuchJobError:
            if not job.submit_token:
                return f"hold_jid: no such job: {hold_id}"
        known_final.add(hold_id)
    return None


def _missing_names(place: Workplace, job: Job, script: MetaScript) -> tuple[str, ...]:
    wanted = ((PROJECT, script.directives.project), (RESOURCE, script.directives.resource))
    return tuple(
        f"{kind} {name}" for kind, name in wanted if name and not _has_meaning(place, job, kind, name)
    )


def _has_meaning(place: Workplace, job: Job, kind: str, name: str) -> bool:
    try:
        return name in for_system(read_definitions(place, job.id, kind), place.config.name)
    except NotFoundError:
        return False
