"""One script, every system: the same meta script, unchanged, gives the same files, logs and states."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudq.store import StoreAddress
from tests.real.conftest import Account
from tests.real.test_acceptance import Laptop, wait_until

SCRIPT = """#!/bin/bash
#$ project: team
#$ resource: small
#$ walltime: 0:05:00
echo "task $ARY_TASK_ID of $ARY_TASK_FIRST-$ARY_TASK_LAST:$ARY_TASK_STEPSIZE"
echo "complaint of $ARY_TASK_ID" >&2
cat data/*.txt > "out $ARY_TASK_ID.txt"
id -un > "owner-$ARY_TASK_ID"
test "$ARY_TASK_ID" != 5 || exit 7
"""
DEFINITIONS = {
    "slurm": ("testacct", "-p main"),
    "gridengine": ("-", "-q all.q"),
    "local": ("-", "this host"),
}


@pytest.fixture(params=sorted(DEFINITIONS))
def system(request: pytest.FixtureRequest) -> str:
    """Each scheduler in turn, also the name of its system."""
    name: str = request.param
    return name


@pytest.fixture
def agent(system: str, agent_account: Account, bucket: StoreAddress) -> Iterator[Account]:
    """An agent whose configuration says what project and resource mean."""
    agent_account.run(
        ["cloudqd", "init", "--name", system, "--type", system, "--endpoint-url", bucket.endpoint_url,
         "--bucket", bucket.bucket, "--profile", "default", "--daemon-interval", "1"]
    )  # fmt: skip
    config = agent_account.home / ".cloudq/agent/config.ini"
    project, resource = DEFINITIONS[system]
    text = config.read_text().replace("[projects]", f"[projects]\nteam = {project}".replace("team = -", ""))
    config.write_text(text.replace("[resources]", f"[resources]\nsmall = {resource}"))
    agent_account.run(["cloudqd", "--daemon"])
    yield agent_account
    print((agent_account.home / ".cloudq/cloudqd.log").read_text()[-5000:])
    agent_account.run(["cloudqd", "stop"])


@pytest.mark.parametrize("s3_url", ["seaweedfs"], indirect=True)
def test_the_same_script_gives_the_same_everywhere(
    system: str, agent: Account, client_account: Account, bucket: StoreAddress
) -> None:
    laptop = Laptop(client_account)
    laptop.cloudqcli(
        "init", "--name", "laptop", "--endpoint-url", bucket.endpoint_url, "--bucket", bucket.bucket
    )
    for name in ("project.ini", "resource.ini"):
        client_account.write(f".cloudq/client/{name}", f"[team]\n{system} =\n" * (name == "project.ini"))
    client_account.write("data/one.txt", "one\n")
    client_account.write("data/two.txt", "two\n")
    script = client_account.write("job.sh", SCRIPT.replace("#$ project", f"#$ run_on: {system}\n#$ project"))
    wait_until(lambda: _published(laptop, script, system), "the agent's presence", 60)
    job_id = laptop.cloudqcli(
        *("submit", "--parsable", str(script), "--input", "data", "--array_tid", "1-5:2")
    ).strip()
    wait_until(lambda: laptop.stat(job_id)["state"] in ("DONE", "ERROR"), "the end of the job", 120)
    members = laptop.stat(job_id)
    assert (members["state"], members["error_msg"]) == ("ERROR", "task 5: exit 7")
    assert {task: value["state"] for task, value in members["task_states"].items()} == {
        "1": "DONE",
        "3": "DONE",
        "5": "ERROR",
    }
    laptop.cloudqcli("stageout", job_id)
    folder = client_account.home / job_id
    for task in (1, 3, 5):
        assert laptop.cloudqcli("log", job_id, "--tid", str(task)) == f"task {task} of 1-5:2\n"
        assert laptop.cloudqcli("log", job_id, "--tid", str(task), "--error") == f"complaint of {task}\n"
        assert (folder / f"out {task}.txt").read_text() == "one\ntwo\n"
        assert (folder / f"owner-{task}").read_text() == f"{agent.user}\n"


def _published(laptop: Laptop, script: Path, system: str) -> bool:
    done = laptop.account.run(["cloudqcli", "translate", "--to", system, str(script)], expect=None)
    return done.returncode == 0
