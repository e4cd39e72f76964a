"""The set-up bucket of a cluster: what the nodes read at their start, and the word on the lease."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Optional

from cloudq.builder.aws import Aws
from cloudq.builder.boot import LEASE, parse_lease, render_lease
from cloudq.builder.configuration import SETUP_PREFIX
from cloudq.errors import AwsError

_AT_ONCE = 1000


class SetupBucket:
    """One cluster's set-up bucket."""

    def __init__(self, aws: Aws, bucket: str) -> None:
        self._s3 = aws.service("s3")
        self.bucket = bucket

    @property
    def url(self) -> str:
        """Where the nodes find their files."""
        return f"s3://{self.bucket}/{SETUP_PREFIX}"

    def put(self, files: Mapping[str, bytes]) -> None:
        """Store files for the nodes: name -> content."""
        for name, data in files.items():
            self._s3.put_object(Bucket=self.bucket, Key=f"{SETUP_PREFIX}/{name}", Body=data)

    def write_lease(self, until: datetime, *, drain: bool = False) -> None:
        """Tell the agent, which looks every minute, until when the cluster lives."""
        self.put({LEASE: render_lease(until, drain=drain).encode()})

    def lease(self) -> Optional[datetime]:
        """Return until when the cluster lives; None if the bucket does not tell."""
        try:
            body = self._s3.get_object(Bucket=self.bucket, Key=f"{SETUP_PREFIX}/{LEASE}")["Body"]
        except AwsError as error:
            if error.code in ("NoSuchKey", "NoSuchBucket", "404"):
                return None
            raise
        return parse_lease(body.read().decode("utf-8", "replace"))

    def empty(self) -> None:
        """Delete all versions of all objects, and what was half uploaded. No error if the bucket is gone."""
        with _gone_is_fine():
            for upload in self._s3.items("list_multipart_uploads", "Uploads", Bucket=self.bucket):
                self._s3.abort_multipart_upload(
                    Bucket=self.bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                )
            for batch in _batches(list(self._versions())):
                answer = self._s3.delete_objects(Bucket=self.bucket, Delete={"Objects": batch, "Quiet": True})
                for fault in answer.get("Errors", ()):
                    raise AwsError(
                        f"AWS, s3: {fault.get('Key')}: {fault.get('Message')}", fault.get("Code", "")
                    )

    def _versions(self) -> Iterator[dict[str, str]]:
        for member in ("Versions", "DeleteMarkers"):
            for each in self._s3.items("list_object_versions", member, Bucket=self.bucket):
                yield {"Key": each["Key"], "VersionId": each["VersionId"]}


@contextlib.contextmanager
def _gone_is_fine() -> Iterator[None]:
    try:
        yield
    except AwsError as error:
        if error.code != "NoSuchBucket":
            raise


def _batches(items: list[dict[str, str]]) -> Iterator[list[dict[str, str]]]:
    for start in range(0, len(items), _AT_ONCE):
        yield items[start : start + _AT_ONCE]
