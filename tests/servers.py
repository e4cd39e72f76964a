"""Servers for tests: S3 by moto, and whatever a handler answers."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import BaseServer

_MOTO = Path(__file__).parent / "testbed" / "moto_locked.py"
_SWITCH_SECONDS = 1e-5


@contextmanager
def moto_server() -> Iterator[str]:
    """Run moto's S3 server in a process of its own and give its URL; its threads switch often, to race."""
    argv = [sys.executable, str(_MOTO), "--switch-interval", str(_SWITCH_SECONDS)]
    unmeasured = {name: value for name, value in os.environ.items() if name != "COVERAGE_PROCESS_CONFIG"}
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=unmeasured) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            assert url, f"moto did not start: status {process.wait()}"
            yield url
        finally:
            process.terminate()


@contextmanager
def http_server(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Answer requests by a handler, in threads, and give the URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    with serving(server):
        yield f"http://127.0.0.1:{server.server_port}"


@contextmanager
def serving(server: BaseServer) -> Iterator[None]:
    """Let a server answer from a thread of this process, and close it in the end."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
