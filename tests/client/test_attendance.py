"""Staying with a job at a terminal: Ctrl-C asks, and nothing is lost by the answer."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import cloudq
from cloudq.bundle import Bundles
from cloudq.client.commands.attendance import cancelled_or_left, describe
from cloudq.job import Job, JobKind, JobState
from tests.client.conftest import Laptop, put_done_job, put_job

pytestmark = pytest.mark.usefixtures("unmeasured_processes")  # they are interrupted

PROGRAM = "from cloudq.client.cli import main; main(prog_name='cloudqcli')"


class Terminal:
    """A command in a process whose stdin, stdout and stderr are a terminal."""

    def __init__(self, *argv: str) -> None:
        pty = pytest.importorskip("pty")
        self._leader, follower = pty.openpty()
        environment = {**os.environ, "PYTHONPATH": str(Path(cloudq.__file__).parent.parent), "TERM": "xterm"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *argv],
            env=environment, stdin=follower, stdout=follower, stderr=follower,
        )  # fmt: skip
        os.close(follower)
        self.shown = b""

    def read_until(self, text: bytes) -> None:
        """Read what is shown until a text is in it."""
        end = time.monotonic() + 60
        while text not in self.shown:
            readable, _, _ = select.select([self._leader], [], [], max(0, end - time.monotonic()))
            assert readable, self.shown
            try:
                self.shown += os.read(self._leader, 4096)
            except OSError as error:  # how Linux tells that nobody has the other side any more
                raise AssertionError(self.shown) from error

    def type(self, text: bytes) -> None:
        os.write(self._leader, text)

    def end(self) -> int:
        """Wait for the end, and return the exit status."""
        status = self.process.wait(timeout=60)
        os.close(self._leader)
        return status


@pytest.mark.parametrize(
    ("answer", "asked_to_cancel"), [(b"c\n", True), (b"\n", False)], ids=["c", "default"]
)
def test_ctrl_c_asks_whether_to_leave_the_job_or_to_cancel_it(
    laptop: Laptop, answer: bytes, asked_to_cancel: bool
) -> None:
    terminal = Terminal("run", "job.sh")
    terminal.read_until(b"INIT: waits for a system to take it")
    terminal.process.send_signal(signal.SIGINT)
    terminal.read_until(b"Leave the job alone (d), cancel it (c), or go on (g)?")
    terminal.type(answer)
    terminal.read_until(b"is canceled" if asked_to_cancel else b"goes on. Follow it again: cloudqcli log -f ")
    assert terminal.end() == 130
    (job_id,) = laptop.bundles.ids()
    assert laptop.bundles.cancel_requested(job_id) is asked_to_cancel


def test_the_next_commands_are_shown_on_a_terminal_only(laptop: Laptop) -> None:
    terminal = Terminal("submit", "job.sh")
    terminal.read_until(b"Next: cloudqcli log -f ")
    assert terminal.end() == 0
    assert "Next:" not in laptop.run("submit", "job.sh").stderr


def test_without_a_terminal_an_interruption_leaves_the_job_alone(
    bundles: Bundles, laptop: Laptop, capsys: pytest.CaptureFixture[str]
) -> None:
    put_job(bundles)
    assert cancelled_or_left(bundles, laptop.config, "a1")
    assert capsys.readouterr().err == "Job (a1) goes on. Follow it again: cloudqcli log -f a1\n"
    assert not bundles.cancel_requested("a1")


def test_a_list_on_a_terminal_is_coloured_unless_colours_are_not_wanted(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_done_job(laptop.bundles)
    coloured = Terminal("history")
    coloured.read_until(b"\x1b[32mDONE\x1b[0m")
    coloured.end()
    monkeypatch.setenv("NO_COLOR", "1")
    plain = Terminal("history")
    plain.read_until(b"DONE")
    plain.end()
    assert b"\x1b[" not in plain.shown


@pytest.mark.parametrize(
    ("job", "text"),
    [
        (Job("a", "x", JobKind.META), "INIT: waits for a system to take it"),
        (Job("a", "x", JobKind.META, run_system="abci"), "INIT on abci"),
        (
            Job("a", "x", JobKind.META, JobState.READY, run_system="abci", native_id="7", reason="no nodes"),
            "READY on abci as 7: no nodes",
        ),
    ],
    ids=["unclaimed", "claimed", "queued"],
)
def test_an_open_job_is_described_in_a_line(job: Job, text: str) -> None:
    assert describe(job) == text
