"""Hard meta scripts, translated for every scheduler and run by their own shell."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from cloudq.agent.schedulers import SCHEDULERS
from cloudq.system import System
from tests.metascript.conftest import Translate
from tests.metascript.hostile import SCRIPTS, as_a_shell_reads_it


def run(path: Path, text: str) -> tuple[int, str]:
    path.write_bytes(text.encode("utf-8"))
    path.chmod(0o700)
    command = [str(path)] if text.startswith("#!") else ["bash", str(path)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
    return done.returncode, done.stdout.decode()


@pytest.mark.parametrize("scheduler", sorted(SCHEDULERS))
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_hard_script_does_what_it_does_without_cloudq(
    translated: Translate, tmp_path: Path, name: str, scheduler: str
) -> None:
    expected = run(tmp_path / "original", as_a_shell_reads_it(SCRIPTS[name]))
    script = translated(SCRIPTS[name], System("here", scheduler))
    assert run(tmp_path / "translated", script) == expected
    head = script[: script.index("# Leaves the exit status")]
    assert "\r" not in script.partition("# The meta script")[0]
    assert "nosuch" not in head
