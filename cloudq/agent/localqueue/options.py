"""Options of a job: `#CLOUDQ --walltime=3600` lines in the head of its script, and words at submit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Optional

from cloudq.errors import InputError

MARK = "#CLOUDQ "
_WALLTIME = re.compile(r"--walltime=(?:(?:(\d{1,6}):)?(\d{1,6}):)?(\d{1,9})\Z", re.ASCII)


def parse_walltime(words: Sequence[str]) -> Optional[timedelta]:
    """Read `--walltime=SECONDS` or `--walltime=H:MM:SS`, the only option there is; the last one counts.

    Raises:
        InputError: A word is something else, or the walltime is 0.
    """
    walltime: Optional[timedelta] = None
    for word in words:
        match = _WALLTIME.match(word)
        if not match:
            raise InputError(f"unknown option {word!r}: the local queue knows only --walltime=SECONDS")
        hours, minutes, seconds = (int(group or 0) for group in match.groups())
        walltime = timedelta(hours=hours, minutes=minutes, seconds=seconds)
        if not walltime:
            raise InputError(f"option {word!r}: expected a walltime above 0")
    return walltime


def head_options(script: str) -> tuple[str, ...]:
    """Return the option words in the head of a script: its lines before the first command."""
    words: list[str] = []
    for line in script.splitlines():
        if line.startswith(MARK):
            words += line[len(MARK) :].split()
        elif line.strip() and not line.startswith("#"):
            break
    return tuple(words)


def format_walltime(walltime: timedelta) -> str:
    """Write a walltime as `1:00:00`."""
    minutes, seconds = divmod(int(walltime.total_seconds()), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"
