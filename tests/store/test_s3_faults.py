"""The S3 store when the server or the network is at fault: it decides right, and says why in one line."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest
from botocore.exceptions import ClientError, UnauthorizedSSOTokenError
from botocore.parsers import ResponseParserError

from cloudq.errors import (
    ConflictError,
    NotFoundError,
    StoreError,
    StoreRefusedError,
    StoreUnreachableError,
)
from cloudq.store import Store, StoreAddress
from cloudq.store.conditional import ATTEMPTS
from cloudq.store.s3 import S3Store
from cloudq.store.s3_errors import store_error
from tests.store.conftest import by_obstore, cached_client
from tests.store.faulty_server import Fault, FaultyServer, etag_of, faulty_server

OLD, OURS, THEIRS = b"old", b"ours", b"theirs"
MET_OWN_WRITE = Fault(412, "PreconditionFailed", applied=True)
REFUSED = Fault(412, "PreconditionFailed")
REPLY_LOST = Fault(0, applied=True)
REQUEST_LOST = Fault(0)
BUSY = Fault(409, "ConditionalRequestConflict")
BROKEN = Fault(500)
BROKEN_BUT_APPLIED = Fault(500, applied=True)
SLOW_DOWN = Fault(503, "SlowDown")

FAULTS = [
    pytest.param([MET_OWN_WRITE], id="412 after it was applied"),
    pytest.param([REPLY_LOST], id="reply lost"),
    pytest.param([REQUEST_LOST], id="request lost"),
    pytest.param([BUSY], id="409"),
    pytest.param([BROKEN], id="500"),
    pytest.param([BROKEN_BUT_APPLIED], id="500 after it was applied"),
    pytest.param([SLOW_DOWN, SLOW_DOWN], id="503 twice"),
    pytest.param([REFUSED], id="412 for no reason"),
    pytest.param([BROKEN, REQUEST_LOST, BUSY, SLOW_DOWN, REPLY_LOST], id="one after the other"),
]
LOST_FAULTS = [
    pytest.param(REFUSED, id="412"),
    pytest.param(BUSY, id="409"),
    pytest.param(BROKEN, id="500"),
    pytest.param(REQUEST_LOST, id="no answer"),
]


@pytest.fixture(scope="module")
def running_server() -> Iterator[FaultyServer]:
    with faulty_server() as server:
        yield server


@pytest.fixture
def server(running_server: FaultyServer) -> FaultyServer:
    running_server.reset()
    return running_server


OpenStore = Callable[..., Store]


@pytest.fixture(params=["boto3", "obstore", "obstore without sockets"])
def open_store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> OpenStore:
    """Opens a store whose library tries so often; once, if nothing is said."""
    if request.param == "obstore without sockets":
        pytest.importorskip("obstore")  # As over TLS.
        monkeypatch.setattr("cloudq.store.obstore.is_direct", lambda _: False)

    def open_one(endpoint: str, *, attempts: int = 1) -> Store:
        client = cached_client(endpoint, attempts)
        store = S3Store(client, StoreAddress(endpoint, "bucket"), sleep=lambda _: None)
        if request.param == "boto3":
            return store
        return by_obstore(endpoint, "bucket", other=store, attempts=attempts)

    return open_one


@pytest.fixture
def store(server: FaultyServer, open_store: OpenStore) -> Store:
    """A store whose library does not try again by itself."""
    return open_store(server.url)


def check_line(error: StoreError, where: str) -> None:
    """Every message is one line that begins with the place."""
    assert str(error).startswith(f"s3://bucket at {where}: cannot ")
    assert "\n" not in str(error) + error.hint


# Who won


@pytest.mark.parametrize("faults", FAULTS)
def test_a_creation_that_won_is_known_to_have_won(
    server: FaultyServer, store: Store, faults: list[Fault]
) -> None:
    server.fail("PUT", *faults)
    assert store.create("a", OURS) == etag_of(OURS)
    assert server.objects == {"a": OURS}


@pytest.mark.parametrize("faults", FAULTS)
def test_a_replacement_that_won_is_known_to_have_won(
    server: FaultyServer, store: Store, faults: list[Fault]
) -> None:
    server.objects["a"] = OLD
    server.fail("PUT", *faults)
    assert store.replace("a", OURS, etag=etag_of(OLD)) == etag_of(OURS)
    assert server.objects == {"a": OURS}


@pytest.mark.parametrize("fault", LOST_FAULTS)
def test_a_creation_that_lost_is_a_conflict(server: FaultyServer, store: Store, fault: Fault) -> None:
    server.objects["a"] = THEIRS
    server.fail("PUT", fault)
    with pytest.raises(ConflictError, match="changed by somebody else: a$"):
        store.create("a", OURS)
    assert server.objects == {"a": THEIRS}


@pytest.mark.parametrize("fault", LOST_FAULTS)
def test_a_replacement_that_lost_is_a_conflict(server: FaultyServer, store: Store, fault: Fault) -> None:
    server.objects["a"] = THEIRS
    server.fail("PUT", fault)
    with pytest.raises(ConflictError):
        store.replace("a", OURS, etag=etag_of(OLD))
    assert server.objects == {"a": THEIRS}


def test_a_replacement_of_what_is_gone_is_a_conflict(server: FaultyServer, store: Store) -> None:
    with pytest.raises(ConflictError):
        store.replace("a", OURS, etag=etag_of(OLD))
    assert server.requests["PUT"] == 1


def test_the_library_that_meets_its_own_write_is_understood(
    server: FaultyServer, open_store: OpenStore
) -> None:
    store = open_store(server.url, attempts=2)
    server.fail("PUT", REPLY_LOST)
    assert store.create("a", OURS) == etag_of(OURS)
    assert server.requests["PUT"] == 2


def test_a_server_that_stays_broken_is_given_up(server: FaultyServer, store: Store) -> None:
    server.fail("PUT", *[BROKEN] * 100)
    with pytest.raises(
        StoreUnreachableError, match=r"in trouble or overloaded \(InternalError 500\)$"
    ) as caught:
        store.create("a", OURS)
    check_line(caught.value, server.url)
    assert server.requests["PUT"] == ATTEMPTS


def test_a_server_that_refuses_without_a_reason_is_given_up(server: FaultyServer, store: Store) -> None:
    server.objects["a"] = OLD
    server.fail("PUT", *[REFUSED] * 100)
    with pytest.raises(StoreRefusedError, match="says that the object was changed, but it was not") as caught:
        store.replace("a", OURS, etag=etag_of(OLD))
    check_line(caught.value, server.url)
    assert "cannot do conditional writes" in caught.value.hint


def test_a_server_without_conditional_writes_is_not_asked_again(server: FaultyServer, store: Store) -> None:
    server.fail("PUT", Fault(501, "NotImplemented"))
    with pytest.raises(StoreRefusedError, match="not implemented"):
        store.create("a", OURS)
    assert server.requests["PUT"] == 1


def test_credentials_that_expire_are_no_conflict(server: FaultyServer, store: Store) -> None:
    server.objects["a"] = THEIRS
    server.fail("PUT", BROKEN)
    server.fail("GET", Fault(400, "ExpiredToken"))
    with pytest.raises(StoreRefusedError, match="the credentials have expired"):
        store.create("a", OURS)


# What is said


@pytest.mark.parametrize(
    ("status", "code", "kind", "problem", "hint"),
    [
        pytest.param(403, "AccessDenied", StoreRefusedError, "access denied", "cloudq_bucket", id="denied"),
        pytest.param(403, "403", StoreRefusedError, "access denied", "permission", id="denied HEAD"),
        pytest.param(
            403,
            "InvalidAccessKeyId",
            StoreRefusedError,
            "not know the access key",
            "aws_access_key_id",
            id="key",
        ),
        pytest.param(
            403,
            "SignatureDoesNotMatch",
            StoreRefusedError,
            "secret key",
            "aws_secret_access_key",
            id="secret",
        ),
        pytest.param(400, "ExpiredToken", StoreRefusedError, "have expired", "aws sso login", id="expired"),
        pytest.param(
            400, "ExpiredTokenException", StoreRefusedError, "have expired", "fresh keys", id="expired too"
        ),
        pytest.param(
            403, "RequestExpired", StoreRefusedError, "have expired", "fresh keys", id="request expired"
        ),
        pytest.param(403, "RequestTimeTooSkewed", StoreRefusedError, "clock", "set the clock", id="clock"),
        pytest.param(404, "NoSuchBucket", StoreRefusedError, "no such bucket", "cloudq_bucket", id="bucket"),
        pytest.param(404, "NoSuchUpload", StoreRefusedError, "Said by the server. (N", "", id="other 404"),
        pytest.param(301, "PermanentRedirect", StoreRefusedError, "another region", "region", id="region"),
        pytest.param(403, "QuotaExceeded", StoreRefusedError, "quota", "delete old jobs", id="quota"),
        pytest.param(400, "Odd", StoreRefusedError, "Said by the server. (Odd 400)", "", id="unknown code"),
        pytest.param(503, "SlowDown", StoreUnreachableError, "overloaded", "again later", id="slow down"),
        pytest.param(500, "InternalError", StoreUnreachableError, "trouble", "again later", id="internal"),
        pytest.param(400, "RequestTimeout", StoreUnreachableError, "trouble", "again later", id="timeout"),
    ],
)
def test_an_answer_is_explained(status: int, code: str, kind: type, problem: str, hint: str) -> None:
    answer = {"Error": {"Code": code, "Message": "Said by\nthe server."}}
    metadata = {"ResponseMetadata": {"HTTPStatusCode": status}}
    fault = ClientError({**answer, **metadata}, "GetObject")  # type: ignore[typeddict-item]
    error = store_error(fault, where="s3://bucket at URL", action="read 'a'", key="a")
    assert type(error) is kind
    check_line(error, "URL")
    assert problem in str(error)
    assert hint in error.hint


@pytest.mark.parametrize("status", [403, 400])
@pytest.mark.parametrize("verb", ["read", "stat"])
def test_a_refused_read_is_not_a_missing_object(
    server: FaultyServer, store: Store, verb: str, status: int
) -> None:
    method = {"read": "GET", "stat": "HEAD"}[verb]
    server.fail(method, Fault(status, "AccessDenied"))
    with pytest.raises(StoreRefusedError) as caught:
        getattr(store, verb)("a")
    assert not isinstance(caught.value, NotFoundError)
    check_line(caught.value, server.url)


def test_a_missing_bucket_is_not_a_missing_object(server: FaultyServer, store: Store) -> None:
    server.fail("GET", Fault(404, "NoSuchBucket"))
    with pytest.raises(StoreRefusedError, match=r"cannot read 'a': no such bucket \(NoSuchBucket 404\)$"):
        store.read("a")


def test_a_listing_of_a_missing_bucket_says_so(server: FaultyServer, store: Store) -> None:
    server.fail("GET", Fault(404, "NoSuchBucket"))
    with pytest.raises(StoreRefusedError, match="cannot list objects: no such bucket"):
        list(store.list(""))


@pytest.mark.parametrize(
    "body", [b"", b"<html><body>Not found</body></html>", b"not found"], ids=["empty", "html", "text"]
)
def test_a_404_without_a_code_of_s3_is_no_missing_bucket(
    server: FaultyServer, store: Store, body: bytes
) -> None:
    """A web server that is no S3 server was called a missing bucket."""
    server.fail("GET", Fault(404, body=body))
    with pytest.raises(
        StoreRefusedError, match=r"cannot list objects: .* not in the words of S3 \(404\)$"
    ) as caught:
        list(store.list(""))
    check_line(caught.value, server.url)
    assert "cloudq_endpoint_url" in caught.value.hint


def test_a_closed_port_is_unreachable(open_store: OpenStore) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"
    store = open_store(endpoint)
    with pytest.raises(StoreUnreachableError, match=r"cannot read 'a': Connection refused$") as caught:
        store.read("a")
    check_line(caught.value, endpoint)
    assert caught.value.hint == "check cloudq_endpoint_url and the network"


def test_a_server_without_tls_is_explained(server: FaultyServer, open_store: OpenStore) -> None:
    endpoint = server.url.replace("http:", "https:")
    store = open_store(endpoint)
    with pytest.raises(StoreUnreachableError, match="SSL") as caught:
        store.read("a")
    check_line(caught.value, endpoint)
    assert "https" in caught.value.hint


def test_an_answer_that_is_not_s3_is_explained() -> None:
    fault = ResponseParserError("Unable to parse response\ninvalid XML received")
    error = store_error(fault, where="s3://bucket at URL", action="list objects")
    check_line(error, "URL")
    assert "the answer is not that of an S3 server" in str(error)
    assert error.hint == "check cloudq_endpoint_url"


def test_a_session_that_ended_is_explained() -> None:
    error = store_error(UnauthorizedSSOTokenError(), where="s3://bucket", action="list objects")
    assert type(error) is StoreRefusedError
    assert str(error).startswith("s3://bucket: cannot list objects: The SSO session")
    assert "log in again" in error.hint


def test_a_bucket_name_that_cannot_be_is_explained(server: FaultyServer) -> None:
    store = S3Store(cached_client(server.url, 1), StoreAddress(server.url, "no such"))
    with pytest.raises(StoreRefusedError, match="cannot read 'a': .*Invalid bucket name") as caught:
        store.read("a")
    assert "\n" not in str(caught.value)


# Reading and listing


def test_a_body_that_breaks_off_is_read_again(server: FaultyServer, store: Store) -> None:
    server.objects["a"] = b"0123456789"
    server.fail("GET", Fault(200, body=b"01234", length=10))
    assert store.read("a").data == b"0123456789"


def test_a_body_that_always_breaks_off_is_unreachable(server: FaultyServer, store: Store) -> None:
    server.objects["a"] = b"0123456789"
    server.fail("GET", *[Fault(200, body=b"01234", length=10)] * 10)
    with pytest.raises(StoreUnreachableError) as caught:
        store.read("a")
    check_line(caught.value, server.url)


def test_a_server_that_ignores_ranges_is_served(server: FaultyServer, store: Store) -> None:
    server.objects["a"] = b"0123456789"
    assert bytes(store.read_range("a", 3, 5)) == b"34"
    assert b"".join(map(bytes, store.read_blocks("a", 3, 5))) == b"34"


@pytest.mark.parametrize("sent", [0, 100, 150_000])
def test_blocks_that_break_off_are_read_on(server: FaultyServer, store: Store, sent: int) -> None:
    data = bytes(range(250)) * 1200
    server.objects["a"] = data
    half = data[100_000 : 100_000 + sent]
    server.fail("GET", Fault(206, body=half, length=200_000, content_range="bytes 100000-299999/300000"))
    assert b"".join(map(bytes, store.read_blocks("a", 100_000, 300_000))) == data[100_000:]


def test_blocks_that_always_break_off_are_unreachable(server: FaultyServer, store: Store) -> None:
    server.objects["a"] = b"0123456789"
    server.fail("GET", *[Fault(206, body=b"34", length=4, content_range="bytes 3-6/10")] * 10)
    with pytest.raises(StoreUnreachableError) as caught:
        list(store.read_blocks("a", 3, 7))
    check_line(caught.value, server.url)


def test_blocks_that_end_with_a_fault_after_the_last_one_are_whole(
    server: FaultyServer, store: Store
) -> None:
    server.objects["a"] = b"0123456789"
    server.fail("GET", Fault(206, body=b"3456", length=5, content_range="bytes 3-6/10"))
    assert b"".join(map(bytes, store.read_blocks("a", 3, 7))) == b"3456"


def test_an_object_that_changes_between_its_blocks_is_not_mixed(server: FaultyServer) -> None:
    """By obstore only: boto3 has one block."""
    server.objects["a"] = b"old" * 100_000
    fault = Fault(206, body=b"old" * 50_000, length=300_000, content_range="bytes 0-299999/300000")
    server.fail("GET", fault)
    other = S3Store(cached_client(server.url, 1), StoreAddress(server.url, "bucket"))
    blocks = by_obstore(server.url, "bucket", other=other, attempts=1).read_blocks("a", 0, 300_000)
    next(blocks)
    server.objects["a"] = b"new" * 100_000
    with pytest.raises(StoreError, match=r"'a' was changed while it was read$"):
        list(blocks)


@pytest.mark.parametrize("status", [403, 404])
def test_blocks_that_are_refused_say_why(server: FaultyServer, store: Store, status: int) -> None:
    server.fail("GET", *[Fault(status, "AccessDenied" if status == 403 else "NoSuchKey")] * 2)
    with pytest.raises(StoreRefusedError if status == 403 else NotFoundError):
        list(store.read_blocks("a", 3, 7))
    # By a signed URL it is asked before, where that is done at all.
    assert server.requests["GET"] - server.signed_urls == 1


def test_a_listing_that_breaks_off_is_not_taken_for_whole(server: FaultyServer) -> None:
    """By boto3 only: obstore does not tell. No server is known that does this."""
    store = S3Store(cached_client(server.url, 1), StoreAddress(server.url, "bucket"))
    half = b"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>"
    server.fail("GET", Fault(200, body=half))
    with pytest.raises(StoreUnreachableError, match="broke off the listing"):
        list(store.list(""))


# Deleting


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault(501, "NotImplemented"), id="not implemented"),
        pytest.param(Fault(405, "MethodNotAllowed"), id="not allowed"),
        pytest.param(Fault(403, "AccessDenied"), id="not with a key for a prefix"),
        pytest.param(Fault(400, "MissingContentMD5"), id="other digest wanted"),
    ],
)
def test_without_bulk_deletion_objects_are_deleted_singly(
    server: FaultyServer, store: Store, fault: Fault
) -> None:
    server.objects.update(a=b"", b=b"", c=b"")
    server.fail("POST", fault, fault)
    store.delete(["a", "b"])
    assert list(server.objects) == ["c"]


def test_an_object_that_bulk_deletion_left_is_reported(server: FaultyServer, store: Store) -> None:
    answer = b"<DeleteResult><Error><Key>b</Key><Code>AccessDenied</Code></Error></DeleteResult>"
    server.fail("POST", Fault(200, body=answer), Fault(200, body=answer))
    server.fail("DELETE", Fault(403, "AccessDenied"))
    with pytest.raises(StoreRefusedError, match=r"cannot delete 'b': access denied \(AccessDenied 403\)$"):
        store.delete(["a", "b"])


# Files


def test_an_upload_that_arrived_short_is_reported(server: FaultyServer, store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    server.objects["a"] = b"123"
    server.fail("PUT", Fault(200))
    with pytest.raises(StoreError, match=r"'a' has 3 bytes after the upload of 5 from .*/file$"):
        store.upload(tmp_path / "file", "a")


def test_an_upload_that_is_refused_says_why(server: FaultyServer, store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    server.fail("PUT", Fault(403, "AccessDenied"))
    with pytest.raises(StoreRefusedError, match="cannot write 'a': access denied"):
        store.upload(tmp_path / "file", "a")


def test_a_download_that_is_refused_leaves_the_old_file(
    server: FaultyServer, store: Store, tmp_path: Path
) -> None:
    server.objects["a"] = b"new"
    target = tmp_path / "file"
    target.write_bytes(b"old")
    server.fail("GET", Fault(403, "AccessDenied"))
    with pytest.raises(StoreRefusedError, match="cannot read 'a': access denied"):
        store.download("a", target)
    assert target.read_bytes() == b"old"
    assert list(tmp_path.glob("*")) == [target]
