"""The IAM policy of a person who makes clusters: what they ask, and what CloudFormation does for them."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

# What cloudqaws and pcluster ask themselves. `make test-pcluster` records every call and compares.
_ASKED = (
    "cloudformation:CreateStack",
    "cloudformation:DeleteStack",
    "cloudformation:DescribeStackEvents",
    "cloudformation:DescribeStacks",
    "ec2:DescribeAddresses",
    "ec2:DescribeImages",
    "ec2:DescribeInstanceTypeOfferings",
    "ec2:DescribeInstanceTypes",
    "ec2:DescribeInstances",
    "ec2:DescribeNatGateways",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeSubnets",
    "ec2:DescribeVolumes",
    "ec2:DescribeVpcs",
    "ec2:RunInstances",  # pcluster tries it, with DryRun
    "iam:GetPolicy",
    "logs:DescribeLogGroups",
    "pricing:GetProducts",
    "secretsmanager:DescribeSecret",  # of a preset with accounting
)
_ASKED_OF_SETUP_BUCKET = (
    "s3:AbortMultipartUpload",
    "s3:DeleteObject",
    "s3:DeleteObjectVersion",
    "s3:GetBucketLocation",
    "s3:GetBucketVersioning",
    "s3:GetObject",
    "s3:ListBucket",
    "s3:ListBucketMultipartUploads",
    "s3:ListBucketVersions",
    "s3:PutObject",
)
NOT_RECORDED = {
    "ec2:DescribeKeyPairs": "pcluster, for --keypair",
    "s3:AbortMultipartUpload": "`delete`, where an upload to the set-up bucket was cut off",
}
"""What the tests do not need, and who does."""
_ROLES = ("role/parallelcluster/*", "instance-profile/parallelcluster/*", "policy/*-NodePolicy-*")
_PASSED_TO = ["ec2.amazonaws.com", "ec2.amazonaws.com.cn", "lambda.amazonaws.com"]
_FSX_ROLES = ["fsx.amazonaws.com"]
_VIA_CLOUDFORMATION = {"ForAnyValue:StringEquals": {"aws:CalledVia": ["cloudformation.amazonaws.com"]}}


def builder_policy(partition: str = "aws") -> dict[str, Any]:
    """Return the IAM policy of a person who makes, lists, deletes and reaps clusters.

    Of the job bucket they need a client's rights besides. Whoever may make roles, as ParallelCluster does,
    is as good as an administrator of the account: CloudFormation's part is a hurdle, not a wall.
    """
    bucket = f"arn:{partition}:s3:::*-setupbucket-*"
    by_service = _by_service(frozenset(asked()))
    roles = [f"arn:{partition}:iam::*:{each}" for each in _ROLES]
    iam = sorted(by_service.pop("iam") - {"iam:PassRole", "iam:CreateServiceLinkedRole"})
    others = sorted(set().union(*(by_service[each] for each in by_service if each != "s3")))
    return {"Version": "2012-10-17", "Statement": [
        _allow("Ask", [*_ASKED, *(each for each in NOT_RECORDED if not each.startswith("s3:"))], "*"),
        _allow("FillSetUpBucket", list(_ASKED_OF_SETUP_BUCKET), [bucket, f"{bucket}/*"]),
        _allow("MakeSetUpBucket", sorted(by_service["s3"]), bucket, _VIA_CLOUDFORMATION),
        _allow("MakeStacks", others, "*", _VIA_CLOUDFORMATION),
        _allow("MakeRolesOfNodes", iam, roles, _VIA_CLOUDFORMATION),
        _allow("GiveRolesToNodes", ["iam:PassRole"], roles[0],
               {"StringEquals": {"iam:PassedToService": _PASSED_TO}}),
        _allow("MakeRoleOfFsx", ["iam:CreateServiceLinkedRole"], "*",
               {"StringEquals": {"iam:AWSServiceName": _FSX_ROLES}}),
    ]}  # fmt: skip


def asked() -> list[str]:
    """Return the actions that cloudqaws and pcluster need for their own calls."""
    return sorted({*_ASKED, *_ASKED_OF_SETUP_BUCKET, *NOT_RECORDED})


def stack_actions() -> dict[str, list[str]]:
    """Return what CloudFormation asks in a person's name: type of resource -> actions."""
    text = (files("cloudq.builder") / "stack_actions.json").read_text(encoding="utf-8")
    return {kind: actions.split() for kind, actions in json.loads(text)["types"].items()}


def _by_service(without: frozenset[str]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for actions in stack_actions().values():
        for action in actions:
            if action not in without:
                found.setdefault(action.partition(":")[0], set()).add(action)
    return found


def _allow(sid: str, actions: list[str], resource: Any, condition: Any = None) -> dict[str, Any]:
    statement = {"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resource}
    return statement if condition is None else {**statement, "Condition": condition}
