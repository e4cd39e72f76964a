"""Parts of the head node's start script, run in a folder that looks like the root of a node."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cloudq.agent.folders import Folders
from tests.builder.conftest import make_plan
from tests.builder.test_rendering import files, sections

_GROUP = "/aws/parallelcluster/lab-202611221200"
# As aws-parallelcluster-cookbook writes it (write_cloudwatch_agent_json.py), and the agent's copy of it.
_COLLECTED = {"file_path": "/var/log/slurmctld.log", "log_group_name": _GROUP, "log_stream_name": "lab.i-1.x"}
_THEIRS = {"logs": {"logs_collected": {"files": {"collect_list": [_COLLECTED]}}}}
_PLACES = (
    "etc/parallelcluster/amazon-cloudwatch-agent/amazon-cloudwatch-agent.json",
    "opt/aws/amazon-cloudwatch-agent/etc/amazon-cloudwatch-agent.d/file_amazon-cloudwatch-agent.json",
    "opt/aws/amazon-cloudwatch-agent/etc/amazon-cloudwatch-agent.json",
)


def configure(root: Path) -> str:
    """Run the part that adds logs to CloudWatch's; return what it printed."""
    script = files(make_plan())["head-node.sh"].decode()
    part = sections(script, "log_to_cloudwatch() {").replace("/opt/", f"{root}/opt/")
    part = part.replace("/etc/parallelcluster", f"{root}/etc/parallelcluster")
    text = f"AGENT_HOME=/home/ubuntu\n{part}\nlog_to_cloudwatch\n"
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text], capture_output=True, text=True, check=True
    ).stdout


def node(root: Path, place: str, configuration: Any) -> Path:
    """Make a root with CloudWatch's agent and its configuration; return where it notes what it is asked."""
    file, command = root / place, root / "opt/aws/amazon-cloudwatch-agent/bin/amazon-cloudwatch-agent-ctl"
    for folder in (file.parent, command.parent, root / "opt/cloudq"):
        folder.mkdir(parents=True)
    file.write_text(json.dumps(configuration, indent=4), encoding="utf-8")
    command.write_text(f'#!/bin/sh\necho "$@" >{root}/asked\n', encoding="utf-8")
    command.chmod(0o755)
    return root / "asked"


@pytest.mark.parametrize("place", _PLACES, ids=["the cookbook's", "the agent's copy", "the agent's own"])
def test_the_logs_of_agent_and_jobs_go_to_the_log_group_of_the_cluster(tmp_path: Path, place: str) -> None:
    asked = node(tmp_path, place, _THEIRS)
    assert configure(tmp_path) == ""
    added = tmp_path / "opt/cloudq/cloudwatch.json"
    assert asked.read_text(encoding="utf-8") == f"-a append-config -m ec2 -s -c file:{added}\n"
    collected = json.loads(added.read_text(encoding="utf-8"))["logs"]["logs_collected"]["files"]
    own, *of_jobs = collected["collect_list"]
    assert own == {
        "file_path": "/home/ubuntu/.cloudq/cloudqd.log",
        "log_group_name": _GROUP,
        "log_stream_name": "cloudqd",
    }
    folders = Folders(Path("/home/ubuntu/.cloudq"), "lab")
    for wanted, stream in zip(of_jobs, ("stdout", "stderr")):
        for name in (stream, f"{stream}.7"):
            assert folders.log("3f7e", name).match(wanted["file_path"])
        # Without that only the newest file would be sent.
        assert (wanted["log_group_name"], wanted["publish_multi_logs"]) == (_GROUP, True)
    assert len(of_jobs) == 2


def test_without_a_log_group_the_log_is_only_in_the_bucket(tmp_path: Path) -> None:
    asked = node(tmp_path, _PLACES[0], {})
    assert configure(tmp_path) == (
        "cloudq: no CloudWatch agent: the logs of agent and jobs are only in the bucket\n"
    )
    assert not asked.exists()
