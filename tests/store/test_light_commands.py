"""What the commands that are used most import: their time is that of their modules."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from cloudq.store import StoreAddress
from cloudq.store.s3_client import make_client

pytest.importorskip("obstore")

PROGRAM = """
import json, sys
from cloudq.client.cli import main
for argv in json.loads(sys.argv[1]):
    main(argv, prog_name="cloudqcli", standalone_mode=False)
    found = {"boto3", "botocore", "jinja2", "subprocess", *sys.argv[2:]} & {*sys.modules}
    assert not found, (argv, found)
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unmeasured_processes: None) -> Path:  # noqa: ARG001
    """A home without anything in it; what counts lines would import modules of its own."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    return tmp_path


def run(home: Path, commands: list[list[str]], *heavy: str) -> str:
    """Run commands in one process, which must import none of these modules; return what they print."""
    argv = [sys.executable, "-c", PROGRAM, json.dumps(commands), *heavy]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=home, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.usefixtures("s3_environment")
def test_the_usual_commands_import_no_boto3(
    moto_endpoint: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = f"light-{uuid.uuid4().hex[:12]}"
    make_client(StoreAddress(moto_endpoint, bucket)).create_bucket(Bucket=bucket)
    config = home / "config.ini"
    config.write_text(f"[default]\ncloudq_endpoint_url = {moto_endpoint}\ncloudq_bucket = {bucket}\n")
    monkeypatch.setenv("CLOUDQ_CONFIG", str(config))
    (home / "meta.sh").write_text("#!/bin/sh\n#$ run_on: sys1\necho\n")
    local = ["submit", "--submit-to", "sys1", "meta.sh"]
    commands = [["submit", "meta.sh"], local, ["stat", "@last"], ["log", "@last"], ["list"]]
    assert run(home, commands).count("meta.sh") > 3
    needless = ("concurrent", "cloudq.metascript", "cloudq.bundle.blobs", "cloudq.store.answers", "hashlib")
    run(home, [local], *needless)


def test_help_imports_no_store(home: Path) -> None:
    """Completion needs no Python at all: tests/client/test_completion.py."""
    run(home, [["--help"]], "obstore", "cloudq.bundle", "cloudq.config")
