"""What `make test-pcluster` recorded: the calls of AWS that a cluster makes, and what its stacks hold."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent.parent / "data" / "pcluster"
_SERVICES = {"api.pricing": "pricing"}
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html
_S3 = {
    "DeleteObjects": ("DeleteObject", "DeleteObjectVersion"),
    "HeadBucket": ("ListBucket",),
    "HeadObject": ("GetObject",),
    "ListMultipartUploads": ("ListBucketMultipartUploads",),
    "ListObjectVersions": ("ListBucketVersions",),
}


def actions_of(call: str) -> list[str]:
    """Return the IAM actions that a call needs, such as `s3:ListBucket` for `s3 HeadBucket`."""
    service, operation = call.split()[:2]
    names = _S3.get(operation, (operation,)) if service == "s3" else (operation,)
    return [f"{_SERVICES.get(service, service)}:{name}" for name in names]


def recorded_calls() -> set[str]:
    """Return the calls of cloudqaws and pcluster."""
    return set(_lines("calls.txt"))


def recorded_types() -> set[str]:
    """Return the types of what pcluster's stacks hold."""
    return set(_lines("resource-types.txt"))


def _lines(name: str) -> list[str]:
    return (_FOLDER / name).read_text(encoding="utf-8").splitlines()[1:]
