"""CloudQ 1.2.0 itself as client and as agent, on real Slurm: with our agent, our client, and beside both.

What 1.2.0 does wrong is asserted as well, each time with its number in docs/known-defects.md, so that
nobody takes it for ours. 1.2.0 is installed once, into an environment of its own below the testbed's folder.
"""

from __future__ import annotations

import json
import re
import subprocess
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest

from cloudq.store import Store, StoreAddress
from tests.real.conftest import TESTBED, Account
from tests.real.test_acceptance import Laptop, wait_until

OURS = "Newer"
THEIRS = "older"
"""In lower case: 1.2.0 loses its jobs if its name has a capital letter (32)."""

DEFINITIONS = {
    "project.ini": f"[team]\n{OURS} = testacct\n{THEIRS} = testacct\n",
    "resource.ini": f"[cpu]\n{OURS} = -p main --ntasks=1\n{THEIRS} =\n",
}
PATIENCE = 150.0

pytestmark = pytest.mark.parametrize("s3_url", ["seaweedfs"], indirect=True)


@pytest.fixture(scope="session")
def original_programs() -> Path:
    """Install CloudQ 1.2.0, once; its folder of programs."""
    venv = TESTBED / "cloudq-1.2.0-venv"
    if not (venv / "ready").exists():
        wanted = ["cloudq==1.2.0", "boto3", "setuptools", "pyyaml"]
        for argv in (
            ["/usr/bin/python3", "-m", "venv", "--clear", str(venv)],
            [str(venv / "bin/pip"), "-qq", "--disable-pip-version-check", "install", *wanted],
        ):
            done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
            if done.returncode != 0:
                pytest.skip(f"CloudQ 1.2.0 cannot be installed here: {done.stderr.strip()[-300:]}")
        (venv / "ready").touch()
    return venv / "bin"


@dataclass
class Original:
    """A user of the 1.2.0 client."""

    account: Account

    def cloudqcli(self, *argv: str) -> str:
        """Run a command; return what it printed after the banner (49)."""
        said = self.account.run(["cloudqcli", *argv]).stdout
        return said.rpartition("=" * 47 + "\n")[2]

    def submit(self, name: str, text: str, *options: str) -> str:
        """Submit a script, and return the job's id."""
        script = self.account.write(name, text)
        said = self.cloudqcli("submit", "--script", str(script), *options)
        match = re.search(r"Job \((\w+)\) \S+ has been submitted\.", said)
        assert match, said
        return match[1]

    def stat(self, job_id: str) -> dict[str, str]:
        """Return the members that `stat` prints."""
        lines = self.cloudqcli("stat", "--id", job_id).splitlines()
        return {name: value.strip() for name, _, value in (line.partition(" ") for line in lines) if name}


@pytest.fixture
def laptop(client_account: Account, bucket: StoreAddress) -> Laptop:
    """Our client."""
    laptop = Laptop(client_account)
    laptop.cloudqcli(
        "init", "--name", "laptop", "--endpoint-url", bucket.endpoint_url, "--bucket", bucket.bucket,
        "--profile", "default",
    )  # fmt: skip
    for name, text in DEFINITIONS.items():
        client_account.write(f".cloudq/client/{name}", text)
    return laptop


@pytest.fixture
def original(client_account: Account, original_programs: Path, bucket: StoreAddress) -> Original:
    """The client of 1.2.0, in a home of its own."""
    account = _another_home(client_account, original_programs)
    original = Original(account)
    original.cloudqcli("list")  # It copies its templates.
    _configure(account, "client", bucket, "laptop")
    for name, text in DEFINITIONS.items():
        account.write(f".cloudq/client/{name}", text)
    return original


@pytest.fixture
def our_agent(agent_account: Account, bucket: StoreAddress) -> Iterator[Account]:
    """Our agent, which looks often for what 1.2.0 clients put into the bucket."""
    agent_account.run(
        ["cloudqd", "init", "--name", OURS, "--type", "slurm", "--endpoint-url", bucket.endpoint_url,
         "--bucket", bucket.bucket, "--profile", "default", "--daemon-interval", "1"]
    )  # fmt: skip
    config = agent_account.home / ".cloudq/agent/config.ini"
    config.write_text(
        config.read_text().replace("[agent]", "[agent]\nsweep_interval = 1\nheartbeat_interval = 2")
    )
    agent_account.run(["cloudqd", "--daemon"])
    yield agent_account
    agent_account.run(["cloudqd", "stop"])
    log = (agent_account.home / ".cloudq/cloudqd.log").read_text()
    print(log)
    assert "Traceback" not in log


@pytest.fixture
def original_agent(
    agent_account: Account, original_programs: Path, bucket: StoreAddress
) -> Iterator[Account]:
    """The agent of 1.2.0, with one thread: with more it mixes its jobs up (1)."""
    account = _another_home(agent_account, original_programs)
    account.run(["cloudqd"], expect=None)  # It copies its templates.
    _configure(account, "agent", bucket, THEIRS)
    log = account.home / "agent.out"
    process = account.start(["cloudqd", "--daemon"], log)
    yield account
    process.terminate()
    process.wait(timeout=120)
    print(log.read_text()[-20000:])


def _another_home(account: Account, programs: Path) -> Account:
    home = account.home.parent / f"{account.user}-original"
    home.mkdir(mode=0o700)
    subprocess.run(["chown", f"{account.user}:", str(home)], check=True)
    other = replace(account, home=home, programs=programs)
    other.write(".aws/credentials", (account.home / ".aws/credentials").read_text())
    other.write(".aws/config", "[default]\nregion = us-east-1\n")
    return other


def _configure(account: Account, side: str, bucket: StoreAddress, name: str) -> None:
    account.write(
        f".cloudq/{side}/config.ini",
        f"[default]\nname = {name}\naws_profile = default\ncloudq_endpoint_url = {bucket.endpoint_url}\n"
        f"cloudq_bucket = {bucket.bucket}\n[agent]\ntype = slurm\nnum_procs = 1\ndaemon_interval = 1\n"
        f"cloudq_directory = {account.home}/.cloudq\n"
        "[client]\nresource_profile = resource.ini\nproject_profile = project.ini\n",
    )


def meta(run_on: str, body: str) -> str:
    """Write a meta script that both understand: all directives first, no blank at the end of a line."""
    return f"#!/bin/bash\n#$ run_on: {run_on}\n#$ project: team\n#$ resource: cpu\n#$ n_resource: 1\n{body}\n"


def test_a_client_of_1_2_works_with_our_agent(original: Original, our_agent: Account) -> None:
    def state(job_id: str) -> str:
        return original.stat(job_id)["state"]

    local = original.submit(
        "local.sh", "#!/bin/bash\necho local; echo why >&2\n", "--submit_to", OURS, "--submit_opt", "-p short"
    )
    first = original.submit("meta.sh", meta(OURS, "echo meta > result; sleep 2; echo meta"))
    held = original.submit("held.sh", meta(OURS, "date +%s > began"), "--hold_jid", f"{local}, {first}")
    array = original.submit("array.sh", meta(OURS, "echo task $ARY_TASK_ID"), "--array_tid", "8-12:2")
    failing = original.submit("failing.sh", meta(OURS, "echo half > kept; exit 7"))
    endless = original.submit("endless.sh", meta(OURS, "echo begun; sleep 900"))
    anywhere = original.submit("anywhere.sh", "#!/bin/bash\necho anywhere\n")
    jobs = {local, first, held, array, failing, endless, anywhere}

    # 1.2.0 asks for whole logs while a job runs, and its requests to cancel carry no marker.
    wait_until(lambda: state(endless) == "RUN", "the start", PATIENCE)
    wait_until(
        lambda: original.cloudqcli("log", "--id", endless) == "begun\n\n",
        "the log of a running job",
        PATIENCE,
    )
    listed = original.cloudqcli("list")
    assert endless in listed
    assert "corrupted" not in listed
    assert "is canceled" in original.cloudqcli("cancel", "--id", endless)
    wait_until(lambda: jobs <= set(original.cloudqcli("history").split()), "all to end", PATIENCE)

    rows = {row[0]: row[2] for row in map(str.split, original.cloudqcli("history").splitlines()) if row[2:]}
    assert {job_id: rows[job_id] for job_id in jobs} == dict.fromkeys(jobs, "DONE") | {
        failing: "ERROR",
        endless: "DELETED",
    }
    assert original.stat(local)["submit_command"].startswith("sbatch ")
    assert original.stat(failing)["error_msg"] == "exit 7"
    assert original.stat(held)["time_start"] >= original.stat(first)["time_finish"]
    assert original.cloudqcli("log", "--id", local) == "local\n\n"
    assert original.cloudqcli("log", "--id", local, "--error") == "why\n\n"
    assert original.cloudqcli("log", "--id", array, "--tid", "10") == "task 10\n\n"
    whole = original.cloudqcli("log", "--id", array)
    assert [whole.count(f"== task {i} ==") for i in (8, 10, 12)] == [1, 1, 1]
    assert f"job {first}" in original.cloudqcli("log", "--agent", OURS)
    for job_id in (first, failing):
        assert original.cloudqcli("stageout", "--id", job_id).endswith(f"Saved as {job_id}.\n")
    home = original.account.home
    assert _member(home / first / "output.zip", "result") == "meta\n"
    assert _member(home / failing / "output.zip", "kept") == "half\n"
    assert f"Job ({local}) is deleted." in original.cloudqcli("delete", "--id", local)
    assert original.cloudqcli("delete", "--all").count("is deleted.") == len(jobs) - 1
    # SeaweedFS lists a folder for a while after its last object was deleted.
    wait_until(lambda: not jobs & set(original.cloudqcli("history").split()), "the empty bucket", PATIENCE)


def test_our_client_works_with_an_agent_of_1_2(
    laptop: Laptop, original_agent: Account, real_store: Store
) -> None:
    def submit(name: str, text: str, *options: str) -> str:
        script = laptop.account.write(name, text)
        return laptop.cloudqcli("submit", "--parsable", str(script), *options).strip()

    def state(job_id: str) -> str:
        return str(laptop.stat(job_id)["state"])

    local = submit("local.sh", "#!/bin/bash\necho local; echo why >&2\n", "--submit-to", THEIRS)
    first = submit("meta.sh", meta(THEIRS, "echo meta > result; sleep 3; echo meta"))
    held = submit("held.sh", meta(THEIRS, "date > began"), "--hold-jid", f"{local},{first}")
    array = submit("array.sh", meta(THEIRS, "echo task $ARY_TASK_ID; sleep 2"), "--array-tid", "1-3")
    failing = submit("failing.sh", meta(THEIRS, "echo half > kept; exit 7"))
    endless = submit("endless.sh", meta(THEIRS, "echo begun; sleep 900"))
    jobs = {local, first, held, array, failing, endless}

    wait_until(lambda: state(endless) == "RUN", "the start", PATIENCE)
    wait_until(lambda: laptop.cloudqcli("log", endless) == "begun\n", "the log of a running job", PATIENCE)
    laptop.cloudqcli("cancel", endless)
    wait_until(lambda: laptop.open_jobs() == [], lambda: f"these jobs to end: {laptop.open_jobs()}", PATIENCE)
    states = {row["uuid"]: row["state"] for row in json.loads(laptop.cloudqcli("history", "--json"))}
    assert states == dict.fromkeys(jobs, "DONE") | {failing: "ERROR", endless: "DELETED"}
    # 1.2.0 writes a final state before the last logs (9).
    wait_until(lambda: laptop.cloudqcli("log", first) == "meta\n", "the log of an ended job", PATIENCE)
    assert laptop.cloudqcli("log", array, "--tid", "2") == "task 2\n"
    # 1.2.0 does not say why a job failed (6), nor its exit status (36).
    members = laptop.stat(failing)
    assert (members["error_msg"], members["exit_code"]) == ("", None)
    assert f"[{first}]" in laptop.cloudqcli("log", "--agent", THEIRS)
    for job_id in (first, failing):
        laptop.cloudqcli("stageout", job_id)
    assert (laptop.account.home / first / "result").read_text() == "meta\n"
    # 1.2.0 stages nothing out of a job that failed (6): what our client cannot fetch is not there.
    assert not (laptop.account.home / failing / "kept").exists()
    assert f"{failing}/output.zip" not in {entry.key for entry in real_store.list(f"{failing}/")}
    for job_id in jobs:
        laptop.cloudqcli("delete", job_id)
    # SeaweedFS lists a folder for a while after its last object was deleted.
    wait_until(lambda: json.loads(laptop.cloudqcli("history", "--json")) == [], "the empty bucket", PATIENCE)


def test_agents_of_both_share_a_bucket_and_leave_each_others_jobs_alone(
    laptop: Laptop, original: Original, our_agent: Account, original_agent: Account
) -> None:
    """Jobs that wait are looked at by both agents again and again: held ones, some for no agent."""

    def submit(run_on: str, *options: str) -> str:
        script = laptop.account.write("ours.sh", meta(run_on, "sleep 2; echo $SYSTEM"))
        return laptop.cloudqcli("submit", "--parsable", str(script), *options).strip()

    gate = submit(OURS)
    bare = laptop.account.write("bare.sh", "#!/bin/bash\n#$ run_on: ANY\necho $SYSTEM\n")
    expected = {gate: OURS, submit(THEIRS): THEIRS, submit(OURS, "--hold-jid", gate): OURS}
    expected[laptop.cloudqcli("submit", "--parsable", str(bare), "--hold-jid", gate).strip()] = OURS
    for system in (OURS, THEIRS):
        text = meta(system, "echo $SYSTEM")
        expected[original.submit("theirs.sh", text)] = system
        local = "#!/bin/bash\necho " + system + "\n"
        expected[original.submit("local.sh", local, "--submit_to", system)] = system
    # Without run_on no agent of 1.2.0 takes it (65).
    expected[original.submit("free.sh", "#!/bin/bash\necho $SYSTEM\n")] = OURS
    bare = laptop.account.write("nobodys.sh", "#!/bin/bash\n#$ run_on: elsewhere\ntrue\n")
    nobodys = laptop.cloudqcli("submit", "--parsable", str(bare)).strip()
    others = original.submit("nobodys.sh", meta("elsewhere", "true"))

    def open_ids() -> set[str]:
        return {row["uuid"] for row in json.loads(laptop.cloudqcli("list", "--json"))}

    wait_until(lambda: open_ids() == {nobodys, others}, lambda: f"{open_ids()} to end", PATIENCE)
    rows = {row["uuid"]: row for row in json.loads(laptop.cloudqcli("history", "--json"))}
    for job_id, system in expected.items():
        assert (rows[job_id]["state"], rows[job_id]["run_system"]) == ("DONE", system.lower()), rows[job_id]
        wait_until(partial(_has_log, laptop, job_id, f"{system}\n"), f"the log of {job_id}", 120)
    assert [laptop.stat(i)["state"] for i in (nobodys, others)] == ["INIT", "INIT"]
    assert "corrupted" not in original.cloudqcli("history")


def _has_log(laptop: Laptop, job_id: str, text: str) -> bool:
    return laptop.cloudqcli("log", job_id) == text


def _member(archive: Path, name: str) -> str:
    with zipfile.ZipFile(archive) as file:
        return file.read(name).decode("utf-8")
