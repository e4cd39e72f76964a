"""Object stores: one protocol of a few verbs, and where each kind is opened."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal, Protocol

LARGEST_READ = 64 * 1024 * 1024
"""Most bytes of an object that is read at once; who may write to a bucket must not fill a reader's memory."""

PART = 8 * 1024 * 1024
"""Bytes of a large object that are sent or fetched by one request."""

Method = Literal["GET", "PUT"]
"""What a URL may be good for."""


@dataclass(frozen=True)
class StoreAddress:
    """Where the objects are.

    Attributes:
        endpoint_url: `https://…` or `http://…` of an S3 server, `file:///path` of a directory,
            or empty for AWS.
        bucket: The bucket; for a directory, the folder below the path.
        profile: Profile of the AWS configuration files; empty for the default chain.
    """

    endpoint_url: str
    bucket: str
    profile: str = ""

    @property
    def is_plain_http(self) -> bool:
        """Tell whether a server is spoken to without TLS."""
        return self.endpoint_url.lower().startswith("http:")


@dataclass(frozen=True)
class Entry:
    """One object in a listing. `size` is in bytes, `modified` aware, `etag` bare (no quotes)."""

    key: str
    size: int
    modified: datetime
    etag: str


@dataclass(frozen=True)
class Blob:
    """The bytes of an object and the ETag (bare) they had when read."""

    data: bytes
    etag: str


class Store(Protocol):
    """A bucket. Every method may raise `StoreUnreachableError` or `StoreRefusedError`.

    Keys are relative to the bucket, parts separated by `/`. ETags are opaque and bare. Stores are
    safe to use from several threads.
    """

    @property
    def url(self) -> str:
        """Name the place for a person: `s3://bucket at https://…`, `file:///path/bucket`."""
        ...

    def read(self, key: str) -> Blob:
        """Read a whole small object. Raises NotFoundError, TooLargeError."""
        ...

    def read_range(self, key: str, start: int, end: int) -> memoryview:
        """Read bytes `start` to `end` (exclusive), fewer if the object is shorter. Raises NotFoundError.

        The view is of what the library has received: large ranges are not copied.
        """
        ...

    def read_blocks(self, key: str, start: int, end: int) -> Iterator[memoryview]:
        """Yield the same in blocks as they come, none of them larger than `PART`.

        Nothing need be asked before the first block is taken. Each is good until the next one is asked for.

        Raises:
            NotFoundError: There is no such object.
            StoreError: It was changed while it was read.
        """
        ...

    def stat(self, key: str) -> Entry:
        """Return size, time and ETag without the bytes. Raises NotFoundError."""
        ...

    def write(self, key: str, data: bytes) -> str:
        """Write an object, whatever was there, and return its ETag."""
        ...

    def create(self, key: str, data: bytes) -> str:
        """Write an object that does not exist yet, and return its ETag.

        An unclear answer (412 after a retry, 409, 5xx, time-out) is settled by reading the object:
        if it holds exactly these bytes, the write is ours. So the bytes must be unique to the writer.

        Raises:
            ConflictError: It exists, with other bytes.
        """
        ...

    def replace(self, key: str, data: bytes, *, etag: str) -> str:
        """Replace the object that has this ETag, and return the new ETag. Unclear answers as in `create`.

        Raises:
            ConflictError: The object is another one by now, or is gone.
        """
        ...

    def list(self, prefix: str, *, after: str = "") -> Iterator[Entry]:
        """Yield all objects whose key begins with `prefix` and is greater than `after`, in key order."""
        ...

    def list_folders(self, prefix: str) -> Iterator[str]:
        """Yield the distinct next parts below `prefix` (which is empty or ends in `/`) that have
        something below them, in order, without the slash."""
        ...

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; keys that do not exist are no error."""
        ...

    def upload(self, path: Path, key: str) -> Entry:
        """Store a file of any size, and return what the store then says of the object.

        Raises:
            StoreError: The object does not have the size of what was read.
        """
        ...

    def upload_blocks(self, blocks: Iterable[bytes], key: str, *, expected: int = 0) -> Entry:
        """Store what comes in blocks, without a copy on disk, and return what the store then says of it.

        If the blocks end with an error, that is raised, and what was there before is still there.

        Args:
            blocks: The bytes, in pieces of any size.
            key: The object.
            expected: About how many bytes there will be, if that is known.

        Raises:
            StoreError: The object does not have the size of what was sent.
        """
        ...

    def abort_uploads(self, prefix: str) -> None:
        """Give back what uploads in parts that were cut off, or are under way, have stored below a prefix."""
        ...

    def download(self, key: str, path: Path) -> None:
        """Fetch an object of any size into a file, which appears whole or not at all (mode 0600).

        Raises:
            NotFoundError: There is no such object.
        """
        ...

    def presign(self, method: Method, key: str, lifetime: timedelta) -> str:
        """Return a URL by which whoever has it may read or write one object, at most for so long.

        It ends earlier with our keys, if these are temporary. The object need not exist. Keys with control
        characters or with parts that are empty, `.` or `..` have no URL everywhere.

        Raises:
            StoreRefusedError: This store has no URLs, or there are no credentials.
        """
        ...


def check_size(size: int, key: str) -> None:
    """Refuse to read at once what is too large for that. Raises TooLargeError."""
    if size > LARGEST_READ:
        from cloudq.errors import TooLargeError

        raise TooLargeError(f"{key}: {size} bytes, at most {LARGEST_READ} are read")


def open_store(address: StoreAddress) -> Store:
    """Open the store of an address. Nothing is asked of the server yet.

    Raises:
        ConfigError: The address has a scheme that no store has.
        StoreRefusedError: The profile is unknown, or there are no credentials.
    """
    from cloudq.errors import ConfigError

    scheme = address.endpoint_url.partition("://")[0].lower()
    if scheme == "file":
        from cloudq.store.directory import DirectoryStore

        return DirectoryStore.at(address)
    if scheme in ("http", "https", ""):
        return _open_s3(address)
    raise ConfigError(
        f"cloudq_endpoint_url: expected https://, http:// or file://, got {address.endpoint_url!r}"
    )


def _open_s3(address: StoreAddress) -> Store:
    from cloudq.store.choice import choose_library

    choice = choose_library(address)
    if choice.library == "obstore":
        from cloudq.store.obstore import ObstoreStore

        return ObstoreStore.at(address, choice)
    from cloudq.store.s3 import S3Store

    return S3Store.at(address)
