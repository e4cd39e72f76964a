"""Conditional writes: what to believe when the answer leaves open who won."""

from __future__ import annotations

from collections.abc import Callable
from typing import Optional

from cloudq.errors import ConflictError
from cloudq.store import Blob

ATTEMPTS = 8
_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 2.0


def settle(
    put: Callable[[], str],
    look: Callable[[], Optional[Blob]],
    *,
    key: str,
    data: bytes,
    expected: Optional[str],
    is_unclear: Callable[[Exception], bool],
    sleep: Callable[[float], None],
) -> str:
    """Write on a condition until it is certain who won, and return the new ETag.

    A 412 does not mean that somebody else was faster: a request whose reply was lost is sent again
    and meets its own write. Ceph 16 answers some losers with 500, Ceph 20 most of them with 409. So
    after any unclear answer the object itself decides.

    Args:
        put: Write once; return the ETag.
        look: Read the object; None if there is none.
        key: Its key, for the error.
        data: The bytes to write, unique to the writer.
        expected: ETag that the object must have; None if there must be no object.
        is_unclear: Whether an error of `put` leaves open what happened.
        sleep: Wait so many seconds.

    Raises:
        ConflictError: The object is neither ours nor the expected one.
        Exception: The last error of `put`, if the object stayed as expected at every try.
    """
    attempt = 0
    while True:
        try:
            return put()
        except Exception as error:
            if not is_unclear(error):
                raise
            found = look()
            if found is not None and found.data == data:
                return found.etag
            if (None if found is None else found.etag) != expected:
                raise ConflictError(key) from error
            attempt += 1
            if attempt == ATTEMPTS:
                raise
        sleep(_pause(attempt))


def _pause(attempt: int) -> float:
    from random import SystemRandom

    return SystemRandom().uniform(0.5, 1.0) * min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0**attempt)
