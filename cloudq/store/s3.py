"""The store on an S3 server, by boto3."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Callable, Optional, cast

from s3transfer.subscribers import BaseSubscriber

from cloudq.errors import NotFoundError, StoreError, StoreUnreachableError
from cloudq.store import PART, Blob, Entry, Method, StoreAddress, check_size
from cloudq.store.answers import BULK_DELETE_REFUSED
from cloudq.store.blocks import BlockFile, CountedBlocks, confirmed, part_size, range_blocks
from cloudq.store.conditional import settle
from cloudq.store.files import appearing
from cloudq.store.moved import current_watcher
from cloudq.store.s3_client import make_client
from cloudq.store.s3_errors import BROKEN_BODY, LIBRARY_ERRORS, code_of, is_unclear, status_of, store_error

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef, ListObjectsV2OutputTypeDef
    from s3transfer.futures import TransferFuture
    from s3transfer.manager import TransferManager

_KEYS_PER_DELETE = 1000
_READ_ATTEMPTS = 3


class S3Store:
    """One bucket of an S3 server. See `cloudq.store.Store` for the contract.

    SeaweedFS 4.48 deviates from it in three points, as measured: it lists folder by folder, so that `a/b`
    comes before `a-b`; it goes on naming folders in which nothing is left; it takes a backslash in a key
    for a slash. AWS, Ceph and moto do not.

    Args:
        client: As `make_client` makes it.
        address: Where the bucket is.
        sleep: Waits so many seconds between tries of a conditional write.
    """

    def __init__(
        self, client: S3Client, address: StoreAddress, *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._client = client
        self._address = address
        self._bucket = address.bucket
        self._sleep = sleep

    @classmethod
    def at(cls, address: StoreAddress) -> S3Store:
        """Open the bucket of an address; nothing is asked of the server.

        Raises:
            StoreRefusedError: The profile is unknown, or there are no credentials.
            ConfigError: The endpoint is not a URL.
        """
        return cls(make_client(address), address)

    @property
    def bucket(self) -> str:
        """The name of the bucket."""
        return self._bucket

    @property
    def url(self) -> str:
        bucket = f"s3://{self._bucket}"
        return f"{bucket} at {self._address.endpoint_url}" if self._address.endpoint_url else bucket

    def read(self, key: str) -> Blob:
        with self._asking(f"read {key!r}", key):
            data, answer = self._get(key)
            return Blob(data, _bare(answer["ETag"]))

    def read_range(self, key: str, start: int, end: int) -> memoryview:
        if end <= start:
            self.stat(key)
            return memoryview(b"")
        with self._asking(f"read {key!r}", key):
            try:
                data, answer = self._get(key, Range=f"bytes={start}-{end - 1}")
            except LIBRARY_ERRORS as error:
                if status_of(error) == 416:
                    return memoryview(b"")
                raise
            # Without a Content-Range the server has ignored the Range and sent everything.
            return memoryview(data) if answer.get("ContentRange") else memoryview(data)[start:end]

    def read_blocks(self, key: str, start: int, end: int) -> Iterator[memoryview]:
        return range_blocks(self, key, start, end)

    def stat(self, key: str) -> Entry:
        with self._asking(f"read {key!r}", key):
            answer = self._client.head_object(Bucket=self._bucket, Key=key)
            return Entry(key, answer["ContentLength"], answer["LastModified"], _bare(answer["ETag"]))

    def write(self, key: str, data: bytes) -> str:
        with self._asking(f"write {key!r}"):
            return self._put(key, data)

    def create(self, key: str, data: bytes) -> str:
        return self._settle(key, data, None, IfNoneMatch="*")

    def replace(self, key: str, data: bytes, *, etag: str) -> str:
        # Ceph 16 and 18 never match a quoted ETag; every server accepts the bare one.
        return self._settle(key, data, etag, IfMatch=etag)

    def list(self, prefix: str, *, after: str = "") -> Iterator[Entry]:
        start = {"StartAfter": after} if after else {}
        for page in self._pages(Prefix=prefix, **start):
            for item in page.get("Contents", ()):
                yield Entry(item["Key"], item["Size"], item["LastModified"], _bare(item.get("ETag", "")))

    def list_folders(self, prefix: str) -> Iterator[str]:
        for page in self._pages(Prefix=prefix, Delimiter="/"):
            for item in page.get("CommonPrefixes", ()):
                yield item["Prefix"][len(prefix) : -1]

    def delete(self, keys: Iterable[str]) -> None:
        remaining = iter(keys)
        while batch := tuple(islice(remaining, _KEYS_PER_DELETE)):
            rest = batch if len(batch) == 1 else self._delete_many(batch)
            for key in rest:
                self._delete_one(key)

    def upload(self, path: Path, key: str) -> Entry:
        size = path.stat().st_size
        with self._asking(f"write {key!r}"), self._transfers() as transfers:
            transfers.upload(os.fspath(path), self._bucket, key, subscribers=[_Known(size)]).result()
        return confirmed(self.stat(key), size, where=self.url, source=f"{path}")

    def upload_blocks(self, blocks: Iterable[bytes], key: str, *, expected: int = 0) -> Entry:
        counter = CountedBlocks(blocks)
        part = part_size(expected, PART)
        with counter.blaming_the_source(), self._asking(f"write {key!r}"), self._transfers(part) as transfers:
            transfers.upload(cast(BinaryIO, BlockFile(counter)), self._bucket, key).result()
        return confirmed(self.stat(key), counter.size, where=self.url)

    def abort_uploads(self, prefix: str) -> None:
        with self._asking(f"abort uploads below {prefix!r}"):
            pages = self._client.get_paginator("list_multipart_uploads")
            for page in pages.paginate(Bucket=self._bucket, Prefix=prefix):
                for upload in page.get("Uploads", ()):
                    self._client.abort_multipart_upload(
                        Bucket=self._bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                    )

    def presign(self, method: Method, key: str, lifetime: timedelta) -> str:
        with self._asking(f"make a URL for {key!r}"):
            return self._client.generate_presigned_url(
                "get_object" if method == "GET" else "put_object",
                Params={"Bucket": self._bucket, "Key": key},
                ExpiresIn=int(lifetime.total_seconds()),
            )

    def download(self, key: str, path: Path) -> None:
        entry = self.stat(key)
        known = _Known(entry.size, entry.etag)
        with appearing(path) as file:
            with self._asking(f"read {key!r}", key), self._transfers() as transfers:
                transfers.download(self._bucket, key, file, subscribers=[known]).result()
            size = file.seek(0, os.SEEK_END)
            if size != entry.size:
                raise StoreError(f"{self.url}: only {size} of {entry.size} bytes of {key!r} came")

    @contextmanager
    def _asking(self, action: str, key: Optional[str] = None) -> Iterator[None]:
        """Turn errors of the S3 library into ours; `key` is the object that should be there."""
        try:
            yield
        except LIBRARY_ERRORS as error:
            raise store_error(error, where=self.url, action=action, key=key) from error

    def _get(self, key: str, **options: Any) -> tuple[bytes, GetObjectOutputTypeDef]:
        for attempt in range(1, _READ_ATTEMPTS + 1):
            answer = self._client.get_object(Bucket=self._bucket, Key=key, **options)
            if not options:
                check_size(answer["ContentLength"], key)
            try:
                return answer["Body"].read(), answer
            except BROKEN_BODY:
                if attempt == _READ_ATTEMPTS:
                    raise
        raise AssertionError("unreachable")

    def _put(self, key: str, data: bytes, **condition: Any) -> str:
        return _bare(self._client.put_object(Bucket=self._bucket, Key=key, Body=data, **condition)["ETag"])

    def _find(self, key: str) -> Optional[Blob]:
        try:
            return self.read(key)
        except NotFoundError:
            return None

    def _settle(self, key: str, data: bytes, expected: Optional[str], **condition: str) -> str:
        with self._asking(f"write {key!r} on condition"):
            return settle(
                lambda: self._put(key, data, **condition),
                lambda: self._find(key),
                key=key,
                data=data,
                expected=expected,
                is_unclear=is_unclear,
                sleep=self._sleep,
            )

    def _pages(self, **arguments: Any) -> Iterator[ListObjectsV2OutputTypeDef]:
        while True:
            with self._asking("list objects"):
                page = self._client.list_objects_v2(Bucket=self._bucket, **arguments)
            yield page
            if not page.get("IsTruncated"):
                return
            if not page.get("NextContinuationToken"):
                raise StoreUnreachableError(
                    f"{self.url}: cannot list objects: the server broke off the listing"
                )
            arguments["ContinuationToken"] = page["NextContinuationToken"]

    def _delete_many(self, keys: tuple[str, ...]) -> tuple[str, ...]:
        """Delete keys by one request, and return those that remain to be deleted one by one."""
        wanted: Any = {"Objects": [{"Key": key} for key in keys], "Quiet": True}
        with self._asking("delete objects"):
            try:
                answer = self._client.delete_objects(Bucket=self._bucket, Delete=wanted)
            except LIBRARY_ERRORS as error:
                if status_of(error) in BULK_DELETE_REFUSED:
                    return keys
                raise
        return tuple(failed.get("Key", "") for failed in answer.get("Errors", ()))

    def _delete_one(self, key: str) -> None:
        with self._asking(f"delete {key!r}"):
            try:
                self._client.delete_object(Bucket=self._bucket, Key=key)
            except LIBRARY_ERRORS as error:
                if code_of(error) != "NoSuchKey":
                    raise

    def _transfers(self, part: int = PART) -> TransferManager:
        from boto3.s3.transfer import TransferConfig, create_transfer_manager

        config = TransferConfig(preferred_transfer_client="classic", multipart_chunksize=part)
        return create_transfer_manager(self._client, config)


class _Known(BaseSubscriber):
    """Tells a transfer what is known of the object, so that it does not ask for it again."""

    def __init__(self, size: int, etag: str = "") -> None:
        self._size = size
        self._etag = etag
        self._watcher = current_watcher()

    def on_progress(self, future: TransferFuture, bytes_transferred: int, **_: Any) -> None:  # noqa: ARG002
        self._watcher(bytes_transferred)

    def on_queued(self, future: TransferFuture, **_: Any) -> None:
        future.meta.provide_transfer_size(self._size)
        if self._etag:
            future.meta.provide_object_etag(self._etag)


def _bare(etag: str) -> str:
    return etag.strip('"')
