"""What the errors of the S3 library mean, in one line for the person at the terminal.

Error codes: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html. The answer to a HEAD
has no body, so there the code is the HTTP status.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Optional

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    ProxyConnectionError,
    ResponseStreamingError,
    SSLError,
    SSOError,
    TokenRetrievalError,
)
from botocore.exceptions import (
    ConnectionError as NoConnectionError,
)
from botocore.parsers import ResponseParserError
from s3transfer.exceptions import RetriesExceededError, S3DownloadFailedError

from cloudq.errors import NotFoundError, StoreError, StoreRefusedError, StoreUnreachableError

LIBRARY_ERRORS = (BotoCoreError, ClientError, RetriesExceededError, S3DownloadFailedError)
"""What boto3, botocore and s3transfer raise by design."""

BROKEN_BODY = (HTTPClientError, ResponseStreamingError, IncompleteReadError)
"""The connection broke while the body of an answer was read, which the library does not retry."""

_NO_ANSWER = (*BROKEN_BODY, NoConnectionError, ResponseParserError, S3DownloadFailedError)
_UNCLEAR_STATUSES = frozenset({404, 408, 409, 412, 429, 500, 502, 503, 504})
_TRANSIENT_STATUSES = frozenset({408, 409, 429, 500, 502, 503, 504})
_MISSING_OBJECT = frozenset({"NoSuchKey", "404"})


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
_CREDENTIALS_HINT = "log in again, or run `aws configure`, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
_ABOUT_CREDENTIALS = (
    NoCredentialsError,
    PartialCredentialsError,
    CredentialRetrievalError,
    SSOError,
    TokenRetrievalError,
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


def code_of(error: Exception) -> str:
    """Return the S3 error code of an answer; empty if there was no answer."""
    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, ClientError) else ""


def status_of(error: Exception) -> int:
    """Return the HTTP status of an answer; 0 if there was no answer."""
    if not isinstance(error, ClientError):
        return 0
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)


def is_unclear(error: Exception) -> bool:
    """Tell whether a conditional write that ended so may have been applied, or may be worth another try."""
    if code_of(error) == "NoSuchBucket":
        return False
    if isinstance(error, ClientError):
        return status_of(error) in _UNCLEAR_STATUSES or code_of(error) == "RequestTimeout"
    return isinstance(error, _NO_ANSWER)


def store_error(error: Exception, *, where: str, action: str, key: Optional[str] = None) -> StoreError:
    """Say what an error of the S3 library means.

    Args:
        error: One of LIBRARY_ERRORS.
        where: The URL of the store.
        action: What was tried, to be read after "cannot".
        key: The object that should be there; None if the action needs none.
    """
    if isinstance(error, RetriesExceededError) and isinstance(error.last_exception, Exception):
        error = error.last_exception
    if key is not None and code_of(error) in _MISSING_OBJECT:
        return NotFoundError(key)
    tried = f"{where}: cannot {action}"
    if isinstance(error, ClientError):
        return _answered(error, tried)
    if isinstance(error, _NO_ANSWER):
        return _unanswered(error, tried)
    hint = _CREDENTIALS_HINT if isinstance(error, _ABOUT_CREDENTIALS) else ""
    return StoreRefusedError(f"{tried}: {_one_line(str(error))}", hint=hint)


def _answered(error: ClientError, tried: str) -> StoreError:
    code, status = code_of(error), status_of(error)
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
        message = _one_line(str(error.response.get("Error", {}).get("Message") or "no reason given"))
        return StoreRefusedError(f"{tried}: {message} ({said})")
    return StoreRefusedError(f"{tried}: {refusal.problem} ({said})", hint=refusal.hint)


def _skewed(tried: str, code: str) -> StoreRefusedError:
    now = datetime.now(timezone.utc)
    return StoreRefusedError(
        f"{tried}: the clock of this computer differs too much from the server's ({code})",
        hint=f"set the clock; it says {now:%Y-%m-%d %H:%M:%S} UTC",
    )


def _unanswered(error: Exception, tried: str) -> StoreUnreachableError:
    if isinstance(error, ResponseParserError):
        return StoreUnreachableError(
            f"{tried}: the answer is not that of an S3 server", hint="check cloudq_endpoint_url"
        )
    hint = "check cloudq_endpoint_url and the network"
    if isinstance(error, SSLError):
        hint = (
            "check that cloudq_endpoint_url begins rightly with https; for an own authority set AWS_CA_BUNDLE"
        )
    elif isinstance(error, ProxyConnectionError):
        hint = "check HTTPS_PROXY, HTTP_PROXY and NO_PROXY"
    return StoreUnreachableError(f"{tried}: {_cause(error)}", hint=hint)


def _cause(error: BaseException) -> str:
    """Return the system's own words if there are some: `Connection refused`, `Name or service not known`."""
    words = _one_line(str(error))
    cause: Optional[BaseException] = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            words = _one_line(cause.strerror)
        cause = cause.__cause__ or cause.__context__
    return words


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 300 else line[:299] + "…"
