"""From a native status to the manifest: gather evidence, move the job, record the change."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Optional

from cloudq.agent.decisions.lifecycle import Evidence, advance
from cloudq.agent.decisions.progress import overall_progress
from cloudq.agent.folders import read_note
from cloudq.agent.rights.admission import cancel_requested
from cloudq.agent.running import joblogs
from cloudq.agent.running.kills import explain_kills
from cloudq.agent.running.observations import observe
from cloudq.agent.schedulers.base import NativeState, TaskStatuses
from cloudq.agent.workplace import ActiveJob, Workplace
from cloudq.errors import CloudQError
from cloudq.job import JobState

logger = logging.getLogger(__name__)

CANCEL_AGAIN_AFTER = timedelta(minutes=1)
_NO_STATUS = 2**31
_PRINTING = (JobState.RUN, JobState.COMPLETING, JobState.DELETING)


def follow(place: Workplace, active: ActiveJob, statuses: Optional[TaskStatuses]) -> None:
    """Bring the manifest and the live logs up to date; set the outcome if the job has ended.

    Args:
        statuses: What the scheduler says; None if it could not be asked.

    Raises:
        StoreError, CommandError: A fault that may pass; call again later.
    """
    if active.cancel_noticed or active.job.state is JobState.DELETING:
        try:
            cancel(place, active)
        except CloudQError:
            active.cancel_noticed = True
            raise
    if statuses is None:
        _publish_logs(place, active)
        return
    statuses = {i: status for i, status in statuses.items() if status.tag in ("", active.job.tag)}
    if is_settled(active, statuses):
        _publish_logs(place, active)
        return
    observe(place, active, statuses)
    if active.job.state is not JobState.DELETING:
        statuses = explain_kills(place, active, statuses)
    evidence = Evidence(
        statuses=statuses,
        exit_codes=read_exit_codes(place, active, statuses),
        missing_since=active.missing_since,
        settling_since=active.settling_since,
        cancelled=active.job.state is JobState.DELETING,
    )
    progress = advance(active.job, evidence, now=place.now(), lost_after=place.config.lost_after)
    if progress.outcome is not None:
        if any(status.cancel_needed for status in statuses.values()):
            place.queue.cancel(active.job.native_id)
        active.outcome, active.finished = progress.outcome, progress.finished or place.now()
        active.record = replace(active.record, job=progress.job)
    elif progress.job != active.job:
        before = active.job.state
        active.record = place.bundles.save(active.record, progress.job)
        if before is not progress.job.state:
            logger.info("job %s: %s -> %s", active.job.id, before, progress.job.state)
    elif _stays(active, statuses):
        active.settled = (active.job, statuses)
    _publish_logs(place, active)


def is_settled(active: ActiveJob, statuses: TaskStatuses) -> bool:
    """Tell whether the manifest says already what these statuses mean: most jobs at most passes."""
    if active.settled is None or active.settled[0] is not active.job:
        return False
    return active.settled[1] == statuses


def is_at_rest(active: ActiveJob, statuses: Optional[TaskStatuses]) -> bool:
    """Tell whether there is nothing to do for a job: it waits in the queue, and nobody asked for anything."""
    asked = active.cancel_noticed or active.claim_doubted or active.system_ends or active.taken_away
    if asked or active.fault or not active.marked or active.job.state is not JobState.READY:
        return False
    return statuses is not None and is_settled(active, statuses)


def _stays(active: ActiveJob, statuses: TaskStatuses) -> bool:
    """Tell whether only other statuses can change a job: time alone cannot."""
    if active.job.state is JobState.DELETING or active.missing_since or active.settling_since:
        return False
    return all(not status.state.final for status in statuses.values())


def _publish_logs(place: Workplace, active: ActiveJob) -> None:
    """Upload what a job has printed since, unless it has ended: then the whole logs follow at once."""
    if active.outcome is None and active.job.state in _PRINTING:
        joblogs.upload_new(place, active)
        _record_progress(place, active)


def _record_progress(place: Workplace, active: ActiveJob) -> None:
    progress = overall_progress(active.job, active.progress)
    if active.outcome is None and progress != active.job.progress:
        active.record = place.bundles.save(active.record, replace(active.job, progress=progress))


def cancel(place: Workplace, active: ActiveJob) -> None:
    """Ask the scheduler to cancel a job if that was asked of us, and once a minute while it goes on."""
    job = active.job
    # Put down before looking: a request that comes while we look is noticed again.
    active.cancel_noticed = False
    asked = job.state is JobState.DELETING or active.system_ends
    if not asked and not cancel_requested(place, job):
        return
    if active.cancelled_at is not None and abs(place.now() - active.cancelled_at) < CANCEL_AGAIN_AFTER:
        return
    place.queue.cancel(job.native_id)
    active.cancelled_at = place.now()
    if job.state is not JobState.DELETING:
        active.record = place.bundles.save(active.record, replace(job, state=JobState.DELETING))
        logger.info("job %s: %s -> DELETING, on request", job.id, job.state)


def read_exit_codes(
    place: Workplace, active: ActiveJob, statuses: TaskStatuses
) -> Mapping[Optional[int], int]:
    """Read the exit-status files of the tasks that the scheduler does not know, or says have failed."""
    codes: dict[Optional[int], int] = {}
    failed = [i for i, status in statuses.items() if status.state is NativeState.FAILED]
    for task_id in (*active.missing_since, *failed):
        file = place.folders.status_file(active.job.id)
        path = file if task_id is None else file.with_name(f"{file.name}.{task_id}")
        code = read_exit_code(path)
        if code is not None:
            codes[task_id] = code
    return codes


def read_exit_code(file: Path) -> Optional[int]:
    """Read the exit status that a script left, None if it has left none."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        code = int(read_note(file))
        return code if abs(code) < _NO_STATUS else None
    return None
