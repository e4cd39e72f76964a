"""Times as manifests have them: whole seconds, UTC with offset, `-` for not yet."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import Optional

UNSET = "-"
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?(Z|[+-]\d\d:?\d\d)?\Z")


def format_time(moment: Optional[datetime]) -> str:
    """Write a time as CloudQ 1.2 does: whole seconds, UTC with offset, `-` for not yet."""
    if moment is None:
        return UNSET
    return moment.astimezone(timezone.utc).replace(microsecond=0).isoformat()


def parse_time(value: object) -> Optional[datetime]:
    """Read a time as manifests have it, in UTC; None for not yet.

    Raises:
        ValueError: It is no time.
    """
    if value in (UNSET, ""):
        return None
    match = _TIME.match(value) if isinstance(value, str) else None
    if not match:
        raise ValueError(f"no time: {value!r:.60}")
    offset = {"Z": "+00:00", None: "+00:00"}.get(match[2], match[2])
    if offset[-3] != ":":
        offset = offset[:3] + ":" + offset[3:]
    try:
        return datetime.fromisoformat(match[1] + offset).astimezone(timezone.utc)
    except OverflowError as error:
        raise ValueError(f"no time in UTC: {value!r:.60}") from error
