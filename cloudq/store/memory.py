"""A store in memory, for tests: it behaves as S3 does and counts what was asked of it."""

from __future__ import annotations

import hashlib
import threading
from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from itertools import islice, takewhile
from pathlib import Path
from typing import Optional
from urllib.parse import quote

from cloudq.errors import ConflictError, NotFoundError
from cloudq.store import Blob, Entry, Method, StoreAddress, check_size
from cloudq.store.blocks import range_blocks
from cloudq.store.files import appearing

_KEYS_PER_DELETE = 1000
_AFTER_SLASH = chr(ord("/") + 1)


@dataclass(frozen=True)
class _Object:
    data: bytes
    etag: str
    modified: datetime


class MemoryStore:
    """Objects in a dictionary, and its keys in order, so that a listing costs what it returns.

    Args:
        page_size: How many names one LIST request returns.

    Attributes:
        requests: How many requests an S3 server would have had, by verb: GET, HEAD, PUT, LIST, DELETE.
    """

    def __init__(self, *, page_size: int = 1000) -> None:
        self.requests: Counter[str] = Counter()
        self._page_size = page_size
        self._objects: dict[str, _Object] = {}
        self._keys: list[str] = []
        self._lock = threading.Lock()

    @classmethod
    def at(cls, address: StoreAddress) -> MemoryStore:  # noqa: ARG003
        """Make an empty store; the address does not matter."""
        return cls()

    @property
    def url(self) -> str:
        return "memory:"

    def read(self, key: str) -> Blob:
        found = self._get("GET", key)
        check_size(len(found.data), key)
        return Blob(found.data, found.etag)

    def read_range(self, key: str, start: int, end: int) -> memoryview:
        return memoryview(self._get("GET", key).data)[start:end]

    def read_blocks(self, key: str, start: int, end: int) -> Iterator[memoryview]:
        return range_blocks(self, key, start, end)

    def stat(self, key: str) -> Entry:
        return _entry(key, self._get("HEAD", key))

    def write(self, key: str, data: bytes) -> str:
        with self._lock:
            return self._put(key, data)

    def create(self, key: str, data: bytes) -> str:
        return self._write_if(key, data, None)

    def replace(self, key: str, data: bytes, *, etag: str) -> str:
        return self._write_if(key, data, etag)

    def list(self, prefix: str, *, after: str = "") -> Iterator[Entry]:
        while page := self._page(prefix, after):
            yield from page
            after = page[-1].key
            if len(page) < self._page_size:
                return

    def list_folders(self, prefix: str) -> Iterator[str]:
        with self._lock:
            names = tuple(self._names_below(prefix))
            # S3 counts folders and objects of a page alike.
            self.requests["LIST"] += max(1, -(-len(names) // self._page_size))
        return (name[:-1] for name in names if name.endswith("/"))

    def delete(self, keys: Iterable[str]) -> None:
        remaining = iter(keys)
        while batch := tuple(islice(remaining, _KEYS_PER_DELETE)):
            with self._lock:
                self.requests["DELETE"] += 1
                for key in batch:
                    self._drop(key)

    def upload(self, path: Path, key: str) -> Entry:
        self.write(key, path.read_bytes())
        return self.stat(key)

    def upload_blocks(self, blocks: Iterable[bytes], key: str, *, expected: int = 0) -> Entry:  # noqa: ARG002
        self.write(key, b"".join(blocks))
        return self.stat(key)

    def abort_uploads(self, prefix: str) -> None:
        pass

    def presign(self, method: Method, key: str, lifetime: timedelta) -> str:
        return f"memory:{quote(key)}?{method}&{int(lifetime.total_seconds())}"

    def download(self, key: str, path: Path) -> None:
        data = self.read(key).data
        with appearing(path) as file:
            file.write(data)

    def _get(self, verb: str, key: str) -> _Object:
        with self._lock:
            self.requests[verb] += 1
            try:
                return self._objects[key]
            except KeyError:
                raise NotFoundError(key) from None

    def _put(self, key: str, data: bytes) -> str:
        self.requests["PUT"] += 1
        etag = hashlib.md5(data, usedforsecurity=False).hexdigest()
        if key not in self._objects:
            insort(self._keys, key)
        self._objects[key] = _Object(bytes(data), etag, datetime.now(timezone.utc))
        return etag

    def _drop(self, key: str) -> None:
        if self._objects.pop(key, None):
            del self._keys[bisect_left(self._keys, key)]

    def _write_if(self, key: str, data: bytes, expected: Optional[str]) -> str:
        with self._lock:
            found = self._objects.get(key)
            if (found.etag if found else None) == expected:
                return self._put(key, data)
            self.requests.update(PUT=1, GET=1)
            if found is None or found.data != data:
                raise ConflictError(key)
            return found.etag

    def _page(self, prefix: str, after: str) -> tuple[Entry, ...]:
        with self._lock:
            self.requests["LIST"] += 1
            start = max(bisect_left(self._keys, prefix), bisect_right(self._keys, after))
            page = self._keys[start : start + self._page_size]
            keys = takewhile(lambda key: key.startswith(prefix), page)
            return tuple(_entry(key, self._objects[key]) for key in keys)

    def _names_below(self, prefix: str) -> Iterator[str]:
        """The names that follow a prefix, up to their first slash."""
        at = bisect_left(self._keys, prefix)
        while at < len(self._keys) and self._keys[at].startswith(prefix):
            name, slash, _ = self._keys[at][len(prefix) :].partition("/")
            yield name + slash
            at = bisect_left(self._keys, prefix + name + _AFTER_SLASH, at) if slash else at + 1


def _entry(key: str, found: _Object) -> Entry:
    return Entry(key, len(found.data), found.modified, found.etag)
