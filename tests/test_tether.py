"""Commands that do not outlive who started them, however that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from threading import Thread

import pytest

from cloudq.errors import CommandError, CommandTimeoutError
from cloudq.process import run_tethered
from cloudq.tether import hold

_ROOT = Path(__file__).parents[1]
_CALLER = """
import signal, sys
from cloudq.process import run_tethered

# Who runs the tests may ignore them.
for name in ("SIGTERM", "SIGHUP"):
    signal.signal(getattr(signal, name), signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
run_tethered(sys.argv[1:])
"""
# Both the command and what it started hold the pipe open for as long as they live.
_BUSY = "{before} exec 3>{fifo}; echo up >&3; sleep 600 & wait"


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    """A pipe with a name: who reads it learns by its end that all who wrote are gone."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


def test_what_a_command_prints_and_its_status_come_through() -> None:
    done = run_tethered(["sh", "-c", "echo out; echo err >&2"])
    assert (done.stdout, done.stderr) == ("out\n", "err\n")
    with pytest.raises(CommandError) as caught:
        run_tethered(["sh", "-c", "echo why; exit 3"])
    assert (caught.value.status, caught.value.stdout, caught.value.argv[0]) == (3, "why\n", "sh")


def test_a_command_that_is_missing_is_said() -> None:
    with pytest.raises(CommandError, match="/nonexistent: No such file or directory") as caught:
        run_tethered(["/nonexistent"])
    assert caught.value.status == 127


@pytest.mark.usefixtures("unmeasured_processes")
@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGHUP", "SIGINT"])
def test_a_command_ends_with_its_caller(fifo: Path, name: str) -> None:
    command = ["sh", "-c", _BUSY.format(before="", fifo=fifo)]
    environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
    argv = [sys.executable, "-c", _CALLER, *command]
    caller = subprocess.Popen(argv, env=environment, stderr=subprocess.DEVNULL)
    with caller, fifo.open() as lives:
        assert lives.readline() == "up\n"
        caller.send_signal(getattr(signal, name))
        assert lives.read() == ""


def test_a_command_ends_when_its_time_is_over(fifo: Path) -> None:
    lives = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(CommandTimeoutError):
        run_tethered(["sh", "-c", _BUSY.format(before="", fifo=fifo)], timeout=timedelta(seconds=0.3))
    os.set_blocking(lives, True)
    with os.fdopen(lives) as reader:
        assert reader.read() in ("up\n", "")  # it ends


def test_a_command_that_does_not_heed_the_interrupt_is_killed(fifo: Path) -> None:
    caller, tether = os.pipe()
    statuses: list[int] = []
    command = ["sh", "-c", _BUSY.format(before="trap '' INT;", fifo=fifo)]
    holder = Thread(target=lambda: statuses.append(hold(command, caller, patience=0.05)))
    holder.start()
    with fifo.open() as lives:
        assert lives.readline() == "up\n"
        os.close(tether)
        assert lives.read() == ""
    holder.join()
    os.close(caller)
    assert statuses == [128 + signal.SIGKILL]


def test_what_was_only_held_ends_by_itself() -> None:
    caller, tether = os.pipe()
    assert hold(["sh", "-c", "exit 4"], caller) == 4
    assert hold(["/nonexistent"], caller) == 127
    os.close(tether)
