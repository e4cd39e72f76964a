"""Listings by obstore, which itself lists whole folders only, and none that has a key it cannot name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Callable

import obstore

from cloudq.store import Entry, Store
from cloudq.store.interruptible import interruptible
from cloudq.store.obstore_errors import LIBRARY_ERRORS, is_odd_key
from cloudq.store.obstore_keys import entry_of, is_odd, just_before

_KEYS_PER_PAGE = 1000


class ObstoreListing:
    """The two listings of a store.

    Args:
        client: The client.
        asking: Makes a block whose errors of obstore become ours.
        other: Returns the store that lists what this one cannot.
    """

    def __init__(
        self, client: Any, asking: Callable[[str], AbstractContextManager[None]], other: Callable[[], Store]
    ) -> None:
        self._client = client
        self._asking = asking
        self._other = other

    def entries(self, prefix: str, *, after: str) -> Iterator[Entry]:
        """Yield what begins with a prefix and comes after a key."""
        folder = prefix.rpartition("/")[0]
        start = max(after, just_before(prefix))
        if (folder and is_odd(folder)) or (start and is_odd(start)):
            yield from self._other().list(prefix, after=after)
            return
        try:
            for page in self._pages(folder, start):
                for meta in page:
                    key = str(meta["path"])
                    if key.startswith(prefix):
                        yield entry_of(meta, key)
                        start = key
                    elif key > prefix and key.split("/") > prefix.split("/"):
                        # Behind it in the order of bytes, and in that of servers that go folder by folder.
                        return
        except _OddKeyError:
            yield from self._other().list(prefix, after=start)

    def folders(self, prefix: str) -> Iterator[str]:
        """Yield the distinct next parts below a prefix that have something below them."""
        folder = prefix[:-1]
        if folder and is_odd(folder):
            yield from self._other().list_folders(prefix)
            return
        try:
            with self._asking("list objects"), _odd_keys_told():
                found = interruptible(obstore.list_with_delimiter, self._client, folder or None)
        except _OddKeyError:
            yield from self._other().list_folders(prefix)
        else:
            yield from (str(name).rpartition("/")[2] for name in found["common_prefixes"])

    def _pages(self, folder: str, start: str) -> Iterator[Any]:
        stream = iter(
            obstore.list(self._client, folder or None, offset=start or None, chunk_size=_KEYS_PER_PAGE)
        )
        while True:
            with self._asking("list objects"), _odd_keys_told():
                page = interruptible(next, stream, None)
            if page is None:
                return
            yield page


class _OddKeyError(Exception):
    """The bucket has a key that obstore cannot name."""


@contextmanager
def _odd_keys_told() -> Iterator[None]:
    try:
        yield
    except LIBRARY_ERRORS as error:
        if is_odd_key(error):
            raise _OddKeyError from error
        raise
