"""Secrets of the agent, marked by a canary, stay with the agent; what it keeps is for its owner alone."""

from __future__ import annotations

import contextlib
import logging
import os
import stat
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Optional

import pytest

from cloudq.agent.queue import Queue
from cloudq.agent.schedulers import open_scheduler
from cloudq.errors import CloudQError, StoreError
from cloudq.process import DEFAULT_TIMEOUT, Completed, run, without_credentials
from cloudq.store import StoreAddress
from cloudq.store.s3 import S3Store
from cloudq.store.s3_client import make_client
from tests.agent.conftest import Site, run_passes, site

__all__ = ["site"]

CANARY = "canary-6f1ed002ab5595859014ebf0951522d9"
SECRETS = (
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN"),
    *(
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    ),
    *("CLOUDQ_CONFIG", "CLOUDQ_STORE"),
)
LOOK = "env | sort\nsleep 0.3\nexit 4\n"
posix_only = pytest.mark.skipif(os.name != "posix", reason="modes and processes of Unix")


@pytest.fixture
def canary(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give this process secrets, and something that is none."""
    for name in SECRETS:
        monkeypatch.setenv(name, f"{name}-{CANARY}")
    monkeypatch.setenv("AWS_REGION", "kept-region")


@pytest.fixture
def open_umask() -> Iterator[None]:
    """Let everything be open to everybody that nobody closes."""
    before = os.umask(0)
    yield
    os.umask(before)


class Watched:
    """Runs commands, and keeps their words."""

    def __init__(self) -> None:
        self.words: list[str] = []

    def __call__(
        self, argv: Sequence[str], *, cwd: Optional[Path] = None, timeout: timedelta = DEFAULT_TIMEOUT
    ) -> Completed:
        self.words += argv
        return run(argv, cwd=cwd, timeout=timeout)


def open_places(folder: Path) -> dict[str, str]:
    """Return what others than the owner may do with what is there now."""
    found = {}
    for path in (folder, *folder.rglob("*")):
        with contextlib.suppress(FileNotFoundError):
            status = path.lstat()
            if not stat.S_ISLNK(status.st_mode) and status.st_mode & 0o077:
                found[str(path)] = stat.filemode(status.st_mode)
    return found


def run_to_end(
    site: Site, watched: Watched, *, submit_to: str = "", after_pass: Callable[[], None] = lambda: None
) -> str:
    """Run a job that prints its environment in the real local queue; return its id."""
    queue = open_scheduler("local", root=site.folder / "local", slots=1)
    site.queue = Queue(queue, watched, timedelta(seconds=60))
    script = f"#!/bin/bash\n{'' if submit_to else '#$ run_on: here'}\n{LOOK}".encode()
    job = site.submit(script, submit_to=submit_to) if submit_to else site.submit(script)
    agent = site.new_agent()
    deadline = time.monotonic() + 120
    while not site.job(job.id).state.final:
        assert time.monotonic() < deadline, site.job(job.id)
        run_passes(agent)
        after_pass()
        site.clock.move(seconds=30)
    return job.id


def test_only_credentials_are_taken_out_of_an_environment() -> None:
    kept = {"AWS_REGION": "r", "AWS_PROFILE": "p", "CLOUDQ_TASK_ID": "3", "PATH": "/bin"}
    assert without_credentials({**kept, **dict.fromkeys(SECRETS, CANARY)}) == kept


@posix_only
def test_a_command_of_the_scheduler_sees_no_secret(canary: None) -> None:
    seen = run(["env"]).stdout
    assert CANARY not in seen
    assert "AWS_REGION=kept-region" in seen


@posix_only
@pytest.mark.parametrize(
    "submit_to", [pytest.param("", id="meta script"), pytest.param("here", id="local script")]
)
def test_neither_a_job_nor_anything_that_is_kept_of_it_has_a_secret(
    site: Site,
    canary: None,
    open_umask: None,
    caplog: pytest.LogCaptureFixture,
    submit_to: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    watched = Watched()
    job_id = run_to_end(site, watched, submit_to=submit_to)
    kept = {entry.key: site.store.read(entry.key).data for entry in site.store.list("")}
    printed = next(data for key, data in kept.items() if job_id in key and b"AWS_REGION=kept-region" in data)
    assert CANARY.encode() not in printed
    files = {str(path): path.read_bytes() for path in site.folder.rglob("*") if path.is_file()}
    assert [name for name, data in {**kept, **files}.items() if CANARY.encode() in data] == []
    assert CANARY not in " ".join(watched.words)
    assert CANARY not in caplog.text


@posix_only
def test_what_an_agent_keeps_is_for_its_owner_alone(site: Site, open_umask: None) -> None:
    modes: dict[str, str] = {}
    run_to_end(site, Watched(), after_pass=lambda: modes.update(open_places(site.folder)))
    assert modes == {}


def test_a_refusal_of_the_store_tells_no_secret(
    s3_environment: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARY)
    monkeypatch.setenv("AWS_SESSION_TOKEN", CANARY)
    address = StoreAddress("http://127.0.0.1:9", "bucket")
    with pytest.raises(StoreError) as caught:
        S3Store(make_client(address), address).read("key")
    told = "".join(traceback.format_exception(caught.type, caught.value, caught.tb))
    assert isinstance(caught.value, CloudQError)
    assert CANARY not in told + caplog.text
