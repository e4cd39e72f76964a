"""A stand-in for pcluster's command: prints what the real one was recorded to print, and makes small stacks.

It speaks to CloudFormation at AWS_ENDPOINT_URL by plain HTTP, without any package, so that it starts at once.
"""

from __future__ import annotations

import json
import os
import re
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Optional
from urllib.parse import urlencode

ANSWERS = Path(__file__).parent.parent / "data" / "pcluster"
_HEAD = {"Key": "parallelcluster:node-type", "Value": "HeadNode"}


def say(answer: str, status: int = 0, *, arn: str = "") -> int:
    print((ANSWERS / answer).read_text(encoding="utf-8").partition("\n")[2].replace("ARN", arn))
    return status


def cloudformation(action: str, **parameters: str) -> Optional[str]:
    """Ask CloudFormation; None if it refuses."""
    scope = f"x/20260101/{os.environ['AWS_REGION']}/cloudformation/aws4_request"
    request = urllib.request.Request(
        os.environ["AWS_ENDPOINT_URL"],
        data=urlencode({"Action": action, "Version": "2010-05-15", **parameters}).encode(),
        headers={"Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=x"},
    )
    try:
        with urllib.request.urlopen(request) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError:
        return None


def template(name: str) -> str:
    """Return as much of a cluster as the builder looks at: a head node, a node, a log group, the signal."""
    tags = [{"Key": "cloudq:cluster", "Value": name}]
    return json.dumps({"Resources": {
        "HeadNode": {"Type": "AWS::EC2::Instance", "Properties": {
            "ImageId": "ami-12c6146b", "InstanceType": "t3.medium", "Tags": [*tags, _HEAD]}},
        "Node": {"Type": "AWS::EC2::Instance", "Properties": {
            "ImageId": "ami-12c6146b", "InstanceType": "c6i.xlarge", "Tags": tags}},
        "Logs": {"Type": "AWS::Logs::LogGroup", "Properties": {
            "LogGroupName": f"/aws/parallelcluster/{name}-202611221200"}},
        "Handle": {"Type": "AWS::CloudFormation::WaitConditionHandle"},
        "HeadNodeWait": {"Type": "AWS::CloudFormation::WaitCondition", "Properties": {
            "Handle": {"Ref": "Handle"}, "Timeout": "60", "Count": 1}},
    }})  # fmt: skip


def create(name: str) -> int:
    tags = {"cloudq:cluster": name, "parallelcluster:cluster-name": name, "parallelcluster:version": "3.16.1"}
    listed = {}
    for number, (key, value) in enumerate(tags.items(), 1):
        listed.update({f"Tags.member.{number}.Key": key, f"Tags.member.{number}.Value": value})
    answer = cloudformation("CreateStack", StackName=name, TemplateBody=template(name), **listed)
    if answer is None:
        return say("exists.json", 1)
    found = re.search(r"<StackId>(.*?)</StackId>", answer)
    assert found is not None
    return say("create-cluster.json", arn=found[1])


def delete(name: str) -> int:
    if cloudformation("DescribeStacks", StackName=name) is None:
        return say("not-found.json", 1)
    cloudformation("DeleteStack", StackName=name)
    return say("delete-cluster.json")


def main(words: list[str]) -> int:
    verb = words[0]
    if verb == "version":
        return say("version.json")
    refused = Path.home() / "refused"  # the name of an answer, if a test wants a refusal
    if refused.exists():
        return say(refused.read_text(encoding="utf-8"), 1)
    if "--dryrun" in words:
        return say("dry-run.json", 1)
    name = words[words.index("--cluster-name") + 1]
    return create(name) if verb == "create-cluster" else delete(name)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
