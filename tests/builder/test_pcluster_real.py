"""`cloudqaws` as it is typed, with the real pcluster and a simulated AWS: `make test-pcluster`."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from cloudq.builder.configuration import render_configuration
from cloudq.builder.network import Network, render_network
from cloudq.builder.pcluster import ParallelCluster
from cloudq.builder.presets import (
    OPERATING_SYSTEMS,
    STORAGE,
    Accounting,
    Preset,
    load_preset,
    packaged_presets,
)
from cloudq.builder.rights import asked
from cloudq.errors import ClusterError
from cloudq.presence import Presence, render_presence
from cloudq.process import run
from tests.builder.conftest import make_plan
from tests.builder.recordings import actions_of

pytestmark = [
    pytest.mark.real,
    pytest.mark.timeout(1200),  # a cluster's life takes minutes on a busy computer
    pytest.mark.skipif("CLOUDQ_TEST_PCLUSTER" not in os.environ, reason="make test-pcluster"),
]

PROGRAM = [sys.executable, "-c", "from cloudq.builder.cli import main; main(prog_name='cloudqaws')"]
TESTBED = Path(__file__).parents[1] / "testbed" / "pcluster"
REGION = "eu-west-1"


@dataclass
class Account:
    """A simulated account, and a home folder of a person who uses it."""

    home: Path
    url: str
    environment: Mapping[str, str]

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*PROGRAM, *words],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def cloudqaws(self, *words: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*words)
        stdout, stderr = process.communicate(timeout=600)
        return subprocess.CompletedProcess(words, process.returncode, stdout, stderr)

    def create(self, name: str, *words: str) -> subprocess.CompletedProcess[str]:
        return self.cloudqaws("create", name, "--cs-bucket", "jobs", "--cs-prefix", "team", "--yes", *words)

    def pcluster(self) -> ParallelCluster:
        command = Path(os.environ["CLOUDQ_TEST_PCLUSTER"]) / "bin" / "pcluster"
        return ParallelCluster(command, REGION, self.environment, run)

    def compiled(self, name: str, file: Path) -> Any:
        """Return the resources of the template that pcluster makes of a configuration."""
        python = Path(os.environ["CLOUDQ_TEST_PCLUSTER"]) / "bin" / "python"
        environment = {**self.environment, "AWS_DEFAULT_REGION": REGION}
        argv = [str(python), str(TESTBED / "compile.py"), name, str(file)]
        answer = run(argv, timeout=timedelta(minutes=5), environment=environment)
        return json.loads(answer.stdout)

    def clusters(self) -> dict[str, Any]:
        answer = self.cloudqaws("list", "--json")
        assert answer.returncode == 0, answer.stderr
        return {each["name"]: each for each in json.loads(answer.stdout)}

    def play(self, **world: object) -> None:
        (self.home / "sim.json").write_text(json.dumps(world), encoding="utf-8")

    def left_of(self, name: str) -> list[str]:
        """Return what there is of a cluster, each service asked without our code."""
        stacks = self.client("cloudformation").describe_stacks()["Stacks"]
        buckets = self.client("s3").list_buckets()["Buckets"]
        groups = self.client("logs").describe_log_groups()["logGroups"]
        found = [each["StackName"] for each in stacks] + [each["Name"] for each in buckets]
        found += [each["logGroupName"] for each in groups]
        return [each for each in found if name in each] + self._tagged(name)

    def _tagged(self, name: str) -> list[str]:
        ec2 = self.client("ec2")
        filters = [{"Name": "tag:cloudq:cluster", "Values": [name]}]
        alive = {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]}
        reservations = ec2.describe_instances(Filters=[*filters, alive])["Reservations"]
        found = [each["InstanceId"] for reservation in reservations for each in reservation["Instances"]]
        found += [each["VolumeId"] for each in ec2.describe_volumes(Filters=filters)["Volumes"]]
        found += [each["PublicIp"] for each in ec2.describe_addresses(Filters=filters)["Addresses"]]
        return found + [each["VpcId"] for each in ec2.describe_vpcs(Filters=filters)["Vpcs"]]

    def client(self, service: str) -> Any:
        from boto3.session import Session

        session = Session("x", "x", region_name=REGION)
        return session.client(service, endpoint_url=self.url)  # type: ignore[call-overload]


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    home = tmp_path_factory.mktemp("home")
    binaries = Path(os.environ["CLOUDQ_TEST_PCLUSTER"]) / "bin"
    subprocess.run([binaries / "python", TESTBED / "make_amis.py", home / "amis.json"], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    world = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        "HOME": str(home),
        "PATH": os.pathsep.join([os.environ["PATH"], str(binaries)]),
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), str(TESTBED / "recording")]),
        "CLOUDQ_TEST_CALLS": str(home / "calls"),
        "MOTO_AMIS_PATH": str(home / "amis.json"),
        "MOTO_IAM_LOAD_MANAGED_POLICIES": "true",
        "MOTO_PCLUSTER_SIM": str(home / "sim.json"),
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_REGION": REGION,
        "CLOUDQ_STACK_CHECK_INTERVAL": "0.5",
    }
    # Moto's own calls are not ours.
    moto_world = {name: value for name, value in world.items() if name != "CLOUDQ_TEST_CALLS"}
    server = [str(binaries / "python"), str(TESTBED / "moto_pcluster.py"), "-H", "127.0.0.1", "-p", str(port)]
    with (
        (home / "moto.log").open("w") as log,
        subprocess.Popen(server, env=moto_world, stdout=log, stderr=log) as moto,
    ):
        try:
            _wait_for(port)
            account = Account(home, url, world)
            made = {"LocationConstraint": REGION}
            account.client("s3").create_bucket(Bucket="jobs", CreateBucketConfiguration=made)
            yield account
        finally:
            moto.terminate()


def _wait_for(port: int) -> None:
    end = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert time.monotonic() < end, "moto did not start"
            time.sleep(0.2)


def test_a_cluster_is_made_listed_kept_and_deleted_without_a_trace(account: Account) -> None:
    account.play()
    made = account.create("life")
    assert made.returncode == 0, made.stderr
    assert made.stdout.endswith("AWS compute cluster (life) has been created.\n")
    assert account.clusters()["life"]["status"] == "COMPLETED"
    again = account.create("life")
    assert again.returncode == 0, again.stderr
    other = account.create("life", "--spot")
    assert (other.returncode, "made with other options" in other.stderr) == (1, True)
    groups = account.client("ec2").describe_security_groups()["SecurityGroups"]
    open_to = [r for g in groups for p in g["IpPermissions"] for r in p["IpRanges"]]
    assert open_to == []
    extended = account.cloudqaws("extend", "life", "--lease", "5")
    assert extended.returncode == 0, extended.stderr
    deleted = account.cloudqaws("delete", "life", "--force")
    assert (deleted.returncode, deleted.stdout) == (0, "AWS compute cluster (life) has been deleted.\n"), (
        deleted.stderr
    )
    assert account.clusters() == {}
    unknown = account.cloudqaws("delete", "life")
    assert unknown.returncode == 1
    assert "no cluster life" in unknown.stderr


def test_a_head_node_that_does_not_start_leaves_its_reason_and_nothing_else(account: Account) -> None:
    account.play(boot_error="cloudq: Slurm does not answer")
    made = account.create("broken")
    assert made.returncode == 1
    assert "cloudq: Slurm does not answer; everything that was made is gone again" in made.stderr
    assert account.clusters() == {}


def _running(words: str) -> bool:
    """Tell whether a process with these words in its arguments runs."""
    found = False
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found = found or words in process.read_bytes().replace(b"\0", b" ").decode()
    return found


def test_create_goes_on_after_it_was_killed(account: Account) -> None:
    account.play(boot_s=5)
    process = account.start("create", "killed", "--cs-bucket", "jobs", "--yes")
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("cluster"):
            break
    time.sleep(1)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    end = time.monotonic() + 30
    while _running("--cluster-name killed"):
        assert time.monotonic() < end, "pcluster goes on without who started it"
        time.sleep(0.1)
    made = account.cloudqaws("create", "killed", "--cs-bucket", "jobs", "--yes")
    assert made.returncode == 0, made.stderr
    account.play(delete_error="a resource is in use")
    stays = account.cloudqaws("delete", "killed", "--force")
    assert stays.returncode == 1
    assert "could not be deleted" in stays.stderr
    account.play()
    assert account.cloudqaws("delete", "killed", "--force").returncode == 0
    assert account.clusters() == {}


def test_a_volume_that_stays_is_named(account: Account) -> None:
    account.play()
    assert account.create("leaves").returncode == 0
    ec2 = account.client("ec2")
    tags = [{"Key": "parallelcluster:cluster-name", "Value": "leaves"}]
    volume = ec2.create_volume(
        AvailabilityZone=f"{REGION}a",
        Size=1,
        TagSpecifications=[{"ResourceType": "volume", "Tags": tags}],
    )["VolumeId"]
    deleted = account.cloudqaws("delete", "leaves", "--force")
    assert deleted.returncode == 1
    assert f"leaves is deleted, but this is left: volume {volume}" in deleted.stderr
    ec2.delete_volume(VolumeId=volume)
    assert account.left_of("leaves") == []


def test_reap_deletes_what_has_outlived_its_lease(account: Account) -> None:
    account.play()
    assert account.create("short", "--lease", "0.0001").returncode == 0
    reaped = account.cloudqaws("reap")
    assert reaped.returncode == 0, reaped.stderr
    assert reaped.stdout.endswith("AWS compute cluster (short) has been deleted.\n")
    assert account.left_of("short") == []
    assert account.cloudqaws("reap").stdout == ""


def test_a_cluster_comes_and_goes_by_demand(account: Account) -> None:
    account.play()
    words = ("autoscale", "auto", "--cs-bucket", "jobs", "--threshold", "[[1,0]]")
    s3 = account.client("s3")
    s3.put_object(Bucket="jobs", Key="agent/.inbox/ANY/a1", Body=b"")
    up = account.cloudqaws(*words)
    assert up.returncode == 0, up.stderr
    assert up.stdout == "auto: create: 1 job or more waiting for 0 minutes\n"
    assert account.clusters()["auto"]["status"] == "COMPLETED"
    beat = datetime.now(timezone.utc) + timedelta(seconds=1)
    ended = Presence("auto", "2.0", "slurm", "head", 1, beat, timedelta(minutes=1), stopped=True)
    s3.put_object(Bucket="jobs", Key="agent/.systems/auto.json", Body=render_presence(ended))
    down = account.cloudqaws(*words)
    assert down.stdout == "auto: delete: the agent has ended: there was nothing to do\n", down.stderr
    assert account.left_of("auto") == []


@pytest.mark.parametrize("number", range(3))
def test_killed_at_any_moment_the_same_command_goes_on(account: Account, number: int) -> None:
    account.play(boot_s=2, delete_s=2)
    name = f"plug{number}"
    create = ("create", name, "--cs-bucket", "jobs", "--yes")
    for words, longest in ((create, 30.0), (("delete", name, "--force"), 12.0)):
        process = account.start(*words)
        moment = random.uniform(1, longest)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=moment)
        process.kill()
        process.communicate()
        # Whoever thinks better of it deletes what was begun, instead of going on.
        if words is create and number == 0:
            account.cloudqaws("delete", name, "--force")
            assert account.left_of(name) == []
        again = account.cloudqaws(*words)
        gone = words[0] == "delete" and f"no cluster {name}" in again.stderr
        assert again.returncode == 0 or gone, f"{words[0]} killed after {moment:.2f} s: {again.stderr}"
    assert account.left_of(name) == []


@pytest.fixture(scope="module")
def network(account: Account) -> Network:
    """A network stack for configurations that are only checked."""
    cloudformation = account.client("cloudformation")
    template = render_network(make_plan(), f"{REGION}a")
    cloudformation.create_stack(
        StackName="checks-vpc", TemplateBody=template, Capabilities=["CAPABILITY_IAM"]
    )
    outputs = cloudformation.describe_stacks(StackName="checks-vpc")["Stacks"][0]["Outputs"]
    made = Network(**{_NAMES[each["OutputKey"]]: each["OutputValue"] for each in outputs})
    for name in ("head-node.sh", "compute-node.sh"):
        account.client("s3").put_object(Bucket=made.setup_bucket, Key=f"cloudq/{name}", Body=b"")
    return made


_NAMES = {
    "SubnetId": "subnet_id",
    "NodeSubnetId": "node_subnet_id",
    "SecurityGroupId": "security_group_id",
    "SetupBucket": "setup_bucket",
    "NodePolicyArn": "node_policy_arn",
}


def _presets() -> list[Any]:
    """Return each packaged preset on each operating system, and one with all that a preset may add."""
    none = Path("/nonexistent")
    made = [
        pytest.param(replace(load_preset(name, none), os=system), id=f"{name} {system}")
        for name in packaged_presets()
        for system in OPERATING_SYSTEMS
    ]
    accounting = Accounting("db.example.org:3306", "slurm", "")
    every = replace(load_preset("default", none), storage=STORAGE, docker=True, accounting=accounting)
    return [*made, pytest.param(every, id="every option")]


@pytest.mark.parametrize("preset", _presets())
def test_each_preset_passes_pclusters_schema_validators_and_compilation(
    account: Account, network: Network, preset: Preset, tmp_path: Path
) -> None:
    if preset.accounting is not None:
        secret = account.client("secretsmanager").create_secret(Name="database", SecretString="x")
        preset = replace(preset, accounting=replace(preset.accounting, password_secret_arn=secret["ARN"]))
    plan = make_plan(preset=preset, spot=preset.os == "alinux2023", ssm=True)
    file = tmp_path / "cluster.yaml"
    text = render_configuration(plan, network, region=REGION, partition="aws", tags={"cloudq:cluster": "x"})
    file.write_text(text, encoding="utf-8")
    account.pcluster().check("check", file)
    resources = account.compiled("check", file)
    assert _open_to_the_world(resources) == []
    launched = [each["LaunchTemplateData"] for each in _of(resources, "AWS::EC2::LaunchTemplate")]
    assert len(launched) == 1 + len(preset.queues)
    for each in launched:
        disks = [mapping["Ebs"] for mapping in each["BlockDeviceMappings"] if "Ebs" in mapping]
        assert [disk["Encrypted"] for disk in disks] == [True]
        assert (each["MetadataOptions"]["HttpTokens"], each.get("KeyName")) == ("required", None)
    roles = [each for each in _of(resources, "AWS::IAM::Role") if "ManagedPolicyArns" in each]
    assert [network.node_policy_arn in each["ManagedPolicyArns"] for each in roles] == [True] * len(launched)
    logs = [each for each in resources.values() if each["Type"] == "AWS::Logs::LogGroup"]
    kept = {(each["Properties"]["RetentionInDays"], each["DeletionPolicy"]) for each in logs}
    assert kept == {(14, "Delete")}


def _of(resources: Any, kind: str) -> list[Any]:
    return [each["Properties"] for each in resources.values() if each["Type"] == kind]


def _open_to_the_world(resources: Any) -> list[Any]:
    """Return the inbound rules for any address."""
    rules = [
        *_of(resources, "AWS::EC2::SecurityGroupIngress"),
        *(
            rule
            for group in _of(resources, "AWS::EC2::SecurityGroup")
            for rule in group.get("SecurityGroupIngress", ())
        ),
    ]
    return [rule for rule in rules if rule.get("CidrIp") or rule.get("CidrIpv6")]


def test_what_pcluster_finds_wrong_is_told(account: Account, network: Network, tmp_path: Path) -> None:
    file = tmp_path / "cluster.yaml"
    text = render_configuration(make_plan(), network, region=REGION, partition="aws", tags={})
    file.write_text(text.replace("MinCount: 0", "MinCount: -1"), encoding="utf-8")
    with pytest.raises(ClusterError, match="MinCount"):
        account.pcluster().check("check", file)


def test_a_cluster_with_every_option_compiles_and_goes_without_a_trace(account: Account) -> None:
    account.play()
    secret = account.client("secretsmanager").create_secret(Name="accounts", SecretString="x")["ARN"]
    folder = account.home / ".cloudq" / "aws"
    folder.mkdir(parents=True)
    gpu, cpu = (f"{{instance_types: [{each}], max_nodes: 2}}" for each in ("g4dn.xlarge", "c5.xlarge"))
    (folder / "all.yaml").write_text(
        "docker: true\napptainer: false\nstorage: [efs, fsx-scratch]\nos: alinux2023\n"
        f"queues: {{gpu: {gpu}, cpu: {cpu}}}\n"
        f"accounting: {{uri: 'db.example.org:3306', user: slurm, password_secret_arn: '{secret}'}}\n",
        encoding="utf-8",
    )
    made = account.create("every", "--preset-name", "all", "--spot", "--ssm", "--nat")
    assert made.returncode == 0, made.stderr
    (folder / "all.yaml").unlink()
    deleted = account.cloudqaws("delete", "every", "--force")
    assert deleted.returncode == 0, deleted.stderr


def test_who_makes_clusters_may_make_every_call_that_was_recorded(account: Account) -> None:
    lines = (account.home / "calls").read_text(encoding="utf-8").splitlines()
    # The job bucket is opened with a client's key.
    calls = {line for line in lines if not line.endswith(" jobs")}
    assert len(calls) > 9
    assert {action for call in calls for action in actions_of(call)} <= set(asked())
    buckets = {call.split()[2] for call in calls if call.startswith("s3 ")}
    assert not [bucket for bucket in buckets if "-setupbucket-" not in bucket]
