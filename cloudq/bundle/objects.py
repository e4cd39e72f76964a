"""Objects that several may write."""

from __future__ import annotations

from cloudq.errors import ConflictError
from cloudq.store import Store


def replace_object(store: Store, key: str, data: bytes, *, etag: str, conditional: bool) -> str:
    """Replace an object on condition of its ETag, as far as the store does that. Raises ConflictError."""
    if conditional:
        return store.replace(key, data, etag=etag)
    if store.stat(key).etag != etag:
        raise ConflictError(key)
    return store.write(key, data)
