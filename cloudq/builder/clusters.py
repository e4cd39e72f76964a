"""The clusters of an account, found by tags and stack names alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import Any, Optional

from cloudq.builder.aws import Aws
from cloudq.builder.network import SUFFIX, network_name
from cloudq.builder.prices import PriceTable
from cloudq.builder.setup_bucket import SetupBucket
from cloudq.builder.stacks import Stack, Stacks
from cloudq.builder.tags import CLUSTER, Label, read_label
from cloudq.errors import ClusterError

CREATING, COMPLETED, FAILED, DELETING = "CREATING", "COMPLETED", "FAILED", "DELETING"
_NODE_TYPE = "parallelcluster:node-type"


@dataclass(frozen=True)
class Instance:
    """One EC2 instance of a cluster that exists."""

    id: str
    type: str
    state: str
    launched: datetime
    is_head: bool
    is_spot: bool = False


@dataclass(frozen=True)
class Cluster:
    """A cluster: its stacks, as far as they exist, and what runs.

    Attributes:
        label: What the network stack's tags tell.
        network, stack: The two stacks; None where there is none.
        instances: Those that are not terminated.
        lease_until: The lease that counts (aware); None if nothing tells.
    """

    name: str
    label: Label
    network: Optional[Stack]
    stack: Optional[Stack]
    instances: tuple[Instance, ...] = ()
    lease_until: Optional[datetime] = None

    @property
    def status(self) -> str:
        """`CREATING`, `COMPLETED`, `FAILED` or `DELETING`: 1.2's words, and one more."""
        stacks = [stack for stack in (self.network, self.stack) if stack is not None]
        if any(stack.status == "DELETE_IN_PROGRESS" for stack in stacks):
            return DELETING
        if any(not stack.busy and not stack.complete for stack in stacks):
            return FAILED
        return COMPLETED if len(stacks) == 2 and all(s.complete for s in stacks) else CREATING

    @property
    def created(self) -> datetime:
        """When the first of its stacks was made."""
        return min(stack.created for stack in (self.network, self.stack) if stack is not None)

    @property
    def completed(self) -> Optional[datetime]:
        """When the later of its stacks was made, once it is complete: 1.2's column."""
        if self.status != COMPLETED or self.network is None or self.stack is None:
            return None
        return max(self.network.created, self.stack.created)

    @property
    def nodes(self) -> int:
        """How many compute nodes exist."""
        return sum(not instance.is_head for instance in self.instances)

    @property
    def setup_bucket(self) -> str:
        """The name of the set-up bucket; empty while there is none."""
        return self.network.outputs.get("SetupBucket", "") if self.network else ""

    def expired(self, now: datetime) -> bool:
        """Tell whether its lease has ended; without one it has not."""
        return self.lease_until is not None and now >= self.lease_until

    def cost_so_far(self, now: datetime, table: PriceTable, region: str) -> float:
        """Return what it has cost at least, in US dollars: nodes that are gone are not seen any more.

        Spot instances count with the part of the price on demand that is guessed.
        """
        cost = _hours(now - self.created) * self.label.idle_price
        for instance in self.instances:
            price = None if instance.is_head else table.instance(instance.type, region)
            share = table.spot_share if instance.is_spot else 1.0
            cost += _hours(now - instance.launched) * (price or 0.0) * share
        return cost


class Clusters:
    """The clusters that cloudqaws made in an account and region."""

    def __init__(self, aws: Aws) -> None:
        self._aws = aws
        self.stacks = Stacks(aws)

    def all(self) -> list[Cluster]:
        """Return all clusters, also half made or half deleted ones; those not complete last, as in 1.2."""
        stacks = {stack.name: stack for stack in self.stacks.all()}
        instances = self._instances([{"Name": "tag-key", "Values": [CLUSTER]}])
        found = [self._cluster(name, stacks, instances) for name in _names(stacks.values())]
        latest = datetime.max.replace(tzinfo=timezone.utc)
        return sorted(found, key=lambda cluster: (cluster.completed or latest, cluster.name))

    def find(self, name: str) -> Optional[Cluster]:
        """Return one cluster, None if there is neither of its stacks.

        Raises:
            ClusterError: There is a stack of this name that is not ours.
        """
        stacks = {}
        for each in (network_name(name), name):
            stack = self.stacks.find(each)
            if stack is None or stack.gone:
                continue
            if read_label(stack.tags) is None:
                raise ClusterError(
                    f"stack {each} exists, but cloudqaws did not make it", hint="choose another name"
                )
            stacks[each] = stack
        if not stacks:
            return None
        return self._cluster(name, stacks, self._instances([{"Name": f"tag:{CLUSTER}", "Values": [name]}]))

    def get(self, name: str) -> Cluster:
        """Return one cluster. Raises ClusterError if there is none."""
        cluster = self.find(name)
        if cluster is None:
            raise ClusterError(
                f"no cluster {name} in {self._aws.region}", hint="`cloudqaws list` shows what there is"
            )
        return cluster

    def _cluster(
        self, name: str, stacks: Mapping[str, Stack], instances: Mapping[str, list[Instance]]
    ) -> Cluster:
        network, stack = stacks.get(network_name(name)), stacks.get(name)
        label = read_label(network.tags if network else stack.tags if stack else {})
        if label is None:
            raise ClusterError(f"the stacks of {name} have no tags of cloudqaws")
        cluster = Cluster(name, label, network, stack, tuple(instances.get(name, ())), label.lease_until)
        written = SetupBucket(self._aws, cluster.setup_bucket).lease() if cluster.setup_bucket else None
        return cluster if written is None else replace(cluster, lease_until=written)

    def _instances(self, filters: list[dict[str, Any]]) -> dict[str, list[Instance]]:
        """Return the instances that are not terminated, by cluster."""
        alive = ["pending", "running", "stopping", "stopped", "shutting-down"]
        wanted = [*filters, {"Name": "instance-state-name", "Values": alive}]
        found: dict[str, list[Instance]] = {}
        for reservation in self._aws.service("ec2").items(
            "describe_instances", "Reservations", Filters=wanted
        ):
            for each in reservation["Instances"]:
                tags = {tag["Key"]: tag["Value"] for tag in each.get("Tags", ())}
                found.setdefault(tags.get(CLUSTER, ""), []).append(_instance(each, tags))
        return found


def _names(stacks: Iterable[Stack]) -> list[str]:
    """Return the names of the clusters whose stacks these are; nested stacks have tags of ours, too."""
    found = set()
    for stack in stacks:
        cluster = stack.tags.get(CLUSTER)
        if cluster is not None and stack.name in (cluster, cluster + SUFFIX):
            found.add(cluster)
    return sorted(found)


def _instance(description: Any, tags: Mapping[str, str]) -> Instance:
    return Instance(
        id=description["InstanceId"],
        type=description["InstanceType"],
        state=description["State"]["Name"],
        launched=description["LaunchTime"],
        is_head=tags.get(_NODE_TYPE) == "HeadNode",
        is_spot=description.get("InstanceLifecycle") == "spot",
    )


def _hours(span: timedelta) -> float:
    return max(0.0, span.total_seconds() / 3600)
