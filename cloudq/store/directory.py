"""The store in a directory: for trying CloudQ, and for clusters that share a file system."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import BinaryIO, Optional
from urllib.parse import urlsplit
from urllib.request import url2pathname

from filelock import FileLock

from cloudq.errors import (
    ConfigError,
    ConflictError,
    NotFoundError,
    StoreError,
    StoreRefusedError,
    StoreUnreachableError,
)
from cloudq.store import Blob, Entry, Method, StoreAddress, check_size
from cloudq.store.blocks import CountedBlocks, confirmed, range_blocks
from cloudq.store.file_names import OWN, folder_names
from cloudq.store.file_tree import FileTree
from cloudq.store.files import appearing
from cloudq.store.moved import current_watcher

_LOCK_SECONDS = 60
_POLL_SECONDS = 0.005
_HASHED_BYTES = 8 * 1024 * 1024
_COPIED_BYTES = 1024 * 1024

_PERMISSION = "check owner and mode of the directory; CloudQ makes its folders for their owner only"
_FULL = "make room, or delete old jobs"
_HINTS: Mapping[int, str] = {
    errno.EACCES: _PERMISSION,
    errno.EPERM: _PERMISSION,
    errno.EROFS: "the file system is mounted read-only",
    errno.ENOSPC: _FULL,
    getattr(errno, "EDQUOT", errno.ENOSPC): _FULL,
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOTDIR: "a file is where the store needs a folder; move it away",
}


class DirectoryStore:
    """Objects as files below a directory. See `cloudq.store.Store` for the contract.

    `create` is a hard link to a file that is whole already; everything else that changes an object holds the
    lock of the bucket. Both are atomic among all processes, and among all hosts if the file system
    passes locks on (NFS does, Lustre if mounted with `flock`). ETags are the MD5 of the bytes as on
    S3; above 8 MiB they are made of time and size. A file system that ignores case, as on macOS and
    Windows, merges keys that differ only in it.

    Args:
        directory: An existing directory; files have mode 0600, folders 0700.
        bucket: The folder in it; made at the first write.
    """

    def __init__(self, directory: Path, bucket: str) -> None:
        if bucket in ("", ".", "..") or "/" in bucket:
            raise ConfigError(f"cloudq_bucket: expected a plain name, got {bucket!r}")
        self._directory = directory
        self._tree = FileTree(directory.joinpath(*folder_names(bucket + "/")))
        self._threads = threading.Lock()

    @classmethod
    def at(cls, address: StoreAddress) -> DirectoryStore:
        """Open the bucket of a `file:///…` address; the directory is not looked at.

        Raises:
            ConfigError: The URL has a host or no absolute path.
        """
        url = urlsplit(address.endpoint_url)
        if url.netloc not in ("", "localhost") or not url.path.startswith("/"):
            raise ConfigError(f"cloudq_endpoint_url: expected file:///PATH, got {address.endpoint_url!r}")
        return cls(Path(url2pathname(url.path)), address.bucket)

    @property
    def url(self) -> str:
        return self._tree.root.as_uri()

    def read(self, key: str) -> Blob:
        with self._asking(f"read {key!r}", key), self._tree.file(key).open("rb") as file:
            check_size(os.fstat(file.fileno()).st_size, key)
            etag = _etag(file)
            file.seek(0)
            return Blob(file.read(), etag)

    def read_range(self, key: str, start: int, end: int) -> memoryview:
        with self._asking(f"read {key!r}", key), self._tree.file(key).open("rb") as file:
            file.seek(start)
            return memoryview(file.read(max(0, end - start)))

    def read_blocks(self, key: str, start: int, end: int) -> Iterator[memoryview]:
        return range_blocks(self, key, start, end)

    def stat(self, key: str) -> Entry:
        with self._asking(f"read {key!r}", key):
            return _entry(key, self._tree.file(key))

    def write(self, key: str, data: bytes) -> str:
        with self._new_file(key, data) as (path, new, etag), self._lock():
            new.replace(path)
        return etag

    def create(self, key: str, data: bytes) -> str:
        with self._new_file(key, data) as (path, new, etag):
            try:
                os.link(new, path)
            except FileExistsError as error:
                return self._own_etag(key, data, error)
        return etag

    def replace(self, key: str, data: bytes, *, etag: str) -> str:
        with self._new_file(key, data) as (path, new, new_etag), self._lock():
            found = self._find(key)
            if found is None or found.etag != etag:
                return self._own_etag(key, data)
            new.replace(path)
        return new_etag

    def list(self, prefix: str, *, after: str = "") -> Iterator[Entry]:
        top = prefix[: prefix.rfind("/") + 1]
        for key, path in self._found(self._tree.walk(self._tree.folder(top), top, prefix, after)):
            entry = self._find_entry(key, path)
            if entry is not None:
                yield entry

    def list_folders(self, prefix: str) -> Iterator[str]:
        for name, path in self._found(self._tree.children(self._tree.folder(prefix))):
            if name.endswith("/") and any(True for _ in self._found(self._tree.walk(path))):
                yield name[:-1]

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            path = self._tree.file(key)
            with self._asking(f"delete {key!r}"):
                if not path.exists():
                    self._require_directory()
                    continue
                with self._lock():
                    path.unlink(missing_ok=True)
            self._tree.prune(path.parent)

    def upload(self, path: Path, key: str) -> Entry:
        target = self._tree.file(key)
        with path.open("rb") as source:
            copy = self._tree.file_beside(
                target, lambda file: shutil.copyfileobj(source, file, _COPIED_BYTES)
            )
            with self._asking(f"write {key!r}"), copy as new, self._lock():
                new.replace(target)
            size = source.tell()
        current_watcher()(size)
        return confirmed(self.stat(key), size, where=self.url, source=f"{path}")

    def upload_blocks(self, blocks: Iterable[bytes], key: str, *, expected: int = 0) -> Entry:  # noqa: ARG002
        target = self._tree.file(key)
        counter = CountedBlocks(blocks)
        copy = self._tree.file_beside(target, lambda file: file.writelines(counter))
        with counter.blaming_the_source(), self._asking(f"write {key!r}"), copy as new, self._lock():
            new.replace(target)
        return confirmed(self.stat(key), counter.size, where=self.url)

    def abort_uploads(self, prefix: str) -> None:
        pass

    def presign(self, method: Method, key: str, lifetime: timedelta) -> str:  # noqa: ARG002
        raise StoreRefusedError(f"{self.url}: a bucket in a folder has no URLs", hint="copy by its path")

    def download(self, key: str, path: Path) -> None:
        with self._asking(f"read {key!r}", key):
            source = self._tree.file(key).open("rb")
        with source, appearing(path) as file:
            size = os.fstat(source.fileno()).st_size
            with self._asking(f"read {key!r}"):
                shutil.copyfileobj(source, file, _COPIED_BYTES)
            current_watcher()(size)
            if file.tell() != size:
                raise StoreError(f"{self.url}: only {file.tell()} of {size} bytes of {key!r} came")

    @contextmanager
    def _asking(self, action: str, key: Optional[str] = None) -> Iterator[None]:
        """Turn errors of the file system into ours; `key` is the object that should be there."""
        try:
            yield
        except FileNotFoundError as error:
            self._require_directory()
            if key is not None:
                raise NotFoundError(key) from error
            raise StoreUnreachableError(f"{self.url}: cannot {action}: {error.strerror}") from error
        except (OSError, NotImplementedError) as error:
            raise _store_error(error, f"{self.url}: cannot {action}") from error

    def _require_directory(self) -> None:
        if not self._directory.is_dir():
            raise StoreRefusedError(
                f"{self.url}: no such directory: {self._directory}",
                hint="make it, or mount its file system, or correct cloudq_endpoint_url",
            )

    @contextmanager
    def _new_file(self, key: str, data: bytes) -> Iterator[tuple[Path, Path, str]]:
        """Write a file; the block shall move it from the second path to the first. The third is its ETag."""
        path = self._tree.file(key)
        writing = self._tree.file_beside(path, lambda file: file.write(data))
        with self._asking(f"write {key!r}"), writing as new:
            yield path, new, _entry(key, new).etag

    def _found(self, files: Iterable[tuple[str, Path]]) -> Iterator[tuple[str, Path]]:
        """Pass on what the tree finds; if that is nothing, make sure that the directory is there."""
        with self._asking("list objects"):
            first = None
            for first in files:
                yield first
            if first is None:
                self._require_directory()

    def _find(self, key: str) -> Optional[Blob]:
        try:
            return self.read(key)
        except NotFoundError:
            return None

    def _find_entry(self, key: str, path: Path) -> Optional[Entry]:
        try:
            with self._asking(f"read {key!r}", key):
                return _entry(key, path)
        except NotFoundError:
            return None

    def _own_etag(self, key: str, data: bytes, cause: Optional[OSError] = None) -> str:
        """Return the ETag of an object that a lost race left, if it holds just these bytes."""
        found = self._find(key)
        if found is None or found.data != data:
            raise ConflictError(key) from cause
        return found.etag

    @contextmanager
    def _lock(self) -> Iterator[None]:
        lock = FileLock(self._tree.root / f"{OWN}lock", timeout=_LOCK_SECONDS, mode=0o600)
        with self._threads, lock.acquire(poll_interval=_POLL_SECONDS):
            yield


def _entry(key: str, path: Path) -> Entry:
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        modified = datetime.fromtimestamp(status.st_mtime, timezone.utc)
        return Entry(key, status.st_size, modified, _etag(file))


def _etag(file: BinaryIO) -> str:
    status = os.fstat(file.fileno())
    if status.st_size > _HASHED_BYTES:
        return f"{status.st_mtime_ns:x}-{status.st_size:x}"
    return hashlib.md5(file.read(), usedforsecurity=False).hexdigest()


def _store_error(error: Exception, tried: str) -> StoreError:
    number = (error.errno or 0) if isinstance(error, OSError) else 0
    words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    if number in _HINTS:
        return StoreRefusedError(f"{tried}: {words}", hint=_HINTS[number])
    return StoreUnreachableError(f"{tried}: {words}", hint="check the file system of the directory")
