"""What a plan becomes: the network's template, ParallelCluster's configuration, the nodes' files."""

from __future__ import annotations

import hashlib
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cloudq.agentconfig import load_agent_config
from cloudq.builder.boot import render_agent_config, setup_files
from cloudq.builder.configuration import merge, render_configuration
from cloudq.builder.dependencies import load_yaml
from cloudq.builder.network import Network, render_network
from cloudq.builder.plan import JobStore, Plan, adapt, check_name, make_store
from cloudq.builder.presets import copy_preset, load_preset, make_preset, packaged_presets
from cloudq.builder.tables import render_plan
from cloudq.errors import ConfigError, InputError
from tests.builder.conftest import make_order, make_plan
from tests.builder.fakes import START

NETWORK = Network("subnet-1", "subnet-2", "sg-1", "setup", "arn:policy")
OUTSIDE = JobStore(
    "https://s3.example.org", "jobs", "", "arn:aws:secretsmanager:xx-north-1:123456789012:secret:keys"
)


def configuration(plan: Plan) -> dict[str, Any]:
    text = render_configuration(
        plan, NETWORK, region="xx-north-1", partition="aws-xx", tags={"cloudq:cluster": "lab"}
    )
    value = load_yaml(text, "rendered")
    assert isinstance(value, dict)
    return value


def network(plan: Plan) -> dict[str, Any]:
    value = load_yaml(render_network(plan, "xx-north-1b"), "rendered")
    assert isinstance(value, dict)
    return value


def files(plan: Plan) -> dict[str, bytes]:
    return setup_files(
        plan, setup_url="s3://setup/cloudq", region="xx-north-1", agent=b"agent", lease_until=START
    )


@pytest.mark.parametrize("nat", [False, True], ids=["public", "nat"])
def test_nobody_can_come_in(nat: bool) -> None:
    resources = network(make_plan(nat=nat))["Resources"]
    inbound = [r["Properties"] for r in resources.values() if r["Type"] == "AWS::EC2::SecurityGroupIngress"]
    assert [rule["SourceSecurityGroupId"] for rule in inbound] == [{"Ref": "Nodes"}]
    assert not any("CidrIp" in rule for rule in inbound)
    groups = [r["Properties"] for r in resources.values() if r["Type"] == "AWS::EC2::SecurityGroup"]
    assert [group.get("SecurityGroupIngress") for group in groups] == [None]
    head = configuration(make_plan())["HeadNode"]
    assert head["Networking"]["SecurityGroups"] == ["sg-1"]
    assert head["Ssh"] == {"AllowedIps": "127.0.0.1/32"}


def test_disks_are_encrypted_and_metadata_wants_a_token() -> None:
    made = configuration(make_plan())
    assert made["Imds"] == {"ImdsSupport": "v2.0"}
    assert made["HeadNode"]["Imds"] == {"Secured": True}
    disks = [made["HeadNode"], *(queue["ComputeSettings"] for queue in made["Scheduling"]["SlurmQueues"])]
    assert all(disk["LocalStorage"]["RootVolume"]["Encrypted"] for disk in disks)


@pytest.mark.parametrize(
    ("store", "resources"),
    [
        pytest.param(JobStore("", "jobs", "team/"), ["jobs", "jobs/team/*"], id="prefix"),
        pytest.param(JobStore("", "jobs", ""), ["jobs", "jobs/*"], id="whole bucket"),
    ],
)
def test_nodes_may_use_exactly_the_job_bucket_and_prefix(store: JobStore, resources: list[str]) -> None:
    policy = network(make_plan(store=store))["Resources"]["NodePolicy"]["Properties"]["PolicyDocument"]
    allowed = {each["Sid"]: each for each in policy["Statement"]}
    assert set(allowed) == {"ReadSetUp", "ListJobs", "ReadAndWriteJobs"}
    assert allowed["ReadSetUp"]["Resource"]["Fn::Sub"].endswith("${SetupBucket}/cloudq/*")
    found = [allowed[sid]["Resource"]["Fn::Sub"] for sid in ("ListJobs", "ReadAndWriteJobs")]
    assert found == [f"arn:${{AWS::Partition}}:s3:::{resource}" for resource in resources]
    condition = allowed["ListJobs"].get("Condition")
    assert condition == ({"StringLike": {"s3:prefix": ["team/*"]}} if store.prefix else None)
    assert not any("*" in action for each in allowed.values() for action in each["Action"])


def test_for_a_store_outside_aws_nodes_may_read_one_secret() -> None:
    policy = network(make_plan(store=OUTSIDE))["Resources"]["NodePolicy"]["Properties"]["PolicyDocument"]
    assert [each["Sid"] for each in policy["Statement"]] == ["ReadSetUp", "ReadKeysOfJobStore"]
    assert policy["Statement"][1]["Resource"] == OUTSIDE.secret_arn
    script = files(make_plan(store=OUTSIDE))["head-node.sh"].decode()
    assert "get-secret-value --region xx-north-1 --secret-id arn:aws:secretsmanager" in script


def test_session_manager_is_there_on_request_only_and_in_the_partition_of_the_region() -> None:
    def policies(plan: Plan) -> list[str]:
        return [each["Policy"] for each in configuration(plan)["HeadNode"]["Iam"]["AdditionalIamPolicies"]]

    assert policies(make_plan()) == ["arn:policy"]
    assert policies(make_plan(ssm=True))[1] == "arn:aws-xx:iam::aws:policy/AmazonSSMManagedInstanceCore"


def test_no_script_has_arguments_which_would_be_readable() -> None:
    made = configuration(make_plan(store=OUTSIDE))
    actions = [made["HeadNode"], *made["Scheduling"]["SlurmQueues"]]
    assert [list(each["CustomActions"]["OnNodeConfigured"]) for each in actions] == [["Script"]] * 2


def test_options_go_into_the_first_queue() -> None:
    preset = adapt(make_plan().preset, max_nodes=9, instance_types=("c7i.large", "c6i.large"))
    queue = configuration(make_plan(preset=preset, spot=True, nat=True, keypair="k"))["Scheduling"][
        "SlurmQueues"
    ][0]
    assert queue["CapacityType"] == "SPOT"
    assert queue["AllocationStrategy"] == "capacity-optimized-prioritized"
    assert queue["ComputeResources"][0]["MaxCount"] == 9
    assert queue["ComputeResources"][0]["Instances"] == [
        {"InstanceType": "c7i.large"},
        {"InstanceType": "c6i.large"},
    ]
    assert queue["Networking"]["SubnetIds"] == ["subnet-2"]


def test_a_preset_may_change_every_member_of_the_configuration() -> None:
    assert merge({"a": {"b": 1, "c": [1]}, "d": 2}, {"a": {"c": [2]}, "e": None}) == {
        "a": {"b": 1, "c": [2]}, "d": 2, "e": None,
    }  # fmt: skip


@pytest.mark.parametrize("system", ["ubuntu2404", "alinux2023"])
@pytest.mark.parametrize("store", [JobStore("", "jobs", "x/"), OUTSIDE], ids=["role", "secret"])
def test_the_scripts_of_the_nodes_are_good_shell(system: str, store: JobStore, tmp_path: Path) -> None:
    package = {"url": "https://example.org/a b.rpm", "sha256": "0" * 64}
    preset = make_preset({**_members(), "os": system, "docker": True, "apptainer_package": package}, "test")
    for name in ("head-node.sh", "compute-node.sh"):
        (tmp_path / name).write_bytes(files(make_plan(store=store, preset=preset))[name])
        subprocess.run(["bash", "-n", str(tmp_path / name)], check=True)


def sections(script: str, *starts: str) -> str:
    """Return the shell functions of a script that begin so."""
    parts = [script[script.index(start) :] for start in starts]
    return "\n".join(part[: part.index("\n}\n") + 3] for part in parts)


@pytest.mark.parametrize("good", [True, False], ids=["the known package", "another package"])
def test_a_head_node_offers_only_the_package_that_is_known(good: bool, tmp_path: Path) -> None:
    data = b"apptainer"
    (tmp_path / "curl").write_text('#!/bin/sh\nprintf apptainer > "$8"\n', encoding="utf-8")
    (tmp_path / "curl").chmod(0o755)
    digest = hashlib.sha256(data if good else b"other").hexdigest()
    package = {"url": "https://example.org/x.deb", "sha256": digest}
    preset = make_preset({**_members(), "apptainer_package": package}, "test")
    script = files(make_plan(preset=preset))["head-node.sh"].decode()
    text = f"AGENT_HOME={tmp_path}\n{sections(script, 'fail() {', 'fetch_apptainer() {')}\nfetch_apptainer\n"
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run(
        ["bash", "-euc", text], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == (0 if good else 1), done.stderr
    assert (
        good or "cloudq: https://example.org/x.deb is not the package whose SHA-256 is known" in done.stderr
    )


@pytest.mark.parametrize("good", [True, False], ids=["the known package", "one that a job has put there"])
def test_on_a_compute_node_root_installs_only_the_package_that_is_known(good: bool, tmp_path: Path) -> None:
    folder = tmp_path / ".cloudq-packages"
    folder.mkdir()
    (folder / "apptainer.deb").write_bytes(b"apptainer" if good else b"evil")
    (tmp_path / "apt-get").write_text(f'#!/bin/sh\nfor word; do :; done; cp "$word" {tmp_path}/installed\n')
    (tmp_path / "apt-get").chmod(0o755)
    package = {"url": "https://example.org/x.deb", "sha256": hashlib.sha256(b"apptainer").hexdigest()}
    preset = make_preset({**_members(), "apptainer_package": package}, "test")
    script = files(make_plan(preset=preset))["compute-node.sh"].decode()
    text = script[script.index("if ! command -v apptainer") :].replace("command -v apptainer", "false")
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "AGENT_HOME": str(tmp_path)}
    done = subprocess.run(
        ["bash", "-euc", text], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == (0 if good else 1), done.stderr
    assert (tmp_path / "installed").exists() == good


def _members() -> dict[str, Any]:
    text = (Path(__file__).parents[2] / "cloudq/builder/presets/default.yaml").read_text(encoding="utf-8")
    value = load_yaml(text, "default.yaml")
    assert isinstance(value, dict)
    return value


def test_the_agents_configuration_can_be_read_and_names_queues_and_instance_types(tmp_path: Path) -> None:
    file = tmp_path / "config.ini"
    file.write_text(render_agent_config(make_plan(store=JobStore("", "jobs", "100%/"))), encoding="utf-8")
    config = load_agent_config(file)
    assert (config.name, config.scheduler, config.prefix) == ("lab", "slurm", "100%/")
    assert config.resources == {"cpu": "-p cpu", "c6i.xlarge": "-p cpu", "c5.xlarge": "-p cpu"}


@pytest.mark.parametrize("name", ["", "1a", "a_b", "x; reboot", "any", "lab-vpc", "a" * 41], ids=repr)
def test_a_name_that_a_stack_could_not_have_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="expected a letter and then letters, digits"):
        check_name(name)


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("", ""),
        ("https://s3.xx-north-1.amazonaws.com", ""),
        ("https://s3.cn-north-1.amazonaws.com.cn", ""),
        ("https://s3.example.org", "https://s3.example.org"),
        ("https://amazonaws.com.example.org", "https://amazonaws.com.example.org"),
    ],
)
def test_an_endpoint_of_s3_itself_is_opened_by_the_role(endpoint: str, expected: str) -> None:
    assert (
        make_store(endpoint_url=endpoint, bucket="b", prefix="", secret_arn=OUTSIDE.secret_arn).endpoint_url
        == expected
    )


def test_the_plan_tells_what_is_made_and_what_it_costs() -> None:
    order = make_order(spot=True)
    text = render_plan(
        order.plan, order.estimate, region="xx-north-1", lease_until=START + timedelta(hours=8)
    )
    assert "lab in xx-north-1: Slurm on CPU nodes, with Apptainer" in text
    assert "cpu: up to 4 x c6i.xlarge or c5.xlarge, spot" in text
    assert "0.10 USD an hour idle, 1.10 at full size; test" in text
    assert "8.80 USD in that time" in text


@pytest.mark.parametrize("name", packaged_presets())
def test_a_packaged_preset_holds_only_what_differs_from_the_default(name: str) -> None:
    text = (Path(__file__).parents[2] / f"cloudq/builder/presets/{name}.yaml").read_text(encoding="utf-8")
    members = load_yaml(text, name)
    assert load_preset(name, Path("/nonexistent"))
    assert name == "default" or all(members[key] != _members()[key] for key in members)


def test_a_copied_preset_is_used_instead_of_the_packaged_one(tmp_path: Path) -> None:
    file = copy_preset("mine", "default", tmp_path)
    file.write_text("description: mine\nstorage: [efs, fsx-scratch]\n", encoding="utf-8")
    assert load_preset("mine", tmp_path).storage == ("efs", "fsx-scratch")
    with pytest.raises(InputError, match=r"mine\.yaml: exists already"):
        copy_preset("mine", "default", tmp_path)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("os: beos", r"os: expected ubuntu2404 or alinux2023, got 'beos'"),
        ("colour: red", "colour: unknown, expected one of accounting, apptainer"),
        ("queues: {}", "queues: expected at least one queue"),
        (
            "queues: {q: {instance_types: [], max_nodes: 1}}",
            "queues: q: instance_types: expected at least one",
        ),
        (
            "queues: {q: {instance_types: [t], max_nodes: yes}}",
            "queues: q: max_nodes: expected a whole number",
        ),
        ("storage: [tape]", "storage: expected some of efs, fsx-scratch"),
        ("accounting: {uri: x}", "accounting: expected null, or uri, user"),
        ("os: alinux2023", "apptainer_package: expected url and sha256 of one for alinux2023, got None"),
        ("apptainer_package: {url: x}", "apptainer_package: expected null, or url .* and sha256"),
        ("apptainer_package: {url: 'http://x', sha256: 1}", "apptainer_package: expected null, or url"),
        ("a: [", "not YAML"),
        ("just text", "expected members such as"),
    ],
    ids=lambda value: value[:12],
)
def test_a_bad_preset_is_refused_before_anything_is_made(text: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=problem):
        load_preset("bad", tmp_path)
