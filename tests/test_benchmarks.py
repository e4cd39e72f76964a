"""The tools of the benchmarks: a proxy that counts, and the pictures."""

from __future__ import annotations

import gc
import time
from http.server import BaseHTTPRequestHandler
from urllib.request import Request, urlopen
from xml.etree import ElementTree

import pytest

from benchmarks.counting_proxy import counting_proxy, kind_of
from benchmarks.delaying_proxy import delaying_proxy
from benchmarks.record import bars, table
from tests.servers import http_server


class Echo(BaseHTTPRequestHandler):
    """Answers with what it got."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(self.path.encode())

    def do_PUT(self) -> None:
        self._answer(self.rfile.read(int(self.headers["Content-Length"])))

    def _answer(self, data: bytes) -> None:
        gc.collect()  # Whoever waits for this answer must be there afterwards.
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_the_proxy_hands_on_and_counts_requests_and_bytes() -> None:
    with http_server(Echo) as server, counting_proxy(server) as (url, proxy):
        with urlopen(f"{url}/bucket?list-type=2&prefix=a") as answer:
            assert answer.read() == b"/bucket?list-type=2&prefix=a"
        data = b"x" * 300_000
        with urlopen(Request(f"{url}/bucket/key", data=data, method="PUT")) as answer:
            assert answer.read() == data
        end = time.monotonic() + 60
        # The last bytes are counted when they have been handed on.
        while proxy.received < 300_028 and time.monotonic() < end:
            time.sleep(0.01)
        assert proxy.counts() == {
            "requests": {"LIST": 1, "PUT": 1},
            "total": 2,
            "bytes_sent": 300_000,
            "bytes_received": 300_028,
            "connections": 2,
        }
        proxy.reset()
        assert proxy.counts()["total"] == 0


def test_the_other_proxy_hands_on_late_whatever_comes() -> None:
    data = b"x" * 300_000
    with http_server(Echo) as server, delaying_proxy(server, 0.05) as url:
        begun = time.monotonic()
        with urlopen(Request(f"{url}/bucket/key", data=data, method="PUT")) as answer:
            assert answer.read() == data
        assert time.monotonic() - begun >= 0.05


@pytest.mark.parametrize(
    ("method", "target", "kind"),
    [
        ("GET", "/bucket?list-type=2", "LIST"),
        ("GET", "/bucket/?delimiter=/&prefix=", "LIST"),
        ("GET", "/bucket/key", "GET"),
        ("GET", "/bucket?location", "GET"),
        ("POST", "/bucket?delete", "DELETE"),
        ("POST", "/bucket/key?uploads", "POST"),
        ("HEAD", "/bucket/key", "HEAD"),
    ],
    ids=str,
)
def test_requests_are_counted_by_what_they_cost(method: str, target: str, kind: str) -> None:
    assert kind_of(method, target) == kind


def test_a_picture_has_a_bar_for_each_value_to_the_scale_of_its_group() -> None:
    picture = bars("Seconds", {"up": {"a": 1.0, "b": 2.0}, "down": {"a": 10.0}}, "s")
    root = ElementTree.fromstring(picture)
    widths = [float(rect.attrib["width"]) for rect in list(root)[1:] if rect.tag.endswith("rect")]
    assert widths == [280.0, 560.0, 560.0]
    common = ElementTree.fromstring(bars("", {"up": {"a": 1.0}, "down": {"a": 10.0}}, "s", common_scale=True))
    widths = [float(rect.attrib["width"]) for rect in list(common)[1:] if rect.tag.endswith("rect")]
    assert widths == [56.0, 560.0]


def test_a_table_has_its_numbers_to_the_right() -> None:
    assert table(("set", "s"), [("a", 1)]).splitlines() == ["| set | s |", "| --- | ---: |", "| a | 1 |"]
