"""What an agent keeps of its claims on its own disk, and how it lets go of one that was taken away."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from datetime import datetime, timedelta
from typing import Optional

from cloudq.agent.decisions.lifecycle import unfinished
from cloudq.agent.folders import read_note
from cloudq.agent.workplace import ActiveJob, Workplace
from cloudq.errors import CloudQError
from cloudq.job import Job, tag_of
from cloudq.store.files import appearing

logger = logging.getLogger(__name__)

UNCLEAR_FOR = timedelta(minutes=2)
"""How long a submission that gave no answer may still take effect. Only when the scheduler does not know the
job's tag after that time is it submitted again."""

_MOST_COPIES = 100
"""So many attempts are looked for: whoever may write to the bucket may write any number of them."""


class CopyRunsError(CloudQError):
    """A copy of the job that is no longer wanted is still in the queue; it is being cancelled."""


def mark(place: Workplace, active: ActiveJob) -> None:
    """Let a marker tell a next start of a job that is ours, instead of the notice by which it was taken.

    That is done late, so that many jobs can be submitted soon. One whose notice somebody else has removed
    meanwhile is found by the look through the whole bucket that each start makes.
    """
    place.bundles.markers.mark_active(place.config.name, active.job.id)
    if active.notice_in:
        place.bundles.markers.remove_notice(active.notice_in, active.job.id)
    active.marked, active.notice_in = True, ""


def unmark(place: Workplace, active: ActiveJob) -> None:
    """Remove what leads a next start to a job that is final, and cleaned up."""
    if active.notice_in:
        place.bundles.markers.remove_notice(active.notice_in, active.job.id)
    place.bundles.markers.remove_ended(place.config.name, active.job.id)


def remember_claim(place: Workplace, job: Job) -> None:
    """Keep the token of our claim, so that a later start sees whether the claim is still ours.

    Raises:
        OSError: It could not be kept.
    """
    path = place.folders.claim(job.id)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    with appearing(path) as file:
        file.write(json.dumps(_note(job)).encode("ascii"))


def begin_submission(place: Workplace, job: Job) -> None:
    """Note durably that a job is about to be submitted, by which claim and since when. Raises OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    with os.fdopen(os.open(place.folders.submitting(job.id), flags, 0o600), "w", encoding="ascii") as file:
        json.dump({**_note(job), "since": place.now().isoformat()}, file)
        file.flush()
        os.fsync(file.fileno())


def withdraw_submission(place: Workplace, job_id: str) -> None:
    """Note that a job was not submitted after all."""
    place.folders.submitting(job_id).unlink()


def end_submission(place: Workplace, job_id: str) -> None:
    """Keep of that note only whose claim it is: what the job became is recorded."""
    # By then the job may have put something else there, to its own harm only.
    with contextlib.suppress(OSError):
        place.folders.submitting(job_id).replace(place.folders.claim(job_id))


def unclear_since(place: Workplace, job_id: str) -> Optional[datetime]:
    """Return since when a job may have been submitted without a record of it; None if it was not.

    Raises:
        FileNotFoundError: Nothing was noted.
    """
    try:
        return datetime.fromisoformat(json.loads(read_note(place.folders.submitting(job_id)))["since"])
    except (ValueError, KeyError, TypeError):
        # It was not written to the end: the submission, which comes after that, was not begun.
        return None


def is_taken_away(place: Workplace, job: Job) -> bool:
    """Tell whether we once claimed this job, and its manifest names another claim, or none."""
    token, _ = _kept(place, job.id)
    return bool(token) and token != job.claim_token


def let_go(place: Workplace, job: Job, *, native_id: str = "") -> None:
    """End the copy of a job that a claim of ours, now void, left in the queue; then remove its folders.

    Nothing is written to the job's bundle: that is another claim's by now.

    Args:
        native_id: Its id in the queue, if it is remembered; else it is looked up by the tag of our claim.

    Raises:
        CopyRunsError: It is still in the queue, or may yet appear there; call again later.
        CommandError, SchedulerOutputError: The scheduler could not be asked.
    """
    _, attempt = _kept(place, job.id)
    known = False
    if native_id:
        known = _end_copy(place, job, native_id)
    elif attempt:
        end_copy_of(place, job, attempt)
    if not known and (native_id or attempt) and _may_still_appear(place, job.id):
        raise CopyRunsError("an earlier submission of it may still appear in the queue")
    place.folders.remove(job.id)


def end_earlier_copies(place: Workplace, job: Job) -> None:
    """End what earlier claims, of whatever agent, have left of a requeued job in this queue.

    Raises:
        CopyRunsError, CommandError, SchedulerOutputError: As `let_go`.
    """
    for attempt in range(max(1, job.attempt - _MOST_COPIES), job.attempt):
        end_copy_of(place, job, attempt)


def end_copy_of(place: Workplace, job: Job, attempt: int) -> None:
    """End the copy of one attempt, if the scheduler knows it. Raises as `let_go`."""
    native_id = place.queue.find(tag_of(job.id, attempt), place.folders.work_dir(job.id))
    if native_id is not None:
        _end_copy(place, job, native_id)


def _end_copy(place: Workplace, job: Job, native_id: str) -> bool:
    """Cancel a copy, unless it has ended; False if the scheduler does not know it (yet)."""
    answer = place.queue.poll({native_id: unfinished(job)})
    if answer.faults:
        raise answer.faults[0]
    statuses = answer.statuses.get(native_id, {}).values()
    if all(status.state.final and not status.settles_after for status in statuses):
        return bool(statuses)
    place.queue.cancel(native_id)
    logger.info("job %s: cancelled %s, a copy whose claim is void", job.id, native_id)
    raise CopyRunsError(f"an earlier copy of it, {native_id}, is being cancelled")


def _note(job: Job) -> dict[str, object]:
    return {"claim_token": job.claim_token, "attempt": job.attempt}


def _kept(place: Workplace, job_id: str) -> tuple[str, int]:
    """Return token and attempt of our last claim; nothing was submitted before they were kept."""
    for path in (place.folders.submitting(job_id), place.folders.claim(job_id)):
        with contextlib.suppress(FileNotFoundError, ValueError, KeyError, TypeError):
            kept = json.loads(read_note(path))
            return str(kept["claim_token"]), int(kept["attempt"])
    return "", 0


def _may_still_appear(place: Workplace, job_id: str) -> bool:
    with contextlib.suppress(FileNotFoundError):
        since = unclear_since(place, job_id)
        return since is not None and place.now() - since < UNCLEAR_FOR
    return False
