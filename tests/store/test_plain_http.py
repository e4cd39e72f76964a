"""Ranges over plain HTTP: whatever a server answers, the right bytes come, by obstore if need be."""

from __future__ import annotations

import gc
import os
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Callable, Union

import pytest

from cloudq.store import Store, StoreAddress, plain_http
from cloudq.store.plain_http import PlainHttp, UnexpectedAnswerError, is_direct
from cloudq.store.s3 import S3Store
from tests.store.conftest import by_obstore, cached_client
from tests.store.faulty_server import Fault, FaultyServer, faulty_server

DATA = os.urandom(300_000)
LARGE = os.urandom(7_000_000)
RANGE = "bytes 1000-200999/300000"
WANTED = DATA[1000:201_000]


Answer = Callable[[str], bytes]


class Script:
    """A server that answers each request as it is told, and notes what came.

    Attributes:
        requests: What came.
        made: How many connections were made.
        ended: Released for each connection that has ended.
    """

    def __init__(self, answer: Answer, *, stays: bool) -> None:
        self._answer = answer
        self._stays = stays
        self.requests: list[str] = []
        self.made = 0
        self.ended = threading.Semaphore(0)

    def serve(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self.made += 1
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while request := connection.recv(65536):
                self.requests.append(request.decode("ascii"))
                connection.sendall(self._answer(self.requests[-1]))
                if not self._stays:
                    break
        self.ended.release()


@contextmanager
def scripted(answer: Union[bytes, Answer], *, stays: bool = True) -> Iterator[tuple[Script, str]]:
    """Run a server that always says the same, or what a function of the request returns."""
    script = Script(answer if callable(answer) else lambda _: answer, stays=stays)
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        thread = threading.Thread(target=script.serve, args=(listener,), daemon=True)
        thread.start()
        yield script, f"http://127.0.0.1:{listener.getsockname()[1]}/bucket/a?signed=1"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def right(request: str, **changed: str) -> bytes:
    """Return a right answer to a request for some of LARGE."""
    start, end = map(int, request.partition("bytes=")[2].split("-"))
    body = LARGE[start : end + 1]
    ends = f"bytes {start}-{start + len(body) - 1}/{len(LARGE)}"
    return answer(body, content_range=ends, content_length=str(len(body)), **changed)


def answer(body: bytes = WANTED, **changed: str) -> bytes:
    """Return a right answer but for what is changed; an empty text leaves a field out."""
    fields = {"content-range": RANGE, "content-length": str(len(WANTED)), "etag": '"e"'}
    fields |= {name.replace("_", "-"): text for name, text in changed.items()}
    status = fields.pop("status", "HTTP/1.1 206 Partial Content")
    lines = [status, *(f"{name.title()}: {text}" for name, text in fields.items() if text)]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def read(url: str) -> list[tuple[str, bytes]]:
    """Read the range from a server, by a reader of its own."""
    return [(etag, bytes(block)) for etag, block in PlainHttp(lambda _: url).blocks("a", 1000, 201_000)]


def test_a_range_comes_with_its_etag() -> None:
    with scripted(answer()) as (script, url):
        found = read(url)
    assert b"".join(block for _, block in found) == WANTED
    assert {etag for etag, _ in found} == {'"e"'}
    place = url.split("/")[2]
    assert script.requests == [
        f"GET /bucket/a?signed=1 HTTP/1.1\r\nHost: {place}\r\nRange: bytes=1000-200999\r\n\r\n"
    ]


def test_of_a_shorter_object_comes_what_there_is() -> None:
    short = answer(b"xyz", content_range="bytes 1000-1002/1003", content_length="3")
    with scripted(short) as (_, url):
        assert read(url) == [('"e"', b"xyz")]


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(answer(status="HTTP/1.1 200 OK", content_range=""), id="the whole object"),
        pytest.param(answer(status="HTTP/1.1 403 Forbidden"), id="a refusal"),
        pytest.param(answer(status="HTTP/1.1 307 Temporary Redirect", location="http://x/"), id="a redirect"),
        pytest.param(answer(status="HTTP/1.0 206 Partial Content"), id="HTTP 1.0"),
        pytest.param(answer(content_range=""), id="no range"),
        pytest.param(answer(content_range="bytes 0-199999/300000"), id="another range"),
        pytest.param(answer(content_range="bytes 1000-201000/300000"), id="a longer range"),
        pytest.param(
            answer(WANTED[:9], content_range="bytes 1000-1008/300000", content_length="9"),
            id="a shorter range",
        ),
        pytest.param(answer(content_range="bytes 1000-200999/*"), id="of no size"),
        pytest.param(answer(transfer_encoding="chunked"), id="chunks with a length"),
        pytest.param(answer(content_range="bytes 1000-999/300000"), id="an empty range"),
        pytest.param(answer(content_range="bytes */300000"), id="no range that can be"),
        pytest.param(answer(content_length=""), id="no length"),
        pytest.param(answer(content_length="", transfer_encoding="chunked"), id="chunks"),
        pytest.param(answer(content_length="199999"), id="another length"),
        pytest.param(answer(etag=""), id="no ETag"),
        pytest.param(answer(b"xyz123", content_range="bytes 1000-1002/1003", content_length="3"), id="more"),
    ],
)
def test_another_answer_than_the_bytes_is_none(wrong: bytes) -> None:
    with scripted(wrong) as (_, url), pytest.raises(UnexpectedAnswerError, match="not bytes 1000 to 201000"):
        read(url)


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(answer(status="HTTP/1.1 503 Slow Down"), id="slow down"),
        pytest.param(b"", id="no answer"),
        pytest.param(answer()[:30], id="half a head"),
        pytest.param(answer(b""), id="a head only"),
        pytest.param(answer(WANTED[:-1]), id="all but a byte"),
        pytest.param(b"x" * 200_000, id="no HTTP"),
    ],
)
def test_an_answer_that_breaks_off_is_an_error(broken: bytes) -> None:
    with (
        scripted(broken, stays=False) as (_, url),
        pytest.raises(OSError, match="did not come|no answer|503 for now"),
    ):
        read(url)


def test_a_server_that_falls_silent_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_http, "_SILENCE", struct.pack("@ll", 0, 1000))
    with scripted(answer(WANTED[:-1])) as (_, url), pytest.raises(BlockingIOError):
        read(url)


def test_one_connection_serves_a_thread_and_ends_with_it() -> None:
    with scripted(right) as (script, url):
        reader = PlainHttp(lambda _: url)
        found: list[bytes] = []

        def read_twice() -> None:
            for start in (0, 3_000_000):
                blocks = [bytes(block) for _, block in reader.blocks("a", start, start + 3_000_000)]
                found.append(b"".join(blocks))

        for _ in range(2):
            thread = threading.Thread(target=read_twice)
            thread.start()
            thread.join()
        for _ in range(2):
            assert script.ended.acquire(timeout=60)
    assert found == 2 * [LARGE[:3_000_000], LARGE[3_000_000:6_000_000]]
    assert (script.made, len(script.requests)) == (2, 4)


def test_a_connection_that_the_server_closes_is_not_used_again() -> None:
    with scripted(lambda request: right(request, connection="close"), stays=False) as (script, url):
        reader = PlainHttp(lambda _: url)
        for _ in range(2):
            assert sum(len(block) for _, block in reader.blocks("a", 0, 3_000_000)) == 3_000_000
            assert script.ended.acquire(timeout=60)
    assert script.made == 2


def test_a_connection_on_which_something_was_left_is_not_used_again() -> None:
    with scripted(right) as (script, url):
        reader = PlainHttp(lambda _: url)
        for start in (0, 3_000_000):
            blocks = reader.blocks("a", start, start + 3_000_000)
            first = bytes(next(blocks)[1])
            assert first == LARGE[start : start + len(first)]
            del blocks
            gc.collect()
            assert script.ended.acquire(timeout=60)
    assert script.made == 2


def test_two_ranges_at_a_time_are_not_mixed() -> None:
    with scripted(right) as (script, url):
        reader = PlainHttp(lambda _: url)
        both = zip(reader.blocks("a", 0, 3_000_000), reader.blocks("a", 3_000_000, 6_000_000))
        found = [(bytes(one), bytes(other)) for (_, one), (_, other) in both]
    assert b"".join(one for one, _ in found) == LARGE[:3_000_000]
    assert b"".join(other for _, other in found) == LARGE[3_000_000:6_000_000]
    assert script.made == 2


@pytest.mark.parametrize(
    ("endpoint", "proxy", "expected"),
    [
        ("http://127.0.0.1:9000", "", True),
        ("HTTP://store.lab", "", True),
        ("http://store.lab", "http_proxy", False),
        ("http://near.lab:9000", "http_proxy", True),
        ("http://store.lab", "ALL_PROXY", False),
        ("https://store.lab", "", False),
        ("", "", False),
    ],
)
def test_tls_and_proxies_are_left_to_obstore(
    endpoint: str, proxy: str, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (*plain_http._PROXIES, "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    if proxy:
        monkeypatch.setenv(proxy, "http://proxy:3128")
        monkeypatch.setenv("no_proxy", "near.lab")
    assert is_direct(StoreAddress(endpoint, "bucket")) is expected


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with faulty_server() as server:
        server.objects["a"] = DATA
        yield server


@pytest.fixture
def store(server: FaultyServer) -> Store:
    other = S3Store(cached_client(server.url, 1), StoreAddress(server.url, "bucket"))
    return by_obstore(server.url, "bucket", other=other, attempts=1)


def test_after_an_answer_that_is_none_obstore_is_asked_for_good(server: FaultyServer, store: Store) -> None:
    right = Fault(206, body=WANTED, content_range=RANGE)
    server.fail("GET", Fault(403, "AccessDenied"), right, right)
    for asked in (2, 3):
        assert b"".join(map(bytes, store.read_blocks("a", 1000, 201_000))) == WANTED
        assert (server.requests["GET"], server.signed_urls) == (asked, 1)


@pytest.mark.parametrize("fault", [Fault(0), Fault(503, "SlowDown")], ids=["no answer", "slow down"])
def test_after_a_fault_of_the_moment_the_next_range_is_read_so_again(
    server: FaultyServer, store: Store, fault: Fault
) -> None:
    right = Fault(206, body=WANTED, content_range=RANGE)
    server.fail("GET", fault, right, right)
    for asked, signed in ((2, 1), (3, 2)):
        assert b"".join(map(bytes, store.read_blocks("a", 1000, 201_000))) == WANTED
        assert (server.requests["GET"], server.signed_urls) == (asked, signed)
