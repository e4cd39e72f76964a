"""Deleting a cluster: its jobs' outputs first, then ParallelCluster's stack, the set-up bucket, the network.

Each step looks at what there is, so that it may be interrupted and begun again.
"""

from __future__ import annotations

from datetime import timedelta

from cloudq.builder.clusters import Cluster
from cloudq.builder.leftovers import find_leftovers
from cloudq.builder.setup_bucket import SetupBucket
from cloudq.builder.stacks import Stack
from cloudq.builder.workshop import Workshop
from cloudq.errors import ClusterError

_LOOKS = 6


class Deletion:
    """One cluster on its way out."""

    def __init__(self, workshop: Workshop, name: str) -> None:
        self._shop = workshop
        self._name = name

    def run(self, *, missing_ok: bool = False) -> None:
        """Delete the cluster and make sure that nothing is left; its jobs are not waited for.

        Args:
            missing_ok: It is no error if there is no such cluster.

        Raises:
            ClusterError: There is no such cluster, a stack cannot be deleted (with the reason), or
                something is left (with what).
        """
        cluster = self._shop.clusters.find(self._name)
        bucket = cluster.setup_bucket if cluster else ""
        if cluster is None and not missing_ok:
            raise self._unknown()
        while cluster is not None:
            self._delete_stack(cluster)
            self._delete_network(cluster)
            # A `create` that was still at it may have begun a stack meanwhile.
            cluster = self._shop.clusters.find(self._name)
        self._verify(bucket)

    def _unknown(self) -> ClusterError:
        """There are no stacks; but something of an earlier attempt may be left."""
        left = find_leftovers(self._shop.aws, self._name)
        if left:
            return ClusterError(f"{self._name} has no stacks any more, but this is left: {', '.join(left)}")
        return ClusterError(
            f"no cluster {self._name} in {self._shop.aws.region}", hint="`cloudqaws list` shows what there is"
        )

    def _delete_stack(self, cluster: Cluster) -> None:
        if cluster.stack is None or cluster.stack.gone:
            return
        self._shop.progress.step("deleting the cluster")
        if cluster.stack.status != "DELETE_IN_PROGRESS" and not self._shop.pcluster.delete(self._name):
            # pcluster does not know a stack of another major version; CloudFormation does.
            self._shop.clusters.stacks.delete(cluster.stack.arn)
        self._wait_until_gone(cluster.stack)

    def _delete_network(self, cluster: Cluster) -> None:
        if cluster.network is None or cluster.network.gone:
            return
        self._shop.progress.step("deleting the network")
        network = cluster.network
        if network.status != "DELETE_IN_PROGRESS":
            bucket = cluster.setup_bucket or self._bucket_of_a_half_made(network)
            if bucket:
                SetupBucket(self._shop.aws, bucket).empty()
            self._shop.clusters.stacks.delete(network.arn)
        self._wait_until_gone(network)

    def _bucket_of_a_half_made(self, network: Stack) -> str:
        """A stack that failed has no outputs, but may have made the bucket."""
        for event in self._shop.clusters.stacks.events(network.arn):
            if event.type == "AWS::S3::Bucket" and event.physical_id:
                return event.physical_id
        return ""

    def _wait_until_gone(self, stack: Stack) -> None:
        """Wait by the ARN, by which a stack is found also when it is gone."""
        stack = self._shop.wait(stack.arn)
        if not stack.gone:
            reason = self._shop.clusters.stacks.reason_of_failure(stack.arn)
            raise ClusterError(
                f"stack {stack.name} could not be deleted: {reason}",
                hint="remove what is in the way, and give the same command again",
            )

    def _verify(self, bucket: str) -> None:
        """Make sure that nothing is left; EC2 needs a moment to forget what was deleted."""
        self._shop.progress.step("looking for leftovers")
        left = find_leftovers(self._shop.aws, self._name, bucket)
        for _ in range(_LOOKS):
            if not left:
                return
            self._shop.pause(max(self._shop.interval, timedelta(0)))
            left = find_leftovers(self._shop.aws, self._name, bucket)
        if left:
            raise ClusterError(
                f"{self._name} is deleted, but this is left: {', '.join(left)}",
                hint="look at it, and delete it in the AWS console if nothing else needs it",
            )
