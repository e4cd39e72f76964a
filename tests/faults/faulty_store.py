"""A store before a store: it counts all requests, and spoils those that a test has chosen."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Callable, Optional, TypeVar

from cloudq.errors import StoreRefusedError, StoreUnreachableError
from cloudq.store import Blob, Entry, Method, Store

T = TypeVar("T")


class Fault(Enum):
    """What happens to a request."""

    LOST = "lost"
    """It never arrives."""

    REPLY_LOST = "reply lost"
    """It takes effect, but nobody hears of it."""

    REFUSED = "refused"
    """The key is not accepted (403)."""

    TWICE = "twice"
    """The network delivers it twice."""

    LATE = "late"
    """It is given up, and takes effect some requests later."""


WRITES = frozenset({"write", "create", "replace", "delete", "upload"})
DELAY = 6
"""How many requests later a late one arrives."""


@dataclass
class FaultyStore:
    """Passes requests on to another store.

    Attributes:
        at: Numbers of the requests that are spoilt, counted from 1.
        fault: What happens to them.
        requests: Verb and key of every request so far.
    """

    store: Store
    at: range = range(0)
    fault: Fault = Fault.LOST
    requests: list[tuple[str, str]] = field(default_factory=list)
    _late: list[tuple[int, Callable[[], object]]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def spoils(self) -> bool:
        """Whether requests are still to be spoilt, or to arrive late."""
        return bool(self._late) or len(self.requests) + 1 < self.at.stop

    @property
    def url(self) -> str:
        return "s3://bucket"

    def read(self, key: str) -> Blob:
        return self._ask("read", key, lambda: self.store.read(key))

    def read_range(self, key: str, start: int, end: int) -> memoryview:
        return self._ask("read_range", key, lambda: self.store.read_range(key, start, end))

    def read_blocks(self, key: str, start: int, end: int) -> Iterator[memoryview]:
        yield self.read_range(key, start, end)

    def stat(self, key: str) -> Entry:
        return self._ask("stat", key, lambda: self.store.stat(key))

    def write(self, key: str, data: bytes) -> str:
        return self._ask("write", key, lambda: self.store.write(key, data))

    def create(self, key: str, data: bytes) -> str:
        return self._ask("create", key, lambda: self.store.create(key, data))

    def replace(self, key: str, data: bytes, *, etag: str) -> str:
        return self._ask("replace", key, lambda: self.store.replace(key, data, etag=etag))

    def list(self, prefix: str, *, after: str = "") -> Iterator[Entry]:
        return iter(self._ask("list", prefix, lambda: tuple(self.store.list(prefix, after=after))))

    def list_folders(self, prefix: str) -> Iterator[str]:
        return iter(self._ask("list", prefix, lambda: tuple(self.store.list_folders(prefix))))

    def delete(self, keys: Iterable[str]) -> None:
        chosen = tuple(keys)
        self._ask("delete", ",".join(chosen), lambda: self.store.delete(chosen))

    def upload(self, path: Path, key: str) -> Entry:
        data = path.read_bytes()

        def put() -> Entry:
            self.store.write(key, data)
            return self.store.stat(key)

        return self._ask("upload", key, put)

    def upload_blocks(self, blocks: Iterable[bytes], key: str, *, expected: int = 0) -> Entry:
        data = b"".join(blocks)

        def put() -> Entry:
            self.store.write(key, data)
            return self.store.stat(key)

        return self._ask("upload", key, put)

    def abort_uploads(self, prefix: str) -> None:
        self._ask("abort_uploads", prefix, lambda: self.store.abort_uploads(prefix))

    def presign(self, method: Method, key: str, lifetime: timedelta) -> str:
        return self._ask("presign", key, lambda: self.store.presign(method, key, lifetime))

    def download(self, key: str, path: Path) -> None:
        self._ask("download", key, lambda: self.store.download(key, path))

    def _ask(self, verb: str, key: str, act: Callable[[], T]) -> T:
        fault = self._fault_of(verb, key, act)
        if fault is Fault.REFUSED:
            raise StoreRefusedError(f"{self.url}: cannot {verb} {key!r}: access denied (AccessDenied 403)")
        if fault in (Fault.LOST, Fault.LATE):
            raise StoreUnreachableError(f"{self.url}: cannot {verb} {key!r}: Connection refused")
        answer = act()
        if fault is Fault.TWICE:
            act()
        if fault is Fault.REPLY_LOST:
            raise StoreUnreachableError(f"{self.url}: cannot {verb} {key!r}: Connection reset by peer")
        return answer

    def _fault_of(self, verb: str, key: str, act: Callable[[], object]) -> Optional[Fault]:
        with self._lock:
            self.requests.append((verb, key))
            number = len(self.requests)
            for arrived in [late for late in self._late if late[0] <= number]:
                self._late.remove(arrived)
                _arrive_late(arrived[1])
            if number not in self.at:
                return None
            if self.fault is Fault.LATE and verb in WRITES:
                self._late.append((number + DELAY, act))
            return self.fault


def _arrive_late(act: Callable[[], object]) -> None:
    """Apply a request that nobody waits for any more; a condition that no longer holds is the rule."""
    from contextlib import suppress

    from cloudq.errors import StoreError

    with suppress(StoreError):
        act()
