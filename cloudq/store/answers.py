"""What the answers of an S3 server mean, whatever library heard them, in one line for a person.

Error codes: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html. The answer to a HEAD
has no body, so there the code is the HTTP status.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone

from cloudq.errors import StoreError, StoreRefusedError, StoreUnreachableError

BULK_DELETE_REFUSED = frozenset({400, 403, 405, 501})
"""Servers say so if they cannot delete many objects at once, or demand a digest that they do not name.

Ceph 16 wants the right to delete the bucket's objects, and not only those below a prefix (403).
"""

CREDENTIALS_HINT = "log in again, or run `aws configure`, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"

_UNCLEAR_STATUSES = frozenset({404, 408, 409, 412, 429, 500, 502, 503, 504})
_TRANSIENT_STATUSES = frozenset({408, 409, 429, 500, 502, 503, 504})
_MISSING_OBJECT = frozenset({"NoSuchKey", "404"})
_NO_ANSWER_HINT = "check cloudq_endpoint_url and the network"


@dataclass(frozen=True)
class S3Answer:
    """An answer that was not what was asked for.

    Attributes:
        status: The HTTP status.
        code: The error code of S3; empty, or the status, if there was none.
        message: What the server said.
    """

    status: int
    code: str = ""
    message: str = ""

    @property
    def missing_object(self) -> bool:
        """True if it says that there is no object of the key."""
        return self.code in _MISSING_OBJECT

    @property
    def unclear(self) -> bool:
        """True if a conditional write that was answered so may have been applied, or may be tried again."""
        if self.code == "NoSuchBucket":
            return False
        return self.status in _UNCLEAR_STATUSES or self.code == "RequestTimeout"


@dataclass(frozen=True)
class _Refusal:
    problem: str
    hint: str


_EXPIRED = _Refusal(
    "the credentials have expired",
    "log in again (such as `aws sso login`), or put fresh keys into the profile",
)
_UNKNOWN_KEY = _Refusal(
    "the server does not know the access key",
    "check aws_access_key_id of the profile, and that it belongs to this cloudq_endpoint_url",
)
_DENIED = _Refusal(
    "access denied",
    "check the keys of the profile and cloudq_bucket, or ask the owner of the bucket for the permission",
)
_OTHER_REGION = _Refusal(
    "the bucket is in another region",
    "set `region` in the profile, or AWS_DEFAULT_REGION, to the region of the bucket",
)
_NO_BUCKET = _Refusal(
    "no such bucket",
    "check cloudq_bucket and cloudq_endpoint_url, or make the bucket",
)
_NOT_THERE = _Refusal(
    "the server says that this is not there, but not in the words of S3",
    "check cloudq_endpoint_url and cloudq_bucket",
)
_FULL = _Refusal("the storage quota is used up", "delete old jobs, or ask the owner of the bucket for more")
_NO_CONDITIONS = _Refusal(
    "the server says that the object was changed, but it was not",
    "this server cannot do conditional writes; `cloudqcli doctor` tells what it can",
)
_NOT_IMPLEMENTED = _Refusal(
    "the server cannot do this (not implemented)",
    "`cloudqcli doctor` tells what the server can do",
)

_REFUSALS: Mapping[str, _Refusal] = {
    "ExpiredToken": _EXPIRED,
    "ExpiredTokenException": _EXPIRED,
    "RequestExpired": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "InvalidAccessKeyId": _UNKNOWN_KEY,
    "InvalidClientTokenId": _UNKNOWN_KEY,
    "UnrecognizedClientException": _UNKNOWN_KEY,
    "InvalidToken": _Refusal(
        "the session token is not valid", "put fresh keys and their aws_session_token into the profile"
    ),
    "SignatureDoesNotMatch": _Refusal(
        "the secret key does not belong to the access key",
        "check aws_secret_access_key of the profile (and that no proxy changes the requests)",
    ),
    "AccessDenied": _DENIED,
    "AllAccessDisabled": _DENIED,
    "AccountProblem": _DENIED,
    "NoSuchBucket": _NO_BUCKET,
    "404": _NOT_THERE,
    "PermanentRedirect": _OTHER_REGION,
    "TemporaryRedirect": _OTHER_REGION,
    "AuthorizationHeaderMalformed": _OTHER_REGION,
    "IllegalLocationConstraintException": _OTHER_REGION,
    "QuotaExceeded": _FULL,
    "NotImplemented": _NOT_IMPLEMENTED,
}
_REFUSED_STATUSES: Mapping[int, _Refusal] = {
    301: _OTHER_REGION,
    307: _OTHER_REGION,
    401: _DENIED,
    403: _DENIED,
    412: _NO_CONDITIONS,
    501: _NOT_IMPLEMENTED,
    507: _FULL,
}


def answer_error(answer: S3Answer, tried: str) -> StoreError:
    """Say what an answer means.

    Args:
        answer: What the server said.
        tried: What was tried: `s3://bucket: cannot read 'a'`.
    """
    code, status = answer.code, answer.status
    said = f"{code} {status}" if code and code != str(status) else f"{status}"
    if code == "RequestTimeTooSkewed":
        return _skewed(tried, code)
    refusal = _REFUSALS.get(code or str(status))
    if refusal is None and (status in _TRANSIENT_STATUSES or code == "RequestTimeout"):
        return StoreUnreachableError(
            f"{tried}: the server is in trouble or overloaded ({said})", hint="try again later"
        )
    refusal = refusal or _REFUSED_STATUSES.get(status)
    if refusal is None:
        return StoreRefusedError(f"{tried}: {one_line(answer.message or 'no reason given')} ({said})")
    return StoreRefusedError(f"{tried}: {refusal.problem} ({said})", hint=refusal.hint)


def not_s3_error(tried: str) -> StoreUnreachableError:
    """Say that something answered that is no S3 server."""
    return StoreUnreachableError(
        f"{tried}: the answer is not that of an S3 server", hint="check cloudq_endpoint_url"
    )


def no_answer_error(
    tried: str, cause: str, *, tls: bool = False, proxy: bool = False
) -> StoreUnreachableError:
    """Say that there was no answer, and why, in the words of the system."""
    hint = _NO_ANSWER_HINT
    if tls:
        hint = (
            "check that cloudq_endpoint_url begins rightly with https; for an own authority set AWS_CA_BUNDLE"
        )
    elif proxy:
        hint = "check HTTPS_PROXY, HTTP_PROXY and NO_PROXY"
    return StoreUnreachableError(f"{tried}: {cause}", hint=hint)


def one_line(text: str) -> str:
    """Fold a text into one line that is not too long."""
    line = " ".join(text.split())
    return line if len(line) <= 300 else line[:299] + "…"


def _skewed(tried: str, code: str) -> StoreRefusedError:
    now = datetime.now(timezone.utc)
    return StoreRefusedError(
        f"{tried}: the clock of this computer differs too much from the server's ({code})",
        hint=f"set the clock; it says {now:%Y-%m-%d %H:%M:%S} UTC",
    )
