"""Real Slurm loses its controller, and a node: jobs end as they did, and none is submitted twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudq.store import StoreAddress
from tests.real.conftest import ROOT, TESTBED, Account
from tests.real.test_acceptance import Laptop, wait_until

SYSTEM = "slurm1"
# `go` and `runs` are named by their paths: each run has the same working directory.
UNTIL_GO = """#!/bin/sh
#$ run_on: slurm1
echo "$$ $SLURMD_NODENAME" >> runs
while ! test -e go; do sleep 0.2; done
exit {}
"""

pytestmark = [
    pytest.mark.skipif(not (TESTBED / "slurm/run/slurmctld.pid").exists(), reason="Slurm is not up"),
    pytest.mark.parametrize("s3_url", ["seaweedfs"], indirect=True),
]


def daemon_pid(name: str) -> int:
    return int((TESTBED / f"slurm/run/{name}.pid").read_text())


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}/comm").exists()


def repair() -> None:
    """Start again what a test has stopped, and resume nodes that are down."""
    command = [str(ROOT / "tests/testbed/slurm-up"), "--quiet"]
    subprocess.run(command, check=True, timeout=300, stdout=subprocess.DEVNULL)


def submissions(job_id: str) -> int:
    """Count the jobs that Slurm ever took for one of ours."""
    command = ["sacct", "-X", "-n", "-P", "-a", "-S", "now-1hour", "--format=Comment"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    return sum(line.startswith(f"cq-{job_id}-") for line in done.stdout.splitlines())


@pytest.fixture
def agent(agent_account: Account, bucket: StoreAddress) -> Iterator[Account]:
    """An agent that looks every second."""
    agent_account.run(
        ["cloudqd", "init", "--name", SYSTEM, "--type", "slurm", "--endpoint-url", bucket.endpoint_url,
         "--bucket", bucket.bucket, "--profile", "default", "--daemon-interval", "1"]
    )  # fmt: skip
    agent_account.run(["cloudqd", "--daemon"])
    try:
        yield agent_account
    finally:
        repair()
        print((agent_account.home / ".cloudq/cloudqd.log").read_text()[-5000:])
        agent_account.run(["cloudqd", "stop"])


@pytest.fixture
def laptop(client_account: Account, bucket: StoreAddress) -> Laptop:
    laptop = Laptop(client_account)
    laptop.cloudqcli(
        "init", "--name", "laptop", "--endpoint-url", bucket.endpoint_url, "--bucket", bucket.bucket
    )
    return laptop


def submit(laptop: Laptop, name: str, text: str) -> str:
    script = laptop.account.write(f"{name}.sh", text)
    return laptop.cloudqcli("submit", "--parsable", str(script)).strip()


def ended(laptop: Laptop, job_id: str) -> tuple[str, str]:
    """Wait for the end of a job; return its state and what is said of it."""
    finals = ("DONE", "ERROR", "TIMEOUT", "DELETED")
    wait_until(lambda: laptop.stat(job_id)["state"] in finals, lambda: str(laptop.stat(job_id)), 150)
    members = laptop.stat(job_id)
    return members["state"], members["error_msg"]


def test_a_controller_that_is_away_for_a_while_changes_no_job(laptop: Laptop, agent: Account) -> None:
    cache, log = agent.home / ".cloudq/cache", agent.home / ".cloudq/cloudqd.log"
    short, long = submit(laptop, "short", UNTIL_GO.format(3)), submit(laptop, "long", UNTIL_GO.format(0))
    for job_id in (short, long):
        wait_until(lambda: laptop.stat(job_id)["state"] == "RUN", "the start", 120)  # noqa: B023
    pid = daemon_pid("slurmctld")
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not is_alive(pid), "the end of slurmctld", 120)
    (cache / short / "go").touch()
    wait_until(lambda: "slurm controller" in log.read_text().lower(), "a failed poll", 120)
    assert [laptop.stat(job_id)["state"] for job_id in (short, long)] == ["RUN", "RUN"]
    repair()
    (cache / long / "go").touch()
    assert ended(laptop, short) == ("ERROR", "exit 3")
    assert ended(laptop, long) == ("DONE", "")
    # The accounts of a controller that was restarted lag behind.
    wait_until(lambda: all(map(submissions, (short, long))), "both jobs in the accounts", 120)
    assert [submissions(job_id) for job_id in (short, long)] == [1, 1]
    for job_id in (short, long):
        laptop.cloudqcli("stageout", job_id)
        assert len((laptop.account.home / job_id / "runs").read_text().splitlines()) == 1


def test_a_job_whose_node_is_lost_runs_again_without_being_submitted_again(
    laptop: Laptop, agent: Account
) -> None:
    job_id = submit(laptop, "lost", UNTIL_GO.format(0))
    runs = agent.home / ".cloudq/cache" / job_id / "runs"
    wait_until(lambda: runs.exists() and runs.read_text().endswith("\n"), "the start", 120)
    wait_until(lambda: laptop.stat(job_id)["state"] == "RUN", "the start", 120)
    process, node = runs.read_text().split()
    os.kill(daemon_pid(f"slurmd.{node}"), signal.SIGKILL)
    update = ["scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test"]
    subprocess.run(update, check=True, timeout=120)
    # Only now: of a node that is still up Slurm would believe that the job was killed.
    os.kill(int(process), signal.SIGKILL)
    # Slurm lets a job rest for two minutes after its node was lost; the test does not.
    native_id = laptop.stat(job_id)["jobid"]
    start_now = ["scontrol", "update", f"JobId={native_id}", "StartTime=now"]
    wait_until(
        lambda: subprocess.run(start_now, check=False, timeout=120).returncode == 0, "the requeue", 120
    )
    wait_until(lambda: len(runs.read_text().splitlines()) == 2, "the second start", 150)
    assert laptop.stat(job_id)["state"] in ("READY", "RUN")
    (runs.parent / "go").touch()
    assert ended(laptop, job_id) == ("DONE", "")
    wait_until(lambda: submissions(job_id) > 0, "the job in the accounts", 120)
    assert submissions(job_id) == 1


def test_a_job_of_an_agent_that_was_killed_runs_once_more_when_it_is_requeued(
    laptop: Laptop, agent: Account
) -> None:
    """The agent returns after all: it ends its old copy before it submits the job again."""
    job_id = submit(laptop, "again", UNTIL_GO.format(0))
    runs = agent.home / ".cloudq/cache" / job_id / "runs"
    wait_until(lambda: runs.exists() and laptop.stat(job_id)["state"] == "RUN", "the start", 120)
    first = laptop.stat(job_id)["jobid"]
    pid = json.loads((agent.home / f".cloudq/{SYSTEM}.pid").read_text())["pid"]
    os.kill(pid, signal.SIGKILL)
    refused = laptop.account.run(["cloudqcli", "requeue", job_id], expect=1)
    assert f"agent {SYSTEM} was heard of" in refused.stderr
    assert laptop.cloudqcli("requeue", "--force", job_id) == f"Job ({job_id}) is requeued for {SYSTEM}.\n"
    agent.run(["cloudqd", "--daemon"])
    wait_until(lambda: laptop.stat(job_id)["jobid"] not in ("", first), lambda: str(laptop.stat(job_id)), 150)
    wait_until(lambda: runs.exists() and laptop.stat(job_id)["state"] == "RUN", "the second start", 120)
    (runs.parent / "go").touch()
    assert ended(laptop, job_id) == ("DONE", "")
    wait_until(lambda: submissions(job_id) == 2, lambda: f"{submissions(job_id)} submissions", 120)
    ends = ["sacct", "-X", "-n", "-P", "-j", first, "--format=State"]
    wait_until(
        lambda: subprocess.run(ends, check=True, capture_output=True, text=True).stdout.startswith(
            "CANCELLED"
        ),
        "the end of the first copy in the accounts",
        120,
    )
    assert submissions(job_id) == 2
