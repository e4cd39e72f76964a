"""What only an S3 server can be asked: whose keys these are, its time, its pages, uploads left unfinished."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Optional

from cloudq.store import StoreAddress
from cloudq.store.s3_client import make_client
from cloudq.store.s3_errors import LIBRARY_ERRORS, status_of, store_error

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

_MULTIPLE = 3


@dataclass(frozen=True)
class Credentials:
    """Whose keys are used.

    Attributes:
        access_key: The end of the access key's id.
        source: Where they come from, in botocore's words (`env`, `shared-credentials-file`, `sso`).
        expires: When they end to be valid; None if that is not known, or never.
        temporary: Whether they come with a session token.
    """

    access_key: str
    source: str
    expires: Optional[datetime]
    temporary: bool


@dataclass(frozen=True)
class Upload:
    """An upload in parts that was begun and never ended: its key, its id, when it was begun."""

    key: str
    upload_id: str
    begun: datetime


class S3Inspector:
    """Asks the server of an address, by boto3 whatever the store uses.

    Args:
        address: Where the bucket is.

    Raises:
        StoreRefusedError: The profile is unknown, or there are no credentials.
        ConfigError: The endpoint is not a URL.
    """

    def __init__(self, address: StoreAddress) -> None:
        self._client: S3Client = make_client(address, attempts=2)
        self._bucket = address.bucket
        place = f" at {address.endpoint_url}" if address.endpoint_url else ""
        self._where = f"s3://{address.bucket}{place}"

    def credentials(self) -> Credentials:
        """Return whose keys are used. Raises StoreRefusedError if they cannot be had."""
        with self._asking("get credentials"):
            found = self._client._request_signer._credentials  # type: ignore[attr-defined]
            frozen = found.get_frozen_credentials()
            expires = getattr(found, "_expiry_time", None)
        return Credentials(frozen.access_key[-4:], found.method, expires, bool(frozen.token))

    def time(self) -> Optional[datetime]:
        """Tell the time by the server's `Date` header, also if it refuses us; None if it sends none.

        Raises:
            StoreUnreachableError: There is no answer.
            StoreRefusedError: There is no such bucket. (Some servers would make it at the first write.)
        """
        answer: Any = {}
        with self._asking("ask for the time"):
            try:
                answer = self._client.head_bucket(Bucket=self._bucket)
            except LIBRARY_ERRORS as error:
                answer = getattr(error, "response", None)
                if answer is None or status_of(error) == 404:
                    raise
        text = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", "")
        try:
            return parsedate_to_datetime(text).astimezone(timezone.utc)
        except (TypeError, ValueError):
            return None

    def pages(self, folder: str) -> bool:
        """Tell whether a listing in pages of one object gives them all; three are written and deleted."""
        keys = [f"{folder}{secrets.token_hex(8)}-{number}" for number in range(_MULTIPLE)]
        with self._asking("list objects page by page"):
            try:
                for key in keys:
                    self._client.put_object(Bucket=self._bucket, Key=key, Body=b"")
                found = set(self._in_pages_of_one(folder))
            finally:
                for key in keys:
                    self._client.delete_object(Bucket=self._bucket, Key=key)
        return set(keys) <= found

    def unfinished_uploads(self, prefix: str) -> list[Upload]:
        """Return the uploads in parts that were begun below a prefix and never ended."""
        with self._asking("list unfinished uploads"):
            pages = self._client.get_paginator("list_multipart_uploads")
            return [
                Upload(item["Key"], item["UploadId"], item["Initiated"])
                for page in pages.paginate(Bucket=self._bucket, Prefix=prefix)
                for item in page.get("Uploads", ())
            ]

    def abort(self, upload: Upload) -> None:
        """Give back the space of an unfinished upload."""
        with self._asking(f"abort the upload of {upload.key!r}"):
            self._client.abort_multipart_upload(
                Bucket=self._bucket, Key=upload.key, UploadId=upload.upload_id
            )

    def _in_pages_of_one(self, folder: str) -> Iterator[str]:
        paginator = self._client.get_paginator("list_objects_v2")
        settings = {"PageSize": 1, "MaxItems": 1000}
        for page in paginator.paginate(
            Bucket=self._bucket,
            Prefix=folder,
            PaginationConfig=settings,  # type: ignore[arg-type]
        ):
            for item in page.get("Contents", ()):
                yield item["Key"]

    @contextmanager
    def _asking(self, action: str) -> Iterator[None]:
        try:
            yield
        except LIBRARY_ERRORS as error:
            raise store_error(error, where=self._where, action=action, key=None) from error


def inspector(address: StoreAddress) -> Optional[S3Inspector]:
    """Return who can ask the server of an address, None if it is no S3 server.

    Raises:
        StoreRefusedError, ConfigError: As `S3Inspector`.
    """
    return None if address.endpoint_url.lower().startswith("file:") else S3Inspector(address)
