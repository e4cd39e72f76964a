"""Ranges of objects over plain HTTP, read from the socket: large ones at less of a processor than by obstore.

HTTP/1.1 is RFC 9112, ranges are RFC 9110, section 14.
"""

from __future__ import annotations

import os
import re
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from urllib.parse import urlsplit

from cloudq.store import StoreAddress

_CONNECT_SECONDS = 10
_SILENT_SECONDS = 60

_BLOCK = 256 * 1024
"""Bytes that are waited for at once, into the same memory each time: few calls, and no new memory.

They are written to a file at once, too. Writes of 1 MiB take large folios of Linux; on a virtual machine that
gives free memory back to its host, 1 GB often took twice the processor's time so (1.4 to 2.7 s of it, and by
256 KiB 0.9 to 2.6 s).
"""

_SILENCE = struct.pack("@ll", _SILENT_SECONDS, 0)
_LONGEST_HEAD = 64 * 1024
_END_OF_HEAD = b"\r\n\r\n"
_PROXIES = ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_OF_THE_MOMENT = ("404", "408", "416", "429", "500", "502", "503", "504")
"""Statuses that say nothing of the answers to come."""


class UnexpectedAnswerError(OSError):
    """The server does not answer with ranges, or not to signed URLs."""


def is_direct(address: StoreAddress) -> bool:
    """Tell whether a server can be read so: by plain HTTP, without a proxy, and by sockets of POSIX."""
    if sys.platform == "win32" or not address.is_plain_http:
        return False
    if not any(map(os.environ.get, _PROXIES)):
        return True
    from urllib.request import proxy_bypass

    return bool(proxy_bypass(urlsplit(address.endpoint_url).netloc))


class PlainHttp:
    """Reads objects by signed URLs, over one connection for each thread that reads, which ends with it.

    Args:
        sign: Makes a URL by which the object of a key may be read now.
    """

    def __init__(self, sign: Callable[[str], str]) -> None:
        self._sign = sign
        self._own = threading.local()

    def blocks(self, key: str, start: int, end: int) -> Iterator[tuple[str, memoryview]]:
        """Yield bytes of an object as they come, each time with its ETag; fewer if it is shorter.

        A block is good until the next one is asked for.

        Raises:
            UnexpectedAnswerError: The server does not answer with ranges, or not to signed URLs.
            OSError: It did not answer this time, or the connection broke off.
        """
        url = self._sign(key)
        place = urlsplit(url).netloc
        # Taken away while it is in use: what breaks off must not be read on by anybody.
        connection = vars(self._own).pop(place, None) or _Connection(place)
        etag = connection.ask(url.partition(place)[2], start, end)
        for block in connection.body():
            yield etag, block
        if connection.stays:
            vars(self._own)[place] = connection


class _Connection:
    """A connection to a server, on which one answer follows another.

    Attributes:
        stays: Whether there may be another one.
    """

    def __init__(self, place: str) -> None:
        parts = urlsplit(f"//{place}")
        self._place = place
        self._socket = socket.create_connection((parts.hostname or "", parts.port or 80), _CONNECT_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A time limit of Python's own would end each wait as soon as something is there: socket(7).
        self._socket.settimeout(None)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _SILENCE)
        self._buffer = memoryview(bytearray(_BLOCK))
        self._begun = 0
        self._left = 0
        self.stays = False

    def __del__(self) -> None:
        # Not there if the server could not be reached.
        if connected := vars(self).get("_socket"):
            connected.close()

    def ask(self, target: str, start: int, end: int) -> str:
        """Ask for a range, and return the ETag of the object."""
        request = f"GET {target} HTTP/1.1\r\nHost: {self._place}\r\nRange: bytes={start}-{end - 1}\r\n\r\n"
        self._socket.sendall(request.encode("ascii"))
        status, fields = self._receive_head()
        if status.endswith(_OF_THE_MOMENT):
            raise ConnectionAbortedError(f"{status} for now")
        found = _CONTENT_RANGE.fullmatch(fields.get("content-range", ""))
        first, last, size = map(int, found.groups()) if found else (0, -1, 0)
        self._left = last + 1 - first
        if (
            status != "HTTP/1.1 206"
            or not start == first <= last
            or last + 1 != min(end, size)
            or fields.get("content-length") != str(self._left)
            or "transfer-encoding" in fields
            or self._begun > self._left
            or not fields.get("etag")
        ):
            raise UnexpectedAnswerError(f"{status}, not bytes {start} to {end}")
        self.stays = fields.get("connection", "").lower() != "close"
        return fields["etag"]

    def body(self) -> Iterator[memoryview]:
        """Yield what was asked for as it comes; a block is good until the next one is asked for."""
        while self._left:
            rest = self._buffer[self._begun : self._left]
            size = self._begun + self._socket.recv_into(rest, 0, socket.MSG_WAITALL)
            if not size:
                raise ConnectionResetError(f"{self._left} bytes did not come")
            self._begun = 0
            self._left -= size
            yield self._buffer[:size]

    def _receive_head(self) -> tuple[str, Mapping[str, str]]:
        """Return version and status, and the header fields; what came of the body already is kept."""
        received = b""
        while _END_OF_HEAD not in received:
            block = self._socket.recv(_LONGEST_HEAD)
            if not block or len(received) > _LONGEST_HEAD:
                raise ConnectionResetError("no answer in HTTP")
            received += block
        head, _, begun = received.partition(_END_OF_HEAD)
        self._begun = len(begun)
        self._buffer[: self._begun] = begun
        status, *lines = head.decode("latin-1").split("\r\n")
        fields = (line.partition(":") for line in lines)
        return status[: len("HTTP/1.1 206")], {name.lower(): text.strip() for name, _, text in fields}
