"""Notices when a job has ended: by command, by web address, never a hindrance."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Optional

import pytest

from cloudq.agent.schedulers.base import NativeState
from cloudq.errors import CommandError, ConfigError
from cloudq.job import Job, JobKind, JobState
from cloudq.notices import Notices, parse_command, send_notices
from cloudq.process import DEFAULT_TIMEOUT, Completed
from tests.agent.conftest import Site, run_passes, site
from tests.client.conftest import Laptop, laptop, put_done_job

__all__ = ["laptop", "site"]

JOB = Job("a1", "job.sh", JobKind.META, JobState.ERROR, run_system="abci", error="exit 7\n")
TEXT = "Job (a1) job.sh: ERROR on abci: exit 7"


class Recorder:
    """Records commands instead of running them."""

    def __init__(self, fault: Optional[Exception] = None) -> None:
        self.calls: list[list[str]] = []
        self._fault = fault

    def __call__(
        self, argv: Sequence[str], *, cwd: Optional[Path] = None, timeout: timedelta = DEFAULT_TIMEOUT
    ) -> Completed:
        self.calls.append(list(argv))
        if self._fault:
            raise self._fault
        return Completed("")


@pytest.mark.parametrize(
    ("command", "argv"),
    [
        ("notify-send CloudQ", ["notify-send", "CloudQ", TEXT]),
        ("tell --job={id} '{state} {system}'", ["tell", "--job=a1", "ERROR abci"]),
        ("echo '{text}!'", ["echo", f"{TEXT}!"]),
    ],
    ids=str,
)
def test_a_command_gets_what_ended(command: str, argv: list[str]) -> None:
    recorder = Recorder()
    send_notices(Notices(parse_command(command)), JOB, runner=recorder)
    assert recorder.calls == [argv]


def test_faults_are_logged_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    def refuse(url: str, data: bytes) -> None:
        raise OSError("refused")

    fault = CommandError(["tell"], 1, "", "no bell")
    send_notices(Notices(("tell",), "http://x"), JOB, runner=Recorder(fault), post=refuse)
    assert caplog.messages == [
        "job a1: no notice by command: tell failed with status 1: no bell",
        "job a1: no notice to http://x: refused",
    ]


def test_a_web_address_gets_text_and_job() -> None:
    received: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # noqa: N802 - http.server's name
            received.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.handle_request).start()
        send_notices(Notices(url=f"http://127.0.0.1:{server.server_port}/"), JOB)
    body = json.loads(received[0])
    assert (body["text"], body["job"]["uuid"]) == (TEXT, "a1")


def test_the_agent_tells_when_a_job_is_final(site: Site, tmp_path: Path) -> None:
    script, told = tmp_path / "tell", tmp_path / "told"
    script.write_text(f'#!/bin/sh\necho "$@" >>{told}\n')
    script.chmod(0o700)
    site.settings["notices"] = Notices((str(script), "{id}", "{state}"))
    agent, job = site.new_agent(), site.submit()
    run_passes(agent)
    site.cluster.move("1", NativeState.COMPLETED)
    run_passes(agent, 2)
    assert told.read_text() == f"{job.id} DONE\n"


def test_wait_tells_of_each_job(laptop: Laptop) -> None:
    put_done_job(laptop.bundles)
    with laptop.config_file.open("a") as file:
        file.write("notify_command = sh -c 'echo \"$0\" >told' {state}\n")
    laptop.answer("wait", "a1")
    assert (laptop.home / "told").read_text() == "DONE\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("notify_url = file:///etc/passwd", r"\[client\] notify_url: expected https://… or http://…, got"),
        ("notify_command = it's", r"\[client\] notify_command: expected a command \(No closing quotation\)"),
    ],
    ids=["url", "command"],
)
def test_what_cannot_be_used_is_refused(laptop: Laptop, line: str, message: str) -> None:
    with laptop.config_file.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(ConfigError, match=message):
        assert laptop.config


def test_no_name_of_a_job_or_system_is_an_option_or_more_than_a_line() -> None:
    recorder = Recorder()
    hostile = replace(JOB, name="a\0b\x1b[2J\n\ud800", run_system="--exec=x", error="{system}\x9b")
    send_notices(Notices(("tell", "{system}", "{text}")), hostile, runner=recorder)
    assert recorder.calls == [["tell", "?", "Job (a1) a?b?[2J??: ERROR on --exec=x: {system}?"]]


def test_a_command_that_cannot_be_given_its_words_is_no_hindrance(caplog: pytest.LogCaptureFixture) -> None:
    send_notices(Notices(("tell", "a\0b")), JOB)
    assert "job a1: no notice by command: tell: an argument that no command can be given" in caplog.text
