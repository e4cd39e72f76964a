"""From an outcome to a final manifest: logs, outputs, the last word, and only then the cleaning up."""

from __future__ import annotations

import contextlib
import json
import logging
from dataclasses import asdict, replace
from datetime import datetime
from typing import Optional

from cloudq import archive
from cloudq.agent.decisions.lifecycle import unfinished
from cloudq.agent.folders import make_accessible, read_note
from cloudq.agent.rights import claims
from cloudq.agent.running import joblogs
from cloudq.agent.workplace import ActiveJob, Workplace
from cloudq.bundle import OUTPUT
from cloudq.errors import ConflictError, NoSuchJobError, StoreError
from cloudq.job import JobState, Task
from cloudq.notices import send_notices
from cloudq.store.files import appearing

logger = logging.getLogger(__name__)

MAX_ERROR = 4000
"""Characters of why a job did not end well: what it quotes may be as long as an enemy likes."""
MAX_NOTE = 500
"""Characters of what is said about files that are not in output.zip."""


def finish(place: Workplace, active: ActiveJob) -> None:
    """Stage out, write the final manifest, clean up. Safe to call again after any fault or crash.

    The manifest becomes final only when logs and outputs are in the bucket, and the work folder goes
    only when the manifest is final: whoever sees a final state can rely on the rest.

    Raises:
        StoreError: A fault that may pass; call again later.
        OSError: No space or no permission in the agent's folder; the work folder is kept.
    """
    if active.job.state.final:
        _stage_out_late(place, active)
    elif active.outcome is None:
        raise ValueError("finish: the job has not ended")
    else:
        note = _missing_note(place, active)
        remember_outcome(place, active)
        output_size, left_out = _stage_out(place, active)
        note = note or f"not in output.zip: {', '.join(left_out)}"[:MAX_NOTE] * bool(left_out)
        _write_final(place, active, active.outcome, output_size, note)
        send_notices(place.config.notices, active.job)
    clean_up(place, active)


def _missing_note(place: Workplace, active: ActiveJob) -> str:
    """Say what cannot be staged out because it is not there; nothing if all is."""
    if not active.job.native_id:
        return ""
    if not place.folders.spool(active.job.id).is_dir():
        return "no logs and no output.zip: the agent's folder of this job is gone"
    if not place.folders.has_work_dir(active.job.id):
        return "no output.zip: the job's working directory is gone"
    return ""


def _stage_out_late(place: Workplace, active: ActiveJob) -> None:
    """Make up for outputs that a final job has here and not in the bucket: another agent ended it."""
    job_id = active.job.id
    if place.folders.has_work_dir(job_id) and OUTPUT not in place.bundles.entries(job_id, OUTPUT):
        _upload(place, active)
        try:
            place.bundles.load(job_id)
        except NoSuchJobError:
            place.bundles.discard_products(active.job)  # Deleted meanwhile.


def _stage_out(place: Workplace, active: ActiveJob) -> tuple[int, list[str]]:
    """Put logs and outputs into the bucket; return the size of the archive and what is not in it."""
    job = active.job
    if job.state is not JobState.COMPLETING or job.stage_out_started is None:
        job = replace(job, state=JobState.COMPLETING, stage_out_started=place.now(), reason="")
        active.record = place.bundles.save(active.record, job)
    elif place.bundles.load(job.id).job.claim_token != job.claim_token:
        raise ConflictError(job.id)  # Nothing may be uploaded that is not ours any more.
    else:
        # An earlier try was cut off. Not all keys have the right to this: `doctor --repair` does it, too.
        with contextlib.suppress(StoreError):
            place.bundles.abort_uploads(job.id)
    return _upload(place, active)


def _upload(place: Workplace, active: ActiveJob) -> tuple[int, list[str]]:
    job_id = active.job.id
    joblogs.upload_whole(place, active)
    work_dir = place.folders.work_dir(job_id)
    if not place.folders.has_work_dir(job_id):
        return 0, []
    make_accessible(work_dir)
    left_out: list[str] = []
    blocks = archive.pack_blocks(work_dir, left_out)
    entry = place.bundles.upload_blocks(job_id, OUTPUT, blocks, expected=archive.tree_size(work_dir))
    return entry.size, left_out


def _write_final(place: Workplace, active: ActiveJob, outcome: Task, output_size: int, note: str) -> None:
    now = place.now()
    job = replace(
        active.job,
        state=outcome.state,
        error=outcome.error[:MAX_ERROR],
        exit_code=outcome.exit_code,
        output_size=output_size,
        stage_out_finished=now,
        finished=active.finished or now,
        reason=note,
    )
    active.record = place.bundles.save(active.record, job)
    words = " ".join(", ".join(filter(None, (job.state.value, job.error, note))).split())
    logger.info("job %s: %s", job.id, words)


def clean_up(place: Workplace, active: ActiveJob) -> None:
    """Remove what a final job leaves behind; the active marker last, so that a restart goes on here."""
    job_id = active.job.id
    joblogs.discard_segments(place, active)
    try:
        place.folders.remove(job_id)
    except OSError as error:
        logger.warning("job %s: its folder could not be removed: %s", job_id, error)
    claims.unmark(place, active)


def keep_outcome(place: Workplace, active: ActiveJob) -> None:
    """Keep how a job ended until it is finished, which may be hours later; not if its folder is gone."""
    if active.outcome is not None and place.folders.spool(active.job.id).is_dir():
        remember_outcome(place, active)


def remember_outcome(place: Workplace, active: ActiveJob) -> None:
    """Keep how a job ended across a restart: the scheduler may have forgotten it by then."""
    if active.outcome_kept:
        return
    spool = place.folders.spool(active.job.id)
    spool.mkdir(mode=0o700, parents=True, exist_ok=True)
    finished = active.finished.isoformat() if active.finished else None
    text = json.dumps({"outcome": asdict(active.outcome or Task(JobState.ERROR)), "finished": finished})
    with appearing(place.folders.outcome(active.job.id)) as file:
        file.write(text.encode("ascii"))
    active.outcome_kept = True


def recall_outcome(place: Workplace, active: ActiveJob) -> None:
    """Read what `remember_outcome` kept, if it did.

    Of an array job only once its tasks are in the manifest, too; until then the scheduler is asked again.
    """
    if active.job.array_range is not None and unfinished(active.job):
        return
    try:
        text = read_note(place.folders.outcome(active.job.id))
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
