"""Since when tasks are missing or settling, kept across agent processes: one may be started for each pass."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Optional

from cloudq.agent.decisions.lifecycle import unfinished
from cloudq.agent.folders import read_note
from cloudq.agent.schedulers.base import TaskStatuses
from cloudq.agent.workplace import ActiveJob, Workplace
from cloudq.store.files import appearing

Since = dict[Optional[int], datetime]


def observe(place: Workplace, active: ActiveJob, statuses: TaskStatuses) -> None:
    """Note since when tasks are in no answer, and since when final states stand that may be taken back.

    Raises:
        OSError: It could not be kept.
    """
    now = place.now()
    tasks = unfinished(active.job)
    missing = {i: active.missing_since.get(i, now) for i in tasks if i not in statuses}
    settling = {
        i: active.settling_since.get(i, now)
        for i in tasks
        if i in statuses and statuses[i].state.final and statuses[i].settles_after
    }
    if (missing, settling) != (active.missing_since, active.settling_since):
        active.missing_since, active.settling_since = missing, settling
        _keep(place, active)


def recall_observations(place: Workplace, active: ActiveJob) -> None:
    """Read what an earlier process observed; a damaged file means that the times begin anew."""
    try:
        kept = json.loads(read_note(place.folders.observed(active.job.id)))
        active.missing_since, active.settling_since = _parse(kept["missing"]), _parse(kept["settling"])
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return


def _keep(place: Workplace, active: ActiveJob) -> None:
    kept = {"missing": _render(active.missing_since), "settling": _render(active.settling_since)}
    with appearing(place.folders.observed(active.job.id)) as file:
        file.write(json.dumps(kept).encode("ascii"))


def _render(since: Mapping[Optional[int], datetime]) -> dict[str, str]:
    return {"" if i is None else str(i): moment.isoformat() for i, moment in since.items()}


def _parse(since: Mapping[str, str]) -> Since:
    return {int(i) if i else None: datetime.fromisoformat(moment) for i, moment in since.items()}
