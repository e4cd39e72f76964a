"""What obstore says of objects, in our terms, and which keys it cannot name."""

from __future__ import annotations

import re
from typing import Any, Optional

from cloudq.store import Entry

_ODD = re.compile(r"(?:\A|/)\.{0,2}(?:/|\Z)|[\x00-\x1f\x7f]")


def is_odd(key: str) -> bool:
    """Tell whether obstore refuses a key; its own rule, https://docs.rs/object_store `Path::parse`."""
    return bool(_ODD.search(key))


def just_before(prefix: str) -> str:
    """Return a key shortly before all that begin with a prefix; empty if the prefix is a whole folder."""
    if not prefix or prefix.endswith("/"):
        return ""
    last = ord(prefix[-1]) - 1
    return prefix[:-1] + chr(0xD7FF if last == 0xDFFF else last) + "\U0010ffff"


def entry_of(meta: Any, key: str) -> Entry:
    return Entry(key, int(meta["size"]), meta["last_modified"], bare(meta["e_tag"]))


def bare(etag: Optional[str]) -> str:
    return (etag or "").strip('"')
