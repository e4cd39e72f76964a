"""Ranges over plain HTTP: whatever a server answers, the right bytes come, by obstore if need be."""

from __future__ import annotations

import gc
import os
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

import pytest

from cloudq.store import Store, StoreAddress, plain_http
from cloudq.store.plain_http import PlainHttp, UnexpectedAnswerError, is_direct
from cloudq.store.s3 import S3Store
from tests.store.conftest import by_obstore, cached_client
from tests.store.faulty_server import Fault, FaultyServer, faulty_server

DATA = os.urandom(300_000)
RANGE = "bytes 1000-200999/300000"
WANTED = DATA[1000:201_000]


class Script:
    """A server that says the same to each request, and counts connections, now and ever.

    Attributes:
        answer: What it says.
    """

    def __init__(self, answer: bytes, *, stays: bool) -> None:
        self.answer = answer
        self.stays = stays
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
                connection.sendall(self.answer)
                if not self.stays:
                    break
        self.ended.release()


@contextmanager
def scripted(answer: bytes, *, stays: bool = True) -> Iterator[tuple[Script, str]]:
    script = Script(answer, stays=stays)
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        thread = threading.Thread(target=script.serve, args=(listener,), daemon=True)
        thread.start()
        yield script, f"http://127.0.0.1:{listener.getsockname()[1]}/bucket/a?signed=1"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


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
        pytest.param(b"", id="no answer"),
        pytest.param(answer()[:30], id="half a head"),
        pytest.param(answer(b""), id="a head only"),
        pytest.param(answer(WANTED[:-1]), id="all but a byte"),
        pytest.param(b"x" * 200_000, id="no HTTP"),
    ],
)
def test_an_answer_that_breaks_off_is_an_error(broken: bytes) -> None:
    with scripted(broken, stays=False) as (_, url), pytest.raises(OSError, match="did not come|no answer"):
        read(url)


def test_a_server_that_falls_silent_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_http, "_SILENCE", struct.pack("@ll", 0, 1000))
    with scripted(answer(WANTED[:-1])) as (_, url), pytest.raises(BlockingIOError):
        read(url)


def test_one_connection_serves_a_thread_and_ends_with_it() -> None:
    with scripted(answer()) as (script, url):
        reader = PlainHttp(lambda _: url)

        def read_twice() -> None:
            for _ in range(2):
                assert sum(len(block) for _, block in reader.blocks("a", 1000, 201_000)) == 200_000

        for _ in range(2):
            thread = threading.Thread(target=read_twice)
            thread.start()
            thread.join()
        for _ in range(2):
            assert script.ended.acquire(timeout=60)
    assert (script.made, len(script.requests)) == (2, 4)


@pytest.mark.parametrize("is_closed", [True, False], ids=["closed by the server", "left half read"])
def test_a_connection_that_is_of_no_more_use_is_not_used_again(is_closed: bool) -> None:
    said = answer(connection="close") if is_closed else answer()
    with scripted(said, stays=not is_closed) as (script, url):
        reader = PlainHttp(lambda _: url)
        for _ in range(2):
            blocks = reader.blocks("a", 1000, 201_000)
            next(blocks)
            if is_closed:
                assert not list(blocks)
            del blocks
            gc.collect()
            assert script.ended.acquire(timeout=60)
    assert script.made == 2


def test_two_ranges_at_a_time_are_not_mixed() -> None:
    with scripted(answer()) as (_, url):
        reader = PlainHttp(lambda _: url)
        both = zip(reader.blocks("a", 1000, 201_000), reader.blocks("a", 1000, 201_000))
        assert b"".join(bytes(block) for (_, block), _ in both) == WANTED


@pytest.mark.parametrize(
    ("endpoint", "proxy", "expected"),
    [
        ("http://127.0.0.1:9000", "", True),
        ("HTTP://store.lab", "", True),
        ("http://store.lab", "http_proxy", False),
        ("http://store.lab", "ALL_PROXY", False),
        ("https://store.lab", "", False),
        ("", "", False),
    ],
)
def test_tls_and_proxies_are_left_to_obstore(
    endpoint: str, proxy: str, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if proxy:
        monkeypatch.setenv(proxy, "http://proxy:3128")
    assert is_direct(endpoint) is expected


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
        assert server.requests["GET"] == asked


def test_after_a_broken_connection_the_next_range_is_read_so_again(
    server: FaultyServer, store: Store
) -> None:
    right = Fault(206, body=WANTED, content_range=RANGE)
    server.fail("GET", Fault(0), right, right)
    for asked in (2, 3):
        assert b"".join(map(bytes, store.read_blocks("a", 1000, 201_000))) == WANTED
        assert server.requests["GET"] == asked
