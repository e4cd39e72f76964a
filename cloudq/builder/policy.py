"""IAM policies: what the keys of a client, an agent and a job must be allowed to do, and no more."""

from __future__ import annotations

import json
import re
from enum import Enum
from typing import Any, Optional
from urllib.parse import urlsplit

import click

from cloudq.builder.invocation import account_options
from cloudq.builder.rights import builder_policy
from cloudq.bundle.agents import SYSTEMS
from cloudq.bundle.blobs import BLOBS
from cloudq.bundle.markers import ACTIVE
from cloudq.bundle.names import DATA
from cloudq.errors import InputError
from cloudq.store.sqs import region_of

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]\Z")
_PARTITION = re.compile(r"aws[a-z-]*\Z")
_QUEUE_PATH = re.compile(r"/(?P<account>\d{12})/(?P<name>[A-Za-z0-9_-]{1,80}(?:\.fifo)?)\Z")
# In a policy these would stand for other keys: wildcards, and `${aws:username}`.
_MEANINGFUL = frozenset("*?$")


BUILDER = "builder"


class Role(str, Enum):
    """Whose key it is."""

    CLIENT = "client"
    AGENT = "agent"
    JOB = "job"


def policy_for(role: Role, *, bucket: str, prefix: str = "", partition: str = "aws") -> dict[str, Any]:
    """Return the IAM policy that suffices for a role.

    The actions are those that cloudq/store calls: https://docs.aws.amazon.com/AmazonS3/latest/userguide/
    using-with-s3-policy-actions.html tells which request needs which. HEAD needs s3:GetObject, and
    s3:ListBucket for a missing object to be 404; the requests of an upload in parts need s3:PutObject.

    Args:
        bucket: The job bucket.
        prefix: The key prefix of everything in it, with or without the last `/`.
        partition: The first part of ARNs after `arn:`; other servers than AWS want `aws`.

    Raises:
        InputError: One of these cannot be, or would be a pattern in a policy.
    """
    _check(bucket, prefix, partition)
    top = f"{prefix.strip('/')}/".lstrip("/")
    arn = f"arn:{partition}:s3:::{bucket}"
    statements = {Role.CLIENT: _for_client, Role.AGENT: _for_agent, Role.JOB: _for_job}[role](arn, top)
    return {"Version": "2012-10-17", "Statement": statements}


def _for_client(arn: str, top: str) -> list[dict[str, Any]]:
    # A client takes markers and what a dead agent has published away; it never makes an agent look alive.
    own = [f"{arn}/{top}{folder}*" for folder in (SYSTEMS, ACTIVE)]
    return [*_for_both(arn, top), _denied("LeaveToAgents", own)]


def _for_agent(arn: str, top: str) -> list[dict[str, Any]]:
    # An agent lets inputs go that several jobs shared; it never brings any, nor says that a job has them.
    shared = [f"{arn}/{top}{BLOBS}*/{name}" for name in ("kept/*/input.zip", "kept/*/sum-*", "refs/*")]
    return [*_for_both(arn, top), _denied("LeaveToClients", shared)]


def _for_both(arn: str, top: str) -> list[dict[str, Any]]:
    return [
        _listing(arn, top),
        # It can be limited to no prefix: AWS has no condition key for it.
        _allowed("ListUploads", ["s3:ListBucketMultipartUploads"], arn),
        _allowed(
            "ReadAndWriteJobs",
            ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"],
            f"{arn}/{top}*",
        ),
    ]


def _for_job(arn: str, top: str) -> list[dict[str, Any]]:
    folder = f"{top}{DATA}"
    actions = ["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload"]
    return [_listing(arn, folder), _allowed("ReadAndWriteData", actions, f"{arn}/{folder}*")]


def _listing(arn: str, folder: str) -> dict[str, Any]:
    statement = _allowed("List", ["s3:ListBucket"], arn)
    return {**statement, "Condition": {"StringLike": {"s3:prefix": [f"{folder}*"]}}} if folder else statement


def _allowed(sid: str, actions: list[str], resource: str) -> dict[str, Any]:
    return {"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": [resource]}


def _denied(sid: str, resources: list[str]) -> dict[str, Any]:
    return {"Sid": sid, "Effect": "Deny", "Action": ["s3:PutObject"], "Resource": resources}


def events_statement(url: str, partition: str = "aws") -> dict[str, Any]:
    """Return what lets an agent ask its queue of events. Raises InputError."""
    region, path = region_of(url), urlsplit(url).path
    match = _QUEUE_PATH.match(path)
    if not region or not match:
        raise InputError(
            f"--events-queue: expected https://sqs.REGION.amazonaws.com/ACCOUNT/NAME, got {url!r}"
        )
    arn = f"arn:{partition}:sqs:{region}:{match['account']}:{match['name']}"
    return _allowed("HearOfJobs", ["sqs:ReceiveMessage", "sqs:DeleteMessage"], arn)


def _check(bucket: str, prefix: str, partition: str) -> None:
    if not _BUCKET.match(bucket):
        raise InputError(f"--bucket: expected the name of a bucket, got {bucket!r}")
    parts = prefix.strip("/").split("/") if prefix.strip("/") else []
    if any(part in ("", ".", "..") for part in parts) or not prefix.isprintable():
        raise InputError(f"--prefix: expected a key prefix such as team/project, got {prefix!r}")
    if _MEANINGFUL & set(prefix):
        raise InputError(f"--prefix: *, ? and $ would be patterns in a policy, got {prefix!r}")
    _check_partition(partition)


def _check_partition(partition: str) -> None:
    if not _PARTITION.match(partition):
        raise InputError(f"--partition: expected aws, aws-cn, aws-us-gov or the like, got {partition!r}")


@click.command()
@click.argument("role", type=click.Choice([*(role.value for role in Role), BUILDER]))
@click.option("--bucket", metavar="BUCKET", help="The job bucket; the builder's policy names none.")
@click.option("--prefix", default="", metavar="PREFIX", help="Key prefix of everything in it.")
@click.option(
    "--partition", default="aws", show_default=True, metavar="NAME", help="Partition of AWS, for ARNs."
)
@click.option(
    "--events-queue", default="", metavar="URL", help="For an agent: the SQS queue of events_queue_url."
)
@account_options
def policy(*, role: str, bucket: Optional[str], prefix: str, partition: str, events_queue: str) -> None:
    """Print the IAM policy that suffices for a client, an agent, a job, or a person who makes clusters."""
    if role == BUILDER:
        _check_partition(partition)
        document = builder_policy(partition)
    elif bucket is None:
        raise InputError("--bucket: expected the job bucket")
    else:
        document = policy_for(Role(role), bucket=bucket, prefix=prefix, partition=partition)
    if events_queue:
        if role != Role.AGENT.value:
            raise InputError(f"--events-queue: only an agent asks a queue, got {role}")
        document["Statement"].append(events_statement(events_queue, partition))
    click.echo(json.dumps(document, indent=4))
