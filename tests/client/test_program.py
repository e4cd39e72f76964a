"""The program `cloudqcli` as a process: it ends at once, but never before all is done."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import cloudq
from cloudq.client.program import main


@pytest.fixture(autouse=True)
def threshold() -> Iterator[None]:
    """Look for garbage afterwards as before."""
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


class Ends:
    """How a process was ended."""

    def __init__(self) -> None:
        self.statuses: list[int] = []

    def __call__(self, status: int) -> None:
        self.statuses.append(status)


def alone() -> int:
    """Count the threads of a process that has no others; pytest has its own."""
    return 1


def ending(code: object) -> Callable[[], object]:
    """Return a command that ends so."""

    def command() -> object:
        raise SystemExit(code)

    return command


@pytest.mark.parametrize(
    ("code", "statuses"),
    [
        pytest.param(0, [0], id="done"),
        pytest.param(None, [0], id="nothing said"),
        pytest.param(3, [3], id="no such job"),
        pytest.param("words", [], id="words, which Python prints"),
    ],
)
def test_the_process_ends_with_the_status_of_the_command(code: object, statuses: list[int]) -> None:
    ends = Ends()
    with pytest.raises(SystemExit):
        main(ending(code), end=ends, threads=alone)
    assert ends.statuses == statuses


def test_a_process_whose_threads_still_run_waits_for_them() -> None:
    ends = Ends()
    with pytest.raises(SystemExit):
        main(ending(0), end=ends, threads=lambda: 2)
    assert ends.statuses == []


class _Full:
    def flush(self) -> None:
        raise OSError("no space left on device")


def test_output_that_cannot_be_written_is_left_to_python(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = Ends()
    monkeypatch.setattr(sys, "stdout", _Full())
    with pytest.raises(SystemExit):
        main(ending(0), end=ends, threads=alone)
    assert ends.statuses == []


def test_a_process_without_stdout_ends_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = Ends()
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(SystemExit):
        main(ending(0), end=ends, threads=alone)
    assert ends.statuses == [0]


def test_what_was_printed_is_out_before_the_end() -> None:
    program = "from cloudq.client.program import main; main()"
    environment = {**os.environ, "PYTHONPATH": str(Path(cloudq.__file__).parent.parent)}
    done = subprocess.run(
        [sys.executable, "-c", program, "--version"], env=environment, capture_output=True, text=True,
        check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(f"{cloudq.__version__}\n")


def test_a_command_is_loaded_if_none_is_given(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ends = Ends()
    monkeypatch.setattr(sys, "argv", ["cloudqcli", "--version"])
    with pytest.raises(SystemExit):
        main(end=ends, threads=alone)
    assert ends.statuses == [0]
    assert cloudq.__version__ in capsys.readouterr().out
