"""The policies of `cloudqaws policy` on servers that enforce them: they suffice, and they allow no more.

SeaweedFS has a user for each policy. On Ceph all are sessions of one role (AssumeRole), limited by a policy.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Callable

import pytest

from cloudq.builder.policy import Role, policy_for
from cloudq.store import StoreAddress
from tests.real.conftest import AGENT_USER, CLIENT_USER, Account, make_account, setting
from tests.real.test_acceptance import Laptop, wait_until

PREFIX = "team"
SYSTEM = "here"
MANIFEST = f"{PREFIX}/0123456789ab/manifest.json"
PATIENCE = 150
Key = Mapping[str, str]
Call = Callable[[Any, str], Any]

pytestmark = pytest.mark.parametrize("s3_url", ["seaweedfs", "ceph"], indirect=True)

ANYBODY: dict[str, Call] = {
    "read below another prefix": lambda s3, b: s3.get_object(Bucket=b, Key="teams/secret"),
    "write below another prefix": lambda s3, b: s3.put_object(Bucket=b, Key="teams/x", Body=b""),
    "delete below another prefix": lambda s3, b: s3.delete_object(Bucket=b, Key="teams/secret"),
    "upload below another prefix": lambda s3, b: s3.create_multipart_upload(Bucket=b, Key="teams/x"),
    "copy from another prefix": lambda s3, b: s3.copy_object(
        Bucket=b, Key=f"{PREFIX}/.data/x", CopySource=f"{b}/teams/secret"
    ),
    "list another prefix": lambda s3, b: s3.list_objects_v2(Bucket=b, Prefix="teams/"),
    "list everything": lambda s3, b: s3.list_objects_v2(Bucket=b),
    "read another bucket": lambda s3, b: s3.get_object(Bucket=f"{b}-other", Key=f"{PREFIX}/secret"),
    "write another bucket": lambda s3, b: s3.put_object(Bucket=f"{b}-other", Key=f"{PREFIX}/x", Body=b""),
    "list another bucket": lambda s3, b: s3.list_objects_v2(Bucket=f"{b}-other", Prefix=f"{PREFIX}/"),
    "make a bucket": lambda s3, b: s3.create_bucket(Bucket=f"{b}-new"),
    "delete the bucket": lambda s3, b: s3.delete_bucket(Bucket=b),
    "read the policy": lambda s3, b: s3.get_bucket_policy(Bucket=b),
    "change the policy": lambda s3, b: s3.put_bucket_policy(
        Bucket=b,
        Policy=json.dumps(
            {
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Effect": "Allow",
                        "Principal": "*",
                        "Action": "s3:*",
                        "Resource": f"arn:aws:s3:::{b}/*",
                    }
                ],
            }
        ),
    ),
    "open the bucket": lambda s3, b: s3.put_bucket_acl(Bucket=b, ACL="public-read-write"),
    "keep versions": lambda s3, b: s3.put_bucket_versioning(
        Bucket=b, VersioningConfiguration={"Status": "Enabled"}
    ),
}
FORBIDDEN: dict[Role, dict[str, Call]] = {
    Role.AGENT: {
        **ANYBODY,
        "bring shared inputs": lambda s3, b: s3.put_object(
            Bucket=b, Key=f"{PREFIX}/agent/.blobs/{'0' * 64}/kept/x/input.zip", Body=b""
        ),
        "say what shared inputs are": lambda s3, b: s3.put_object(
            Bucket=b, Key=f"{PREFIX}/agent/.blobs/{'0' * 64}/kept/x/sum-{'0' * 64}", Body=b""
        ),
    },
    Role.CLIENT: {
        **ANYBODY,
        "look like an agent": lambda s3, b: s3.put_object(
            Bucket=b, Key=f"{PREFIX}/agent/.systems/{SYSTEM}.json", Body=b"{}"
        ),
        "hold a job": lambda s3, b: s3.put_object(
            Bucket=b, Key=f"{PREFIX}/agent/.active/{SYSTEM}/0123456789ab", Body=b""
        ),
    },
    Role.JOB: {
        **ANYBODY,
        "write a manifest": lambda s3, b: s3.put_object(Bucket=b, Key=MANIFEST, Body=b"{}"),
        "read a manifest": lambda s3, b: s3.get_object(Bucket=b, Key=MANIFEST),
        "delete a manifest": lambda s3, b: s3.delete_object(Bucket=b, Key=MANIFEST),
        "announce a job": lambda s3, b: s3.put_object(
            Bucket=b, Key=f"{PREFIX}/agent/.inbox/{SYSTEM}/0123456789ab", Body=b""
        ),
        "list jobs": lambda s3, b: s3.list_objects_v2(Bucket=b, Prefix=f"{PREFIX}/"),
        "delete data": lambda s3, b: s3.delete_object(Bucket=b, Key=f"{PREFIX}/.data/table"),
        "list uploads": lambda s3, b: s3.list_multipart_uploads(Bucket=b, Prefix=f"{PREFIX}/"),
    },
}


def connect(service: str, address: StoreAddress, key: Key) -> Any:
    import boto3

    make: Any = boto3.client
    return make(
        service,
        endpoint_url=address.endpoint_url,
        region_name="us-east-1",
        aws_access_key_id=key["AccessKeyId"],
        aws_secret_access_key=key["SecretAccessKey"],
        aws_session_token=key.get("SessionToken"),
    )


@pytest.fixture
def owner() -> Key:
    """The key of who runs the server."""
    return {
        "AccessKeyId": setting("CLOUDQ_TEST_ACCESS_KEY"),
        "SecretAccessKey": setting("CLOUDQ_TEST_SECRET_KEY"),
    }


@pytest.fixture
def keys(bucket: StoreAddress, owner: Key) -> Iterator[Mapping[Role, Key]]:
    """A key for each role, with its policy and nothing else."""
    make = users if bucket.endpoint_url == os.environ["CLOUDQ_TEST_SEAWEEDFS"] else sessions
    with make(bucket, owner) as made:
        for key in made.values():
            s3 = connect("s3", bucket, key)
            wait_until(lambda s3=s3: works(s3, bucket.bucket), "a new key to work", 120)  # type: ignore[misc]
        yield made


@contextmanager
def users(bucket: StoreAddress, owner: Key) -> Iterator[Mapping[Role, Key]]:
    """Give each role a user."""
    iam = connect("iam", bucket, owner)
    made: dict[Role, Key] = {}
    arns: dict[Role, str] = {}
    try:
        for role in Role:
            name = f"{bucket.bucket}-{role.value}"
            document = json.dumps(policy_for(role, bucket=bucket.bucket, prefix=PREFIX))
            iam.create_user(UserName=name)
            arns[role] = iam.create_policy(PolicyName=name, PolicyDocument=document)["Policy"]["Arn"]
            iam.attach_user_policy(UserName=name, PolicyArn=arns[role])
            made[role] = iam.create_access_key(UserName=name)["AccessKey"]
        yield made
    finally:
        for role in Role:
            remove_user(iam, f"{bucket.bucket}-{role.value}", arns.get(role, ""))


@contextmanager
def sessions(bucket: StoreAddress, owner: Key) -> Iterator[Mapping[Role, Key]]:
    """Give each role temporary keys of one IAM role that may do everything, limited by their policies."""
    iam, sts, name = connect("iam", bucket, owner), connect("sts", bucket, owner), bucket.bucket
    anybody = {
        "Effect": "Allow",
        "Principal": {"AWS": ["arn:aws:iam:::user/admin"]},
        "Action": ["sts:AssumeRole"],
    }
    anything = {"Effect": "Allow", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::*"]}
    arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=_statement(anybody))["Role"]["Arn"]
    try:
        iam.put_role_policy(RoleName=name, PolicyName="anything", PolicyDocument=_statement(anything))
        yield {
            role: sts.assume_role(
                RoleArn=arn,
                RoleSessionName=role.value,
                DurationSeconds=900,
                Policy=_compact(policy_for(role, bucket=bucket.bucket, prefix=PREFIX)),
            )["Credentials"]
            for role in Role
        }
    finally:
        with suppress(iam.exceptions.ClientError):
            iam.delete_role_policy(RoleName=name, PolicyName="anything")
        iam.delete_role(RoleName=name)


def _statement(statement: Mapping[str, Any]) -> str:
    return _compact({"Version": "2012-10-17", "Statement": [statement]})


def _compact(document: Mapping[str, Any]) -> str:
    # Ceph 16 takes the `+` that stands for a blank in a form for a plus.
    return json.dumps(document, separators=(",", ":"))


def works(s3: Any, bucket: str) -> bool:
    from botocore.exceptions import ClientError

    with suppress(ClientError):
        s3.list_objects_v2(Bucket=bucket, Prefix=f"{PREFIX}/.data/")
        return True
    return False


def remove_user(iam: Any, name: str, arn: str) -> None:
    from botocore.exceptions import ClientError

    with suppress(ClientError):
        for key in iam.list_access_keys(UserName=name)["AccessKeyMetadata"]:
            iam.delete_access_key(UserName=name, AccessKeyId=key["AccessKeyId"])
    if arn:
        with suppress(ClientError):
            iam.detach_user_policy(UserName=name, PolicyArn=arn)
    with suppress(ClientError):
        iam.delete_user(UserName=name)
    if arn:
        iam.delete_policy(PolicyArn=arn)


@pytest.fixture
def others(bucket: StoreAddress, owner: Key) -> Iterator[None]:
    """Another bucket, and things of others and of jobs that nobody here may reach."""
    s3 = connect("s3", bucket, owner)
    other = f"{bucket.bucket}-other"
    s3.create_bucket(Bucket=other)
    s3.put_object(Bucket=other, Key=f"{PREFIX}/secret", Body=b"secret")
    for key in ("teams/secret", MANIFEST, f"{PREFIX}/.data/table"):
        s3.put_object(Bucket=bucket.bucket, Key=key, Body=b"secret")
    yield
    s3.delete_object(Bucket=other, Key=f"{PREFIX}/secret")
    s3.delete_bucket(Bucket=other)


@pytest.mark.parametrize("role", list(Role), ids=[role.value for role in Role])
def test_what_is_not_a_roles_business_is_refused(
    role: Role, keys: Mapping[Role, Key], bucket: StoreAddress, owner: Key, others: None
) -> None:
    s3 = connect("s3", bucket, keys[role])
    s3.put_object(Bucket=bucket.bucket, Key=f"{PREFIX}/.data/mine", Body=b"data")
    assert s3.get_object(Bucket=bucket.bucket, Key=f"{PREFIX}/.data/mine")["Body"].read() == b"data"
    answers = {what: _answer(call, s3, bucket.bucket) for what, call in FORBIDDEN[role].items()}
    assert answers == dict.fromkeys(FORBIDDEN[role], "AccessDenied")
    kept = connect("s3", bucket, owner)
    for key in ("teams/secret", MANIFEST, f"{PREFIX}/.data/table"):
        assert kept.get_object(Bucket=bucket.bucket, Key=key)["Body"].read() == b"secret"


def _answer(call: Call, s3: Any, bucket: str) -> str:
    from botocore.exceptions import ClientError

    try:
        call(s3, bucket)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return "allowed"


def account_with(key: Key, user: str, folder: Path, programs: Path) -> Account:
    account = make_account(user, folder, programs)
    text = f"aws_access_key_id = {key['AccessKeyId']}\naws_secret_access_key = {key['SecretAccessKey']}\n"
    if "SessionToken" in key:
        text += f"aws_session_token = {key['SessionToken']}\n"
    account.write(".aws/credentials", f"[default]\n{text}")
    return account


@pytest.fixture
def agent(
    keys: Mapping[Role, Key], bucket: StoreAddress, open_folder: Path, programs: Path
) -> Iterator[Account]:
    """An agent that runs jobs on this host, and whose key opens one prefix."""
    account = account_with(keys[Role.AGENT], AGENT_USER, open_folder, programs)
    account.run(
        ["cloudqd", "init", "--name", SYSTEM, "--type", "local", "--daemon-interval", "1",
         *_where(bucket)]
    )  # fmt: skip
    config = account.home / ".cloudq/agent/config.ini"
    config.write_text(config.read_text().replace("[agent]", "[agent]\nsweep_interval = 1"))
    account.run(["cloudqd", "--daemon"])
    yield account
    log = (account.home / ".cloudq/cloudqd.log").read_text()
    print(log[-5000:])
    account.run(["cloudqd", "stop"])
    assert "Traceback" not in log
    assert "denied" not in log.lower()


@pytest.fixture
def laptop(keys: Mapping[Role, Key], bucket: StoreAddress, open_folder: Path, programs: Path) -> Laptop:
    """A client whose key opens the same prefix."""
    laptop = Laptop(account_with(keys[Role.CLIENT], CLIENT_USER, open_folder, programs))
    laptop.cloudqcli("init", "--name", "laptop", *_where(bucket))
    return laptop


def _where(bucket: StoreAddress) -> tuple[str, ...]:
    return (
        "--endpoint-url", bucket.endpoint_url, "--bucket", bucket.bucket, "--prefix", PREFIX,
        "--profile", "default",
    )  # fmt: skip


def test_the_keys_of_client_and_agent_suffice(laptop: Laptop, agent: Account, bucket: StoreAddress) -> None:
    account = laptop.account
    account.write("data/one.txt", "one\n")
    place = f"s3://{bucket.bucket}/{PREFIX}/.data"
    copies = f"cq_cs_cp data {place}/set && cq_cs_cp {place}/set copied"
    body = f"cat data/one.txt; {copies}; head -c 20000000 /dev/zero | tr '\\0' x > large"
    script = account.write("job.sh", f"#!/bin/bash\n#$ run_on: {SYSTEM}\n{body}\n")
    long = account.write("long.sh", f"#!/bin/bash\n#$ run_on: {SYSTEM}\necho begun; sleep 900\n")
    job_id = laptop.cloudqcli("submit", "--parsable", str(script), "--input", "data").strip()
    long_id = laptop.cloudqcli("submit", "--parsable", str(long)).strip()
    wait_until(lambda: laptop.cloudqcli("log", long_id) == "begun\n", "the log of a running job", PATIENCE)
    laptop.cloudqcli("requeue", "--force", long_id)
    wait_until(lambda: laptop.stat(long_id)["attempt"] == 2, "the second attempt", PATIENCE)
    laptop.cloudqcli("cancel", long_id)
    account.run(["cloudqcli", "wait", job_id], timeout=PATIENCE)
    wait_until(lambda: laptop.open_jobs() == [], "the end of both jobs", PATIENCE)
    assert [laptop.stat(each)["state"] for each in (job_id, long_id)] == ["DONE", "DELETED"]
    assert laptop.cloudqcli("log", job_id) == "one\n"
    laptop.cloudqcli("stageout", job_id)
    assert (account.home / job_id / "large").stat().st_size == 20_000_000
    assert (account.home / job_id / "copied/one.txt").read_text() == "one\n"
    for command in ("log --agent here", "doctor --repair", f"why {job_id}"):
        laptop.cloudqcli(*command.split())
    for command, who in (("cloudqcli", account), ("cloudqd", agent)):
        told = json.loads(who.run([command, "doctor", "--json"], expect=None).stdout)
        assert [finding for finding in told if finding["level"] == "FAIL"] == []
    for each in (job_id, long_id):
        laptop.cloudqcli("delete", each)
    # SeaweedFS lists a folder for a while after its last object was deleted.
    wait_until(lambda: json.loads(laptop.cloudqcli("history", "--json")) == [], "the empty prefix", PATIENCE)
