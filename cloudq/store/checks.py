"""What `doctor` finds out about a store: keys, clock, rights, pages, conditions; nothing is left there."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Optional

from cloudq.errors import CloudQError, NotFoundError, StoreError
from cloudq.finding import Finding, Level, fail, ok, refused, tried, warn
from cloudq.store import Store, StoreAddress, open_store
from cloudq.store.choice import choose_library
from cloudq.store.probe import has_conditional_writes, store_time
from cloudq.store.s3_checks import S3Inspector, inspector

SKEW_WARNED = timedelta(seconds=30)
SKEW_REFUSED = timedelta(minutes=15)
"""S3 refuses a request whose time differs by more: https://docs.aws.amazon.com/AmazonS3/latest/API/
ErrorResponses.html, RequestTimeTooSkewed."""

EXPIRY_WARNED = timedelta(hours=1)
_CONDITIONS_SUBJECT = "conditional writes"
_KINDS = {"directory": "files in a folder"}
Now = Callable[[], datetime]


def store_findings(address: StoreAddress, folder: str, now: Now) -> Iterator[Finding]:
    """Look at a store; after a fault that spoils all that follows, nothing more is tried.

    Args:
        address: Where it is.
        folder: Key prefix, ending in `/`, below which objects are made and deleted.
        now: Tells the time of this computer.
    """
    try:
        store, server = open_store(address), inspector(address)
        if server is not None:
            yield _credentials(server, now())
        yield ok("store", f"{store.url}, by {_library(store, address, of_s3=server is not None)}")
        yield _clock(store, server, folder, now)
    except CloudQError as error:
        yield refused("store", error)
        return
    spoilt = False
    for finding in _rights(store, folder):
        spoilt = spoilt or finding.level is Level.FAIL
        yield finding
    if spoilt:
        return
    if server is not None:
        yield _pages(server, folder)
    yield _conditions(store, folder)


def _library(store: Store, address: StoreAddress, *, of_s3: bool) -> str:
    """Say what does the work, and why, if there is a choice."""
    if of_s3:
        choice = choose_library(address)
        return f"{choice.library} {choice.reason}"
    kind = type(store).__module__.rpartition(".")[2]
    return _KINDS.get(kind, kind)


def _credentials(server: S3Inspector, now: datetime) -> Finding:
    found = server.credentials()
    said = f"access key …{found.access_key} from {found.source}"
    if found.expires is None:
        return ok("credentials", f"{said}, {'temporary' if found.temporary else 'do not expire'}")
    left = found.expires - now
    said = (
        f"{said}, {'expire' if left > timedelta(0) else 'expired'} at {found.expires:%Y-%m-%d %H:%M:%S} UTC"
    )
    if left <= timedelta(0):
        return fail("credentials", said, "log in again")
    if left < EXPIRY_WARNED:
        return warn("credentials", said, "log in again before, or use a profile that renews them")
    return ok("credentials", said)


def _clock(store: Store, server: Optional[S3Inspector], folder: str, now: Now) -> Finding:
    """Compare the clocks; the time that the question takes is not counted as a difference."""
    before = now()
    theirs = server.time() if server else store_time(store, folder)
    after = now()
    if theirs is None:
        return warn("clock", "the server does not tell its time", "compare the clocks by hand")
    # The server tells whole seconds.
    skew = max(before - theirs - timedelta(seconds=1), theirs - after, timedelta(0))
    sense = "ahead of" if before > theirs else "behind"
    said = f"{skew.total_seconds():.0f} s {sense} the store's ({theirs:%H:%M:%S} UTC)"
    if skew >= SKEW_REFUSED:
        return fail("clock", said, "set the clock (NTP): S3 refuses requests that are 15 minutes off")
    if skew >= SKEW_WARNED:
        return warn("clock", said, "set the clock (NTP): who is alive is told by times")
    return ok("clock", said if skew else "agrees with the store's")


def _rights(store: Store, folder: str) -> list[Finding]:
    key, data = f"{folder}{secrets.token_hex(8)}", secrets.token_bytes(8)

    def put() -> str:
        store.write(key, data)
        return "objects may be written"

    def get() -> str:
        try:
            if store.read(key).data != data:
                raise StoreError(f"{store.url}: reads something else than was written")
        except NotFoundError:
            if written:
                raise
        return "objects may be read"

    def list_() -> str:
        if [entry.key for entry in store.list(key)] != [key] * written:
            raise StoreError(f"{store.url}: an object that was written is not listed at once")
        return "objects may be listed, and are at once"

    def delete() -> str:
        store.delete([key])
        if next(iter(store.list(key)), None) is not None:
            raise StoreError(f"{store.url}: {key!r} is still there after its deletion")
        return "objects may be deleted"

    finding = tried("put", put)
    written = finding.level is Level.OK
    # All are tried before any is told: if the reader of the answers goes away, nothing stays behind.
    return [finding, tried("get", get), tried("list", list_), tried("delete", delete)]


def _pages(server: S3Inspector, folder: str) -> Finding:
    try:
        if server.pages(folder):
            return ok("paging", "a listing in several pages is complete")
    except StoreError as error:
        return refused("paging", error)
    return fail(
        "paging",
        "a listing in several pages leaves objects out",
        "use another server: jobs would be overlooked",
    )


def _conditions(store: Store, folder: str) -> Finding:
    try:
        if has_conditional_writes(store, folder):
            return ok(_CONDITIONS_SUBJECT, "of writers that race, exactly one wins")
    except StoreError as error:
        return refused(_CONDITIONS_SUBJECT, error)
    return fail(
        _CONDITIONS_SUBJECT,
        "the store ignores If-None-Match or If-Match: of writers that race, several win",
        "agents take no ANY jobs here; name a system in each job, one agent to a name, or use another server",
    )


def utc_now() -> datetime:
    """Tell the time of this computer."""
    return datetime.now(timezone.utc)
