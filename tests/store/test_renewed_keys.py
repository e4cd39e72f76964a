"""Keys that end while a store is in use, on a server that takes only the latest, by both libraries."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Callable

import pytest

from cloudq.errors import StoreRefusedError
from cloudq.store import Store, StoreAddress, open_store
from tests.servers import http_server

Give = Callable[[str], None]
ENDED = b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"


class Server:
    """What it is asked with, and what it takes.

    Attributes:
        good: The access key that is good now.
        url: Its address.
    """

    good = ""
    url = ""


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            key = re.search(r"Credential=([^/]+)/", self.headers["Authorization"])
            good = key is not None and key[1] == state.good
            data = b"data" if good else ENDED
            self.send_response(200 if good else 403)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("ETag", '"8d777f385d3dfec8815d20f7496026dc"')
            self.send_header("Last-Modified", "Sun, 22 Nov 2026 07:00:00 GMT")
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    with http_server(Handler) as state.url:
        yield state


@pytest.fixture(params=["boto3", "obstore"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, s3_environment: None) -> str:
    if request.param == "obstore":
        pytest.importorskip("obstore")
    monkeypatch.setenv("CLOUDQ_STORE", request.param)
    return str(request.param)


@pytest.fixture(params=["credential_process", "profile"])
def give(request: pytest.FixtureRequest, tmp_path: Path, library: str) -> Give:
    """Give out a key, as a program or a file tells it.

    A program's is good for less than the ten minutes before whose end botocore asks anew.
    """
    told, credentials = tmp_path / "keys.json", tmp_path / "aws-credentials"
    if request.param == "credential_process":
        (tmp_path / "aws-config").write_text(f"[profile site]\ncredential_process = /bin/cat {told}\n")

    def give(name: str) -> None:
        if library == "obstore":
            time.sleep(0.12)  # it asks for keys ten times a second at most
        if request.param == "profile":
            credentials.write_text(
                f"[site]\naws_access_key_id = {name}\naws_secret_access_key = s\naws_session_token = t\n"
            )
            return
        until = (datetime.now(timezone.utc) + timedelta(minutes=5)).isoformat()
        keys = {"Version": 1, "AccessKeyId": name, "SecretAccessKey": "s", "SessionToken": "t"}
        told.write_text(json.dumps({**keys, "Expiration": until}))

    return give


def opened(server: Server, give: Give) -> Store:
    give("first")
    server.good = "first"
    return open_store(StoreAddress(server.url, "jobs", "site"))


def test_keys_that_were_renewed_are_used_at_once(server: Server, give: Give) -> None:
    store = opened(server, give)
    for name in ("first", "second", "third"):
        give(name)
        server.good = name
        assert [store.read("key").data for _ in range(2)] == [b"data", b"data"]
        assert f"Credential={name}%2F" in store.presign("GET", "key", timedelta(minutes=1))


def test_keys_that_have_ended_are_a_refusal_until_there_are_new_ones(server: Server, give: Give) -> None:
    store = opened(server, give)
    server.good = "second"
    with pytest.raises(StoreRefusedError, match="ExpiredToken") as caught:
        store.read("key")
    assert "\n" not in str(caught.value)
    give("second")
    assert store.read("key").data == b"data"


def test_keys_that_are_given_out_too_late_are_a_refusal_until_there_are_new_ones(
    server: Server, library: str, tmp_path: Path
) -> None:
    told = tmp_path / "keys.json"
    (tmp_path / "aws-config").write_text(f"[profile site]\ncredential_process = /bin/cat {told}\n")
    keys = {"Version": 1, "AccessKeyId": "good", "SecretAccessKey": "s"}
    told.write_text(json.dumps({**keys, "Expiration": "2020-01-01T00:00:00Z"}))
    server.good = "good"
    store = open_store(StoreAddress(server.url, "jobs", "site"))
    with pytest.raises(StoreRefusedError, match="the refreshed credentials are still expired") as caught:
        store.read("key")
    assert caught.value.hint.startswith("log in again")
    told.write_text(json.dumps({**keys, "Expiration": "2099-01-01T00:00:00Z"}))
    assert store.read("key").data == b"data"
