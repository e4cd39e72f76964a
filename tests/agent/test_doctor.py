"""`cloudqd doctor`: what it says of a machine; and an agent whose store ignores conditions."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Optional

import boto3
import pytest

from cloudq.agent.cli import main
from cloudq.agent.daemon import service
from cloudq.agent.daemon.doctor import Machine, examine
from cloudq.agent.daemon.heartbeat import Heartbeat
from cloudq.agent.daemon.machine import filesystem_of, folder_findings, sharing_finding
from cloudq.agent.daemon.solitude import sole_agent
from cloudq.agentconfig import load_agent_config
from cloudq.bundle import Bundles
from cloudq.errors import CommandError
from cloudq.finding import Finding, Level
from cloudq.job import Job, JobKind
from cloudq.presence import Presence
from cloudq.process import DEFAULT_TIMEOUT, NOT_STARTED, Completed
from cloudq.store import StoreAddress, open_store
from cloudq.store.s3_client import make_client
from tests.agent.conftest import run_passes
from tests.client.conftest import new_runner
from tests.signers import Signers, signers
from tests.store.careless_proxy import careless_proxy

__all__ = ["signers"]

MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
filer:/home /home nfs4 rw 0 0
/dev/sdb1 /home/my\\040scratch xfs rw 0 0
"""
SLURM = "AccountingStorageType   = accounting_storage/{}\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A configuration for Slurm and a bucket in a folder."""
    (tmp_path / "bucket").mkdir()
    file = tmp_path / "config.ini"
    file.write_text(
        f"[default]\nname = here\ncloudq_endpoint_url = {tmp_path.as_uri()}\ncloudq_bucket = bucket\n"
        f"[agent]\ntype = slurm\ncloudq_directory = {tmp_path}/agent\n"
    )
    return file


class Commands:
    """Commands that answer from a table: the beginning of the words -> what they print, or an error."""

    def __init__(self, **answers: object) -> None:
        unknown = CommandError(["squeue"], 1, "", "slurm_load_jobs error: Invalid job id specified")
        known = {"scontrol": SLURM.format("slurmdbd"), "sbatch": "slurm 22.05.8\n"}
        self.answers = {"squeue": unknown, "env": unknown, **known, **answers}

    def __call__(
        self, argv: Sequence[str], *, cwd: Optional[Path] = None, timeout: timedelta = DEFAULT_TIMEOUT
    ) -> Completed:
        answer = self.answers.get(argv[0], "")
        if isinstance(answer, Exception):
            raise answer
        return Completed(str(answer))


def found(file: Path, **answers: object) -> dict[str, Finding]:
    machine = Machine(run=Commands(**answers), find=lambda program: program if program in answers else None)
    return {one.subject: one for one in examine(file, machine)}


def missing(program: str) -> CommandError:
    return CommandError([program], NOT_STARTED, "", f"{program}: No such file or directory")


def test_a_good_machine_has_no_fault(file: Path) -> None:
    findings = found(file, apptainer="apptainer version 1.4.5\n")
    assert [subject for subject, one in findings.items() if one.level is Level.FAIL] == []
    assert findings["scheduler"].seen == "slurm 22.05.8"
    assert findings["accounting"].level is Level.OK
    assert findings["containers"].seen.startswith("apptainer version 1.4.5 ")
    assert findings["agent"].seen == "no agent here runs"
    assert findings["cloudq_directory"].seen == f"{file.parent}/agent will be made"
    assert findings["space"].seen.endswith(f" GiB free in {file.parent}")


def test_a_scheduler_that_is_not_there_is_told(file: Path) -> None:
    findings = found(file, sbatch=missing("sbatch"), scontrol=missing("scontrol"))
    assert findings["scheduler"].seen == "sbatch failed with status 127: sbatch: No such file or directory"
    assert findings["queue"].level is Level.FAIL
    assert "accounting" not in findings


def test_a_scheduler_that_does_not_answer_is_told(file: Path) -> None:
    error = CommandError(["squeue"], 1, "", "slurm_load_jobs error: Unable to contact slurm controller")
    finding = found(file, env=error)["queue"]
    assert finding.level is Level.FAIL
    assert "Unable to contact slurm controller" in finding.seen


def test_a_site_without_accounts_is_warned_of(file: Path) -> None:
    assert found(file, scontrol=SLURM.format("none"))["accounting"].level is Level.WARN


def test_a_runtime_that_does_not_work_is_told(file: Path) -> None:
    error = CommandError(["docker"], 1, "", "Cannot connect to the Docker daemon")
    finding = found(file, docker=error)["containers"]
    assert (finding.level, finding.seen) == (
        Level.FAIL,
        "docker: docker failed with status 1: Cannot connect to the Docker daemon",
    )


def test_no_runtime_is_a_warning_unless_none_is_wanted(file: Path) -> None:
    assert found(file)["containers"].level is Level.WARN
    file.write_text(f"{file.read_text()}container_runtime = none\n")
    assert found(file)["containers"].level is Level.OK


def test_the_queue_of_events_is_asked(file: Path, moto_endpoint: str, s3_environment: None) -> None:
    assert "events" not in found(file)
    make: Any = boto3.client
    url = make("sqs", endpoint_url=moto_endpoint).create_queue(QueueName="doctor")["QueueUrl"]
    text = file.read_text()
    file.write_text(f"{text}events_queue_url = {url}\n")
    finding = found(file)["events"]
    assert (finding.level, finding.seen.partition(";")[0]) == (Level.OK, f"{url} may be asked")
    file.write_text(f"{text}events_queue_url = {url}-gone\n")
    finding = found(file)["events"]
    assert finding.level is Level.FAIL
    assert finding.seen.startswith(f"events queue {url}-gone: AWS.SimpleQueueService.NonExistentQueue")


def test_an_agent_of_the_same_name_elsewhere_is_warned_of(file: Path) -> None:
    now = datetime.now(timezone.utc)
    other = Presence("here", "0", "slurm", "login2", 42, now, timedelta(minutes=1), directory="/there")
    Bundles(open_store(load_agent_config(file).store)).agents.publish(other)
    finding = found(file)["agent"]
    assert (finding.level, finding.seen) == (
        Level.WARN, "here runs elsewhere: pid 42 on login2, /there",
    )  # fmt: skip


def test_an_agent_that_spares_its_scheduler_is_warned_of(file: Path) -> None:
    config, now = load_agent_config(file), datetime.now(timezone.utc)
    slow = "the scheduler is asked about jobs only every 90 s, because its last answer took 10 s"
    own = Presence("here", "0", "slurm", "login1", 42, now, timedelta(minutes=1), trouble=slow)
    Bundles(open_store(config.store)).agents.publish(own)
    with sole_agent(config):
        finding = found(file)["agent"]
    assert finding.level is Level.WARN
    assert finding.seen.endswith(f"; {slow}")


def test_a_configuration_that_is_wrong_or_open_to_others_is_told(file: Path) -> None:
    file.chmod(0o666)
    file.write_text(file.read_text().replace("name = here\n", ""))
    findings = list(examine(file, Machine(run=Commands())))
    assert [one.level for one in findings] == [Level.FAIL, Level.WARN]
    assert "name" in findings[0].seen
    assert findings[1].remedy == f"chmod go-w {file}"


def test_a_folder_that_is_open_to_others_is_warned_of(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    finding = next(folder_findings("cloudq_directory", tmp_path))
    assert (finding.level, finding.remedy) == (Level.WARN, f"chmod 700 {tmp_path}")


def test_a_file_in_the_place_of_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    [finding] = folder_findings("cloudq_directory", tmp_path / "file" / "agent")
    assert finding.level is Level.FAIL


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/home/user", "nfs4"), ("/home/my scratch/x", "xfs"), ("/homework", "ext4"), ("/", "ext4")],
)
def test_the_file_system_of_a_path_is_that_of_the_deepest_mount(path: str, kind: str) -> None:
    assert filesystem_of(Path(path), MOUNTS) == kind


@pytest.mark.parametrize(
    ("mounts", "needed", "level"),
    [
        ("x / nfs4 rw 0 0", True, Level.OK),
        ("x / fuse.sshfs rw 0 0", True, Level.OK),
        ("x / ext4 rw 0 0", True, Level.WARN),
        ("x / ext4 rw 0 0", False, Level.OK),
        ("", True, Level.WARN),
    ],
    ids=["nfs", "fuse", "local disk", "local jobs", "unknown"],
)
def test_whether_nodes_may_see_the_folder_is_told(mounts: str, needed: bool, level: Level) -> None:
    assert sharing_finding(Path("/"), mounts, needed=needed).level is level


def test_the_command_prints_a_line_for_each_finding_or_json_and_fails_for_a_fault(file: Path) -> None:
    file.write_text(file.read_text().replace("slurm", "abacus"))
    result = new_runner().invoke(main, ["doctor", "--config", str(file)])
    assert result.exit_code == 1
    assert result.stdout.splitlines()[0] == f"OK    configuration       {file}"
    assert "\nFAIL  scheduler           type: expected one of " in result.stdout
    result = new_runner().invoke(main, ["doctor", "--json", "--config", str(file)])
    assert result.exit_code == 1
    # There may be another one: a host may have Docker, but no daemon of it.
    faults = {one["subject"]: sorted(one) for one in json.loads(result.stdout) if one["level"] == "FAIL"}
    assert faults["scheduler"] == ["level", "remedy", "seen", "subject"]


def test_an_agent_takes_no_any_jobs_where_the_server_ignores_conditions(
    moto_endpoint: str, s3_environment: None, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="cloudq")
    address = StoreAddress(moto_endpoint, f"careless-{uuid.uuid4().hex}")
    make_client(address).create_bucket(Bucket=address.bucket)
    bundles = Bundles(open_store(address))
    for name, run_on in (("named", "here"), ("free", "ANY")):
        bundles.write(name, "job.sh", b"#!/bin/sh\ntrue\n")
        bundles.markers.notify(bundles.create(Job(name, "job.sh", JobKind.META, run_on=run_on)).job)
    with careless_proxy(moto_endpoint) as url:
        config = replace(load_agent_config(file), store=replace(address, endpoint_url=url), scheduler="local")
        with sole_agent(config):
            agent = service.open_agent(config)
            Heartbeat(agent).beat()
            run_passes(agent)
            agent.crew.stop()
    assert "does not do conditional writes: only jobs for here are taken" in caplog.text
    presence = bundles.agents.presence("here")
    assert presence is not None
    assert not presence.takes_any
    assert bundles.load("named").job.run_system == "here"
    assert bundles.load("free").job.run_system == ""


def test_unsigned_mode_and_signed_mode_are_told(file: Path, signers: Signers) -> None:
    unsigned = found(file)["signatures"]
    assert unsigned.level is Level.OK
    assert unsigned.seen.startswith("unsigned mode: whoever can write to the bucket can run commands")
    settings = file.read_text(encoding="utf-8")
    file.write_text(f"{settings}allowed_signers = {signers.allowed}\n", encoding="utf-8")
    assert found(file)["signatures"].seen == f"only jobs signed by those in {signers.allowed} are run"


def test_signatures_that_cannot_be_checked_are_a_fault(
    file: Path, signers: Signers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = file.read_text(encoding="utf-8")
    file.write_text(f"{settings}allowed_signers = {signers.allowed}\n", encoding="utf-8")
    monkeypatch.setenv("PATH", str(tmp_path))
    finding = found(file)["signatures"]
    assert finding.level is Level.FAIL
    assert finding.seen.startswith("allowed_signers: signatures cannot be checked here: ")
    assert finding.remedy == "install OpenSSH 8.2 or later"
