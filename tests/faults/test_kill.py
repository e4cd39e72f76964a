"""`kill -9` of the agent's process before every effect on a file, the bucket or the queue, in turn."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
IN_MEMORY = Path("/dev/shm")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """An empty folder, in memory where there is such a file system: a thousand small files are written."""
    if not IN_MEMORY.is_dir():
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as name:
        yield Path(name)


@pytest.mark.parametrize(
    ("kind", "away"),
    [
        pytest.param("done", 0, id="a job that succeeds"),
        pytest.param("cancelled", 0, id="a job that is cancelled"),
        pytest.param("array", 6, id="an array job that ends before the next start"),
    ],
)
def test_a_process_killed_before_any_effect_loses_nothing_and_runs_nothing_twice(
    folder: Path, kind: str, away: int
) -> None:
    argv = [sys.executable, "-m", "tests.faults.nursery", str(folder), kind, str(away)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, encoding="utf-8", timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["wrong"] == {}
    kinds = {effect.split()[0] for effect in found["effects"]}
    assert {
        "open",
        "os.mkdir",
        "os.rename",
        "os.remove",
        "write",
        "replace",
        "upload",
        "delete",
        "fake",
    } <= kinds
    assert len(found["effects"]) > 40
