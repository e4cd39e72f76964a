"""What an agent keeps of its claims on its own disk, and how it lets go of one that was taken away."""

from __future__ import annotations

import contextlib
import json
import logging
from datetime import datetime, timedelta
from typing import Optional

from cloudq.agent.decisions.lifecycle import unfinished
from cloudq.agent.folders import read_note
from cloudq.agent.workplace import Workplace
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


def remember_claim(place: Workplace, job: Job) -> None:
    """Keep the token of our claim, so that a later start sees whether the claim is still ours.

    Raises:
        OSError: It could not be kept.
    """
    kept = {"claim_token": job.claim_token, "attempt": job.attempt}
    path = place.folders.claim(job.id)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    with appearing(path) as file:
        file.write(json.dumps(kept).encode("ascii"))


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


def _kept(place: Workplace, job_id: str) -> tuple[str, int]:
    """Return token and attempt of our last claim; nothing was submitted before they were kept."""
    with contextlib.suppress(FileNotFoundError, ValueError, KeyError, TypeError):
        kept = json.loads(read_note(place.folders.claim(job_id)))
        return str(kept["claim_token"]), int(kept["attempt"])
    return "", 0


def _may_still_appear(place: Workplace, job_id: str) -> bool:
    since: Optional[datetime] = None
    with contextlib.suppress(FileNotFoundError, ValueError):
        since = datetime.fromisoformat(read_note(place.folders.submitting(job_id)))
    return since is not None and place.now() - since < UNCLEAR_FOR
