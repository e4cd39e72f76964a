"""The network stack of a cluster: its name, template and parameters, and what it gives to the cluster."""

from __future__ import annotations

from dataclasses import dataclass

from cloudq.builder.plan import Plan
from cloudq.builder.rendering import template
from cloudq.builder.stacks import Stack
from cloudq.errors import ClusterError

SUFFIX = "-vpc"


@dataclass(frozen=True)
class Network:
    """What the network stack made."""

    subnet_id: str
    node_subnet_id: str
    security_group_id: str
    setup_bucket: str
    node_policy_arn: str


def network_name(cluster: str) -> str:
    """Return the name of a cluster's network stack, as in 1.2."""
    return cluster + SUFFIX


def render_network(plan: Plan, zone: str) -> str:
    """Write the CloudFormation template of the network stack."""
    return template("network.yaml").render(zone=zone, nat=plan.nat, store=plan.store)


def network_of(stack: Stack) -> Network:
    """Read the outputs of a network stack that is complete. Raises ClusterError."""
    try:
        return Network(
            subnet_id=stack.outputs["SubnetId"],
            node_subnet_id=stack.outputs["NodeSubnetId"],
            security_group_id=stack.outputs["SecurityGroupId"],
            setup_bucket=stack.outputs["SetupBucket"],
            node_policy_arn=stack.outputs["NodePolicyArn"],
        )
    except KeyError as error:
        raise ClusterError(
            f"stack {stack.name}: no output {error}: it is not a network of cloudqaws"
        ) from error
