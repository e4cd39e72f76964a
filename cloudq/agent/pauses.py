"""Pauses by a clock that may be set back."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, overload


@overload
def lasts(now: datetime, until: datetime, longest: timedelta) -> bool: ...
@overload
def lasts(now: float, until: float, longest: float) -> bool: ...
def lasts(now: Any, until: Any, longest: Any) -> bool:
    """Tell whether a pause goes on at a moment.

    Args:
        until: When it ends.
        longest: How long it is at most. One that seems to last longer was begun before the clock was set
            back, and ends.
    """
    return bool(now < until <= now + longest)
