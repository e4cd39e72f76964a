"""The tags by which everything of a cluster is found again; they are all the state that there is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Optional

import cloudq
from cloudq.builder.plan import JobStore, Plan

CLUSTER = "cloudq:cluster"
_FINGERPRINT = "cloudq:fingerprint"
_LEASE = "cloudq:lease-until"
_PRESET = "cloudq:preset"
_ENDPOINT = "cloudq:endpoint"
_BUCKET = "cloudq:bucket"
_PREFIX = "cloudq:prefix"
_IDLE_PRICE = "cloudq:price-idle"
_FULL_PRICE = "cloudq:price-full"
_VERSION = "cloudq:version"


@dataclass(frozen=True)
class Label:
    """What the tags of a network stack tell about the cluster.

    Attributes:
        fingerprint: Of the plan it was made from.
        lease_until: The lease when it was made (aware); the set-up bucket may have a later word.
        store: Where its jobs come from.
        idle_price, full_price: US dollars an hour, as estimated when it was made.
    """

    cluster: str
    fingerprint: str
    lease_until: Optional[datetime]
    preset: str
    store: JobStore
    idle_price: float
    full_price: float


def tags_for(
    plan: Plan, *, preset: str, lease_until: datetime, idle_price: float, full_price: float
) -> dict[str, str]:
    """Return the tags of a network stack, which CloudFormation puts on all its resources."""
    return {
        CLUSTER: plan.name,
        _FINGERPRINT: plan.fingerprint,
        _LEASE: render_time(lease_until),
        _PRESET: preset,
        _ENDPOINT: plan.store.endpoint_url or "-",
        _BUCKET: plan.store.bucket,
        _PREFIX: plan.store.prefix or "-",
        _IDLE_PRICE: f"{idle_price:.4f}",
        _FULL_PRICE: f"{full_price:.4f}",
        _VERSION: cloudq.__version__,
    }


def cluster_tags(plan: Plan) -> dict[str, str]:
    """Return the tags that ParallelCluster puts on all it makes."""
    return {CLUSTER: plan.name}


def read_label(tags: Mapping[str, str]) -> Optional[Label]:
    """Return what the tags tell; None if they are not of a cluster of ours."""
    if CLUSTER not in tags:
        return None
    return Label(
        cluster=tags[CLUSTER],
        fingerprint=tags.get(_FINGERPRINT, ""),
        lease_until=parse_time(tags.get(_LEASE, "")),
        preset=tags.get(_PRESET, ""),
        store=JobStore(_word(tags, _ENDPOINT), _word(tags, _BUCKET), _word(tags, _PREFIX)),
        idle_price=_number(tags.get(_IDLE_PRICE, "")),
        full_price=_number(tags.get(_FULL_PRICE, "")),
    )


def render_time(time: datetime) -> str:
    """Write a time in UTC with seconds."""
    return time.astimezone(timezone.utc).isoformat(timespec="seconds")


def parse_time(text: str) -> Optional[datetime]:
    """Read what `render_time` wrote; None if it is no time with an offset."""
    try:
        time = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    except ValueError:
        return None
    return time if time.tzinfo is not None else None


def _word(tags: Mapping[str, str], key: str) -> str:
    value = tags.get(key, "")
    return "" if value == "-" else value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
