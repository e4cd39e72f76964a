"""Presence: what an agent publishes about itself, so that clients can tell who can take a job."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timedelta, timezone
from typing import Any

from cloudq.errors import ManifestError

_KINDS = {"str": str, "int": int, "bool": bool}


@dataclass(frozen=True)
class Presence:
    """One agent, as of its last heartbeat.

    Attributes:
        system: Its name, in the spelling of its configuration.
        version: Its version of CloudQ.
        scheduler: The kind of scheduler.
        host, pid: Where it runs.
        heartbeat: When it wrote this (aware).
        interval: How often it writes this, at the latest.
        projects, resources: Abstract names that the system itself gives a meaning, and that meaning.
        container_runtime: What runs containers there.
        directory: The folder of its work folders.
        endpoint_url: The endpoint that copy functions in scripts use there.
        counts: How many of its jobs are in each state.
        takes_any: Whether it takes jobs that name no system; False where the store cannot do
            conditional writes.
        signed_only: Whether it runs nothing but what allowed signers have signed.
        refusals: Jobs for `ANY` that it leaves to others because of their signature or its policy, and why.
        stopped: True when it has ended in good order.
        token: Tells this process of the agent from all others.
        trouble: What is wrong there just now, in words; empty if nothing is.
        templates: Names of the templates by which the site replaces those of CloudQ.
        shared_inputs: The algorithms of the digests by which it knows inputs that lie beside the bundles;
            empty if it knows none.
    """

    system: str
    version: str
    scheduler: str
    host: str
    pid: int
    heartbeat: datetime
    interval: timedelta
    projects: Mapping[str, str] = field(default_factory=dict)
    resources: Mapping[str, str] = field(default_factory=dict)
    container_runtime: str = "none"
    directory: str = ""
    endpoint_url: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    takes_any: bool = True
    signed_only: bool = False
    refusals: Mapping[str, str] = field(default_factory=dict)
    stopped: bool = False
    token: str = ""
    trouble: str = ""
    templates: tuple[str, ...] = ()
    shared_inputs: tuple[str, ...] = ()

    @property
    def patience(self) -> timedelta:
        """Silence after which it is gone: three missed heartbeats, and a little more."""
        return 3 * self.interval + timedelta(seconds=10)

    def alive(self, now: datetime) -> bool:
        """Tell whether its last sign of life is recent: three missed heartbeats mean it is gone."""
        return not self.stopped and now - self.heartbeat < self.patience


def render_presence(presence: Presence) -> bytes:
    """Write it as JSON."""
    members = asdict(presence)
    members["heartbeat"] = presence.heartbeat.isoformat()
    members["interval"] = presence.interval.total_seconds()
    return json.dumps(members, indent=4).encode("ascii")


def parse_presence(data: bytes, source: str) -> Presence:
    """Read what `render_presence` wrote; members of later versions are ignored.

    Raises:
        ManifestError: It is not such an object.
    """
    try:
        members: dict[str, Any] = json.loads(data)
        known = {f.name: members[f.name] for f in fields(Presence) if f.name in members}
        known["heartbeat"] = datetime.fromisoformat(known["heartbeat"]).astimezone(timezone.utc)
        known["interval"] = timedelta(seconds=known["interval"])
        for name, kind in (("projects", str), ("resources", str), ("counts", int), ("refusals", str)):
            known[name] = {str(key): kind(value) for key, value in dict(known.get(name, {})).items()}
        for name in ("templates", "shared_inputs"):
            known[name] = tuple(map(str, known.get(name, ())))
        presence = Presence(**known)
        _check(presence)
        return presence
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise ManifestError(f"{source}: not an agent's presence: {error}") from error


def _check(presence: Presence) -> None:
    """Refuse values of wrong types, and an interval that is none. Raises TypeError, ValueError."""
    for member in fields(presence):
        kind = _KINDS.get(str(member.type))
        if kind and type(getattr(presence, member.name)) is not kind:
            raise TypeError(f"{member.name}: expected {member.type}")
    if not timedelta(0) <= presence.interval < timedelta(days=10_000):
        raise ValueError("interval: expected a number of seconds")
