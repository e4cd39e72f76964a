"""The configuration of ParallelCluster for a plan, as a value and as YAML."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cloudq.builder.dependencies import dump_yaml
from cloudq.builder.network import Network
from cloudq.builder.plan import Plan
from cloudq.builder.presets import QueueOptions

SETUP_PREFIX = "cloudq"
HEAD_SCRIPT = "head-node.sh"
NODE_SCRIPT = "compute-node.sh"
_NOBODY = "127.0.0.1/32"
_LOG_DAYS = 14
_STORAGE: Mapping[str, Mapping[str, Any]] = {
    "efs": {
        "MountDir": "/efs",
        "StorageType": "Efs",
        "EfsSettings": {"Encrypted": True, "DeletionPolicy": "Delete"},
    },
    "fsx-scratch": {
        "MountDir": "/fsx",
        "StorageType": "FsxLustre",
        "FsxLustreSettings": {
            "StorageCapacity": 1200,
            "DeploymentType": "SCRATCH_2",
            "DeletionPolicy": "Delete",
        },
    },
}


def render_configuration(
    plan: Plan, network: Network, *, region: str, partition: str, tags: Mapping[str, str]
) -> str:
    """Write the configuration that `pcluster create-cluster` reads."""
    own: dict[str, Any] = {
        "Region": region,
        "Image": {"Os": plan.preset.os},
        "CustomS3Bucket": network.setup_bucket,
        "Imds": {"ImdsSupport": "v2.0"},
        "HeadNode": _head_node(plan, network, partition),
        "Scheduling": {
            "Scheduler": "slurm",
            "SlurmSettings": _slurm_settings(plan),
            "SlurmQueues": [_queue(plan, network, queue) for queue in plan.preset.queues],
        },
        "Monitoring": {
            "Logs": {"CloudWatch": {"RetentionInDays": _LOG_DAYS, "DeletionPolicy": "Delete"}},
            "Dashboards": {"CloudWatch": {"Enabled": False}},
        },
        "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
    }
    if plan.preset.storage:
        own["SharedStorage"] = [{"Name": name, **_STORAGE[name]} for name in plan.preset.storage]
    return dump_yaml(merge(own, plan.preset.cluster))


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a mapping with changes put in, member by member; lists and plain values are replaced."""
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[key] = merge(old, value) if both and old is not None else value
    return merged


def _head_node(plan: Plan, network: Network, partition: str) -> dict[str, Any]:
    ssm = f"arn:{partition}:iam::aws:policy/AmazonSSMManagedInstanceCore"
    policies = [network.node_policy_arn, *([ssm] if plan.ssm else [])]
    return {
        "InstanceType": plan.preset.head_node,
        "Networking": {"SubnetId": network.subnet_id, "SecurityGroups": [network.security_group_id]},
        "Ssh": {**({"KeyName": plan.keypair} if plan.keypair else {}), "AllowedIps": _NOBODY},
        "LocalStorage": _root_volume(plan),
        "Imds": {"Secured": True},
        "Iam": {"AdditionalIamPolicies": [{"Policy": policy} for policy in policies]},
        "CustomActions": _script(network, HEAD_SCRIPT),
    }


def _queue(plan: Plan, network: Network, queue: QueueOptions) -> dict[str, Any]:
    return {
        "Name": queue.name,
        "CapacityType": "SPOT" if plan.spot else "ONDEMAND",
        # The types are tried in their order.
        "AllocationStrategy": "capacity-optimized-prioritized" if plan.spot else "prioritized",
        "ComputeResources": [
            {
                "Name": queue.name,
                "Instances": [{"InstanceType": each} for each in queue.instance_types],
                "MinCount": 0,
                "MaxCount": queue.max_nodes,
            }
        ],
        "ComputeSettings": {"LocalStorage": _root_volume(plan)},
        "Networking": {
            "SubnetIds": [network.node_subnet_id],
            "SecurityGroups": [network.security_group_id],
        },
        "Iam": {"AdditionalIamPolicies": [{"Policy": network.node_policy_arn}]},
        "CustomActions": _script(network, NODE_SCRIPT),
    }


def _slurm_settings(plan: Plan) -> dict[str, Any]:
    settings: dict[str, Any] = {"ScaledownIdletime": 5}
    if plan.preset.accounting is not None:
        settings["Database"] = {
            "Uri": plan.preset.accounting.uri,
            "UserName": plan.preset.accounting.user,
            "PasswordSecretArn": plan.preset.accounting.password_secret_arn,
        }
    return settings


def _root_volume(plan: Plan) -> dict[str, Any]:
    return {"RootVolume": {"Size": plan.preset.root_volume_gb, "Encrypted": True}}


def _script(network: Network, name: str) -> dict[str, Any]:
    """Our script, after Slurm has been configured; it has no arguments, as those end up readable."""
    return {"OnNodeConfigured": {"Script": f"s3://{network.setup_bucket}/{SETUP_PREFIX}/{name}"}}
