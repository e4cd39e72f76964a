"""An S3 server of one bucket that answers wrongly when told to."""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Optional
from urllib.parse import unquote, urlsplit

from tests.servers import http_server


@dataclass(frozen=True)
class Fault:
    """A wrong answer.

    Attributes:
        status: HTTP status; 0 closes the connection without an answer.
        code: S3 error code in the body.
        applied: Whether the request takes effect all the same.
        body: Sent instead of an error document.
        length: Content-Length, if it is not that of the body.
        content_range: Content-Range of the body.
    """

    status: int
    code: str = "InternalError"
    applied: bool = False
    body: Optional[bytes] = None
    length: Optional[int] = None
    content_range: str = ""


@dataclass
class FaultyServer:
    """What the server holds and does next.

    Attributes:
        url: Where it listens.
        objects: Key -> bytes.
        faults: Method -> the answers to the next requests of it; after these, right ones.
        requests: How many requests came, by method.
        signed_urls: How many of them had their signature in the URL.
    """

    url: str = ""
    objects: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, deque[Fault]] = field(default_factory=dict)
    requests: Counter[str] = field(default_factory=Counter)
    signed_urls: int = 0

    def reset(self) -> None:
        """Forget everything."""
        self.objects.clear()
        self.faults.clear()
        self.requests.clear()
        self.signed_urls = 0

    def fail(self, method: str, *faults: Fault) -> None:
        """Answer the next requests of a method so."""
        self.faults[method] = deque(faults)

    def next_fault(self, method: str) -> Optional[Fault]:
        """Take the fault that the request at hand meets."""
        self.requests[method] += 1
        waiting = self.faults.get(method)
        return waiting.popleft() if waiting else None


def etag_of(data: bytes) -> str:
    """Return the bare ETag of an object."""
    return hashlib.md5(data).hexdigest()


@contextmanager
def faulty_server() -> Iterator[FaultyServer]:
    """Run a server in a thread."""
    state = FaultyServer()
    handler = type("Handler", (_Handler,), {"state": state})
    with http_server(handler) as state.url:
        yield state


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: FaultyServer

    def log_message(self, format: str, *args: object) -> None:
        pass

    def handle_request(self) -> None:
        self.data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.key = unquote(urlsplit(self.path).path).partition("/bucket/")[2]
        self.state.signed_urls += "X-Amz-Signature=" in self.path
        fault = self.state.next_fault(self.command)
        if fault is None:
            status, code = self._conditions() or (self._apply(), "NoSuchKey")
            self._answer(status, code)
            return
        if fault.applied:
            self._apply()
        if fault.status == 0:
            self.close_connection = True
        else:
            self._answer(fault.status, fault.code, fault.body, fault.length, fault.content_range)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_request

    def _conditions(self) -> Optional[tuple[int, str]]:
        found = self.state.objects.get(self.key)
        wanted = self.headers.get("If-Match")
        if wanted is not None and found is None:
            return 404, "NoSuchKey"
        failed = wanted is not None and found is not None and wanted != etag_of(found)
        if failed or (self.headers.get("If-None-Match") == "*" and found is not None):
            return 412, "PreconditionFailed"
        return None

    def _apply(self) -> int:
        if self.command == "PUT":
            self.state.objects[self.key] = self.data
        elif self.command == "DELETE":
            self.state.objects.pop(self.key, None)
        elif self.key not in self.state.objects:
            return 404
        return 200

    def _answer(
        self,
        status: int,
        code: str,
        body: Optional[bytes] = None,
        length: Optional[int] = None,
        content_range: str = "",
    ) -> None:
        if body is None:
            body = self.state.objects.get(self.key, b"") if status < 300 else _error_document(code)
        self.send_response(status)
        self.send_header("ETag", f'"{etag_of(self.state.objects.get(self.key, b""))}"')
        self.send_header("Last-Modified", "Wed, 01 Jan 2025 00:00:00 GMT")
        sent = b"" if self.command in ("PUT", "DELETE") and status < 300 else body
        if content_range:
            self.send_header("Content-Range", content_range)
        self.send_header("Content-Length", str(len(sent) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(sent)
        self.close_connection = length is not None


def _error_document(code: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message>Said by\nthe server.</Message></Error>".encode()
