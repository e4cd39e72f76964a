"""What obstore says of objects, in our terms, and which keys it cannot name."""

from __future__ import annotations

from typing import Any, Optional

from cloudq.store import Entry


def is_odd(key: str) -> bool:
    """Tell whether obstore refuses a key; its own rule, https://docs.rs/object_store `Path::parse`."""
    parts = key.split("/")
    return any(part in ("", ".", "..") for part in parts) or _has_control(key)


def _has_control(key: str) -> bool:
    return any(ord(character) < 32 or ord(character) == 127 for character in key)


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
