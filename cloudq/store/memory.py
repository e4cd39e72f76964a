"""A store in memory, for tests: it behaves as S3 does and counts what was asked of it."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import islice
from pathlib import Path
from typing import Optional

from cloudq.errors import ConflictError, NotFoundError
from cloudq.store import Blob, Entry, StoreAddress
from cloudq.store.files import appearing

_KEYS_PER_DELETE = 1000


@dataclass(frozen=True)
class _Object:
    data: bytes
    etag: str
    modified: datetime


class MemoryStore:
    """Objects in a dictionary.

    Args:
        page_size: How many names one LIST request returns.

    Attributes:
        requests: How many requests an S3 server would have had, by verb: GET, HEAD, PUT, LIST, DELETE.
    """

    def __init__(self, *, page_size: int = 1000) -> None:
        self.requests: Counter[str] = Counter()
        self._page_size = page_size
        self._objects: dict[str, _Object] = {}
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
        return Blob(found.data, found.etag)

    def read_range(self, key: str, start: int, end: int) -> bytes:
        return self._get("GET", key).data[start:end]

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
            keys = [key[len(prefix) :] for key in self._objects if key.startswith(prefix)]
        # S3 counts folders and objects of a page alike.
        names = sorted({name.partition("/")[0] + "/" * ("/" in name) for name in keys})
        self._count("LIST", max(1, -(-len(names) // self._page_size)))
        return (name[:-1] for name in names if name.endswith("/"))

    def delete(self, keys: Iterable[str]) -> None:
        remaining = iter(keys)
        while batch := tuple(islice(remaining, _KEYS_PER_DELETE)):
            self._count("DELETE")
            with self._lock:
                for key in batch:
                    self._objects.pop(key, None)

    def upload(self, path: Path, key: str) -> Entry:
        self.write(key, path.read_bytes())
        return self.stat(key)

    def upload_blocks(self, blocks: Iterable[bytes], key: str, *, expected: int = 0) -> Entry:  # noqa: ARG002
        self.write(key, b"".join(blocks))
        return self.stat(key)

    def abort_uploads(self, prefix: str) -> None:
        pass

    def download(self, key: str, path: Path) -> None:
        data = self.read(key).data
        with appearing(path) as file:
            file.write(data)

    def _count(self, verb: str, times: int = 1) -> None:
        with self._lock:
            self.requests[verb] += times

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
        self._objects[key] = _Object(bytes(data), etag, datetime.now(timezone.utc))
        return etag

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
            keys = sorted(key for key in self._objects if key.startswith(prefix) and key > after)
            return tuple(_entry(key, self._objects[key]) for key in keys[: self._page_size])


def _entry(key: str, found: _Object) -> Entry:
    return Entry(key, len(found.data), found.modified, found.etag)
