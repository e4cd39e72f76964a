"""A simulated AWS in this process (moto, with the patches for ParallelCluster), and a person who uses it."""

from __future__ import annotations

import json
import os
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from cloudq.builder.cli import main
from tests.client.conftest import new_runner
from tests.servers import serving
from tests.testbed.moto_locked import make_moto_server

REGION = "eu-west-1"
_FAKE = Path(__file__).parent / "fake_pcluster.py"


@contextmanager
def moto_here() -> Iterator[str]:
    """Serve all of AWS that moto knows from a thread of this process, and give the URL."""
    from tests.testbed.pcluster.moto_pcluster import patch

    patch()  # type: ignore[no-untyped-call]
    # Reading its 1,300 images takes most of the time of a reset.
    os.environ["MOTO_EC2_LOAD_DEFAULT_AMIS"] = "false"
    server = make_moto_server()
    try:
        with serving(server):
            yield f"http://127.0.0.1:{server.port}"
    finally:
        del os.environ["MOTO_EC2_LOAD_DEFAULT_AMIS"]


@dataclass
class Desk:
    """Where the person sits: a home folder, a fake pcluster on PATH, commands run in this process."""

    home: Path
    url: str

    def run(self, *words: str, typed: str = "") -> Result:
        return new_runner().invoke(main, words, prog_name="cloudqaws", input=typed)

    def create(self, name: str, *words: str) -> Result:
        return self.run("create", name, "--cs-bucket", "jobs", "--zone", f"{REGION}a", "--yes", *words)

    def play(self, **world: object) -> None:
        """Say how long stacks take and how they fail; see `moto_pcluster`."""
        (self.home / "sim.json").write_text(json.dumps(world), encoding="utf-8")

    def refuse(self, answer: str) -> None:
        """Let pcluster answer with this recorded refusal, or no longer."""
        if answer:
            (self.home / "refused").write_text(answer, encoding="utf-8")
        else:
            (self.home / "refused").unlink()

    def client(self, service: str) -> Any:
        from boto3.session import Session

        session = Session("x", "x", region_name=REGION)
        return session.client(service, endpoint_url=self.url)  # type: ignore[call-overload]

    def clear(self) -> None:
        """Forget everything that there is in the account."""
        request = urllib.request.Request(f"{self.url}/moto-api/reset", data=b"", method="POST")
        urllib.request.urlopen(request).close()

    def stacks(self) -> set[str]:
        return {each["StackName"] for each in self.client("cloudformation").describe_stacks()["Stacks"]}


@lru_cache(maxsize=1)
def _shared_loader() -> Any:
    from botocore.loaders import Loader

    return Loader(include_default_search_paths=True)


def make_desk(home: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Furnish a desk: everything of this process's environment that counts is the simulated account's.

    Each command is a session of its own to boto3, which would read AWS's descriptions of its services anew.
    The agent's archive and AWS's price list have their own tests.
    """
    monkeypatch.setattr("botocore.session.create_loader", lambda search_path_string=None: _shared_loader())
    monkeypatch.setattr("cloudq.builder.wheelhouse.agent_archive", lambda: b"agent")
    monkeypatch.setattr("cloudq.builder.prices.list_price", lambda aws, instance_type: None)
    command = home / "bin" / "pcluster"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -S {_FAKE} "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    for name, value in {
        "HOME": str(home),
        "PATH": f"{command.parent}:/usr/bin:/bin",
        "AWS_ENDPOINT_URL": url,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "MOTO_PCLUSTER_SIM": str(home / "sim.json"),
        "CLOUDQ_STACK_CHECK_INTERVAL": "0.01",
    }.items():
        monkeypatch.setenv(name, value)
    return Desk(home, url)
