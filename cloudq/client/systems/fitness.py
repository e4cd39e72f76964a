"""Which systems can take a job, and what stands against the others, after what their agents publish."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Optional

from cloudq.client.display.durations import render_ago
from cloudq.system import ANY, Definitions, no_definitions

if TYPE_CHECKING:
    from cloudq.metascript import Directives
    from cloudq.presence import Presence


@dataclass(frozen=True)
class Demand:
    """What a job asks of a system.

    Attributes:
        system: The system it names, or `ANY`.
        directives: Those of a meta script; None for a local script.
        projects, resources: The meanings that the job brings along.
        input_digests: The algorithms by which its inputs are named that lie beside the bundles.
    """

    system: str
    directives: Optional[Directives] = None
    projects: Definitions = field(default_factory=no_definitions)
    resources: Definitions = field(default_factory=no_definitions)
    input_digests: frozenset[str] = frozenset()

    def names(self, presence: Presence) -> bool:
        """Tell whether the job is for this system or for any."""
        return self.system.upper() == ANY or self.system.lower() == presence.system.lower()

    @property
    def is_plain(self) -> bool:
        """True if a living agent is all it takes."""
        if self.input_digests or self.directives is None:
            return not self.input_digests
        wanted = (self.directives.project, self.projects), (self.directives.resource, self.resources)
        brought = (not name or self.system.lower() in known.get(name, {}) for name, known in wanted)
        return all(brought) and not self.directives.images


def objections(demand: Demand, presence: Presence, *, now: datetime) -> list[str]:
    """Return in words why a system cannot take a job now; nothing if it can."""
    found = []
    if presence.stopped:
        found.append(f"its agent was stopped {render_ago(presence.heartbeat, now)}")
    elif not presence.alive(now):
        found.append(f"its agent was last heard of {render_ago(presence.heartbeat, now)}")
    if demand.system.upper() == ANY and not presence.takes_any:
        found.append("it takes only jobs that name it (its store does no conditional writes)")
    if unknown := sorted(demand.input_digests.difference(presence.shared_inputs)):
        found.append(
            f"it does not know inputs that several jobs share (agent/.blobs) by {', '.join(unknown)}"
        )
    if demand.directives is not None:
        found += _missing(demand, demand.directives, presence)
    return found


def _missing(demand: Demand, directives: Directives, presence: Presence) -> list[str]:
    wanted = (
        ("project", directives.project, presence.projects, demand.projects),
        ("resource", directives.resource, presence.resources, demand.resources),
    )
    system = presence.system.lower()
    found = [
        f"{kind} {name} has no meaning there"
        for kind, name, own, brought in wanted
        if name and name not in own and system not in brought.get(name, {})
    ]
    if directives.images and presence.container_runtime == "none":
        found.append("it has nothing that runs containers")
    return found


def warnings(demand: Demand, presences: Sequence[Presence], *, now: datetime) -> list[str]:
    """Return what to tell a user at once if no live agent can take a job; nothing if one can."""
    concerned = [presence for presence in presences if demand.names(presence)]
    against = [(presence.system, objections(demand, presence, now=now)) for presence in concerned]
    if any(not found for _, found in against):
        return []
    if not concerned and demand.system.upper() == ANY:
        return ["no agent has been seen in this bucket"]
    if not concerned:
        return [f"no agent of the name {demand.system} has been seen in this bucket"]
    return [f"no agent can take it now: {_listed(against)}"]


def _listed(against: Iterable[tuple[str, list[str]]]) -> str:
    return "; ".join(f"{system}: {' and '.join(found)}" for system, found in against)
