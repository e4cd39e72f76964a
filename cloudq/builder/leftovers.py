"""What is left of a cluster in an account: each service asked directly, by tag and by name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cloudq.builder.aws import Aws
from cloudq.builder.tags import CLUSTER
from cloudq.errors import AwsError

_PCLUSTER = "parallelcluster:cluster-name"
_GONE = ("terminated", "deleted", "deleting", "shutting-down")
# What is asked for, the member of the answer, the member with its id, and that with its state.
_EC2 = (
    ("describe_instances", "Reservations", "InstanceId", "instance"),
    ("describe_volumes", "Volumes", "VolumeId", "volume"),
    ("describe_addresses", "Addresses", "AllocationId", "address"),
    ("describe_nat_gateways", "NatGateways", "NatGatewayId", "NAT gateway"),
    ("describe_vpcs", "Vpcs", "VpcId", "VPC"),
)


def find_leftovers(aws: Aws, name: str, setup_bucket: str = "") -> list[str]:
    """Return what a deleted cluster left and what may cost money, such as `volume vol-0a1b`.

    Args:
        setup_bucket: Its set-up bucket, if that is known.
    """
    found = dict.fromkeys([*_ec2(aws, name), *_buckets(aws, setup_bucket), *_log_groups(aws, name)])
    return list(found)


def _ec2(aws: Aws, name: str) -> Iterator[str]:
    ec2 = aws.service("ec2")
    for operation, member, key, word in _EC2:
        for tag in (CLUSTER, _PCLUSTER):
            for each in _described(ec2, operation, member, tag, name):
                if _state(each) not in _GONE:
                    yield f"{word} {each[key]}"


def _described(ec2: Any, operation: str, member: str, tag: str, name: str) -> Iterator[Any]:
    filters = [{"Name": f"tag:{tag}", "Values": [name]}]
    if operation == "describe_addresses":  # the one that has no pages
        yield from ec2.describe_addresses(Filters=filters)[member]
        return
    singular = operation == "describe_nat_gateways"
    for each in ec2.items(operation, member, **{"Filter" if singular else "Filters": filters}):
        yield from each["Instances"] if member == "Reservations" else (each,)


def _state(description: Any) -> str:
    state = description.get("State", description.get("Status", ""))
    return str(state["Name"] if isinstance(state, dict) else state)


def _buckets(aws: Aws, bucket: str) -> Iterator[str]:
    if not bucket:
        return
    try:
        aws.service("s3").head_bucket(Bucket=bucket)
    except AwsError as error:
        if error.code not in ("404", "NoSuchBucket"):
            raise
        return
    yield f"bucket {bucket}"


def _log_groups(aws: Aws, name: str) -> Iterator[str]:
    prefix = f"/aws/parallelcluster/{name}-"
    for group in aws.service("logs").items("describe_log_groups", "logGroups", logGroupNamePrefix=prefix):
        rest = str(group["logGroupName"])[len(prefix) :]
        if rest.isdigit():  # ParallelCluster appends a time; anything else is another cluster's
            yield f"log group {group['logGroupName']}"
