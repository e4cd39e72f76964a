"""What the errors of boto3 mean, in one line for the person at the terminal."""

from __future__ import annotations

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
from cloudq.store.answers import (
    CREDENTIALS_HINT,
    S3Answer,
    answer_error,
    no_answer_error,
    not_s3_error,
    one_line,
)

LIBRARY_ERRORS = (BotoCoreError, ClientError, RetriesExceededError, RuntimeError, S3DownloadFailedError)
"""What boto3, botocore and s3transfer raise by design; RuntimeError if renewed credentials have ended."""

BROKEN_BODY = (HTTPClientError, ResponseStreamingError, IncompleteReadError)
"""The connection broke while the body of an answer was read, which the library does not retry."""

_NO_ANSWER = (*BROKEN_BODY, NoConnectionError, ResponseParserError, S3DownloadFailedError)
_ABOUT_CREDENTIALS = (
    NoCredentialsError,
    PartialCredentialsError,
    CredentialRetrievalError,
    RuntimeError,
    SSOError,
    TokenRetrievalError,
)


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
    return _answer(error).unclear if isinstance(error, ClientError) else isinstance(error, _NO_ANSWER)


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
    tried = f"{where}: cannot {action}"
    if isinstance(error, ClientError):
        answer = _answer(error)
        return (
            NotFoundError(key) if key is not None and answer.missing_object else answer_error(answer, tried)
        )
    if isinstance(error, _NO_ANSWER):
        return _unanswered(error, tried)
    hint = CREDENTIALS_HINT if isinstance(error, _ABOUT_CREDENTIALS) else ""
    return StoreRefusedError(f"{tried}: {one_line(str(error))}", hint=hint)


def _answer(error: ClientError) -> S3Answer:
    message = str(error.response.get("Error", {}).get("Message") or "")
    return S3Answer(status_of(error), code_of(error), message)


def _unanswered(error: Exception, tried: str) -> StoreUnreachableError:
    if isinstance(error, ResponseParserError):
        return not_s3_error(tried)
    is_tls, is_proxy = isinstance(error, SSLError), isinstance(error, ProxyConnectionError)
    return no_answer_error(tried, _cause(error), tls=is_tls, proxy=is_proxy)


def _cause(error: BaseException) -> str:
    """Return the system's own words if there are some: `Connection refused`, `Name or service not known`."""
    words = one_line(str(error))
    cause: Optional[BaseException] = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            words = one_line(cause.strerror)
        cause = cause.__cause__ or cause.__context__
    return words
