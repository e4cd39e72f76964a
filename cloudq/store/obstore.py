"""The store on an S3 server, by obstore: the same behaviour as by boto3, at a tenth of the time."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from itertools import chain, islice
from pathlib import Path
from typing import Any, Callable, Optional

import obstore

from cloudq.errors import NotFoundError, StoreError
from cloudq.store import PART, Blob, Entry, Method, Store, StoreAddress
from cloudq.store.blocks import CountedBlocks, confirmed, file_blocks, head_of, part_size, range_blocks
from cloudq.store.choice import Choice
from cloudq.store.conditional import settle
from cloudq.store.files import appearing
from cloudq.store.interruptible import interruptible
from cloudq.store.obstore_client import Credentials, make_client
from cloudq.store.obstore_errors import (
    LIBRARY_ERRORS,
    find_answer,
    is_about_deletion,
    is_unclear,
    store_error,
)
from cloudq.store.obstore_keys import bare, entry_of, is_odd
from cloudq.store.obstore_listing import ObstoreListing
from cloudq.store.obstore_reading import ObstoreReading
from cloudq.store.plain_http import PlainHttp, is_direct

_KEYS_PER_DELETE = 1000
_SENDERS = 8
_URL_LIFETIME = timedelta(minutes=15)
"""Of the URLs that we use ourselves: as long as servers accept the signature of a request."""


class ObstoreStore:
    """One bucket of an S3 server. See `cloudq.store.Store` for the contract.

    What obstore cannot do is left to boto3: keys that it refuses to name (with control characters, `//` or a
    slash at an end), listings of buckets that have such keys, and deletions that a server refuses in bulk.

    Args:
        client: As `make_client` makes it.
        address: Where the bucket is.
        credentials: What gives the client its keys.
        open_other: Opens the store that does what this one cannot.
        sleep: Waits so many seconds between tries of a conditional write.
    """

    def __init__(
        self,
        client: Any,
        address: StoreAddress,
        *,
        credentials: Credentials,
        open_other: Callable[[], Store],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._address = address
        self._credentials = credentials
        self._open_other = open_other
        self._opened_other: Optional[Store] = None
        direct = PlainHttp(self._signed_url) if is_direct(address) else None
        self._reading = ObstoreReading(client, self._asking, stat=self.stat, url=self.url, direct=direct)
        self._listing = ObstoreListing(client, self._asking, lambda: self._other)
        self._sleep = sleep

    @classmethod
    def at(cls, address: StoreAddress, choice: Choice) -> ObstoreStore:
        """Open the bucket of an address; nothing is asked of the server.

        Raises:
            StoreRefusedError: The profile is unknown, or there are no credentials.
            ConfigError: The endpoint is not a URL.
        """
        client, credentials = make_client(address, choice)

        def open_other() -> Store:
            from cloudq.store.s3 import S3Store

            return S3Store.at(address)

        return cls(client, address, credentials=credentials, open_other=open_other)

    @property
    def url(self) -> str:
        bucket = f"s3://{self._address.bucket}"
        return f"{bucket} at {self._address.endpoint_url}" if self._address.endpoint_url else bucket

    def read(self, key: str) -> Blob:
        if is_odd(key):
            return self._other.read(key)
        data, etag = self._reading.whole(key)
        return Blob(data, bare(etag))

    def read_range(self, key: str, start: int, end: int) -> memoryview:
        if is_odd(key):
            return self._other.read_range(key, start, end)
        if end <= start:
            self.stat(key)
            return memoryview(b"")
        return self._reading.range(key, start, end)

    def read_blocks(self, key: str, start: int, end: int) -> Iterator[memoryview]:
        if is_odd(key) or end <= start:
            return range_blocks(self, key, start, end)
        return self._reading.blocks(key, start, end)

    def stat(self, key: str) -> Entry:
        if is_odd(key):
            return self._other.stat(key)
        with self._asking(f"read {key!r}", key):
            return entry_of(interruptible(obstore.head, self._client, key), key)

    def write(self, key: str, data: bytes) -> str:
        if is_odd(key):
            return self._other.write(key, data)
        with self._asking(f"write {key!r}"):
            return self._put(key, data, "overwrite")

    def create(self, key: str, data: bytes) -> str:
        if is_odd(key):
            return self._other.create(key, data)
        return self._settle(key, data, None, "create")

    def replace(self, key: str, data: bytes, *, etag: str) -> str:
        if is_odd(key):
            return self._other.replace(key, data, etag=etag)
        # Ceph 16 and 18 never match a quoted ETag; every server accepts the bare one.
        return self._settle(key, data, etag, {"e_tag": etag})

    def list(self, prefix: str, *, after: str = "") -> Iterator[Entry]:
        return self._listing.entries(prefix, after=after)

    def list_folders(self, prefix: str) -> Iterator[str]:
        return self._listing.folders(prefix)

    def delete(self, keys: Iterable[str]) -> None:
        remaining = iter(keys)
        while batch := list(islice(remaining, _KEYS_PER_DELETE)):
            self._delete(batch)

    def upload(self, path: Path, key: str) -> Entry:
        size = path.stat().st_size
        with path.open("rb") as file:
            stored, sent = self._send(file_blocks(file), key, expected=size)
        if sent != size or stored.size != size:
            raise StoreError(
                f"{self.url}: {key!r} has {stored.size} bytes after the upload of {size} from {path}"
            )
        return stored

    def upload_blocks(self, blocks: Iterable[bytes], key: str, *, expected: int = 0) -> Entry:
        stored, sent = self._send(iter(blocks), key, expected=expected)
        return confirmed(stored, sent, where=self.url)

    def abort_uploads(self, prefix: str) -> None:
        self._other.abort_uploads(prefix)

    def presign(self, method: Method, key: str, lifetime: timedelta) -> str:
        with self._asking(f"make a URL for {key!r}"):
            return str(obstore.sign(self._client, method, key, lifetime))

    def download(self, key: str, path: Path) -> None:
        if is_odd(key):
            self._other.download(key, path)
            return
        with appearing(path) as file:
            self._reading.fetch(key, file)

    def _signed_url(self, key: str) -> str:
        return self.presign("GET", key, _URL_LIFETIME)

    @property
    def _other(self) -> Store:
        if self._opened_other is None:
            self._opened_other = self._open_other()
        return self._opened_other

    @contextmanager
    def _asking(self, action: str, key: Optional[str] = None) -> Iterator[None]:
        """Turn errors of obstore into ours; `key` is the object that should be there."""
        try:
            yield
        except LIBRARY_ERRORS as error:
            if self._credentials.fault is not None:
                fault = self._credentials.fault
                raise type(fault)(f"{self.url}: cannot {action}: {fault}", hint=fault.hint) from error
            raise store_error(error, where=self.url, action=action, key=key) from error

    def _put(self, key: str, data: bytes, mode: Any) -> str:
        put = interruptible(obstore.put, self._client, key, data, mode=mode, use_multipart=False)
        return bare(put["e_tag"])

    def _settle(self, key: str, data: bytes, expected: Optional[str], mode: Any) -> str:
        with self._asking(f"write {key!r} on condition"):
            return settle(
                lambda: self._put(key, data, mode),
                lambda: self._find(key),
                key=key,
                data=data,
                expected=expected,
                is_unclear=lambda error: self._credentials.fault is None and is_unclear(error),
                sleep=self._sleep,
            )

    def _find(self, key: str) -> Optional[Blob]:
        try:
            return self.read(key)
        except NotFoundError:
            return None

    def _delete(self, keys: Sequence[str]) -> None:
        if any(map(is_odd, keys)):
            self._other.delete(keys)
            return
        try:
            interruptible(obstore.delete, self._client, keys)
        except LIBRARY_ERRORS as error:
            if find_answer(error) is None and not is_about_deletion(error):
                raise store_error(error, where=self.url, action="delete objects") from error
            # Some servers do not have this verb; and boto3 tells which object a refusal concerns.
            self._other.delete(keys)

    def _send(self, blocks: Iterator[bytes], key: str, *, expected: int) -> tuple[Entry, int]:
        """Store blocks as they come: small ones by one request, more in parts. Return how many bytes came."""
        if is_odd(key):
            raise StoreError(f"{self.url}: cannot write {key!r}: a key that cannot be")
        head, is_all = head_of(blocks, PART)
        if is_all:
            import hashlib

            etag = self.write(key, head)
            if etag == hashlib.md5(head, usedforsecurity=False).hexdigest():
                # The server has told the sum of what it has: there is nothing more to ask.
                return Entry(key, len(head), datetime.now(timezone.utc), etag), len(head)
            return self.stat(key), len(head)
        counter = CountedBlocks(chain([head], blocks))
        part = part_size(expected, PART)
        with counter.blaming_the_source(), self._asking(f"write {key!r}"):
            interruptible(obstore.put, self._client, key, counter, chunk_size=part, max_concurrency=_SENDERS)
        return self.stat(key), counter.size
