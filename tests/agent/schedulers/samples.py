"""Captured answers of real schedulers; INDEX.txt beside them names the commands."""

from __future__ import annotations

from pathlib import Path

_DATA = Path(__file__).parents[2] / "data"


def slurm_sample(name: str) -> str:
    """Return what a Slurm command printed."""
    return (_DATA / "slurm" / name).read_text(encoding="utf-8")


def local_sample(name: str) -> str:
    """Return what a command of the local queue printed."""
    return (_DATA / "local" / name).read_text(encoding="utf-8")


def gridengine_sample(name: str) -> str:
    """Return what a Grid Engine command printed."""
    return (_DATA / "gridengine" / name).read_text(encoding="utf-8")


def pbs_sample(name: str) -> str:
    """Return what a PBS command printed."""
    return (_DATA / "pbs" / name).read_text(encoding="utf-8")
