"""What the real sbatch makes of the quoting in #SBATCH lines."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import Translate

from cloudq.system import System

ACCOUNT = "cqtest"
SLURM = System(name="slurm1", scheduler="slurm")
HARD = 'it\'s "hard": a\\b #c $HOME `id`;&|<> é %j'

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not shutil.which("sbatch"), reason="sbatch is not installed"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to submit as another user"),
]


def held_job(script: Path) -> str:
    """Submit and hold a job, cancel it, and return what Slurm knew of it."""
    command = [
        "runuser",
        "-u",
        ACCOUNT,
        "--",
        "sbatch",
        "--parsable",
        "--hold",
        "--output=/dev/null",
        str(script),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd="/", timeout=60)
    assert done.returncode == 0, done.stderr
    job = done.stdout.strip()
    shown = subprocess.run(
        ["scontrol", "show", "job", job], capture_output=True, text=True, check=True
    ).stdout
    subprocess.run(["scancel", job], check=True)
    return shown


def test_sbatch_reads_hard_words_as_they_were_meant(translated: Translate, tmp_path: Path) -> None:
    quoted = HARD.replace("\\", "\\\\").replace('"', '\\"')
    script = tmp_path / "job.sh"
    script.write_text(
        translated(
            f'#!/bin/sh\n#$ other_opts: --comment "{quoted}" -J "a \\"b\\"" --nice 5 --requeue\n'
            "#SBATCH --begin=now+1hour\n#$ walltime: 1-02:03:00\ntrue\n",
            SLURM,
        ),
        encoding="utf-8",
    )
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    shown = held_job(script)
    assert re.findall(r"^\s*(?:JobId=\d+ )?(Comment|JobName)=(.*?) ?$", shown, re.MULTILINE) == [
        ("JobName", 'a "b"'),
        ("Comment", HARD),
    ]
    assert "Nice=5" in shown
    assert "Requeue=1" in shown
    assert "TimeLimit=1-02:03:00" in shown
