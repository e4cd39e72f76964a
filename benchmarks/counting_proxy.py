"""A proxy before an S3 server that counts requests by kind and bytes, and may hold each up as a network does.

    python benchmarks/counting_proxy.py http://127.0.0.1:8333 [--latency 20] [--port 0]

The `Host` of a request is handed on as it came: signatures stay good.
When it is interrupted it prints the counts as JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Optional
from urllib.parse import parse_qs, urlsplit

CLASS_A = ("LIST", "PUT", "POST")
"""Kinds of request that AWS bills like PUT; DELETE is free, the others are billed like GET."""

_LIMIT = 1 << 20
_HEAD_LIMIT = 1 << 16


class CountingProxy:
    """Hands requests on to a server, and counts them.

    Attributes:
        requests: By kind: GET, HEAD, PUT, POST, DELETE, LIST.
        sent, received: Bytes of bodies, from the client's view.
        connections: Connections that clients made.
    """

    def __init__(self, server_url: str, latency: float = 0.0) -> None:
        parts = urlsplit(server_url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._latency = latency
        # asyncio itself refers to tasks weakly: one that waits could be collected as garbage.
        self._tasks: set[Optional[asyncio.Task[None]]] = set()
        self.reset()

    def reset(self) -> None:
        """Begin to count anew."""
        self.requests: Counter[str] = Counter()
        self.sent = self.received = self.connections = 0

    def counts(self) -> dict[str, object]:
        """Return what was counted, as members of JSON."""
        return {
            "requests": dict(sorted(self.requests.items())),
            "total": self.requests.total() if hasattr(Counter, "total") else sum(self.requests.values()),
            "bytes_sent": self.sent,
            "bytes_received": self.received,
            "connections": self.connections,
        }

    async def serve(self, port: int = 0) -> asyncio.Server:
        """Listen on the loopback interface."""
        return await asyncio.start_server(self._accept, "127.0.0.1", port, limit=_LIMIT)

    async def close(self, server: asyncio.Server) -> None:
        """End what is under way."""
        server.close()
        tasks = [task for task in self._tasks if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        self._tasks.add(task)
        try:
            upstream = await asyncio.open_connection(self._host, self._port, limit=_LIMIT)
            try:
                while await self._exchange(reader, writer, upstream):
                    pass
            except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                pass
            finally:
                upstream[1].close()
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _exchange(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        upstream: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> bool:
        """Hand one request on and its answer back; tell whether the connection goes on."""
        head = await _read_head(reader)
        if not head:
            return False
        method, target, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
        self.requests[kind_of(method, target)] += 1
        if self._latency:
            await asyncio.sleep(self._latency)
        upstream[1].write(head)
        # The server may answer before it has the body, and says "100 Continue" before it wants it.
        body = asyncio.ensure_future(self._copy_request(reader, upstream[1], head))
        answer = await _read_head(upstream[0])
        while answer.split(b" ", 2)[1] == b"100":
            writer.write(answer)
            answer = await _read_head(upstream[0])
        writer.write(answer)
        status = int(answer.split(b" ", 2)[1])
        if method != "HEAD" and status not in (204, 304):
            self.received += await _copy_body(upstream[0], writer, answer)
        await body
        await writer.drain()
        return b"connection: close" not in (head + answer).lower()

    async def _copy_request(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes
    ) -> None:
        self.sent += await _copy_body(reader, writer, head)
        await writer.drain()


def kind_of(method: str, target: str) -> str:
    """Tell the kind of an S3 request: a GET of a bucket with a query is a LIST."""
    parts = urlsplit(target)
    is_bucket = "/" not in parts.path.strip("/")
    listing = {"list-type", "prefix", "delimiter", "uploads"} & set(
        parse_qs(parts.query, keep_blank_values=True)
    )
    if method == "GET" and is_bucket and listing:
        return "LIST"
    if method == "POST" and "delete" in parts.query:
        return "DELETE"
    return method


async def _read_head(reader: asyncio.StreamReader) -> bytes:
    with suppress(asyncio.IncompleteReadError):
        return await reader.readuntil(b"\r\n\r\n")
    return b""


async def _copy_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> int:
    """Copy a body that is told by its length or in chunks; return its bytes."""
    lines = (line.partition(b":") for line in head.split(b"\r\n")[1:])
    fields = {name.strip().lower(): value.strip() for name, _, value in lines}
    if fields.get(b"transfer-encoding", b"").lower() == b"chunked":
        return await _copy_chunks(reader, writer)
    return await _copy_bytes(reader, writer, int(fields.get(b"content-length", b"0")))


async def _copy_chunks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
    total = 0
    while True:
        line = await reader.readline()
        writer.write(line)
        size = int(line.split(b";")[0], 16)
        await _copy_bytes(reader, writer, size)
        writer.write(await reader.readline())
        total += size
        if not size:
            return total


async def _copy_bytes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, size: int) -> int:
    left = size
    while left:
        block = await reader.read(min(left, _HEAD_LIMIT))
        if not block:
            raise ConnectionError("the other side has gone")
        writer.write(block)
        await writer.drain()
        left -= len(block)
    return size


@contextmanager
def counting_proxy(server_url: str, latency: float = 0.0) -> Iterator[tuple[str, CountingProxy]]:
    """Run a proxy in a thread; give its URL, and the proxy to ask for its counts.

    Args:
        server_url: Of the S3 server, `http://` only.
        latency: Seconds by which each request is held up.
    """
    loop = asyncio.new_event_loop()
    proxy = CountingProxy(server_url, latency)
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(proxy.serve(), loop).result()
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", proxy
    finally:
        asyncio.run_coroutine_threadsafe(proxy.close(server), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def main(argv: Optional[list[str]] = None) -> None:
    """Serve until interrupted, then print the counts."""
    parser = argparse.ArgumentParser(description="Count the requests that an S3 server gets.")
    parser.add_argument("server_url")
    parser.add_argument("--latency", type=float, default=0.0, help="milliseconds per request")
    parser.add_argument("--port", type=int, default=0)
    given = parser.parse_args(argv)
    proxy = CountingProxy(given.server_url, given.latency / 1000)

    async def serve() -> None:
        server = await proxy.serve(given.port)
        print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
        await server.serve_forever()

    with suppress(KeyboardInterrupt):
        asyncio.run(serve())
    print(json.dumps(proxy.counts()))


if __name__ == "__main__":
    main()
