"""Before a cluster goes: its agent takes no more jobs, and those it has end and stage out."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Optional

from cloudq.builder.clusters import Cluster
from cloudq.builder.setup_bucket import SetupBucket
from cloudq.builder.workshop import Workshop
from cloudq.bundle import Bundles
from cloudq.errors import ClusterError, StoreError
from cloudq.presence import Presence


def drain(workshop: Workshop, cluster: Cluster, bundles: Bundles) -> None:
    """Ask the agent to take no more jobs, and wait until it has none.

    A cluster whose agent gives no sign of life has nothing to wait for.

    Raises:
        ClusterError: The job bucket cannot be read, so that nobody knows whether jobs run.
    """
    bucket = SetupBucket(workshop.aws, cluster.setup_bucket)
    try:
        presence = bundles.agents.presence(cluster.name)
        if not is_working(presence, workshop.now()):
            return
        bucket.write_lease(cluster.lease_until or workshop.now(), drain=True)
        workshop.progress.step("waiting for the outputs of running jobs")
        while is_working(bundles.agents.presence(cluster.name), workshop.now()):
            workshop.pause(max(workshop.interval, timedelta(seconds=1)))
    except StoreError as error:
        raise ClusterError(
            f"whether jobs run on {cluster.name} cannot be seen: {error}",
            hint="name the right profile with --cs-profile, or delete it without waiting: --force",
        ) from error


def is_working(presence: Optional[Presence], now: datetime) -> bool:
    """Tell whether an agent is alive and has jobs."""
    return presence is not None and presence.alive(now) and any(presence.counts.values())
