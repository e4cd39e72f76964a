"""moto's S3 server with its writes one after the other, for tests and the demo.

moto looks whether an object exists and then writes it, without a lock between, so that two racing
conditional writes may both win. Here a lock is held around every request that is not GET or HEAD.

    python tests/testbed/moto_locked.py [--port PORT] [--switch-interval SECONDS]

prints its URL on a line when it is listening, and serves until it is killed.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import random
import socket
import sys
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import BaseWSGIServer, make_server

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

HOST = "127.0.0.1"
# Below the ports that Linux gives to outgoing connections.
_PORTS = range(20000, 32768)
_TRIES = 50


def serialised(app: WSGIApplication) -> WSGIApplication:
    """Wrap an application so that it handles one writing request at a time."""
    lock = threading.Lock()

    def handle(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] in ("GET", "HEAD"):
            return app(environ, start_response)
        body = _read_body(environ)
        environ["wsgi.input"] = io.BytesIO(body)
        environ["CONTENT_LENGTH"] = str(len(body))
        environ.pop("HTTP_TRANSFER_ENCODING", None)
        with lock:
            return list(app(environ, start_response))

    return handle


def _read_body(environ: WSGIEnvironment) -> bytes:
    # Before the lock is taken: a slow sender must not stop the others.
    source: Any = environ["wsgi.input"]
    length = environ.get("CONTENT_LENGTH")
    if length:
        return bytes(source.read(int(length)))
    return bytes(source.read()) if environ.get("wsgi.input_terminated") else b""


def make_moto_server(port: int = 0) -> BaseWSGIServer:
    """Make a server that listens already; call `serve_forever`. Port 0 means any free one.

    Raises:
        OSError: The port is in use.
    """
    app = serialised(DomainDispatcherApplication(create_backend_app))
    with _listen(port) if port else _listen_anywhere() as listener:
        return make_server(HOST, listener.getsockname()[1], app, threaded=True, fd=listener.fileno())


def _listen(port: int) -> socket.socket:
    return socket.create_server((HOST, port), backlog=128)


def _listen_anywhere() -> socket.socket:
    for port in random.sample(_PORTS, _TRIES):
        with contextlib.suppress(OSError):
            return _listen(port)
    raise OSError(f"no free port between {_PORTS.start} and {_PORTS.stop - 1}")


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description="moto's S3 server with its writes one after the other")
    parser.add_argument("--port", type=int, default=0, help="0, the default, means a free port below 32768")
    parser.add_argument(
        "--switch-interval",
        type=float,
        metavar="SECONDS",
        help="how long a thread runs; short ones show races",
    )
    options = parser.parse_args()
    if options.switch_interval:
        sys.setswitchinterval(options.switch_interval)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_moto_server(options.port)
    print(f"http://{HOST}:{server.port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
