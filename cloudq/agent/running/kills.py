"""Why jobs were killed, where their status does not tell: by their log, then by their scheduler."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Optional

from cloudq.agent.decisions.lifecycle import unfinished
from cloudq.agent.folders import open_of_job
from cloudq.agent.schedulers.base import NativeState, NativeStatus, TaskStatuses
from cloudq.agent.workplace import ActiveJob, Workplace

SIGKILL = 9
END_BYTES = 8192
"""So much of the end of a stderr is looked at."""


def explain_kills(place: Workplace, active: ActiveJob, statuses: TaskStatuses) -> TaskStatuses:
    """Add the cause to tasks that were killed for no known reason, if log or scheduler tell it.

    The scheduler is asked at most once, and only if there are such tasks that their log does not explain.
    """
    killed = [i for i in unfinished(active.job) if i in statuses and _is_unexplained(statuses[i])]
    causes = {i: cause for i in killed if (cause := _logged_cause(place, active, i))}
    if len(causes) < len(killed):
        causes = {**place.queue.kill_causes(active.job.native_id), **causes}
    return {**statuses, **{i: replace(statuses[i], reason=causes[i]) for i in killed if i in causes}}


def _is_unexplained(status: NativeStatus) -> bool:
    """Tell whether signal 9 ended a script, or its last command, and nobody says why."""
    killed = status.signal == SIGKILL or status.exit_code == 128 + SIGKILL
    return status.state is NativeState.FAILED and killed and not status.reason


def _logged_cause(place: Workplace, active: ActiveJob, task_id: Optional[int]) -> str:
    log = place.folders.log(active.job.id, "stderr")
    return place.queue.kill_in_log(_end(log if task_id is None else log.with_name(f"{log.name}.{task_id}")))


def _end(path: Path) -> str:
    """Return the end of a file, nothing if it cannot be read."""
    try:
        with open_of_job(path) as file:
            file.seek(max(0, path.stat().st_size - END_BYTES))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""
