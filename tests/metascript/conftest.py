"""Fixtures for meta scripts: translate a text, and run what comes out with a real shell."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Protocol

import pytest

from cloudq.metascript import Placement, parse_meta_script, translate
from cloudq.system import System

DEMO = System(
    name="demo",
    scheduler="local",
    projects={"project001": "free"},
    resources={"small": "any"},
    endpoint_url="https://s3.example.org",
    profile="cloudq",
)


class Translate(Protocol):
    """Translate the text of a meta script for a system."""

    def __call__(self, text: str, system: System = ..., template_dirs: Sequence[Path] = ...) -> str: ...


@dataclass(frozen=True)
class Execution:
    """How a translated script ended, and what its status file says."""

    status: int
    stdout: str
    stderr: str
    recorded: Optional[str]


class Execute(Protocol):
    """Run a translated script with a shell."""

    def __call__(self, script: str, shell: str = ..., environment: Mapping[str, str] = ...) -> Execution: ...


@pytest.fixture
def placement(tmp_path: Path) -> Placement:
    """A working directory and a status file whose paths need quoting."""
    work_dir = tmp_path / "it's a $HOME; & work"
    work_dir.mkdir()
    return Placement(str(work_dir), str(tmp_path / "exit status"))


@pytest.fixture
def translated(placement: Placement) -> Translate:
    """Translate for the system `demo`, or another."""

    def translated(text: str, system: System = DEMO, template_dirs: Sequence[Path] = ()) -> str:
        return translate(parse_meta_script(text, "job.sh"), system, placement, template_dirs)

    return translated


@pytest.fixture
def execute(tmp_path: Path, placement: Placement) -> Execute:
    """Run a translated script from another directory than its own."""

    def execute(script: str, shell: str = "bash", environment: Mapping[str, str] = {}) -> Execution:  # noqa: B006
        path = tmp_path / "translated.sh"
        path.write_bytes(script.encode())
        done = subprocess.run(
            [*shell.split(), str(path)],
            cwd=tmp_path,
            env={**os.environ, **environment},
            capture_output=True,
            check=False,
            text=True,
            timeout=120,
        )
        files = sorted(tmp_path.glob("exit status*"))
        recorded = f"{files[0].name[11:]}{files[0].read_text()}" if files else None
        return Execution(done.returncode, done.stdout, done.stderr, recorded)

    return execute
