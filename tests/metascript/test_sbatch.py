"""What the real sbatch makes of the quoting in #SBATCH lines."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import pytest

from cloudq.system import System
from tests.metascript.conftest import Translate

ACCOUNT = "cqtest"
SLURM = System(name="slurm1", scheduler="slurm")
HARD = 'it\'s "hard": a\\b #c $HOME `id`;&|<> é %j'

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not shutil.which("sbatch"), reason="sbatch is not installed"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to submit as another user"),
]


def held_job(script: str) -> str:
    """Submit and hold a job, cancel it, and return what Slurm knew of it."""
    command = ["runuser", "-u", ACCOUNT, "--", "sbatch", "--parsable", "--hold", "--output=/dev/null"]
    done = subprocess.run(
        command, input=script, capture_output=True, text=True, cwd="/", timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    job = done.stdout.strip()
    shown = subprocess.run(
        ["scontrol", "show", "job", job], capture_output=True, text=True, check=True
    ).stdout
    subprocess.run(["scancel", job], check=True)
    return shown


def test_sbatch_reads_hard_words_as_they_were_meant(translated: Translate) -> None:
    quoted = HARD.replace("\\", "\\\\").replace('"', '\\"')
    head = f'#$ other_opts: --comment "{quoted}" -J "a \\"b\\"" --nice 5 --requeue\n#$ walltime: 1-02:03:00\n'
    shown = held_job(translated(f"#!/bin/sh\n{head}#SBATCH --begin=now+1hour\ntrue\n", SLURM))
    assert re.findall(r"^(?:JobId=\d+ |\s*)(Comment|JobName)=(.*?) ?$", shown, re.MULTILINE) == [
        ("JobName", 'a "b"'),
        ("Comment", HARD),
    ]
    assert "Nice=5" in shown
    assert "Requeue=1" in shown
    assert "TimeLimit=1-02:03:00" in shown
