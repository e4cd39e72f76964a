"""CloudQ at work on this computer: a local S3 server, an agent of type `local`, and the jobs of examples/.

Every command is shown as a user would type it, with its real output. All files are in a temporary
folder, which is removed at the end together with the agent and the server; nothing else is touched.
The exit status is 0 only if every job ended as it should.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
SERVER = ROOT / "tests" / "testbed" / "moto_locked.py"
BUCKET = "cloudq-demo"
PATIENCE = 60
"""Seconds within which all jobs must have ended."""


class DemoError(Exception):
    """A command failed, or a job did not end as it should."""


@dataclass(frozen=True)
class Shell:
    """Where the commands run: a folder, and an environment that knows no other CloudQ and no other AWS."""

    folder: Path
    environment: Mapping[str, str]

    def show(self, command: str) -> str:
        """Print a command, run it, print what it says on stdout, and return that."""
        print(f"\n$ {command}", flush=True)
        output = self.run(command)
        print(output, end="", flush=True)
        return output

    def run(self, command: str) -> str:
        """Run a command and return its stdout; stderr is the terminal's."""
        done = subprocess.run(
            ["sh", "-c", command],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            timeout=PATIENCE,
            check=False,
            encoding="utf-8",
        )
        if done.returncode != 0:
            raise DemoError(f"exit status {done.returncode}: {command}")
        return done.stdout


def main() -> int:
    """Run the demo and return its exit status."""
    signal.signal(signal.SIGTERM, _leave)
    try:
        with tempfile.TemporaryDirectory(prefix="cloudq-demo-") as name:
            shell = Shell(Path(name), demo_environment(Path(name)))
            shutil.copytree(ROOT / "examples", shell.folder, dirs_exist_ok=True)
            try:
                with s3_server(shell) as url, agent(shell, url):
                    use(shell)
            finally:
                end_left_overs(shell)
    except (DemoError, subprocess.TimeoutExpired) as error:
        print(f"\nThe demo failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped; nothing is left running.", file=sys.stderr)
        return 130
    print("\nThat was CloudQ. Nothing is left running. Your own cluster: see README.md.")
    return 0


def use(shell: Shell) -> None:
    """Submit the examples, wait for them, and look at what they left."""
    say("Jobs: a single one with an input file, an array, one that waits for the array, one that fails.")
    hello = submit(shell, "cloudqcli submit --script hello.sh --input inputs/words.txt")
    sweep = submit(shell, "cloudqcli submit --script sweep.sh --array-tid 1-4:1")
    collect = submit(shell, f"cloudqcli submit --script collect.sh --hold-jid {sweep}")
    fails = submit(shell, "cloudqcli submit --script fails.sh")
    shell.show("cloudqcli list")

    say("The agent fetches them from the bucket and runs them. A few seconds later:")
    wait_until_final(shell)
    shell.show("cloudqcli history")

    say("Logs and outputs come back through the bucket; an array job has a log for each task.")
    shell.show(f"cloudqcli log {hello}")
    shell.show(f"cloudqcli log {sweep} --tid 2")
    shell.show(f"cloudqcli stageout {sweep}")
    shell.show(f"cat {sweep}/result-*.txt")

    say("Why did the last one fail?")
    shell.show(f"cloudqcli log --error {fails}")
    shell.show(f"cloudqcli stat {fails}")
    check(shell, {hello: "DONE", sweep: "DONE", collect: "DONE", fails: "ERROR"})


def submit(shell: Shell, command: str) -> str:
    """Show a submit command and return the id of the new job."""
    answer = re.search(r"Job \((\S+)\)", shell.show(command))
    if not answer:
        raise DemoError("the job was not submitted")
    return answer[1]


def wait_until_final(shell: Shell) -> None:
    """Ask for the list of open jobs until it is empty."""
    end = time.monotonic() + PATIENCE
    while json.loads(shell.run("cloudqcli list --json")):
        if time.monotonic() > end:
            shell.show("cloudqcli list")
            shell.show("cloudqcli log --agent demo")
            raise DemoError(f"there are open jobs after {PATIENCE} s")
        time.sleep(0.5)


def check(shell: Shell, expected: Mapping[str, str]) -> None:
    """Compare the jobs' states with what they should be."""
    for job_id, state in expected.items():
        job = json.loads(shell.run(f"cloudqcli stat --json {job_id}"))
        if job["state"] != state:
            raise DemoError(f"{job['name']} ended as {job['state']} instead of {state}: {job['error_msg']}")


@contextmanager
def s3_server(shell: Shell) -> Iterator[str]:
    """Run an S3 server with an empty bucket, and yield its URL."""
    with (shell.folder / "s3.log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, str(SERVER), "--port", "0"],
            env=shell.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            encoding="utf-8",
        )
    try:
        url = server.stdout.readline().strip() if server.stdout else ""
        if not url:
            raise DemoError(f"the S3 server did not start: {(shell.folder / 's3.log').read_text()}")
        say(f"A bucket that client and agent both reach: {BUCKET} on a local S3 server, {url}")
        make_bucket(url, shell.environment)
        yield url
    finally:
        server.terminate()
        server.wait()


@contextmanager
def agent(shell: Shell, url: str) -> Iterator[None]:
    """Configure client and agent, and keep the agent running as a daemon meanwhile."""
    say("Configure the client, and the agent of a system called demo. It runs jobs on this computer.")
    store = f"--endpoint-url {url} --bucket {BUCKET}"
    shell.show(f"cloudqcli init --name laptop {store}")
    shell.show(f"cloudqd init --name demo --type local --daemon-interval 1 {store}")
    shell.show("cp project.ini resource.ini ~/.cloudq/client/")
    try:
        shell.show("cloudqd --daemon")
        yield
    except BaseException:
        with suppress(DemoError, subprocess.TimeoutExpired):
            shell.run("cloudqd stop")
        raise
    shell.show("cloudqd stop")


def end_left_overs(shell: Shell) -> None:
    """Kill what still runs with the demo's home: jobs, after the demo was interrupted."""
    mark = f"HOME={shell.environment['HOME']}".encode()
    for file in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if mark in file.read_bytes().split(b"\0"):
                os.kill(int(file.parent.name), signal.SIGKILL)


def make_bucket(url: str, environment: Mapping[str, str]) -> None:
    """Make the demo's bucket, as the administrator of a site would."""
    from boto3.session import Session

    Session().client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
    ).create_bucket(Bucket=BUCKET)


def demo_environment(folder: Path) -> dict[str, str]:
    """Return an environment with the commands on PATH, an own home, and keys for the local server."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith(("AWS_", "CLOUDQ_"))}
    home = folder / "home"
    home.mkdir()
    return {
        **kept,
        "HOME": str(home),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "AWS_ACCESS_KEY_ID": "demo",
        "AWS_SECRET_ACCESS_KEY": "demo",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def say(text: str) -> None:
    """Print a heading."""
    print(f"\n# {text}", flush=True)


def _leave(_signal: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
