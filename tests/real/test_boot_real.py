"""The start of a head node: its real script, in a namespace, until the agent that it starts has run a job."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from cloudq.builder.boot import setup_files
from cloudq.builder.plan import JobStore, Plan
from cloudq.builder.presets import OPERATING_SYSTEMS, QueueOptions, load_preset
from cloudq.builder.wheelhouse import agent_archive
from cloudq.bundle import Bundles
from cloudq.job import Job, JobKind, JobState, new_job_id
from cloudq.store import StoreAddress, open_store
from tests.real.conftest import AGENT_USER, ROOT, setting

# What AWS's own command does for the start script: fetch from the set-up bucket, and tell the secret.
_AWS = """#!/bin/sh
if [ "$1" = secretsmanager ]; then
    printf '{"Version": 1, "AccessKeyId": "%s", "SecretAccessKey": "%s"}'
elif [ "$1 $2" = "s3 cp" ]; then
    cp "%s/${4#s3://setup/cloudq/}" "$5"
else
    echo "aws $*: not known here" >&2
    exit 255
fi
"""


@pytest.fixture
def head_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bundles]:
    """Start a head node whose jobs come from Ceph; give its bucket."""
    access, secret = setting("CLOUDQ_TEST_ACCESS_KEY"), setting("CLOUDQ_TEST_SECRET_KEY")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", access)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    endpoint, prefix = setting("CLOUDQ_TEST_CEPH"), f"{new_job_id()}/"
    bucket = f"boot-{new_job_id()}"
    _make_bucket(endpoint, bucket)
    monkeypatch.setitem(OPERATING_SYSTEMS, "ubuntu2404", AGENT_USER)
    folder = tmp_path / "setup"
    folder.mkdir()
    for name, data in _files(
        JobStore(endpoint, bucket, prefix, "arn:aws:secretsmanager:xx:1:secret:s")
    ).items():
        (folder / name).write_bytes(data)
    (folder / "aws").write_text(_AWS % (access, secret, folder))
    yield from _booted(folder, Bundles(open_store(StoreAddress(endpoint, bucket, "")), prefix))


def _files(store: JobStore) -> dict[str, bytes]:
    preset = replace(
        load_preset("default", Path("/nonexistent")),
        queues=(QueueOptions("main", ("c5.xlarge",), 4),),
        apptainer=False,
    )
    plan = Plan("bootlab", preset, store, timedelta(hours=1), timedelta(hours=1))
    until = datetime.now(timezone.utc) + plan.lease
    return setup_files(
        plan, setup_url="s3://setup/cloudq", region="xx", agent=agent_archive(), lease_until=until
    )


def _make_bucket(endpoint: str, bucket: str) -> None:
    from cloudq.store.s3_client import make_client

    make_client(StoreAddress(endpoint, bucket)).create_bucket(Bucket=bucket)


def _booted(folder: Path, bundles: Bundles) -> Iterator[Bundles]:
    directory = Path(pwd.getpwnam(AGENT_USER).pw_dir) / ".cloudq"
    there_before = directory.exists()
    namespace = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
    script = [str(ROOT / "tests/testbed/boot-namespace"), str(folder), AGENT_USER]
    with subprocess.Popen(
        [*namespace, *script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            assert process.stdout is not None
            said = []
            for line in process.stdout:
                said.append(line)
                if line == "booted\n":
                    break
            assert said[-1:] == ["booted\n"], "".join(said)
            yield bundles
        finally:
            process.kill()
    if not there_before:
        shutil.rmtree(directory, ignore_errors=True)
    bundles.store.delete([entry.key for entry in bundles.store.list("")])


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="needs namespaces")
def test_the_agent_that_a_head_node_starts_runs_a_job_and_publishes_its_queues(head_node: Bundles) -> None:
    script = b"#!/bin/bash\n#$ run_on: bootlab\n#$ resource: c5.xlarge\n#$ n_resource: 1\nid -un > who\n"
    job = Job(new_job_id(), "job.sh", JobKind.META, run_on="bootlab")
    head_node.write(job.id, job.name, script)
    head_node.markers.notify(head_node.create(job).job)
    end = time.monotonic() + 300
    while not head_node.load(job.id).job.state.final:
        assert time.monotonic() < end, f"{head_node.load(job.id).job} after 300 s"
        time.sleep(0.5)
    assert head_node.load(job.id).job.state is JobState.DONE
    presence = head_node.agents.presence("bootlab")
    assert presence is not None
    assert presence.resources == {"main": "-p main", "c5.xlarge": "-p main"}
