"""The policies that `cloudqaws policy` prints, judged request by request."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Optional

import pytest
from click.testing import Result

from cloudq.builder.dependencies import load_yaml
from cloudq.builder.network import render_network
from cloudq.builder.policy import Role, events_statement, policy, policy_for
from cloudq.builder.rights import NOT_RECORDED, asked, builder_policy, stack_actions
from cloudq.errors import InputError
from tests.builder.conftest import make_plan
from tests.builder.recordings import actions_of, recorded_calls, recorded_types
from tests.builder.test_command import cloudqaws
from tests.client.conftest import new_runner

BUCKET = "arn:aws:s3:::jobs"
TOP = f"{BUCKET}/team/one/"
MANIFEST = f"{TOP}0123456789ab/manifest.json"
PRESENCE = f"{TOP}agent/.systems/abci.json"
KEPT = f"{TOP}agent/.blobs/{'0' * 64}"
CLIENT, AGENT, JOB = Role


def allows(document: dict[str, Any], action: str, resource: str, prefix: Optional[str] = None) -> bool:
    """Judge as IAM does: a Deny wins, and what nothing allows is refused."""
    effects = set()
    for statement in document["Statement"]:
        wanted = statement.get("Condition", {}).get("StringLike", {}).get("s3:prefix")
        if (
            f"s3:{action}" in statement["Action"]
            and any(fnmatchcase(resource, pattern) for pattern in statement["Resource"])
            and (wanted is None or any(fnmatchcase(prefix or "", pattern) for pattern in wanted))
        ):
            effects.add(statement["Effect"])
    return effects == {"Allow"}


@pytest.mark.parametrize(
    ("action", "resource", "who"),
    [
        pytest.param("PutObject", MANIFEST, {CLIENT, AGENT}, id="write a manifest"),
        pytest.param("GetObject", MANIFEST, {CLIENT, AGENT}, id="read a manifest"),
        pytest.param("DeleteObject", MANIFEST, {CLIENT, AGENT}, id="delete a manifest"),
        pytest.param("AbortMultipartUpload", f"{TOP}x/output.zip", {CLIENT, AGENT}, id="abort"),
        pytest.param("PutObject", f"{TOP}agent/.inbox/abci/x", {CLIENT, AGENT}, id="announce"),
        pytest.param("PutObject", f"{TOP}agent/.probe/x", {CLIENT, AGENT}, id="doctor"),
        pytest.param("GetObject", PRESENCE, {CLIENT, AGENT}, id="see agents"),
        pytest.param("DeleteObject", PRESENCE, {CLIENT, AGENT}, id="forget an agent"),
        pytest.param("PutObject", PRESENCE, {AGENT}, id="look alive"),
        pytest.param("PutObject", f"{TOP}agent/.active/abci/x", {AGENT}, id="mark as held"),
        pytest.param("PutObject", f"{KEPT}/kept/x/input.zip", {CLIENT}, id="bring shared inputs"),
        pytest.param("PutObject", f"{KEPT}/kept/x/sum-{'0' * 64}", {CLIENT}, id="say what they are"),
        pytest.param("PutObject", f"{KEPT}/refs/x", {CLIENT}, id="refer to shared inputs"),
        pytest.param("GetObject", f"{KEPT}/kept/x/input.zip", {CLIENT, AGENT}, id="fetch shared inputs"),
        pytest.param("PutObject", f"{KEPT}/kept/x/condemned", {CLIENT, AGENT}, id="condemn shared inputs"),
        pytest.param("DeleteObject", f"{KEPT}/kept/x/input.zip", {CLIENT, AGENT}, id="remove shared inputs"),
        pytest.param("PutObject", f"{TOP}.data/result", {CLIENT, AGENT, JOB}, id="write data"),
        pytest.param("GetObject", f"{TOP}.data/table", {CLIENT, AGENT, JOB}, id="read data"),
        pytest.param("DeleteObject", f"{TOP}.data/table", {CLIENT, AGENT}, id="delete data"),
        pytest.param("ListBucketMultipartUploads", BUCKET, {CLIENT, AGENT}, id="list uploads"),
        pytest.param("PutObject", f"{BUCKET}/team/onerous/x", set(), id="a neighbour's prefix"),
        pytest.param("GetObject", "arn:aws:s3:::jobs2/team/one/x", set(), id="another bucket"),
        pytest.param("DeleteBucket", BUCKET, set(), id="delete the bucket"),
        pytest.param("PutBucketPolicy", BUCKET, set(), id="change the policy"),
        pytest.param("PutObjectAcl", MANIFEST, set(), id="publish"),
    ],
)
def test_each_role_may_do_what_it_must_and_nothing_else(action: str, resource: str, who: set[Role]) -> None:
    found = {
        role for role in Role if allows(policy_for(role, bucket="jobs", prefix="team/one"), action, resource)
    }
    assert found == who


@pytest.mark.parametrize(
    ("prefix", "who"),
    [
        pytest.param("team/one/", {CLIENT, AGENT}, id="all jobs"),
        pytest.param("team/one/agent/.inbox/", {CLIENT, AGENT}, id="markers"),
        pytest.param("team/one/.data/set/", {CLIENT, AGENT, JOB}, id="data"),
        pytest.param("team/", set(), id="above"),
        pytest.param(None, set(), id="everything"),
    ],
)
def test_only_what_is_below_the_prefix_is_listed(prefix: Optional[str], who: set[Role]) -> None:
    documents = {role: policy_for(role, bucket="jobs", prefix="/team/one/") for role in Role}
    assert {role for role in Role if allows(documents[role], "ListBucket", BUCKET, prefix)} == who


def test_without_a_prefix_a_job_still_has_its_folder_only() -> None:
    document = policy_for(Role.JOB, bucket="jobs")
    assert allows(document, "GetObject", f"{BUCKET}/.data/x")
    assert not allows(document, "GetObject", f"{BUCKET}/0123456789ab/manifest.json")
    assert allows(policy_for(Role.CLIENT, bucket="jobs"), "ListBucket", BUCKET)
    assert not allows(policy_for(Role.CLIENT, bucket="jobs"), "PutObject", f"{BUCKET}/agent/.systems/x.json")


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        pytest.param({"bucket": "*"}, "--bucket: expected the name of a bucket, got '*'", id="bucket"),
        pytest.param({"prefix": "a/*"}, "--prefix: *, ? and $ would be patterns in a policy", id="wildcard"),
        pytest.param({"prefix": "${aws:x}"}, "--prefix: *, ? and $ would be patterns", id="variable"),
        pytest.param({"prefix": "a/../b"}, "--prefix: expected a key prefix such as", id="upwards"),
        pytest.param({"prefix": "a\nb"}, "--prefix: expected a key prefix such as", id="newline"),
        pytest.param({"partition": "aws:"}, "--partition: expected aws, aws-cn", id="partition"),
    ],
)
def test_what_would_widen_a_policy_is_refused(given: dict[str, str], complaint: str) -> None:
    with pytest.raises(InputError) as caught:
        policy_for(Role.JOB, **{"bucket": "jobs", **given})
    assert str(caught.value).startswith(complaint)


def test_an_agent_may_ask_its_queue(tmp_path: Path) -> None:
    url = "https://sqs.eu-west-1.amazonaws.com/123456789012/cloudq-here"
    done = cloudqaws(tmp_path, "policy", "agent", "--bucket", "jobs", "--events-queue", url)
    assert json.loads(done.stdout)["Statement"][-1] == {
        "Sid": "HearOfJobs",
        "Effect": "Allow",
        "Action": ["sqs:ReceiveMessage", "sqs:DeleteMessage"],
        "Resource": ["arn:aws:sqs:eu-west-1:123456789012:cloudq-here"],
    }
    done = cloudqaws(tmp_path, "policy", "job", "--bucket", "jobs", "--events-queue", url)
    assert done.stderr.startswith("Error: --events-queue: only an agent asks a queue, got job")


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("https://sqs.eu-west-1.amazonaws.com/123456789012/*", id="a pattern"),
        pytest.param("https://sqs.eu-west-1.amazonaws.com/12345678901/q", id="no account"),
        pytest.param("https://example.org/123456789012/q", id="no region"),
    ],
)
def test_what_is_no_queue_is_refused(url: str) -> None:
    with pytest.raises(InputError, match="--events-queue: expected https://sqs.REGION"):
        events_statement(url)


def test_the_command_prints_the_document(tmp_path: Path) -> None:
    done = cloudqaws(
        tmp_path, "policy", "agent", "--bucket", "jobs", "--prefix", "p", "--partition", "aws-cn"
    )
    assert json.loads(done.stdout) == policy_for(Role.AGENT, bucket="jobs", prefix="p", partition="aws-cn"), (
        done.stderr
    )
    assert "arn:aws-cn:s3:::jobs/p/*" in done.stdout


# Who makes clusters


def builder_actions() -> list[str]:
    return [action for each in builder_policy()["Statement"] for action in each["Action"]]


def test_who_makes_clusters_may_do_all_that_was_recorded_and_nothing_that_was_not() -> None:
    needed = {action for call in recorded_calls() for action in actions_of(call)}
    assert needed | set(NOT_RECORDED) == set(asked())
    assert set(asked()) <= set(builder_actions())


def test_cloudformation_may_do_what_the_resources_of_both_stacks_need() -> None:
    network = load_yaml(render_network(make_plan(nat=True), "xx-north-1b"), "rendered")["Resources"]
    types = {each["Type"] for each in network.values()} | recorded_types()
    assert types == set(stack_actions())
    assert set().union(*stack_actions().values()) <= set(builder_actions())


def test_the_policy_of_who_makes_clusters_fits_into_one_and_has_no_wildcard_for_actions() -> None:
    document = builder_policy("aws-us-gov")
    assert len(json.dumps(document, separators=(",", ":"))) < 6144, "AWS takes no longer one"
    actions = builder_actions()
    assert not [action for action in actions if "*" in action]
    assert "arn:aws:" not in json.dumps(document)


def test_the_command_prints_it_without_a_bucket() -> None:
    def run(*words: str) -> Result:
        return new_runner().invoke(policy, words)

    assert json.loads(run("builder", "--partition", "aws-cn").stdout) == builder_policy("aws-cn")
    for words, problem in (
        (("builder", "--partition", "x"), "--partition: expected aws"),
        (("agent",), "--bucket: expected the job bucket"),
    ):
        with pytest.raises(InputError, match=problem):
            new_runner().invoke(policy, words, catch_exceptions=False)
