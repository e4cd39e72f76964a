"""Find out by trying whether a store does conditional writes."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta

from cloudq.errors import ConflictError, StoreError
from cloudq.store import Store

RACERS = 8

TRIAL_AGE = timedelta(hours=1)
"""A probe object that is older was left by a process that was killed."""


def has_conditional_writes(store: Store, folder: str) -> bool:
    """Race real writes against each other: exactly one creation and one replacement may win.

    Costs about 25 small requests and leaves nothing behind, also of trials that were cut off long ago.

    Args:
        folder: Key prefix, ending in `/`, below which a probe object is made and deleted.

    Raises:
        StoreError: The store could not be asked.
    """
    key = f"{folder}{secrets.token_hex(8)}"
    with _removed(store, key):
        created = _race(store, key, etag=None)
        _remove_old(store, folder, key)
        if len(created) != 1:
            return False
        replaced = _race(store, key, etag=created[0])
        return len(replaced) == 1 and store.read(key).etag == replaced[0]


def store_time(store: Store, folder: str) -> datetime:
    """Tell the time by the store's clock, to the second, from an object that is written and deleted.

    Args:
        folder: As in `has_conditional_writes`.

    Raises:
        StoreError: The store could not be asked.
    """
    key = f"{folder}{secrets.token_hex(8)}"
    with _removed(store, key):
        store.write(key, b"")
        return store.stat(key).modified


def _remove_old(store: Store, folder: str, key: str) -> None:
    """Delete what trials that were cut off have left; the object of this trial tells the time."""
    with suppress(StoreError):
        trials = {entry.key: entry.modified for entry in store.list(folder)}
        now = trials.pop(key, None)
        old = [trial for trial, made in trials.items() if now is not None and now - made >= TRIAL_AGE]
        if old:
            store.delete(old)


@contextmanager
def _removed(store: Store, key: str) -> Iterator[None]:
    """Delete an object in the end; if the block fails, its error is the one that is told."""
    try:
        yield
    except BaseException:
        with suppress(StoreError):
            store.delete([key])
        raise
    store.delete([key])


def _race(store: Store, key: str, *, etag: str | None) -> list[str]:
    """Let several writers write at once and return the ETags of those that were told they won."""

    def write(number: int) -> str | None:
        data = f"{number} {secrets.token_hex(8)}".encode()
        try:
            return store.create(key, data) if etag is None else store.replace(key, data, etag=etag)
        except ConflictError:
            return None

    with ThreadPoolExecutor(RACERS) as racers:
        return [won for won in racers.map(write, range(RACERS)) if won is not None]
