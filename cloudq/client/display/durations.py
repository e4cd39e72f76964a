"""Lengths of time as people type and read them: `90`, `5m`, `1:30:00`; `3 min ago`."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Optional

import click

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_NUMBER = re.compile(r"(\d{1,9})([smhd]?)\Z")
_CLOCK = re.compile(r"(\d{1,6}):([0-5]\d):([0-5]\d)\Z")
_LONGEST = timedelta(days=36500)
_SHOWN = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def parse_duration(text: str) -> timedelta:
    """Parse `90`, `90s`, `5m`, `2h`, `1d` or `1:30:00`.

    Raises:
        ValueError: It has another form, or is longer than a hundred years.
    """
    number, clock = _NUMBER.match(text.strip().lower()), _CLOCK.match(text.strip())
    if number:
        duration = timedelta(seconds=int(number[1]) * _UNITS[number[2]])
    elif clock:
        duration = timedelta(hours=int(clock[1]), minutes=int(clock[2]), seconds=int(clock[3]))
    else:
        raise ValueError(f"expected a time such as 90s, 5m, 2h, 1d or 1:30:00, got {text!r}")
    if duration > _LONGEST:
        raise ValueError(f"expected at most {_LONGEST.days}d, got {text!r}")
    return duration


def render_duration(duration: timedelta) -> str:
    """Write a length of time in its two largest units: `2 h 5 min`."""
    seconds = max(0, round(duration.total_seconds()))
    parts: list[str] = []
    for size, unit in _SHOWN:
        number, seconds = divmod(seconds, size)
        if number:
            parts.append(f"{number} {unit}")
        elif parts:
            break
    return " ".join(parts[:2]) or "0 s"


def render_ago(moment: Optional[datetime], now: datetime) -> str:
    """Say how long ago something was."""
    return "never" if moment is None else f"{render_duration(now - moment)} ago"


if TYPE_CHECKING:
    _Type = click.ParamType[timedelta]
else:
    _Type = click.ParamType


class Duration(_Type):
    """The type of an option that takes a length of time."""

    name = "duration"

    def convert(
        self, value: Any, param: Optional[click.Parameter], ctx: Optional[click.Context]
    ) -> timedelta:
        """Parse it; wrong usage if it has another form."""
        if isinstance(value, timedelta):
            return value
        try:
            return parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
