"""The sweep: clusters that outlived their lease, whoever made them, on whatever computer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from cloudq.builder.clusters import Cluster
from cloudq.builder.deletion import Deletion
from cloudq.builder.workshop import Workshop
from cloudq.errors import CloudQError, ClusterError


def overdue(clusters: Iterable[Cluster], *, now: datetime) -> list[Cluster]:
    """Return the clusters whose lease has ended, or of which nothing tells a lease any more."""
    return [cluster for cluster in clusters if cluster.lease_until is None or cluster.expired(now)]


def reap_all(workshop: Workshop, names: Sequence[str], *, tell: Callable[[str], object]) -> None:
    """Delete these clusters; one that cannot be deleted does not keep the others.

    Raises:
        ClusterError: Some could not be deleted, with each reason.
    """
    faults = []
    for name in names:
        try:
            Deletion(workshop, name).run()
            tell(f"AWS compute cluster ({name}) has been deleted.")
        except CloudQError as error:
            faults.append(f"{name}: {error}")
    if faults:
        raise ClusterError("; ".join(faults))
