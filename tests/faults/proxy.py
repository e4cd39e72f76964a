"""A proxy before an S3 server that spoils the requests that a test has chosen."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from http.server import BaseHTTPRequestHandler
from typing import Callable, Optional
from urllib.parse import urlsplit

from tests.servers import http_server


class Fault(Enum):
    """What happens to a request."""

    DROPPED = "dropped before its effect"
    DROPPED_AFTER = "dropped after its effect"
    DELAYED = "delayed"
    CUT = "cut in the body of its answer"
    TWICE = "sent twice"
    BROKEN = "500 before its effect"
    BROKEN_AFTER = "500 after its effect"
    SLOW_DOWN = "503 SlowDown"
    DENIED = "403"
    BUSY = "409"
    CONDITION_FAILED = "412 before its effect"
    CONDITION_FAILED_AFTER = "412 after its effect"
    OLD = "answered with a time of yesterday"


_ANSWERS = {
    Fault.BROKEN: (500, "InternalError"),
    Fault.BROKEN_AFTER: (500, "InternalError"),
    Fault.SLOW_DOWN: (503, "SlowDown"),
    Fault.DENIED: (403, "AccessDenied"),
    Fault.BUSY: (409, "ConditionalRequestConflict"),
    Fault.CONDITION_FAILED: (412, "PreconditionFailed"),
    Fault.CONDITION_FAILED_AFTER: (412, "PreconditionFailed"),
}
_TAKE_EFFECT = frozenset(
    {
        *(Fault.DROPPED_AFTER, Fault.DELAYED, Fault.CUT, Fault.TWICE),
        *(Fault.BROKEN_AFTER, Fault.CONDITION_FAILED_AFTER, Fault.OLD),
    }
)
_OF_A_CONNECTION = frozenset({"connection", "keep-alive", "transfer-encoding"})
YESTERDAY = "Mon, 01 Jan 2024 00:00:00 GMT"
DELAY_SECONDS = 0.2


@dataclass
class Proxy:
    """What the proxy does.

    Attributes:
        upstream: `HOST:PORT` of the server.
        plan: Tells by the number of a request, counted from 1, what happens to it.
        until: After this number nothing happens any more.
        requests: Method and path of every request so far.
        url: Where it listens.
    """

    upstream: str
    plan: Callable[[int], Optional[Fault]] = lambda _: None
    until: int = 0
    requests: list[str] = field(default_factory=list)
    url: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def spoils(self) -> bool:
        """Whether requests are still to be spoilt."""
        return len(self.requests) < self.until

    def begin(self, plan: Callable[[int], Optional[Fault]], until: int) -> None:
        """Count from 1 again, by another plan."""
        with self._lock:
            self.requests.clear()
            self.plan, self.until = plan, until

    def next_fault(self, request: str) -> Optional[Fault]:
        """Note a request and return what is to happen to it."""
        with self._lock:
            self.requests.append(request)
            number = len(self.requests)
        return self.plan(number) if number <= self.until else None


@contextmanager
def proxy(endpoint: str) -> Iterator[Proxy]:
    """Run a proxy before a server, in threads."""
    state = Proxy(urlsplit(endpoint).netloc)
    handler = type("Handler", (_Handler,), {"state": state})
    with http_server(handler) as state.url:
        yield state


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: Proxy

    def log_message(self, format: str, *args: object) -> None:
        pass

    def pass_on(self) -> None:
        body = self._body()
        fault = self.state.next_fault(f"{self.command} {self.path}")
        if fault is Fault.DELAYED:
            time.sleep(DELAY_SECONDS)
        answer: Optional[tuple[int, list[tuple[str, str]], bytes]] = None
        if fault is None or fault in _TAKE_EFFECT:
            answer = self._forward(body)
        if fault is Fault.TWICE:
            answer = self._forward(body)
        if fault in (Fault.DROPPED, Fault.DROPPED_AFTER):
            self.close_connection = True
        elif fault in _ANSWERS:
            self._refuse(*_ANSWERS[fault])
        else:
            assert answer is not None
            self._answer(*answer, fault)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = pass_on

    def _body(self) -> bytes:
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.send_response_only(100)
            self.end_headers()
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def handle_expect_100(self) -> bool:
        """Leave the answer to `_body`."""
        return True

    def _forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(self.state.upstream, timeout=120)
        try:
            headers = {k: v for k, v in self.headers.items() if k.lower() not in ("expect", "connection")}
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def _refuse(self, status: int, code: str) -> None:
        document = f"<Error><Code>{code}</Code><Message>Said by the proxy.</Message></Error>".encode()
        self._answer(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(document)))],
                     document, None)  # fmt: skip

    def _answer(
        self, status: int, headers: list[tuple[str, str]], body: bytes, fault: Optional[Fault]
    ) -> None:
        self.send_response_only(status)
        names = {name.lower() for name, _ in headers}
        for name, value in headers:
            if name.lower() not in _OF_A_CONNECTION:
                old = fault is Fault.OLD and name.lower() == "date"
                self.send_header(name, YESTERDAY if old else value)
        if "content-length" not in names:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if fault is Fault.CUT else body)
        self.close_connection = fault is Fault.CUT
