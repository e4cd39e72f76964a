"""A proxy that holds up what goes to a server, as a long line does, and looks at nothing.

The counting proxy takes half as much again of the processor for a request, which counts where what is
measured shares that. For small objects only: what is held up is kept in memory, however much it is.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Optional
from urllib.parse import urlsplit


class _End(asyncio.Protocol):
    """One end of a connection: what comes there leaves by the other end, after a time."""

    def __init__(self, latency: float) -> None:
        self._latency = latency
        self._held: deque[bytes] = deque()
        self._transport: Optional[asyncio.Transport] = None
        self._closes = False
        self.other: Optional[_End] = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._pass_on()

    def data_received(self, data: bytes) -> None:
        assert self.other is not None
        if self._latency:
            asyncio.get_running_loop().call_later(self._latency, self.other.send, data)
        else:
            self.other.send(data)

    def connection_lost(self, exc: Optional[Exception]) -> None:  # noqa: ARG002 - asyncio gives it
        if self.other is not None:
            self.other.close()

    def send(self, data: bytes) -> None:
        self._held.append(data)
        self._pass_on()

    def close(self) -> None:
        self._closes = True
        self._pass_on()

    def _pass_on(self) -> None:
        if self._transport is None:
            return
        while self._held:
            self._transport.write(self._held.popleft())
        if self._closes:
            self._transport.close()


class _NearEnd(_End):
    """The end at the client, which opens the other one."""

    def __init__(self, host: str, port: int, latency: float) -> None:
        super().__init__(latency)
        self._server = (host, port)
        self._opening: Optional[asyncio.Task[object]] = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        loop, other = asyncio.get_running_loop(), _End(0.0)
        self.other, other.other = other, self
        self._opening = loop.create_task(loop.create_connection(lambda: other, *self._server))


@contextmanager
def delaying_proxy(server_url: str, latency: float) -> Iterator[str]:
    """Run a proxy in a thread; give its URL.

    Args:
        server_url: Of the server, `http://` only.
        latency: Seconds by which all that goes to the server is held up.
    """
    parts, loop = urlsplit(server_url), asyncio.new_event_loop()
    ends: list[_NearEnd] = []

    def accept() -> _NearEnd:
        ends.append(_NearEnd(parts.hostname or "", parts.port or 80, latency))
        return ends[-1]

    async def close() -> None:
        server.close()
        for end in ends:
            end.close()
        await asyncio.sleep(0)  # what is closed says so in the next turn of the loop

    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(loop.create_server(accept, "127.0.0.1", 0), loop).result()
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        asyncio.run_coroutine_threadsafe(close(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
