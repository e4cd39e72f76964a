"""The agent as a process: `cloudqd` in its forms, on a directory store and this host's own queue."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import boto3
import pytest

from cloudq.bundle import Bundles
from cloudq.job import Job, JobKind, JobState, new_job_id
from cloudq.store import StoreAddress, open_store
from cloudq.store.s3_client import make_client

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="agents run on POSIX systems")

PROGRAM = [sys.executable, "-c", "from cloudq.agent.cli import main; main(prog_name='cloudqd')"]


@dataclass
class Host:
    """A home folder with an agent's configuration."""

    home: Path
    keys: dict[str, str] = field(default_factory=dict)

    @property
    def bundles(self) -> Bundles:
        return Bundles(open_store(StoreAddress(self.store_url, "bucket")))

    @property
    def store_url(self) -> str:
        return f"file://{self.home}/store"

    def neighbour(self, name: str) -> Host:
        """Make another home with an agent of the same name on the same bucket."""
        config = (self.home / ".cloudq/agent/config.ini").read_text()
        home = self.home / name
        (home / ".cloudq/agent").mkdir(parents=True, mode=0o700)
        (home / "store").symlink_to(self.home / "store")
        file = home / ".cloudq/agent/config.ini"
        file.write_text(config.replace(str(self.home / "cloudq"), str(home / "cloudq")))
        return Host(home)

    @property
    def log(self) -> Path:
        return self.home / "cloudq" / "cloudqd.log"

    def cloudqd(self, *options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*PROGRAM, *options],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def start(self, *options: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*PROGRAM, *options], env=self._environment, stderr=subprocess.PIPE, text=True
        )

    def submit(self, script: bytes) -> Job:
        job = Job(new_job_id(), "job.sh", JobKind.LOCAL, submit_to="demo")
        self.bundles.write(job.id, job.name, script)
        job = self.bundles.create(job).job
        self.bundles.markers.notify(job)
        return job

    def state(self, job: Job) -> JobState:
        return self.bundles.load(job.id).job.state

    @property
    def _environment(self) -> dict[str, str]:
        folder = str(Path(__file__).resolve().parents[2])
        return {**os.environ, **self.keys, "HOME": str(self.home), "PYTHONPATH": folder}


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path)
    (tmp_path / "store").mkdir()
    written = host.cloudqd(
        *("init", "--name", "demo", "--type", "local", "--endpoint-url", f"file://{tmp_path}/store"),
        *("--bucket", "bucket", "--daemon-interval", "1", "--directory", str(tmp_path / "cloudq")),
    )
    assert written.returncode == 0, written.stderr
    yield host
    host.cloudqd("stop")


def _wait_until(condition: Callable[[], bool]) -> None:
    """Wait for what another process does."""
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end, "waited 120 s in vain"
        time.sleep(0.05)


def test_one_pass_takes_a_job_and_the_next_ends_it(host: Host) -> None:
    job = host.submit(b"#!/bin/sh\necho done > result\n")
    done = host.cloudqd()
    assert (done.returncode, done.stdout, done.stderr) == (0, "Agent succeeded.\n", "")
    assert host.state(job) is not JobState.INIT
    _wait_until(lambda: host.cloudqd().returncode == 0 and host.state(job) is JobState.DONE)
    assert host.bundles.agents.presence("demo") is not None


@pytest.mark.usefixtures("s3_environment")
def test_a_daemon_speaks_to_an_s3_server(host: Host, moto_endpoint: str) -> None:
    """The threads of the S3 library do not survive a fork: whoever asked before it would wait for ever."""
    bucket = f"daemon-{new_job_id()}"
    host.keys.update(AWS_ACCESS_KEY_ID="testing", AWS_SECRET_ACCESS_KEY="testing", AWS_CONFIG_FILE=os.devnull)
    config = host.home / ".cloudq/agent/config.ini"
    text = config.read_text().replace(f"file://{host.home}/store", moto_endpoint)
    config.write_text(text.replace("cloudq_bucket = bucket", f"cloudq_bucket = {bucket}"))
    refused = host.cloudqd("--daemon")
    assert (refused.returncode, refused.stderr.partition("\n")[0]) == (
        4,
        f"Error: s3://{bucket} at {moto_endpoint}: cannot read 'agent/.systems/demo.json': "
        "no such bucket (NoSuchBucket 404)",
    )
    make_client(StoreAddress(moto_endpoint, bucket)).create_bucket(Bucket=bucket)
    assert host.cloudqd("--daemon").returncode == 0
    bundles = Bundles(open_store(StoreAddress(moto_endpoint, bucket)))
    _wait_until(lambda: bundles.agents.presence("demo") is not None)


def test_a_daemon_detaches_runs_a_job_and_is_stopped(host: Host) -> None:
    """Defect 98."""
    assert host.cloudqd("--daemon").returncode == 0
    assert host.cloudqd("status").returncode == 0
    job = host.submit(b"#!/bin/sh\nexit 7\n")
    _wait_until(lambda: host.state(job) is JobState.ERROR)
    assert host.bundles.load(job.id).job.error == "exit 7"
    pid = json.loads((host.home / "cloudq/demo.pid").read_text())["pid"]
    stopped = host.cloudqd("stop")
    assert stopped.stdout == f"Agent demo (pid {pid}) has stopped.\n"
    assert host.cloudqd("status").returncode == 1
    presence = host.bundles.agents.presence("demo")
    assert presence is not None
    assert presence.stopped


def test_a_second_agent_of_the_name_is_refused(host: Host) -> None:
    """Defect 98: there is a lock against a second one."""
    host.cloudqd("--daemon")
    _wait_until(lambda: host.cloudqd("status").returncode == 0)
    pid = json.loads((host.home / "cloudq/demo.pid").read_text())["pid"]
    for options in (["--daemon"], ["--foreground"], []):
        refused = host.cloudqd(*options)
        assert refused.returncode == 1
        assert refused.stderr.startswith(f"Error: agent demo is running already: pid {pid} on ")


def test_an_agent_with_another_folder_stands_by_until_the_first_is_gone(host: Host, tmp_path: Path) -> None:
    """Two login nodes that do not share a home. The first comes back, and ends what it had begun."""
    config = host.home / ".cloudq/agent/config.ini"
    config.write_text(config.read_text().replace("[agent]", "[agent]\nheartbeat_interval = 3"))
    first = host.start("--foreground")
    held = host.submit(b"#!/bin/sh\nwhile ! test -e stop; do sleep 0.1; done\n")
    _wait_until(lambda: host.state(held) is JobState.RUN)
    other = host.neighbour("second")
    assert other.cloudqd("--daemon").stdout.startswith(
        f"Standing by: agent demo is running already: pid {first.pid} on "
    )
    _wait_until(lambda: "standing by" in other.log.read_text())
    first.kill()
    first.wait()
    job = other.submit(b"#!/bin/sh\n")
    _wait_until(lambda: other.state(job) is JobState.DONE)
    assert "taking over" in other.log.read_text()
    assert other.bundles.load(job.id).job.work_dir.startswith(str(other.home))
    assert host.state(held) is JobState.RUN
    again = host.start("--foreground")
    (Path(host.bundles.load(held.id).job.work_dir) / "stop").touch()
    _wait_until(lambda: host.state(held) is JobState.DONE)
    again.terminate()
    again.wait(timeout=60)
    other.cloudqd("stop")


def test_a_foreground_agent_ends_on_sigterm_and_leaves_the_job_running(host: Host) -> None:
    agent = host.start("--foreground")
    job = host.submit(b"#!/bin/sh\nwhile ! test -e stop; do sleep 0.1; done\n")
    _wait_until(lambda: host.state(job) is JobState.RUN)
    agent.send_signal(signal.SIGTERM)
    begin = time.monotonic()
    assert agent.wait(timeout=60) == 0
    assert time.monotonic() - begin < 40
    work_dir = Path(host.bundles.load(job.id).job.work_dir)
    (work_dir / "stop").touch()
    again = host.start("--foreground")
    _wait_until(lambda: host.state(job) is JobState.DONE)
    again.terminate()
    again.wait(timeout=60)


def test_sighup_reopens_the_log_and_a_restart_keeps_it(host: Host) -> None:
    """Defect 95: the log is never begun anew by itself."""
    agent = host.start("--foreground")
    _wait_until(lambda: host.log.exists() and host.log.stat().st_size > 0)
    moved = host.log.with_suffix(".old")
    host.log.rename(moved)
    agent.send_signal(signal.SIGHUP)
    _wait_until(host.log.exists)
    agent.terminate()
    agent.wait(timeout=60)
    first = host.log.read_text()
    assert "stopped" in first
    host.cloudqd()
    assert host.log.read_text().startswith(first)
    assert host.log.stat().st_mode & 0o077 == 0


def test_an_unknown_type_of_scheduler_is_one_line(host: Host) -> None:
    config = host.home / ".cloudq/agent/config.ini"
    config.write_text(config.read_text().replace("type = local", "type = lsf"))
    refused = host.cloudqd("--daemon")
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"Error: {config}: [agent] type: expected one of ")
    assert refused.stderr.endswith(", got 'lsf'\n")
    assert refused.stderr.count("\n") == 1


def test_a_store_that_is_away_is_one_line_and_status_4(host: Host) -> None:
    (host.home / "store").rmdir()
    refused = host.cloudqd("--daemon")
    assert refused.returncode == 4
    assert refused.stderr.count("\n") <= 2
    assert "no such directory" in refused.stderr


def test_sigterm_is_obeyed_while_the_store_hangs(host: Host) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        config = host.home / ".cloudq/agent/config.ini"
        config.write_text(config.read_text().replace(f"file://{host.home}/store", url))
        host.keys = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"}
        agent = host.start("--foreground")
        silent.settimeout(120)
        connection, _ = silent.accept()
        with connection:
            agent.terminate()
            begin = time.monotonic()
            assert agent.wait(timeout=60) == 0
            assert time.monotonic() - begin < 40


def test_an_event_wakes_an_idle_agent(host: Host, moto_endpoint: str, s3_environment: None) -> None:
    make: Any = boto3.client
    sqs = make("sqs", endpoint_url=moto_endpoint)
    url = sqs.create_queue(QueueName="wakes")["QueueUrl"]
    file = host.home / ".cloudq/agent/config.ini"
    text = file.read_text().replace("daemon_interval = 1", "daemon_interval = 600")
    file.write_text(text.replace("# idle_interval = 15", f"idle_interval = 600\nevents_queue_url = {url}"))
    with host.start("--foreground") as agent:
        _wait_until(lambda: bool(host.bundles.agents.presences()))
        job = host.submit(b"#!/bin/sh\n")
        sqs.send_message(QueueUrl=url, MessageBody="{}")
        _wait_until(lambda: host.state(job) is not JobState.INIT)
        agent.send_signal(signal.SIGTERM)
        assert agent.wait(60) == 0


def test_an_agent_ends_at_the_term_of_its_system_with_the_outputs_saved(host: Host) -> None:
    config = host.home / ".cloudq/agent/config.ini"
    term, end = host.home / "term", host.home / "end"
    config.write_text(
        config.read_text().replace("[agent]", f"[agent]\nterm_file = {term}\nend_file = {end}", 1)
    )
    job = host.submit(b"#!/bin/sh\necho kept > result\nsleep 600\n")
    agent = host.start("--foreground")
    try:
        _wait_until(lambda: host.state(job) is JobState.RUN)
        term.write_text(datetime.now(timezone.utc).isoformat())
        assert agent.wait(60) == 0
    finally:
        agent.kill()
        agent.communicate()
    assert host.state(job) is JobState.DELETED
    assert "output.zip" in host.bundles.entries(job.id)
    assert end.exists()


def test_an_agent_without_jobs_ends_when_it_is_asked_to_drain(host: Host) -> None:
    config = host.home / ".cloudq/agent/config.ini"
    term = host.home / "term"
    config.write_text(config.read_text().replace("[agent]", f"[agent]\nterm_file = {term}", 1))
    term.write_text("2999-01-01T00:00:00+00:00\ndrain\n")
    template = config.parent / "templates" / "parts" / "modules.sh"
    template.parent.mkdir(parents=True)
    template.write_text("module load site\n")
    assert host.cloudqd("--foreground").returncode == 0
    published = host.bundles.agents.presence("demo")
    assert published is not None
    assert published.stopped
    assert published.templates == ("parts/modules.sh",)
