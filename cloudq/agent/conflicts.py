"""Conflicts: somebody else has written, taken or deleted a job that this agent holds."""

from __future__ import annotations

import logging

from cloudq.agent.rights import trust
from cloudq.agent.rights.admission import given_up
from cloudq.agent.rights.claims import let_go
from cloudq.agent.roster import Roster
from cloudq.agent.workplace import ActiveJob, Workplace
from cloudq.errors import ConflictError, NoSuchJobError

logger = logging.getLogger(__name__)


def check_claim(place: Workplace, active: ActiveJob) -> None:
    """Look whether a claim that is in doubt is still ours.

    Raises:
        ConflictError: It is not.
        NoSuchJobError: The job was deleted.
    """
    if place.bundles.load(active.job.id).job.claim_token != active.job.claim_token:
        raise ConflictError(active.job.id)
    active.claim_doubted = False


def settle(place: Workplace, active: ActiveJob) -> None:
    """Go on from what is in the bucket if the claim is still ours; else note that it was taken away.

    Raises:
        ConflictError, NoSuchJobError: It was written, or deleted, once more meanwhile.
    """
    job = active.job
    try:
        record = place.bundles.load(job.id)
    except NoSuchJobError:
        if place.signed_only:
            logger.warning("job %s: its manifest was removed by somebody; writing it again", job.id)
            active.record = place.bundles.restore(job)
            return
        logger.warning("job %s: deleted from the bucket while it was open; cancelling it", job.id)
        active.taken_away = True
        return
    same_claim = record.job.claim_token == job.claim_token
    if place.signed_only and (same_claim or not given_up(place, job)):
        # What this agent knows counts, not what somebody wrote who may write to the bucket.
        logger.warning("job %s: somebody else has written its manifest; writing it again", job.id)
        mine = trust.own(active.record, record)
        active.record = place.bundles.save(mine, mine.job)
    elif same_claim:
        active.record = record
        if record.job.native_id or record.job.state.final:
            active.submission = None  # An agent that took over meanwhile has recorded it.
    else:
        logger.warning("job %s: its claim was taken away: ending our copy of it", job.id)
        active.taken_away = True


def surrender(place: Workplace, roster: Roster, active: ActiveJob) -> None:
    """End our copy of a job that is another's now, and announce the job again if nobody has it.

    Raises:
        CopyRunsError, CommandError, SchedulerOutputError: As `let_go`.
    """
    job, bundles = active.job, place.bundles
    unrecorded = active.submission.native_id if active.submission else ""
    let_go(place, job, native_id=job.native_id or unrecorded)
    bundles.markers.unmark_active(place.config.name, job.id)
    # Before it is announced: a notice of a job that is held is taken for one about that.
    roster.remove(job.id)
    try:
        now = bundles.load(job.id).job
    except NoSuchJobError:
        bundles.discard_products(job)
        return
    if not now.run_system and not now.state.final:
        bundles.markers.notify(now)
