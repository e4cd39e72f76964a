"""Making a cluster: a network stack, the set-up bucket's files, and then ParallelCluster.

Each step looks first at what there is, so that the same command goes on where an earlier one was
interrupted, on whatever computer. All state is in AWS: stacks by name, the plan's fingerprint in a tag.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from cloudq.builder.boot import setup_files
from cloudq.builder.clusters import DELETING, Cluster
from cloudq.builder.configuration import render_configuration
from cloudq.builder.deletion import Deletion
from cloudq.builder.network import Network, network_name, network_of, render_network
from cloudq.builder.plan import Plan
from cloudq.builder.prices import Estimate
from cloudq.builder.setup_bucket import SetupBucket
from cloudq.builder.stacks import Stack
from cloudq.builder.tags import cluster_tags, read_label, tags_for
from cloudq.builder.workshop import Workshop
from cloudq.errors import AwsError, CloudQError, ClusterError


@dataclass(frozen=True)
class Order:
    """What is to be made.

    Attributes:
        preset: The name of the plan's preset.
        agent: Makes the agent's archive for the nodes.
    """

    plan: Plan
    preset: str
    estimate: Estimate
    agent: Callable[[], bytes]


class Creation:
    """One cluster on its way."""

    def __init__(self, workshop: Workshop, order: Order) -> None:
        self._shop = workshop
        self._order = order
        self._plan = order.plan

    def run(self) -> Cluster:
        """Make the cluster, or go on making it; return it. What exists already stays as it is.

        Raises:
            ClusterError: It could not be made, with the reason, and what was begun is gone again. Or one
                of this name exists that was made with other options.
        """
        cluster = self._shop.clusters.find(self._plan.name)
        self._check_same(cluster)
        try:
            network = self._make_network()
            self._set_up(network)
            self._make_cluster(network)
        except CloudQError as error:
            raise self._roll_back(error) from error
        return self._shop.clusters.get(self._plan.name)

    def check(self) -> None:
        """Let pcluster check the whole configuration, with a network that exists. Raises ClusterError."""
        stack = self._shop.clusters.stacks.find(network_name(self._plan.name))
        if stack is not None and stack.complete:
            self._shop.pcluster.check(self._plan.name, self._write_configuration(network_of(stack)))

    def _check_same(self, cluster: Optional[Cluster]) -> None:
        if cluster is None:
            return
        if cluster.status == DELETING:
            raise ClusterError(f"{cluster.name} is being deleted", hint="wait, or choose another name")
        if cluster.label.fingerprint != self._plan.fingerprint:
            raise ClusterError(
                f"{cluster.name} exists, made with other options",
                hint="give the same options to go on with it, or delete it first",
            )

    # The network

    def _make_network(self) -> Network:
        self._shop.progress.step("network")
        stack = self._shop.clusters.stacks.find(network_name(self._plan.name))
        if stack is None or stack.gone:
            arn = self._begin_network()
        elif stack.busy or stack.complete:
            arn = stack.arn
        else:
            # An earlier attempt failed and could not even clean up.
            self._remove(stack)
            arn = self._begin_network()
        stack = self._shop.wait(arn)
        if not stack.complete:
            raise ClusterError(f"the network could not be made: {self._reason(stack)}")
        return network_of(stack)

    def _begin_network(self) -> str:
        plan, estimate = self._plan, self._order.estimate
        tags = tags_for(
            plan,
            preset=self._order.preset,
            lease_until=self._shop.now() + plan.lease,
            idle_price=estimate.idle,
            full_price=estimate.full,
        )
        name, stacks = network_name(plan.name), self._shop.clusters.stacks
        template = render_network(plan, plan.zone or self._any_zone())
        try:
            return stacks.create(name, template, tags=tags)
        except AwsError as error:
            # The same command at the same time, on another computer, was quicker.
            stack = stacks.find(name) if error.code == "AlreadyExistsException" else None
            label = read_label(stack.tags) if stack else None
            if stack is None or label is None or label.fingerprint != plan.fingerprint:
                raise
            return stack.arn

    def _any_zone(self) -> str:
        """Return a zone in which all instance types are offered."""
        ec2 = self._shop.aws.service("ec2")
        types = {t for queue in self._plan.preset.queues for t in queue.instance_types}
        types.add(self._plan.preset.head_node)
        filters = [{"Name": "instance-type", "Values": sorted(types)}]
        offered: dict[str, set[str]] = {}
        for each in ec2.items(
            "describe_instance_type_offerings",
            "InstanceTypeOfferings",
            LocationType="availability-zone",
            Filters=filters,
        ):
            offered.setdefault(each["Location"], set()).add(each["InstanceType"])
        zones = sorted(offered, key=lambda zone: (-len(offered[zone]), zone))
        if not zones:
            raise ClusterError(f"no zone of {self._shop.aws.region} offers {', '.join(sorted(types))}")
        return zones[0]

    # The set-up bucket

    def _set_up(self, network: Network) -> None:
        """Store what the nodes need, unless they may have begun to read it."""
        stack = self._shop.clusters.stacks.find(self._plan.name)
        if stack is not None and not stack.gone:
            return
        self._shop.progress.step("files for the nodes")
        bucket = SetupBucket(self._shop.aws, network.setup_bucket)
        begun = self._shop.clusters.get(self._plan.name)
        files = setup_files(
            self._plan,
            setup_url=bucket.url,
            region=self._shop.aws.region,
            agent=self._order.agent(),
            # Of the first attempt.
            lease_until=begun.lease_until or self._shop.now() + self._plan.lease,
        )
        bucket.put(files)

    # The cluster

    def _make_cluster(self, network: Network) -> None:
        self._shop.progress.step("cluster")
        stack = self._shop.clusters.stacks.find(self._plan.name)
        if stack is None or stack.gone:
            arn = self._begin_cluster(network)
        elif stack.busy or stack.complete:
            arn = stack.arn
        else:
            raise ClusterError(f"the cluster could not be made: {self._reason(stack)}")
        stack = self._shop.wait(arn)
        if not stack.complete:
            raise ClusterError(f"the cluster could not be made: {self._reason(stack)}")

    def _begin_cluster(self, network: Network) -> str:
        """Let pcluster begin; if one that outlived a killed command was quicker, go on with its stack."""
        try:
            return self._shop.pcluster.create(self._plan.name, self._write_configuration(network))
        except ClusterError:
            stack = self._shop.clusters.stacks.find(self._plan.name)
            ours = stack is not None and (stack.busy or stack.complete) and read_label(stack.tags)
            if stack is None or not ours:
                raise
            return stack.arn

    def _write_configuration(self, network: Network) -> Path:
        file = self._shop.scratch / "cluster.yaml"
        text = render_configuration(
            self._plan,
            network,
            region=self._shop.aws.region,
            partition=self._shop.aws.partition,
            tags=cluster_tags(self._plan),
        )
        file.write_text(text, encoding="utf-8")
        return file

    # Faults

    def _reason(self, stack: Stack) -> str:
        return self._shop.clusters.stacks.reason_of_failure(stack.arn)

    def _remove(self, stack: Stack) -> None:
        self._shop.clusters.stacks.delete(stack.arn)
        if not self._shop.wait(stack.arn).gone:
            raise ClusterError(f"{stack.name} is left of an earlier attempt: {self._reason(stack)}")

    def _roll_back(self, error: CloudQError) -> CloudQError:
        """Delete what was made; return the error that tells both.

        When AWS itself does not let us, nothing is deleted: the credentials may have expired, and the same
        command goes on later.
        """
        if isinstance(error, AwsError):
            return AwsError(
                f"{error}; what was made so far is still there",
                error.code,
                hint=error.hint
                or "give the same command again to go on, or delete it with `cloudqaws delete`",
            )
        self._shop.progress.step("taking back what was made")
        try:
            Deletion(self._shop, self._plan.name).run(missing_ok=True)
        except CloudQError as second:
            return ClusterError(f"{error}; and taking it back failed, too: {second}", hint=second.hint)
        return ClusterError(f"{error}; everything that was made is gone again", hint=error.hint)
