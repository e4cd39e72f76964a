"""A user with a folder, a configuration and a bucket in a directory."""

from __future__ import annotations

import inspect
import json
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Optional

import pytest
from click.testing import CliRunner, Result

from cloudq.bundle import MANIFEST, Bundles
from cloudq.client.cli import main
from cloudq.config import ClientConfig, load_client_config
from cloudq.job import ArrayRange, Job, JobKind, JobState
from cloudq.manifest import render_manifest
from cloudq.store import StoreAddress, open_store
from cloudq.store.memory import MemoryStore

NOW = datetime(2026, 11, 21, 22, 6, 26, tzinfo=timezone.utc)
META_SCRIPT = "#!/bin/sh\n#$ run_on: sys1\n#$ project: p1\n#$ resource: r1\necho hello\n"


@pytest.fixture
def bundles() -> Bundles:
    """An empty bucket in memory."""
    return Bundles(MemoryStore())


def put_job(bundles: Bundles, job_id: str = "a1", **values: Any) -> Job:
    """Store the manifest of a job in any state."""
    if isinstance(values.get("array_range"), str):
        values["array_range"] = ArrayRange.parse(values["array_range"])
    job = replace(Job(job_id, "job.sh", JobKind.META, submitted=NOW, run_on="sys1"), **values)
    bundles.write(job_id, MANIFEST, render_manifest(job))
    return job


def put_done_job(bundles: Bundles, job_id: str = "a1", **values: Any) -> Job:
    """Store the manifest of a job that our agent has run."""
    values = {"state": JobState.DONE, "run_system": "sys1", "claim_token": "c", **values}
    return put_job(bundles, job_id, **values)


def new_runner() -> CliRunner:
    """Make a runner that keeps stdout and stderr apart, as click does by itself from 8.2 on."""
    if "mix_stderr" in inspect.signature(CliRunner).parameters:
        return CliRunner(mix_stderr=False)  # type: ignore[call-arg]
    return CliRunner()


@dataclass(frozen=True)
class Laptop:
    """Where the user sits: runs commands, and looks into the bucket."""

    home: Path
    bundles: Bundles

    @property
    def config_file(self) -> Path:
        return self.home / ".cloudq/client/config.ini"

    @property
    def config(self) -> ClientConfig:
        return load_client_config(self.config_file)

    def run(self, *argv: str, status: int = 0, stdin: Optional[str] = None) -> Result:
        """Run a command that must end with this status."""
        result = new_runner().invoke(main, argv, input=stdin, prog_name="cloudqcli")
        assert result.exit_code == status, (result.output, result.exception)
        return result

    def answer(self, *argv: str) -> str:
        """Run a command that must succeed, and return what it says on stdout."""
        return self.run(*argv).stdout

    def json(self, *argv: str) -> Any:
        return json.loads(self.answer(*argv))

    def error(self, status: int, *argv: str) -> str:
        """Run a command that must fail and say nothing on stdout, and return what it says on stderr."""
        result = self.run(*argv, status=status)
        assert result.stdout == ""
        return result.stderr

    def write(self, name: str, text: str) -> str:
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return name


@pytest.fixture
def laptop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Laptop:
    """A configured client in an empty current directory."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("CLOUDQ_CONFIG", raising=False)
    (tmp_path / "bucket").mkdir()
    address = StoreAddress((tmp_path).as_uri(), "bucket")
    laptop = Laptop(home, Bundles(open_store(address)))
    folder = ".cloudq/client"
    laptop.write(f"{folder}/project.ini", "[p1]\nsys1 = group1\n")
    laptop.write(f"{folder}/resource.ini", "[r1]\nsys1 = -p gpu\n")
    laptop.write(
        f"{folder}/config.ini",
        f"[default]\ncloudq_endpoint_url = {address.endpoint_url}\ncloudq_bucket = bucket\n"
        "[client]\nproject_profile = project.ini\nresource_profile = resource.ini\n",
    )
    laptop.write("job.sh", META_SCRIPT)
    return laptop
