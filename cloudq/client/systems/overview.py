"""The systems of a bucket: their agents, what they accept, how much they have to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cloudq.bundle import Bundles
from cloudq.client.display.durations import render_ago
from cloudq.client.display.tables import render_table
from cloudq.manifest import format_time
from cloudq.presence import Presence
from cloudq.system import ANY

_WAITS = ("INIT", "READY")
_ENDS = ("COMPLETING", "DELETING")


@dataclass(frozen=True)
class SystemView:
    """A system, and how many jobs are announced to it that it has not taken."""

    presence: Presence
    announced: int


def load_systems(bundles: Bundles) -> tuple[list[SystemView], int]:
    """Return all systems by name, and how many jobs for any of them nobody has taken. Raises StoreError."""
    found = sorted(bundles.agents.presences(), key=lambda presence: presence.system.lower())
    views = [SystemView(presence, len(bundles.markers.inbox(presence.system))) for presence in found]
    return views, len(bundles.markers.inbox(ANY))


def life(presence: Presence, now: datetime) -> str:
    """Say in a word whether its agent lives: `alive`, `stopped`, `silent`."""
    return "stopped" if presence.stopped else "alive" if presence.alive(now) else "silent"


def render_systems(views: Sequence[SystemView], unclaimed: int, *, now: datetime, width: int) -> str:
    """Write the table of `systems`."""
    header = (
        "system", "agent", "heard", "scheduler", "containers", "wait", "run", "end", "any",
        "projects", "resources",
    )  # fmt: skip
    table = _fitted([header, *(_row(view, now) for view in views)], width)
    text = table if views else "No agent has been seen in this bucket."
    return text + f"\n\n{unclaimed} jobs for any system are not taken yet." * bool(unclaimed)


def _fitted(rows: Sequence[tuple[str, ...]], width: int) -> str:
    text = render_table(rows[0], rows[1:], width=width, yielding=len(_LISTS))
    if "…" not in text:
        return text
    filled = [column for column in zip(*rows) if column[0] not in _LISTS or set(column[1:]) != {"-"}]
    header, *others = zip(*filled)
    return render_table(header, others, width=width, yielding=len(set(header).intersection(_LISTS)))


_LISTS = ("projects", "resources")
"""Columns that give way first if the table is too wide, and are left out then if they are empty."""


def _row(view: SystemView, now: datetime) -> tuple[str, ...]:
    presence = view.presence
    return (
        presence.system,
        life(presence, now),
        render_ago(presence.heartbeat, now),
        presence.scheduler,
        presence.container_runtime,
        str(_count(presence, _WAITS) + view.announced),
        str(_count(presence, ("RUN",))),
        str(_count(presence, _ENDS)),
        "yes" if presence.takes_any else "no",
        " ".join(presence.projects) or "-",
        " ".join(presence.resources) or "-",
    )


def system_members(view: SystemView, *, now: datetime) -> dict[str, object]:
    """Return a system for programs."""
    presence = view.presence
    return {
        "system": presence.system,
        "agent": life(presence, now),
        "heartbeat": format_time(presence.heartbeat),
        "version": presence.version,
        "scheduler": presence.scheduler,
        "host": presence.host,
        "container_runtime": presence.container_runtime,
        "projects": dict(presence.projects),
        "resources": dict(presence.resources),
        "takes_any": presence.takes_any,
        "counts": dict(presence.counts),
        "announced": view.announced,
    }


def _count(presence: Presence, states: Sequence[str]) -> int:
    return sum(presence.counts.get(state, 0) for state in states)
