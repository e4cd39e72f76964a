"""What the errors of obstore mean, in one line for the person at the terminal.

obstore tells status and body of an answer, and the cause of a missing one, only in the text of its errors.
The texts of 0.8 (for Python 3.9) to 0.12 are understood; the tests of faults see to it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Optional

from obstore.exceptions import BaseError

from cloudq.errors import NotFoundError, StoreError, StoreUnreachableError

if TYPE_CHECKING:
    from cloudq.store.answers import S3Answer

LIBRARY_ERRORS = (BaseError, OSError, ValueError)
"""What obstore raises by design; some are of Python's own kinds."""

_ANSWERED = re.compile(
    r"(?:status code:|error with status) (?P<status>[1-5]\d\d)[^:\n]*:? ?"
    r"(?P<body>.*?)(?:\n\nDebug source:|\Z)",
    re.S,
)
_CODE = re.compile(r"<Code>([^<]*)</Code>")
_MESSAGE = re.compile(r"<Message>([^<]*)</Message>", re.S)
_SYSTEM_WORDS = re.compile(r'(?:message: "|failed to lookup address information: )(?P<words>[^"\n]+)')
_ODD_KEY = re.compile(r"parse path|parsing Path|empty path segment|invalid path", re.I)
_NOT_S3 = re.compile(r"invalid \w+ response|Error parsing|error decoding response|Missing \w+ header", re.I)
_CAUSES = (
    (re.compile(r"timed out|TimedOut"), "no answer in time"),
    (re.compile(r"IncompleteMessage|connection closed"), "the connection was closed without an answer"),
    (
        re.compile(r"IncompleteBody|UnexpectedEof|body error"),
        "the connection broke off in the middle of the answer",
    ),
)
_TLS = re.compile(
    r"InvalidCertificate|InvalidMessage|InvalidContentType|certificate|NotValidForName|UnknownIssuer"
)


def find_answer(error: Exception) -> Optional[S3Answer]:
    """Return what the server answered, None if it did not answer."""
    from cloudq.store.answers import S3Answer  # only once something is wrong

    text = str(error)
    if "BareRedirect" in text or "redirect without LOCATION" in text:
        return S3Answer(301, "PermanentRedirect")
    match = _ANSWERED.search(text)
    if match is None:
        return None
    code, message = _CODE.search(match["body"]), _MESSAGE.search(match["body"])
    return S3Answer(
        int(match["status"]), code[1] if code else match["status"], message[1] if message else match["body"]
    )


def is_broken_body(error: Exception) -> bool:
    """Tell whether the connection broke while the body of an answer was read."""
    return find_answer(error) is None and bool(re.search("IncompleteBody|kind: Body|body error", str(error)))


def is_range_ignored(error: Exception) -> bool:
    """Tell whether the server sent the whole object although a part was asked for."""
    return "non-partial response" in str(error) or "NotPartial" in str(error)


def is_about_deletion(error: Exception) -> bool:
    """Tell whether the server answered, but not that all objects were deleted."""
    return bool(re.search("DeleteObjects|Error deleting", str(error)))


def is_odd_key(error: Exception) -> bool:
    """Tell whether the bucket has a key that obstore cannot name."""
    return bool(_ODD_KEY.search(str(error)))


def is_unclear(error: Exception) -> bool:
    """Tell whether a conditional write that ended so may have been applied, or may be worth another try."""
    answer = find_answer(error)
    return isinstance(error, LIBRARY_ERRORS) if answer is None else answer.unclear


def store_error(error: Exception, *, where: str, action: str, key: Optional[str] = None) -> StoreError:
    """Say what an error of obstore means.

    Args:
        error: One of LIBRARY_ERRORS.
        where: The URL of the store.
        action: What was tried, to be read after "cannot".
        key: The object that should be there; None if the action needs none.
    """
    from cloudq.store.answers import answer_error

    tried, answer = f"{where}: cannot {action}", find_answer(error)
    if answer is None:
        return _unanswered(str(error), tried)
    if key is not None and answer.missing_object:
        return NotFoundError(key)
    return answer_error(answer, tried)


def _unanswered(text: str, tried: str) -> StoreUnreachableError:
    from cloudq.store.answers import no_answer_error, not_s3_error, one_line

    if _NOT_S3.search(text):
        return not_s3_error(tried)
    if _TLS.search(text):
        return no_answer_error(
            tried, "SSL: the server does not speak TLS, or its certificate is not trusted", tls=True
        )
    words = _SYSTEM_WORDS.search(text)
    if words:
        return no_answer_error(tried, one_line(words["words"]))
    cause = next((cause for pattern, cause in _CAUSES if pattern.search(text)), "")
    return no_answer_error(tried, cause or one_line(text.partition("\n\nDebug source")[0]))
