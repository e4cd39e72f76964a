"""From an outcome to a final manifest: logs, outputs, the last word, and only then the cleaning up."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, replace
from datetime import datetime
from typing import Optional

from cloudq import archive
from cloudq.agent import joblogs
from cloudq.agent.lifecycle import unfinished
from cloudq.agent.workplace import ActiveJob, Workplace
from cloudq.bundle import OUTPUT
from cloudq.job import JobState, Task

logger = logging.getLogger(__name__)


def finish(place: Workplace, active: ActiveJob) -> None:
    """Stage out, write the final manifest, clean up. Safe to call again after any fault or crash.

    The manifest becomes final only when logs and outputs are in the bucket, and the work folder goes
    only when the manifest is final: whoever sees a final state can rely on the rest.

    Raises:
        StoreError: A fault that may pass; call again later.
        OSError: No space or no permission in the agent's folder; the work folder is kept.
    """
    if active.outcome is None:
        raise ValueError("finish: the job has not ended")
    if not active.job.state.final:
        remember_outcome(place, active)
        output_size = _stage_out(place, active)
        _write_final(place, active, active.outcome, output_size)
    clean_up(place, active)


def _stage_out(place: Workplace, active: ActiveJob) -> int:
    """Put logs and outputs into the bucket and return the size of the archive in bytes."""
    job = active.job
    work_dir = place.folders.work_dir(job.id)
    if job.state is not JobState.COMPLETING or job.stage_out_started is None:
        job = replace(job, state=JobState.COMPLETING, stage_out_started=place.now(), reason="")
        active.record = place.bundles.save(active.record, job)
    joblogs.upload_whole(place, active)
    if not work_dir.is_dir():
        return 0
    file = place.folders.spool(job.id) / OUTPUT
    left_out = archive.pack(work_dir, file)
    if left_out:
        logger.warning("job %s: not in output.zip: %s", job.id, ", ".join(left_out)[:500])
    entry = place.bundles.upload(job.id, OUTPUT, file)
    file.unlink()
    return entry.size


def _write_final(place: Workplace, active: ActiveJob, outcome: Task, output_size: int) -> None:
    now = place.now()
    job = replace(
        active.job,
        state=outcome.state,
        error=outcome.error,
        exit_code=outcome.exit_code,
        output_size=output_size,
        stage_out_finished=now,
        finished=active.finished or now,
        reason="",
    )
    active.record = place.bundles.save(active.record, job)
    logger.info("job %s: %s%s", job.id, job.state, f", {job.error}" if job.error else "")


def clean_up(place: Workplace, active: ActiveJob) -> None:
    """Remove what a final job leaves behind; the active marker last, so that a restart goes on here."""
    job_id = active.job.id
    joblogs.discard_segments(place, active)
    try:
        place.folders.remove(job_id)
    except OSError as error:
        logger.warning("job %s: its folder could not be removed: %s", job_id, error)
    place.bundles.unmark_active(place.config.name, job_id)


def remember_outcome(place: Workplace, active: ActiveJob) -> None:
    """Keep how a job ended across a restart: the scheduler may have forgotten it by then."""
    spool = place.folders.spool(active.job.id)
    spool.mkdir(mode=0o700, parents=True, exist_ok=True)
    finished = active.finished.isoformat() if active.finished else None
    text = json.dumps({"outcome": asdict(active.outcome or Task(JobState.ERROR)), "finished": finished})
    file = place.folders.outcome(active.job.id)
    part = file.with_suffix(".part")
    part.write_text(text, encoding="ascii")
    part.replace(file)


def recall_outcome(place: Workplace, active: ActiveJob) -> None:
    """Read what `remember_outcome` kept, if it did.

    Of an array job only once its tasks are in the manifest, too; until then the scheduler is asked again.
    """
    if active.job.array_range is not None and unfinished(active.job):
        return
    try:
        text = place.folders.outcome(active.job.id).read_text(encoding="ascii")
        values = json.loads(text)
        outcome = values["outcome"]
        active.outcome = Task(JobState(outcome["state"]), outcome["error"], outcome["exit_code"])
        active.finished = _parse_time(values["finished"])
    except FileNotFoundError:
        return
    except (ValueError, KeyError, TypeError):
        logger.warning("job %s: its outcome file is damaged; asking the scheduler again", active.job.id)


def _parse_time(text: Optional[str]) -> Optional[datetime]:
    return None if text is None else datetime.fromisoformat(text)
