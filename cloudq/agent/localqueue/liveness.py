"""Whether a process is still the one it was: process ids are used again, births are not."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Optional

from cloudq.errors import CommandError
from cloudq.process import run

_PROC = Path("/proc")


def birth_of(pid: int) -> Optional[str]:
    """Return what tells this process from any other that ever had its id; None if it is dead.

    On Linux: the boot, and the start in ticks since then (field 22 of /proc/PID/stat, see proc(5)).
    A process that has ended and is only waited for (state Z) is dead.
    """
    boot = _boot()
    if boot is None:
        return _birth_by_ps(pid)
    try:
        stat = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The second field is the program's name in parentheses and may contain anything.
    state, *fields = stat.rpartition(")")[2].split()
    return None if state in "ZX" else f"{boot} {fields[18]}"


@lru_cache(maxsize=1)
def _boot() -> Optional[str]:
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return None


def _birth_by_ps(pid: int) -> Optional[str]:
    """Ask ps, where there is no /proc (macOS)."""
    try:
        state, _, started = run(["ps", "-o", "state=,lstart=", "-p", str(pid)]).stdout.strip().partition(" ")
    except CommandError:
        return None
    return None if state.startswith("Z") else started.strip()


def is_alive(pid: Optional[int], birth: Optional[str]) -> bool:
    """Tell whether the process that was born so is alive."""
    return pid is not None and birth is not None and birth_of(pid) == birth


def own_birth() -> str:
    """Return the birth of this process."""
    return birth_of(os.getpid()) or ""
