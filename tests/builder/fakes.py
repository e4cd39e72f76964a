"""An account of AWS in memory: as much of CloudFormation, EC2, S3 and CloudWatch Logs as the builder asks."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Optional

from cloudq.builder.aws import Aws
from cloudq.builder.clusters import Clusters
from cloudq.builder.pcluster import ParallelCluster
from cloudq.builder.stacks import Event
from cloudq.builder.tags import CLUSTER
from cloudq.builder.workshop import Workshop
from cloudq.errors import AwsError, CommandError
from cloudq.process import Completed

START = datetime(2026, 11, 22, 12, 0, tzinfo=timezone.utc)
ANSWERS = Path(__file__).parent.parent / "data" / "pcluster"


class PulledPlugError(BaseException):
    """The computer is gone, as by Ctrl-C or a flat battery: nothing catches this."""


@dataclass
class Account:
    """What there is, and what is to go wrong.

    Attributes:
        boot_error: The reason for which the head node's start fails.
        network_error: The reason for which the network fails.
        delete_error: The reason for which the cluster's stack cannot be deleted.
        plug: After so many calls the computer is gone; None for never.
        calls: Every call, as service and operation.
    """

    stacks: dict[str, dict[str, Any]] = field(default_factory=dict)
    events: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    buckets: dict[str, dict[str, bytes]] = field(default_factory=dict)
    instances: list[dict[str, Any]] = field(default_factory=list)
    volumes: list[dict[str, Any]] = field(default_factory=list)
    log_groups: list[str] = field(default_factory=list)
    boot_error: str = ""
    network_error: str = ""
    delete_error: str = ""
    plug: Optional[int] = None
    calls: list[str] = field(default_factory=list)
    now: datetime = START

    def called(self, what: str) -> None:
        self.calls.append(what)
        if self.plug is not None:
            self.plug -= 1
            if self.plug < 0:
                raise PulledPlugError(what)

    def tick(self, span: timedelta) -> None:
        """Let time pass, in which CloudFormation gets on."""
        self.now += max(span, timedelta(seconds=1))
        for arn in list(self.stacks):
            self._get_on(self.stacks[arn])

    def live(self, name: str) -> Optional[dict[str, Any]]:
        for stack in self.stacks.values():
            if stack["StackName"] == name and stack["StackStatus"] != "DELETE_COMPLETE":
                return stack
        return None

    def add_stack(self, name: str, tags: Mapping[str, str]) -> str:
        arn = f"arn:aws:cloudformation:xx-north-1:1:stack/{name}/{len(self.stacks)}"
        self.stacks[arn] = {
            "StackName": name,
            "StackId": arn,
            "StackStatus": "CREATE_IN_PROGRESS",
            "CreationTime": self.now,
            "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
        }
        self.events[arn] = []
        self.add_event(arn, name, "AWS::CloudFormation::Stack", "CREATE_IN_PROGRESS", physical=arn)
        return arn

    def add_event(
        self, arn: str, resource: str, kind: str, status: str, reason: str = "", physical: str = ""
    ) -> None:
        self.events[arn].append({
            "EventId": f"e{len(self.events[arn])}",
            "Timestamp": self.now,
            "LogicalResourceId": resource,
            "PhysicalResourceId": physical,
            "ResourceType": kind,
            "ResourceStatus": status,
            "ResourceStatusReason": reason,
        })  # fmt: skip

    def _get_on(self, stack: dict[str, Any]) -> None:
        network = stack["StackName"].endswith("-vpc")
        if stack["StackStatus"] == "CREATE_IN_PROGRESS":
            self._finish_creation(stack, self.network_error if network else self.boot_error, network)
        elif stack["StackStatus"] == "DELETE_IN_PROGRESS":
            self._finish_deletion(stack, network)

    def _finish_creation(self, stack: dict[str, Any], error: str, network: bool) -> None:
        arn, bucket = stack["StackId"], f"{stack['StackName']}-setup"
        if network:
            self.buckets.setdefault(bucket, {})
            self.add_event(arn, "SetupBucket", "AWS::S3::Bucket", "CREATE_COMPLETE", physical=bucket)
        else:
            self.instances.append(_head_node(stack["StackName"], self.now))
            self.log_groups.append(f"/aws/parallelcluster/{stack['StackName']}-202611221200")
        if error:
            self.add_event(arn, "Other", "AWS::X", "CREATE_FAILED", "Resource creation cancelled")
            self.add_event(arn, "HeadNodeWait", "AWS::CloudFormation::WaitCondition", "CREATE_FAILED", error)
            # pcluster's stack is rolled back; ours stays for us to look at.
            stack["StackStatus"] = "CREATE_FAILED" if network else "ROLLBACK_COMPLETE"
            return
        stack["StackStatus"] = "CREATE_COMPLETE"
        if network:
            names = ("SubnetId", "NodeSubnetId", "SecurityGroupId", "NodePolicyArn")
            outputs = {**{name: f"{name}-1" for name in names}, "SetupBucket": bucket}
            stack["Outputs"] = [{"OutputKey": k, "OutputValue": v} for k, v in outputs.items()]

    def _finish_deletion(self, stack: dict[str, Any], network: bool) -> None:
        arn, name = stack["StackId"], stack["StackName"]
        if self.delete_error and not network:
            self.add_event(arn, "Vpc", "AWS::EC2::VPC", "DELETE_FAILED", self.delete_error)
            stack["StackStatus"] = "DELETE_FAILED"
            return
        if network and self.buckets.get(f"{name}-setup"):
            self.add_event(arn, "SetupBucket", "AWS::S3::Bucket", "DELETE_FAILED", "The bucket is not empty")
            stack["StackStatus"] = "DELETE_FAILED"
            return
        if network:
            self.buckets.pop(f"{name}-setup", None)
        else:
            self.instances = [each for each in self.instances if _tags(each)[CLUSTER] != name]
            self.log_groups = [group for group in self.log_groups if f"/{name}-" not in group]
        stack["StackStatus"] = "DELETE_COMPLETE"


def _head_node(name: str, now: datetime) -> dict[str, Any]:
    return {
        "InstanceId": f"i-{name}",
        "InstanceType": "t3.medium",
        "State": {"Name": "running"},
        "LaunchTime": now,
        "Tags": [
            {"Key": CLUSTER, "Value": name},
            {"Key": "parallelcluster:node-type", "Value": "HeadNode"},
        ],
    }


def _tags(description: Mapping[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in description.get("Tags", ())}


class FakeService:
    """One service of an account, with the calls that the builder makes."""

    def __init__(self, account: Account, name: str) -> None:
        self._account = account
        self._name = name

    def items(self, operation: str, member: str, **arguments: Any) -> Iterator[Any]:
        yield from getattr(self, operation)(**arguments)[member]

    def __getattribute__(self, operation: str) -> Any:
        value = object.__getattribute__(self, operation)
        if operation.startswith("_") or operation == "items" or not callable(value):
            return value
        account, name = self._account, self._name

        def call(**arguments: Any) -> Any:
            account.called(f"{name} {operation}")
            return value(**arguments)

        return call


class CloudFormation(FakeService):
    def describe_stacks(self, StackName: Optional[str] = None) -> Any:
        if StackName is None:
            alive = [s for s in self._account.stacks.values() if s["StackStatus"] != "DELETE_COMPLETE"]
            return {"Stacks": alive}
        found = self._account.stacks.get(StackName) or self._account.live(StackName)
        if found is None:
            raise AwsError(f"Stack with id {StackName} does not exist", "ValidationError")
        return {"Stacks": [dict(found)]}

    def describe_stack_events(self, StackName: str) -> Any:
        return {"StackEvents": self._account.events[StackName][::-1]}

    def create_stack(self, StackName: str, Tags: list[dict[str, str]], **_: Any) -> Any:
        if self._account.live(StackName):
            raise AwsError(f"{StackName} already exists", "AlreadyExistsException")
        return {"StackId": self._account.add_stack(StackName, _tags({"Tags": Tags}))}

    def delete_stack(self, StackName: str) -> Any:
        self._account.stacks[StackName]["StackStatus"] = "DELETE_IN_PROGRESS"


class Ec2(FakeService):
    def describe_instances(self, Filters: list[dict[str, Any]]) -> Any:
        return {"Reservations": [{"Instances": _filtered(self._account.instances, Filters)}]}

    def describe_volumes(self, Filters: list[dict[str, Any]]) -> Any:
        return {"Volumes": _filtered(self._account.volumes, Filters)}

    def describe_addresses(self, **_: Any) -> Any:
        return {"Addresses": []}

    def describe_nat_gateways(self, **_: Any) -> Any:
        return {"NatGateways": []}

    def describe_vpcs(self, **_: Any) -> Any:
        return {"Vpcs": []}

    def describe_instance_type_offerings(self, Filters: list[dict[str, Any]], **_: Any) -> Any:
        types = Filters[0]["Values"]
        offers = [{"Location": "xx-north-1b", "InstanceType": each} for each in types]
        return {"InstanceTypeOfferings": [*offers, {"Location": "xx-north-1a", "InstanceType": types[0]}]}


def _filtered(items: list[dict[str, Any]], filters: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found = items
    for each in filters:
        kind, _, key = each["Name"].partition(":")
        if kind == "tag":
            found = [item for item in found if _tags(item).get(key) in each["Values"]]
    return found


class S3(FakeService):
    def put_object(self, Bucket: str, Key: str, Body: bytes) -> None:
        self._bucket(Bucket)[Key] = Body

    def get_object(self, Bucket: str, Key: str) -> Any:
        if Key not in self._bucket(Bucket):
            raise AwsError("no such key", "NoSuchKey")
        return {"Body": io.BytesIO(self._bucket(Bucket)[Key])}

    def head_bucket(self, Bucket: str) -> None:
        if Bucket not in self._account.buckets:
            raise AwsError("Not Found", "404")

    def list_multipart_uploads(self, Bucket: str) -> Any:
        self._bucket(Bucket)
        return {"Uploads": []}

    def list_object_versions(self, Bucket: str) -> Any:
        versions = [{"Key": key, "VersionId": "1"} for key in self._bucket(Bucket)]
        return {"Versions": versions, "DeleteMarkers": []}

    def delete_objects(self, Bucket: str, Delete: Any) -> Any:
        for each in Delete["Objects"]:
            self._bucket(Bucket).pop(each["Key"], None)
        return {}

    def _bucket(self, name: str) -> dict[str, bytes]:
        if name not in self._account.buckets:
            raise AwsError(f"no bucket {name}", "NoSuchBucket")
        return self._account.buckets[name]


class Logs(FakeService):
    def describe_log_groups(self, logGroupNamePrefix: str) -> Any:
        groups = [group for group in self._account.log_groups if group.startswith(logGroupNamePrefix)]
        return {"logGroups": [{"logGroupName": group} for group in groups]}


class FakeAws(Aws):
    """The account in memory, where the builder expects boto3's."""

    def __init__(self, account: Account) -> None:
        super().__init__(session=None)  # type: ignore[arg-type]
        kinds = {"cloudformation": CloudFormation, "ec2": Ec2, "s3": S3, "logs": Logs}
        object.__setattr__(self, "_fakes", {name: kind(account, name) for name, kind in kinds.items()})

    @property
    def region(self) -> str:
        return "xx-north-1"

    @property
    def partition(self) -> str:
        return "aws-xx"

    def service(self, name: str, *, region: Optional[str] = None, patient: bool = True) -> Any:
        return self.__dict__["_fakes"][name]

    def regions_of(self, service: str) -> list[str]:
        return []


@dataclass
class FakePcluster:
    """pcluster's command, answering what the real one was recorded to answer.

    Attributes:
        answer: Instead of the usual, a file of `tests/data/pcluster`.
    """

    account: Account
    answer: str = ""
    configuration: str = ""

    def __call__(
        self, argv: list[str], *, timeout: timedelta, environment: Optional[Mapping[str, str]] = None
    ) -> Completed:
        verb, name = argv[1], argv[3]
        self.account.called(f"pcluster {verb}")
        if self.answer:
            raise CommandError(argv, 1, recorded(self.answer), "")
        if verb == "create-cluster":
            self.configuration = Path(argv[argv.index("--cluster-configuration") + 1]).read_text()
            arn = self.account.add_stack(name, {CLUSTER: name, "parallelcluster:cluster-name": name})
            return Completed(recorded("create-cluster.json").replace("ARN", arn))
        if self.account.live(name) is None:
            raise CommandError(argv, 1, recorded("not-found.json"), "")
        stack = self.account.live(name)
        assert stack is not None
        stack["StackStatus"] = "DELETE_IN_PROGRESS"
        return Completed(recorded("delete-cluster.json"))


def recorded(name: str) -> str:
    """Return an answer of the real pcluster, without its first line, which tells its origin."""
    text = (ANSWERS / name).read_text(encoding="utf-8")
    json.loads(text.partition("\n")[2])
    return text.partition("\n")[2]


@dataclass
class Recorder:
    """Who is told what happens."""

    steps: list[str] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def step(self, text: str) -> None:
        self.steps.append(text)

    def event(self, event: Event) -> None:
        self.events.append(event)


def make_workshop(
    account: Account,
    scratch: Path,
    *,
    progress: Optional[Recorder] = None,
    run: Optional[Callable[..., Completed]] = None,
) -> Workshop:
    """Make the means of one command in this account."""
    aws = FakeAws(account)
    return Workshop(
        aws=aws,
        clusters=Clusters(aws),
        pcluster=ParallelCluster(Path("pcluster"), aws.region, {}, run or FakePcluster(account)),
        progress=progress or Recorder(),
        now=lambda: account.now,
        pause=account.tick,
        interval=timedelta(seconds=10),
        scratch=scratch,
    )
