"""From a claim to a native job: submit it, and find again what may have been submitted."""

from __future__ import annotations

import contextlib
import logging
import shlex
import signal
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Optional

from cloudq.agent.decisions.lifecycle import outcome_of
from cloudq.agent.folders import open_of_job
from cloudq.agent.rights import claims
from cloudq.agent.rights.admission import cancel_requested
from cloudq.agent.rights.contents import Contents
from cloudq.agent.running.following import read_exit_code
from cloudq.agent.running.preparing import Prepared, prepare, remaining
from cloudq.agent.workplace import ActiveJob, Submitted, Workplace
from cloudq.bundle import CANCEL, native_script_name
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
JUST_NOW = timedelta(minutes=1)
"""So young a job of our clients has no request to cancel it of which no inbox tells."""

_LONGEST_SCRIPT = 16 * 1024 * 1024
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
    _note_submission(place, active, native_id)
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
        return claims.unclear_since(place, active.job.id)
    except FileNotFoundError:
        spool_is_gone = not place.folders.spool(active.job.id).exists()
        return active.job.received or place.now() if spool_is_gone else None


def _submit(place: Workplace, active: ActiveJob) -> None:
    job = active.job
    contents = Contents(place.bundles, job.id)
    if _may_be_cancelled(place, active) and _is_cancelled(place, active, contents):
        if place.signed_only:
            place.ledger.close(job)
        active.outcome = Task(JobState.DELETED)
        return
    claims.end_earlier_copies(place, job)
    prepared = prepare(place, job, contents)
    if place.signed_only:
        place.ledger.begin(job, prepared.principals)
        logger.info("job %s: signed by %s", job.id, ", ".join(prepared.principals))
    with place.queue.turn() as permitted:
        if permitted:
            _submit_now(place, active, prepared)


def _submit_now(place: Workplace, active: ActiveJob, prepared: Prepared) -> None:
    job = active.job
    # Preparing and the wait may have taken long, or this process may have been halted meanwhile.
    place.lease.check()
    claims.begin_submission(place, job)
    try:
        command, native_id = place.queue.submit(prepared.submission)
    except InputError as error:
        claims.withdraw_submission(place, job.id)
        raise _explained(job, error) from error
    except (CommandTimeoutError, SchedulerOutputError) as error:
        logger.warning("job %s: whether it was submitted is not known yet: %s", job.id, error)
    except CommandError as error:
        _settle_failure(place, active, error)
    else:
        _note_submission(place, active, native_id, shlex.join(command), prepared.translation)


def _may_be_cancelled(place: Workplace, active: ActiveJob) -> bool:
    """Tell whether the bundle must be looked at for a request to cancel the job.

    Our clients tell the inbox, too; those of 1.2 do not. So what one of ours submitted just now needs no
    look: what a 1.2 client asks of it in the first minute is found by the next sweep.
    """
    job = active.job
    told = active.cancel_noticed or active.system_ends
    if told or active.recovered or job.attempt > 1 or not job.submit_token:
        return True
    return job.submitted is None or abs(place.now() - job.submitted) >= JUST_NOW


def _is_cancelled(place: Workplace, active: ActiveJob, contents: Contents) -> bool:
    return CANCEL in contents and (active.system_ends or cancel_requested(place, active.job))


def _settle_failure(place: Workplace, active: ActiveJob, error: CommandError) -> None:
    """Find out what has become of a submission whose command has failed.

    Raises:
        CommandError: Nothing was submitted, and it may succeed later.
    """
    job = active.job
    if _was_killed(error.status):
        logger.warning("job %s: whether it was submitted is not known yet: %s", job.id, error)
        return
    if error.status == NOT_STARTED:
        claims.withdraw_submission(place, job.id)
        raise error
    # A refusal says why. What fails without a word may have taken effect, or may succeed later.
    said = error.stderr.strip()
    if not said or place.queue.scheduler.is_temporary(error.stderr):
        reason = f"the scheduler takes no jobs now: {(said or str(error))[:200]}"
        active.record = place.bundles.save(active.record, replace(job, reason=reason))
        raise error
    found = place.queue.find(job.tag, place.folders.work_dir(job.id))
    if found is None:
        claims.withdraw_submission(place, job.id)
        active.outcome = Task(JobState.ERROR, said)
    else:
        logger.warning("job %s: submitted as %s, although: %s", job.id, found, error)
        _note_submission(place, active, found)


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


def _note_submission(
    place: Workplace,
    active: ActiveJob,
    native_id: str,
    command: str = "",
    translation: Optional[bytes] = None,
) -> None:
    """Remember a submission; until it is in the manifest, the file `submitting` tells of it."""
    active.submission = Submitted(native_id, place.now(), command, translation)
    logger.info("job %s: submitted as %s", active.job.id, native_id)


def record_submission(place: Workplace, active: ActiveJob) -> None:
    """Store the translated script, and write into the manifest that the job was submitted, and as what.

    Raises:
        StoreError: It could not be written; call again later.
        ConflictError: Somebody else has written the manifest.
        AgentRunsError: Another agent may have taken over, and have found the job by its tag.
    """
    place.lease.check()
    submission, job = active.submission, active.job
    if submission is None:
        raise ValueError("record_submission: the job has not been submitted")
    native_name = _store_translation(place, job, submission)
    group = _group(place, submission.command)
    added = f"-g {group}" if group and job.kind is JobKind.META else ""
    job = replace(
        job,
        state=JobState.READY,
        native_id=submission.native_id,
        native_script=native_name,
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
    claims.end_submission(place, job.id)


def _store_translation(place: Workplace, job: Job, submission: Submitted) -> str:
    """Store the translation of a meta script, and return its name; empty if there is none."""
    if job.kind is not JobKind.META:
        return ""
    name, text = native_script_name(job.name), submission.translation
    if text is None:
        # It was submitted before this process was there.
        with (
            contextlib.suppress(OSError),
            open_of_job(place.folders.work_dir(job.id) / name) as file,
        ):
            text = file.read(_LONGEST_SCRIPT)
    if text is not None:
        place.bundles.write(job.id, name, text)
    return name


def _explained(job: Job, error: InputError) -> InputError:
    """Say where a refused list of tasks comes from, if it is not what the user asked for."""
    left = remaining(job)
    if left == job.array_range:
        return error
    return InputError(f"not all tasks of {job.array_range} are to run (after_corr), only {left}: {error}")
