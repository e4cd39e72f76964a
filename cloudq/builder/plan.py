"""The plan of a cluster: a preset, the options of the command line, and the store that its jobs come from."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import Optional
from urllib.parse import urlsplit

from cloudq.builder.presets import Preset, QueueOptions
from cloudq.errors import InputError
from cloudq.system import ANY

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]*\Z")
_LONGEST_NAME = 40
# https://docs.aws.amazon.com/service-authorization/latest/reference/list_awssecretsmanager.html
_SECRET = re.compile(r"arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:\d{12}:secret:[\w/+=.@!-]+\Z", re.ASCII)
_AWS_S3 = re.compile(r"s3[a-z0-9.-]*\.amazonaws\.com(\.cn)?\Z")


@dataclass(frozen=True)
class JobStore:
    """Where the jobs of a cluster come from.

    Attributes:
        endpoint_url: Empty for S3 in the account's own partition.
        bucket, prefix: As in the configuration of an agent; the prefix is empty or ends in `/`.
        secret_arn: The Secrets Manager secret with the store's keys; empty for S3 in AWS, which the
            instance role opens.
    """

    endpoint_url: str
    bucket: str
    prefix: str = ""
    secret_arn: str = ""

    @property
    def in_aws(self) -> bool:
        """Whether the instance role opens it."""
        return not self.endpoint_url


@dataclass(frozen=True)
class Plan:
    """All that decides what is made.

    Attributes:
        name: The cluster's, and the system's in CloudQ.
        preset: With the options of the command line already in it.
        store: Where the jobs come from.
        lease: How long the cluster may live.
        idle: How long it may have no job before it ends itself.
        zone: Availability zone; empty for any.
        keypair: Name of an EC2 key pair; empty for none.
        spot: Whether compute nodes are spot instances.
        ssm: Whether Session Manager may open a shell on the head node.
        nat: Whether nodes have no public addresses and go out by a NAT gateway.
    """

    name: str
    preset: Preset
    store: JobStore
    lease: timedelta
    idle: timedelta
    zone: str = ""
    keypair: str = ""
    spot: bool = False
    ssm: bool = False
    nat: bool = False

    @property
    def fingerprint(self) -> str:
        """A short hash of everything but the lease: the same command has the same."""
        members = {**asdict(replace(self, lease=timedelta())), "lease": "", "idle": self.idle.total_seconds()}
        return hashlib.sha256(json.dumps(members, sort_keys=True).encode()).hexdigest()[:16]


def check_name(name: str) -> str:
    """Refuse a name that a stack, a bucket or a system could not have. Raises InputError."""
    if not _NAME.match(name) or len(name) > _LONGEST_NAME or name.upper() == ANY or name.endswith("-vpc"):
        raise InputError(
            f"cluster name {name!r}: expected a letter and then letters, digits and '-', at most "
            f"{_LONGEST_NAME}; not ANY, and not ending in -vpc"
        )
    return name


def make_store(*, endpoint_url: str, bucket: str, prefix: str, secret_arn: str) -> JobStore:
    """Describe a job store; an endpoint of S3 itself is the same as none. Raises InputError."""
    host = urlsplit(endpoint_url).hostname or ""
    if endpoint_url and not host:
        raise InputError(
            f"--cs-endpoint: expected https://HOST[:PORT], or nothing for S3, got {endpoint_url!r}"
        )
    if not bucket or "/" in bucket:
        raise InputError(f"--cs-bucket: expected the name of a bucket, got {bucket!r}")
    endpoint_url = "" if _AWS_S3.search(host) else endpoint_url
    if secret_arn and not _SECRET.match(secret_arn):
        raise InputError(
            f"--secret-arn: expected arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME, got {secret_arn!r}"
        )
    prefix = prefix.strip("/")
    return JobStore(
        endpoint_url, bucket, f"{prefix}/" if prefix else "", "" if not endpoint_url else secret_arn
    )


def adapt(preset: Preset, *, max_nodes: Optional[int], instance_types: Sequence[str]) -> Preset:
    """Put options of the command line into the first queue of a preset."""
    first, *others = preset.queues
    queue = QueueOptions(
        first.name, tuple(instance_types) or first.instance_types, max_nodes or first.max_nodes
    )
    return replace(preset, queues=(queue, *others))
