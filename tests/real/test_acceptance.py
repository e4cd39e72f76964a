"""The main job, end to end: fifty mixed jobs from one account to an agent of another, on real Slurm.

Every final state, exit reason, log and output file is compared with what the script did, and the
states with what Slurm's own accounting says.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional, Union

import pytest

from cloudq.store import StoreAddress
from tests.real.conftest import Account

SYSTEM = "Slurm1"
PATIENCE = 150.0
"""Seconds until all jobs are final; Slurm looks at time limits every 30 s."""

RESOURCE_INI = f"""[cpu]
{SYSTEM} = -p main --ntasks=1
[pair]
{SYSTEM} = -p main
[gpu]
{SYSTEM} = -p main --gres=gpu:1
[feature]
{SYSTEM} = intel
"""
PROJECT_INI = f"[team]\n{SYSTEM} = testacct\n"
ODD_FILES = r"""
printf data > 'a b.txt'; printf data > 'ünï çødé.txt'; printf data > './-dash'; : > empty
printf data > "$(printf 'new\nline')"; printf data > "quote'\"s"
mkdir -p sub/deep emptydir; printf x > sub/deep/x
ln -s 'a b.txt' link; ln -s /etc/hostname absolute; ln -s nowhere broken
printf '#!/bin/sh\n' > tool; chmod 755 tool; printf old > old; touch -d '1970-01-01 12:00' old
printf '\377' > "$(printf 'raw\377')"; mkfifo pipe
"""


@dataclass(frozen=True)
class Wish:
    """One job to submit, and how it must end.

    Attributes:
        script: The text of the script; `META` below is put before a meta script.
        options: Options of `cloudqcli submit`.
        name: Name of the script file.
        state, error, exit_code: What the manifest must say; `error` is a beginning.
        stdout: What the log must be (for an array: task id -> log).
        files: Files that `stageout` must bring, with their contents.
    """

    script: str
    options: tuple[str, ...] = ()
    name: str = "job.sh"
    state: str = "DONE"
    error: str = ""
    exit_code: Optional[int] = 0
    stdout: Optional[str] = None
    task_logs: Mapping[int, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    acts: tuple[str, ...] = ()


def meta(body: str, *directives: str) -> str:
    """Write a meta script for the system."""
    return "\n".join(["#!/bin/bash", f"#$ run_on: {SYSTEM}", *(f"#$ {d}" for d in directives), body, ""])


LOCAL = ("--submit-to", SYSTEM)
QUICK = ("project: team", "resource: cpu", "n_resource: 1", "walltime: 0:05:00")


def wishes() -> list[Wish]:
    """Return the jobs: meta and local, arrays, failing, killed, cancelled, large, odd."""
    plain = [
        Wish(
            meta(f"echo hello {i}; echo {i} > result.txt; echo $SYSTEM", *QUICK),
            name=f"plain{i}.sh",
            stdout=f"hello {i}\n{SYSTEM}\n",
            files={"result.txt": f"{i}\n"},
        )
        for i in range(12)
    ]
    local = [
        Wish(
            f"#!/bin/bash\n#SBATCH -J 'two words'\n#SBATCH -o elsewhere-%j.out\necho local {i}\n",
            (*LOCAL, "--submit-opt", "-p short --comment 'two words'"),
            name=f"local {i}.sbatch",
            stdout=f"local {i}\n",
        )
        for i in range(5)
    ]
    failing = [
        Wish(
            meta("echo out; echo why >&2; exit 7"), state="ERROR", error="exit 7", exit_code=7, stdout="out\n"
        )
        for _ in range(4)
    ]
    return [
        *plain,
        *local,
        *failing,
        Wish("#!/bin/sh\nexit 7\n", LOCAL, state="ERROR", error="exit 7", exit_code=7),
        Wish("echo no shebang\n", LOCAL, state="ERROR", error="sbatch:", exit_code=None),
        # bash records its own crash, and so ends with a status and not by the signal.
        Wish(meta("kill -SEGV $$"), state="ERROR", error="exit 139 (a command was killed", exit_code=139),
        Wish(meta("kill -KILL $$"), state="ERROR", error="killed by signal 9", exit_code=137),
        Wish(meta("no_such_command"), state="ERROR", error="exit 127", exit_code=127),
        Wish(meta("set -eu\nfalse\necho never"), state="ERROR", error="exit 1", exit_code=1, stdout=""),
        Wish(meta("", "other_opts: --begin=now+1"), state="DONE", stdout=""),
        *[_array("1-4", (1, 2, 3, 4)), _array("0-30:10", (0, 10, 20, 30)), _array("1-5%2", (1, 2, 3, 4, 5))],
        *[
            _array("7", (7,)),
            _array("1,3,8-12:2", (1, 3, 8, 10, 12)),
            _array("998-1002", tuple(range(998, 1003))),
        ],
        Wish(
            "#!/bin/bash\n#SBATCH -t 5\necho task $SLURM_ARRAY_TASK_ID\n",
            (*LOCAL, "--array_tid", "1-3"),
            task_logs={i: f"task {i}\n" for i in (1, 2, 3)},
        ),
        Wish(
            meta("echo task $ARY_TASK_ID; test $ARY_TASK_ID != 2 || exit 7"),
            ("--array-tid", "1-3"),
            state="ERROR",
            error="task 2: exit 7",
            exit_code=7,
            task_logs={i: f"task {i}\n" for i in (1, 2, 3)},
        ),
        Wish(
            meta("echo half > kept; echo started; sleep 300", "walltime: 0:01:00"),
            state="TIMEOUT",
            error="walltime 0:01:00 exceeded",
            exit_code=None,
            stdout=None,
            files={"kept": "half\n"},
            acts=("expire",),
        ),
        Wish(meta("echo", "other_opts: --hold"), state="DELETED", exit_code=None, acts=("cancel",)),
        Wish(
            meta("echo", "other_opts: --begin=now+2hours"), state="DELETED", exit_code=None, acts=("cancel",)
        ),
        Wish(
            meta("echo half > kept; sleep 300"),
            state="DELETED",
            exit_code=None,
            files={"kept": "half\n"},
            acts=("cancel running",),
        ),
        Wish(
            meta("sleep 300"),
            ("--array_tid", "1-3"),
            state="DELETED",
            exit_code=None,
            acts=("cancel running",),
        ),
        Wish(meta("head -c 209715200 /dev/urandom > big; sha256sum < big | cut -d' ' -f1"), name="big.sh"),
        Wish(meta(ODD_FILES), name="odd names.sh"),
        Wish(meta("yes line | head -n 300000"), name="long.sh", stdout="line\n" * 300000),
        Wish(
            meta("cat input.txt data/*"), ("--input", "input.txt", "--input", "data"), stdout="in\none\ntwo\n"
        ),
        Wish(meta("cat deep/er/x"), ("--input", "input.txt:deep/er/x"), stdout="in\n"),
        Wish(meta("echo $SLURM_JOB_NUM_NODES", "resource: pair", "n_resource: 2"), stdout="2\n"),
        Wish(meta("echo ${CUDA_VISIBLE_DEVICES:-none}", "resource: gpu"), name="gpu.sh"),
        Wish(
            meta("case $SLURMD_NODENAME in n1|n2) echo intel;; esac", "resource: feature"), stdout="intel\n"
        ),
        Wish("#!/bin/bash\n#$ resource: cpu\necho any\n", name="any.sh", stdout="any\n"),
    ]


def _array(array_range: str, task_ids: tuple[int, ...]) -> Wish:
    body = "echo task $ARY_TASK_ID; echo $ARY_TASK_ID > result-$ARY_TASK_ID.txt"
    return Wish(
        meta(body, *QUICK),
        ("--array_tid", array_range),
        task_logs={i: f"task {i}\n" for i in task_ids},
        files={f"result-{i}.txt": f"{i}\n" for i in task_ids},
    )


@dataclass
class Laptop:
    """The person who submits; each answer is what `cloudqcli` printed."""

    account: Account

    def cloudqcli(self, *argv: str, expect: Optional[int] = 0) -> str:
        return self.account.run(["cloudqcli", *argv], expect=expect).stdout

    def open_jobs(self) -> list[tuple[str, str]]:
        """Return name and state of the jobs that have not ended."""
        return [(job["name"], job["state"]) for job in json.loads(self.cloudqcli("list", "--json"))]

    def stat(self, job_id: str) -> dict[str, Any]:
        members: dict[str, Any] = json.loads(self.cloudqcli("stat", job_id, "--json"))
        return members


def wait_until(
    condition: Callable[[], bool], what: Union[str, Callable[[], str]], patience: float = PATIENCE
) -> None:
    """Wait for something that only asking can tell."""
    end = time.monotonic() + patience
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"waited {patience:.0f} s in vain for {what if isinstance(what, str) else what()}")
        time.sleep(0.5)


@pytest.fixture
def laptop(client_account: Account, bucket: StoreAddress) -> Laptop:
    """A client with configuration, definitions and inputs."""
    laptop = Laptop(client_account)
    laptop.cloudqcli(
        "init", "--name", "laptop", "--endpoint-url", bucket.endpoint_url, "--bucket", bucket.bucket,
        "--profile", "default",
    )  # fmt: skip
    client_account.write(".cloudq/client/project.ini", PROJECT_INI)
    client_account.write(".cloudq/client/resource.ini", RESOURCE_INI)
    client_account.write("input.txt", "in\n")
    client_account.write("data/1", "one\n")
    client_account.write("data/2", "two\n")
    return laptop


@pytest.fixture
def agent(agent_account: Account, bucket: StoreAddress) -> Iterator[Account]:
    """A daemon of another account."""
    agent_account.run(
        ["cloudqd", "init", "--name", SYSTEM, "--type", "slurm", "--endpoint-url", bucket.endpoint_url,
         "--bucket", bucket.bucket, "--profile", "default"]
    )  # fmt: skip
    agent_account.run(["cloudqd", "--daemon"])
    yield agent_account
    log = (agent_account.home / ".cloudq/cloudqd.log").read_text()
    print(log[-20000:])
    agent_account.run(["cloudqd", "stop"])
    assert "Traceback" not in log


@pytest.mark.parametrize("s3_url", ["seaweedfs"], indirect=True)
def test_fifty_mixed_jobs_end_as_they_really_did(laptop: Laptop, agent: Account) -> None:
    jobs: dict[str, Wish] = {}
    for wish in wishes():
        script = laptop.account.write(f"scripts/{len(jobs)}/{wish.name}", wish.script)
        job_id = laptop.cloudqcli("submit", "--parsable", str(script), *wish.options).strip()
        jobs[job_id] = wish
    arrays = [job_id for job_id, wish in jobs.items() if wish.task_logs]
    held = laptop.account.write("scripts/held.sh", meta("date +%s > began"))
    held_id = laptop.cloudqcli(
        "submit", "--parsable", "--script", str(held), "--hold_jid", f"{arrays[0]},{arrays[1]}"
    ).strip()
    jobs[held_id] = Wish(meta(""))
    assert len(jobs) >= 50
    for job_id, wish in jobs.items():
        for act in wish.acts:
            _act(laptop, job_id, act)
    wait_until(lambda: laptop.open_jobs() == [], lambda: f"these jobs to end: {laptop.open_jobs()}")
    history = {row["uuid"] for row in json.loads(laptop.cloudqcli("history", "--json"))}
    assert history == set(jobs)
    with ThreadPoolExecutor(2) as pool:
        checked = pool.map(lambda job: list(_faults(laptop, *job)), jobs.items())
        faults = [fault for found in checked for fault in found]
    assert not faults, "\n".join(faults)
    _check_big(laptop, next(i for i, w in jobs.items() if w.name == "big.sh"))
    _check_odd_files(laptop, next(i for i, w in jobs.items() if w.name == "odd names.sh"))
    last_end = max(laptop.stat(job_id)["time_finish"] for job_id in arrays[:2])
    assert laptop.stat(held_id)["time_start"] >= last_end
    assert list((agent.home / ".cloudq/cache").iterdir()) == []
    assert list((agent.home / ".cloudq/spool").iterdir()) == []
    for job_id in jobs:
        laptop.cloudqcli("delete", job_id)


def test_a_running_jobs_log_is_there_before_it_ends(laptop: Laptop, agent: Account) -> None:
    script = laptop.account.write(
        "live.sh", meta("echo first; while ! test -e stop; do sleep 0.2; done; echo last")
    )
    job_id = laptop.cloudqcli("submit", "--parsable", str(script)).strip()
    wait_until(lambda: laptop.cloudqcli("log", job_id) == "first\n", "the first line of the log", 150)
    assert laptop.stat(job_id)["state"] == "RUN"
    (agent.home / f".cloudq/cache/{job_id}/stop").touch()
    wait_until(lambda: laptop.stat(job_id)["state"] == "DONE", "the end of the job", 150)
    assert laptop.cloudqcli("log", job_id) == "first\nlast\n"


def test_an_agent_that_is_stopped_leaves_its_jobs_running_and_finds_them_again(
    laptop: Laptop, agent: Account
) -> None:
    script = laptop.account.write("on.sh", meta("while ! test -e stop; do sleep 0.2; done; exit 3"))
    job_id = laptop.cloudqcli("submit", "--parsable", str(script)).strip()
    wait_until(lambda: laptop.stat(job_id)["state"] == "RUN", "the start", 150)
    begin = time.monotonic()
    agent.run(["cloudqd", "stop"])
    assert time.monotonic() - begin < 60
    (agent.home / f".cloudq/cache/{job_id}/stop").touch()
    native_id = laptop.stat(job_id)["jobid"]
    wait_until(lambda: _sacct(native_id).startswith("FAILED"), "Slurm's record of the end", 150)
    agent.run(["cloudqd", "--daemon"])
    wait_until(lambda: laptop.stat(job_id)["state"] == "ERROR", "the end of the job", 150)
    assert laptop.stat(job_id)["error_msg"] == "exit 3"


def test_a_second_agent_of_the_name_is_refused_with_the_pid_of_the_first(agent: Account) -> None:
    pid = json.loads((agent.home / ".cloudq/slurm1.pid").read_text())["pid"]
    refused = agent.run(["cloudqd", "--daemon"], expect=1)
    assert f"pid {pid}" in refused.stderr
    assert f"pid {pid}" in agent.run(["cloudqd", "status"]).stdout


def _act(laptop: Laptop, job_id: str, act: str) -> None:
    """Cancel a job, or have Slurm end it at its time limit without waiting for a minute to pass."""
    wanted = "READY" if act == "cancel" else "RUN"
    wait_until(lambda: laptop.stat(job_id)["state"] == wanted, f"{job_id} {wanted} before: {act}")
    if act == "expire":
        subprocess.run(
            ["scontrol", "update", f"JobId={laptop.stat(job_id)['jobid']}", "EndTime=now+1"], check=True
        )
    else:
        laptop.cloudqcli("cancel", "--id", job_id)


def _faults(laptop: Laptop, job_id: str, wish: Wish) -> Iterator[str]:
    """Say where a job is not as it should be."""
    members = laptop.stat(job_id)
    where = f"{job_id} {wish.name} {wish.options}: "
    if members["state"] != wish.state or not members["error_msg"].startswith(wish.error):
        yield f"{where}{members['state']} {members['error_msg']!r}, expected {wish.state} {wish.error!r}"
    elif members["exit_code"] != wish.exit_code:
        yield f"{where}exit code {members['exit_code']!r}, expected {wish.exit_code!r}"
    if wish.error == "" and members["error_msg"]:
        yield f"{where}unexpected error {members['error_msg']!r}"
    if members["jobid"] and (says := _sacct_at_rest(members["jobid"])) not in _SLURM_STATES[wish.state]:
        yield f"{where}{wish.state}, but Slurm says {says}"
    if wish.stdout is not None and (log := laptop.cloudqcli("log", job_id)) != wish.stdout:
        yield f"{where}stdout {log[:200]!r}"
    for task_id, text in wish.task_logs.items():
        if (log := laptop.cloudqcli("log", job_id, "--tid", str(task_id))) != text:
            yield f"{where}stdout of task {task_id} {log[:200]!r}"
    laptop.cloudqcli("stageout", job_id)
    for name, text in wish.files.items():
        if (got := (laptop.account.home / job_id / name).read_text()) != text:
            yield f"{where}file {name} {got[:200]!r}"


_SLURM_STATES = {
    "DONE": ("COMPLETED",),
    "ERROR": ("FAILED", "COMPLETED FAILED"),
    "TIMEOUT": ("TIMEOUT",),
    "DELETED": ("CANCELLED",),
}


def _sacct(native_id: str) -> str:
    """Return the states that Slurm's accounting has for a job and its tasks, each once."""
    done = subprocess.run(
        ["sacct", "-X", "-P", "-n", "-j", native_id, "--format=State"],
        capture_output=True,
        text=True,
        check=True,
    )
    return " ".join(sorted({line.split()[0] for line in done.stdout.splitlines() if line.strip()}))


def _sacct_at_rest(native_id: str) -> str:
    """Return the states when all tasks have ended in the accounts, too, which lag behind the scheduler."""
    end = time.monotonic() + 60
    while True:
        states = _sacct(native_id)
        ended = states and not {"PENDING", "RUNNING", "COMPLETING"} & set(states.split())
        if ended or time.monotonic() > end:
            return states
        time.sleep(0.5)


def _check_big(laptop: Laptop, job_id: str) -> None:
    big = laptop.account.home / job_id / "big"
    done = subprocess.run(["sha256sum", str(big)], capture_output=True, text=True, check=True)
    assert big.stat().st_size == 209715200
    assert laptop.cloudqcli("log", job_id).strip() == done.stdout.split()[0]


def _check_odd_files(laptop: Laptop, job_id: str) -> None:
    folder = os.fsencode(laptop.account.home / job_id)
    names = {os.fsencode(path.name) for path in Path(os.fsdecode(folder)).iterdir()}
    expected = {
        *("a b.txt", "ünï çødé.txt", "-dash", "empty", "new\nline", "quote'\"s", "sub", "emptydir"),
        *("link", "absolute", "broken", "tool", "old"),
    }
    assert {os.fsencode(name) for name in expected} <= names
    assert b"pipe" not in names
    path = Path(os.fsdecode(folder))
    assert (path / "link").readlink() == Path("a b.txt")
    assert (path / "absolute").readlink() == Path("/etc/hostname")
    assert (path / "broken").is_symlink()
    assert os.access(path / "tool", os.X_OK)
    assert (path / "sub/deep/x").read_text() == "x"
    assert (path / "empty").stat().st_size == 0
    assert list((path / "emptydir").iterdir()) == []
