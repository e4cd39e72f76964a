"""One script, every system: unchanged, it gives the same files, owners, logs and states everywhere.

Grid Engine, Slurm and the queue for hosts without a scheduler are real, and so are Apptainer and Docker.
PBS is the simulator of tests/pbs, which runs jobs for real.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from cloudq.bundle import Bundles
from cloudq.store import StoreAddress, open_store
from tests.pbs.commands import install
from tests.real.conftest import AGENT_USER, CLIENT_USER, ROOT, Account, make_account
from tests.real.test_acceptance import Laptop, wait_until

SCRIPT = r"""#!/bin/bash
#$ project: team
#$ resource: small
#$ walltime: 0:05:00
#$ container_img: docker://127.0.0.1:26850/testbed/busybox:1
#$ -l h_rt=600
#$ -N native
#PBS -N native
#SBATCH --job-name=native
export MARK="it's \"marked\" \$5 é"
cq_container_run "$CONTAINER_IMG0" sh -c '
    echo "task $ARY_TASK_ID of $ARY_TASK_FIRST-$ARY_TASK_LAST:$ARY_TASK_STEPSIZE as $(id -un)"
    echo "complaint of $ARY_TASK_ID" >&2
    { cat "$1/one.txt" "$1/sub folder/zwei ü.txt"; echo "$MARK <$2>"; } > "out $ARY_TASK_ID.txt"
    mkdir "made by $ARY_TASK_ID"
    test "$ARY_TASK_ID" != 5 || exit 7
' sh data 'a  "b" $c'
status=$?
stat -c '%U %G %F' "out $ARY_TASK_ID.txt" "made by $ARY_TASK_ID" > "owner-$ARY_TASK_ID"
exit $status"""
RESOURCES = {
    "gridengine": "-q all.q",
    "local": "this host",
    "pbs": "workq",
    "slurm": "-p main",
}
PROJECTS = {"slurm": "testacct"}
RUNTIMES = ("apptainer", "docker")
TASKS = (1, 3, 5)
OWNERS = f"{AGENT_USER} {AGENT_USER} regular file\n{AGENT_USER} {AGENT_USER} directory\n"

EXPECTED: dict[str, Any] = {
    "state": "ERROR",
    "error": "task 5: exit 7",
    "tasks": {"1": ("DONE", 0), "3": ("DONE", 0), "5": ("ERROR", 7)},
    "stdout": [f"task {task} of 1-5:2 as {AGENT_USER}\n" for task in TASKS],
    "complains": [True, True, True],
    "files": {
        "data/one.txt": "one\n",
        "data/sub folder/zwei ü.txt": "two\n",
        **{f"out {task}.txt": 'one\ntwo\nit\'s "marked" $5 é <a  "b" $c>\n' for task in TASKS},
        **{f"owner-{task}": OWNERS for task in TASKS},
    },
}


@lru_cache(maxsize=1)
def what_is_up() -> str:
    command = [str(ROOT / "tests" / "testbed" / "containers-up"), "--status"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


@dataclass(frozen=True)
class Place:
    """A system with a runtime, its agent and a laptop; nobody else uses their prefix of the bucket."""

    system: str
    runtime: str
    agent: Account
    laptop: Laptop
    bucket: StoreAddress

    def run(self) -> dict[str, Any]:
        """Start the agent, run the script there, and return what came of it."""
        where = ("--endpoint-url", self.bucket.endpoint_url, "--bucket", self.bucket.bucket,
                 "--prefix", f"{self.system}-{self.runtime}", "--profile", "default")  # fmt: skip
        self.agent.run(
            [
                "cloudqd",
                "init",
                "--name",
                self.system,
                "--type",
                self.system,
                "--daemon-interval",
                "2",
                *where,
            ]
        )
        self._configure(self.agent.home / ".cloudq/agent/config.ini")
        self.agent.run(["cloudqd", "--daemon"])
        try:
            self.laptop.cloudqcli("init", "--name", "laptop", *where)
            return self._result()
        finally:
            print((self.agent.home / ".cloudq/cloudqd.log").read_text()[-3000:])
            self.agent.run(["cloudqd", "stop"])

    def _configure(self, config: Path) -> None:
        text = config.read_text()
        project, resource = PROJECTS.get(self.system, ""), RESOURCES[self.system]
        text = text.replace("[projects]", f"[projects]\nteam = {project}")
        text = text.replace("[resources]", f"[resources]\nsmall = {resource}")
        text = re.sub(r"(?m)^#?\s*container_runtime\s*=.*\n", "", text)
        config.write_text(text.replace("[agent]", f"[agent]\ncontainer_runtime = {self.runtime}"))

    def _result(self) -> dict[str, Any]:
        account = self.laptop.account
        account.write("data/one.txt", "one\n")
        account.write("data/sub folder/zwei ü.txt", "two\n")
        script = account.write("job.sh", SCRIPT)
        bundles = Bundles(open_store(self.bucket), f"{self.system}-{self.runtime}/")
        wait_until(
            lambda: bundles.agents.presence(self.system) is not None, f"presence of {self.system}", 120
        )
        options = ("--input", "data", "--array_tid", "1-5:2")
        job_id = self.laptop.cloudqcli("submit", "--parsable", str(script), *options).strip()
        account.run(["cloudqcli", "wait", job_id], expect=None, timeout=300)
        members = self.laptop.stat(job_id)
        self.laptop.cloudqcli("stageout", job_id)
        files = _files(account.home / job_id)
        return {
            "state": members["state"],
            "error": members["error_msg"],
            "tasks": {
                i: (task["state"], task.get("exit_code")) for i, task in members["task_states"].items()
            },
            "stdout": [files.pop(f"stdout.{task}") for task in TASKS],
            "complains": [f"complaint of {task}\n" in files.pop(f"stderr.{task}") for task in TASKS],
            "files": files,
        }


def _files(folder: Path) -> dict[str, str]:
    """Return the contents of all files but the script and what it was translated to."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {
        str(path.relative_to(folder)): path.read_text(encoding="utf-8")
        for path in files
        if not path.name.startswith("job")
    }


@pytest.fixture(scope="session")
def pbs_commands(programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of the simulated PBS, for every account of this host."""
    root = Path(str(programs.parent) + "-pbs")
    shutil.rmtree(root, ignore_errors=True)
    for name in ("cloudq", "tests/pbs", "tests/data/pbs"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "tests" / "__init__.py").touch()
    (root / "bin").mkdir()
    install(root / "bin", python=str(programs / "python"), root=root)
    return root / "bin"


@pytest.mark.skipif(not shutil.which("qconf") or not shutil.which("sbatch"), reason="a scheduler is missing")
@pytest.mark.parametrize("s3_url", ["seaweedfs"], indirect=True)
def test_the_same_script_gives_the_same_everywhere(
    open_folder: Path, programs: Path, pbs_commands: Path, bucket: StoreAddress
) -> None:
    missing = [runtime for runtime in RUNTIMES if not re.search(rf"^{runtime} ", what_is_up(), re.MULTILINE)]
    if missing:
        pytest.skip(f"{', '.join(missing)} not up: tests/testbed/containers-up")
    places = []
    for system in RESOURCES:
        for runtime in RUNTIMES:
            folder = open_folder / f"{system}-{runtime}"
            folder.mkdir()
            agent = make_account(AGENT_USER, folder, programs)
            if system == "pbs":
                settings = {"PBS_SIMULATOR": str(agent.home / "pbs")}
                agent = replace(agent, settings=settings, commands=pbs_commands)
            laptop = Laptop(make_account(CLIENT_USER, folder, programs))
            places.append(Place(system, runtime, agent, laptop, bucket))
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(Place.run, places))
    table = {f"{place.system} {place.runtime}": result for place, result in zip(places, results)}
    faults = {
        f"{where}: {key}": (json.dumps(result[key], default=str), json.dumps(EXPECTED[key], default=str))
        for where, result in table.items()
        for key in EXPECTED
        if result[key] != EXPECTED[key]
    }
    assert not faults
