"""From a claim to a native job: submit it, and find again what may have been submitted."""

from __future__ import annotations

import logging
import os
import shlex
import signal
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Optional

from cloudq.agent.decisions.lifecycle import outcome_of
from cloudq.agent.folders import read_note
from cloudq.agent.rights import claims
from cloudq.agent.rights.admission import cancel_requested
from cloudq.agent.running.following import read_exit_code
from cloudq.agent.running.preparing import prepare, remaining
from cloudq.agent.workplace import ActiveJob, Submitted, Workplace
from cloudq.bundle import CANCEL
from cloudq.errors import (
    ArchiveError,
    CommandError,
    CommandTimeoutError,
    ConfigError,
    InputError,
    NotFoundError,
    RefusedError,
    SchedulerOutputError,
    TooLargeError,
)
from cloudq.job import Job, JobKind, JobState, Task
from cloudq.process import NOT_STARTED

logger = logging.getLogger(__name__)

_WITH_GROUPS = frozenset({"abci", "gridengine"})
_REFUSALS = (RefusedError, InputError, ArchiveError, ConfigError, TooLargeError, UnicodeDecodeError)


def start(place: Workplace, active: ActiveJob) -> None:
    """Bring a claimed job into the queue, or set its outcome if it cannot be.

    Safe to call again after any fault or crash: a job that may have been submitted is looked up by
    its tag first. What was submitted is written down by `record_submission`.

    Raises:
        StoreError, CommandError: A fault that may pass; call again later.
    """
    untouched, active.untouched = active.untouched, False
    try:
        if untouched or not _was_submitted(place, active):
            _submit(place, active)
    except NotFoundError as error:
        active.outcome = Task(JobState.ERROR, f"the bundle is not complete: {error}")
    except _REFUSALS as error:
        active.outcome = Task(JobState.ERROR, str(error))


def _was_submitted(place: Workplace, active: ActiveJob) -> bool:
    """Tell whether a job was submitted before, or may have been; take it up again if it is in the queue."""
    job = active.job
    native_id = _find_submitted(place, active)
    if native_id is None:
        return _has_run(place, active) or _may_still_appear(place, active)
    logger.info("job %s: found again in the queue as %s", job.id, native_id)
    _note_submission(place, active, native_id, job.submit_command)
    return True


def _find_submitted(place: Workplace, active: ActiveJob) -> Optional[str]:
    if _unclear_since(place, active) is None and not active.recovered:
        return None
    return place.queue.find(active.job.tag, place.folders.work_dir(active.job.id))


def _has_run(place: Workplace, active: ActiveJob) -> bool:
    """Set the outcome of a job that ran although nobody knows it: it left its exit status."""
    code = read_exit_code(place.folders.status_file(active.job.id))
    if code is None or _unclear_since(place, active) is None:
        return False
    logger.info("job %s: not in the queue, but it has run", active.job.id)
    active.outcome = outcome_of(code)
    return True


def _may_still_appear(place: Workplace, active: ActiveJob) -> bool:
    unclear_since = _unclear_since(place, active)
    return unclear_since is not None and place.now() - unclear_since < claims.UNCLEAR_FOR


def _unclear_since(place: Workplace, active: ActiveJob) -> Optional[datetime]:
    """Return since when this job may have been submitted without a record of it; None if it was not."""
    try:
        return datetime.fromisoformat(read_note(place.folders.submitting(active.job.id)))
    except FileNotFoundError:
        spool_is_gone = not place.folders.spool(active.job.id).exists()
        return active.job.received or place.now() if spool_is_gone else None
    except ValueError:
        # Not written to the end: the submission, which comes after that, was not begun.
        return None


def _submit(place: Workplace, active: ActiveJob) -> None:
    entries = place.bundles.entries(active.job.id)
    if CANCEL in entries and (active.system_ends or cancel_requested(place, active.job)):
        if place.signed_only:
            place.ledger.close(active.job)
        active.outcome = Task(JobState.DELETED)
        return
    claims.end_earlier_copies(place, active.job)
    submission, job, principals = prepare(place, active.job, entries)
    if place.signed_only:
        place.ledger.begin(job, principals)
        logger.info("job %s: signed by %s", job.id, ", ".join(principals))
    submitting = place.folders.submitting(job.id)
    # Preparing may have taken long, or this process may have been halted meanwhile.
    place.lease.check()
    _write_durably(submitting, place.now().isoformat())
    try:
        command, native_id = place.queue.submit(submission)
    except InputError as error:
        submitting.unlink()
        raise _explained(job, error) from error
    except (CommandTimeoutError, SchedulerOutputError) as error:
        logger.warning("job %s: whether it was submitted is not known yet: %s", job.id, error)
    except CommandError as error:
        _settle_failure(place, active, job, error)
    else:
        active.record = replace(active.record, job=job)
        _note_submission(place, active, native_id, shlex.join(command))


def _settle_failure(place: Workplace, active: ActiveJob, job: Job, error: CommandError) -> None:
    """Find out what has become of a submission whose command has failed.

    Raises:
        CommandError: Nothing was submitted, and it may succeed later.
    """
    submitting = place.folders.submitting(job.id)
    if _was_killed(error.status):
        logger.warning("job %s: whether it was submitted is not known yet: %s", job.id, error)
        return
    if error.status == NOT_STARTED:
        submitting.unlink()
        raise error
    # A refusal says why. What fails without a word may have taken effect, or may succeed later.
    said = error.stderr.strip()
    if not said or place.queue.scheduler.is_temporary(error.stderr):
        reason = f"the scheduler takes no jobs now: {(said or str(error))[:200]}"
        active.record = place.bundles.save(active.record, replace(job, reason=reason))
        raise error
    found = place.queue.find(job.tag, place.folders.work_dir(job.id))
    if found is None:
        submitting.unlink()
        active.outcome = Task(JobState.ERROR, said)
    else:
        logger.warning("job %s: submitted as %s, although: %s", job.id, found, error)
        active.record = replace(active.record, job=job)
        _note_submission(place, active, found, job.submit_command)


def _was_killed(status: int) -> bool:
    """Tell whether a signal ended a command, or a wrapper of it (128 + N of a shell).

    Only up to SIGTERM: above that are the refusals of qsub of PBS, whose statuses are error numbers such
    as 15018 modulo 256 (170 for an unknown queue, seen with OpenPBS 23.06).
    """
    return status < 0 or 128 < status <= 128 + signal.SIGTERM


def _group(place: Workplace, command: str) -> str:
    """Return what follows `-g`, as 1.2 records it; to other schedulers `-g` is no group."""
    words = command.split() if place.config.scheduler in _WITH_GROUPS else []
    return words[words.index("-g") + 1] if "-g" in words[:-1] else ""


def _note_submission(place: Workplace, active: ActiveJob, native_id: str, command: str) -> None:
    """Remember a submission; until it is in the manifest, the file `submitting` tells of it."""
    active.submission = Submitted(native_id, command, active.job.native_script, place.now())
    logger.info("job %s: submitted as %s", active.job.id, native_id)


def record_submission(place: Workplace, active: ActiveJob) -> None:
    """Write into the manifest that a job was submitted, and as what.

    Raises:
        StoreError: It could not be written; call again later.
        ConflictError: Somebody else has written the manifest.
        AgentRunsError: Another agent may have taken over, and have found the job by its tag.
    """
    place.lease.check()
    submission, job = active.submission, active.job
    if submission is None:
        raise ValueError("record_submission: the job has not been submitted")
    group = _group(place, submission.command)
    added = f"-g {group}" if group and job.kind is JobKind.META else ""
    job = replace(
        job,
        state=JobState.READY,
        native_id=submission.native_id,
        native_script=submission.native_script,
        submit_command=submission.command,
        native_options=added,
        local_account=place.account,
        local_group=group,
        work_dir=str(place.folders.work_dir(job.id)),
        ready=submission.time,
        reason="",
    )
    if place.signed_only:
        place.ledger.record(job, job.native_id)
    active.record = place.bundles.save(active.record, job)
    active.submission = None
    place.folders.submitting(job.id).unlink(missing_ok=True)


def _explained(job: Job, error: InputError) -> InputError:
    """Say where a refused list of tasks comes from, if it is not what the user asked for."""
    left = remaining(job)
    if left == job.array_range:
        return error
    return InputError(f"not all tasks of {job.array_range} are to run (after_corr), only {left}: {error}")


def _write_durably(path: Path, text: str) -> None:
    with path.open("w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
