"""The copy function of a real translated script, by HTTP and with an agent, but without a key in the job."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Optional
from urllib.parse import quote, unquote, urlsplit

import pytest

from cloudq.agent.passes import Agent
from cloudq.agent.running import copying
from cloudq.agent.running.copying import answer_requests
from cloudq.agent.schedulers.base import NativeState
from cloudq.errors import StoreRefusedError, StoreUnreachableError
from cloudq.job import Job
from cloudq.store import Method
from cloudq.store.memory import MemoryStore
from tests.agent.conftest import Site, run_passes
from tests.servers import http_server

PLACE = "s3://bucket/.data"
INSIDE = "expected a name that stays inside the folder"
BELOW = "expected an object below s3://bucket/.data/"
needs_curl = pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
PROGRAMS = "cat cp cut find head ls mkdir mktemp mv rm sed uname wc"


class Web(MemoryStore):
    """A store with URLs that work.

    Attributes:
        url: Where they lead.
        good_for: How many uses of an answer's URLs succeed; None for all.
        fault: What the store answers instead of URLs.
    """

    address = ""
    good_for: Optional[int] = None
    uses = 0
    fault: Optional[Exception] = None

    def presign(self, method: Method, key: str, lifetime: timedelta) -> str:
        if self.fault is not None:
            raise self.fault
        assert lifetime == timedelta(hours=1)
        self.uses = 0
        return f"{self.address}/{quote(key)}?X-Amz-Signature={method}"


@pytest.fixture
def web() -> Iterator[Web]:
    """A store that answers by HTTP to whoever has the right URL."""
    store = Web()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            key = self.allowed("GET")
            if key:
                data = store.read(key).data
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        def do_PUT(self) -> None:
            data = self.rfile.read(int(self.headers["Content-Length"]))
            key = self.allowed("PUT")
            if key:
                store.write(key, data)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

        def allowed(self, method: str) -> str:
            parts = urlsplit(self.path)
            store.uses += 1
            if (
                store.good_for is not None and store.uses > store.good_for
            ) or parts.query != f"X-Amz-Signature={method}":
                self.send_error(403)
                return ""
            return unquote(parts.path[1:])

        def log_message(self, *_: object) -> None:
            pass

    with http_server(Handler) as store.address:
        yield store


@pytest.fixture
def running(site: Site, web: Web) -> tuple[Agent, Job]:
    """A job of which the scheduler says that it runs."""
    site.store = web
    return start(site)


def start(site: Site, body: str = "") -> tuple[Agent, Job]:
    agent, job = site.new_agent(), site.submit(f"#!/bin/sh\n#$ run_on: here\n# cs_cp\n{body}".encode())
    run_passes(agent)
    site.cluster.move("1", NativeState.RUNNING)
    return agent, job


def ask(site: Site, agent: Agent, job: Job, *lines: str) -> list[str]:
    """Put down a request and return the lines of the answer."""
    folder = site.folders.copies(job.id)
    (folder / "a.request").write_text("".join(f"{line}\n" for line in lines))
    run_passes(agent)
    assert not (folder / "a.request").exists()
    return (folder / "a.answer").read_text().split("\n")


@contextmanager
def answering(agent: Agent, job: Job) -> Iterator[None]:
    """Have the agent answer all the time."""
    over = threading.Event()

    def work() -> None:
        while not over.wait(0.01):
            answer_requests(agent.place, job)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def tools(folder: Path, way: str) -> Path:
    """Make a folder of programs in which a second lasts a moment, and only one of the ways to the web is."""
    folder.mkdir()
    for name in (*PROGRAMS.split(), *way.split()):
        write_program(
            folder / name, f'exec {sys.executable if name == "python3" else shutil.which(name)} "$@"'
        )
    write_program(folder / "sleep", "exec /bin/sleep 0.02")
    return folder


def write_program(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o700)


def run_job(site: Site, web: Web, body: str, way: str = "curl") -> subprocess.CompletedProcess[str]:
    """Run a real translated script while its agent answers."""
    site.store = web
    agent, job = start(site, body)
    path = tools(site.folder / "tools", way)
    script = site.folders.work_dir(job.id) / "job_local.sh"
    with answering(agent, job):
        done = subprocess.run(
            ["/bin/sh", str(script)],
            env={"PATH": str(path), "HOME": str(site.folder)},
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )
    assert list(site.folders.copies(job.id).iterdir()) == []
    return done


@needs_curl
def test_files_and_folders_are_copied_both_ways_without_a_key_on_the_node(site: Site, web: Web) -> None:
    names = ("empty", 'it\'s "a" $name', "sub/ü [1]{2}")
    for name in names:
        web.write(f".data/in/{name}", name.encode() * (name != "empty"))
    body = f"""set -eu
cq_cs_cp {PLACE}/in/empty one
cq_cs_cp {PLACE}/in .
cq_cs_cp {PLACE}/in/ copied/
ln -s one copied/link 2>/dev/null || :
cq_cs_cp copied {PLACE}/out
cq_cs_cp -odd {PLACE}/odd 2>/dev/null || echo refused
echo x > -odd
abci_cs_cp -odd {PLACE}/odd/
slurm_cs_cp {PLACE}/in {PLACE}/twice/
cat 'copied/sub/ü [1]{{2}}'
"""
    done = run_job(site, web, body)
    assert (done.stdout, done.stderr, done.returncode) == ("refused\nsub/ü [1]{2}", "", 0)
    for folder in ("out", "twice"):
        kept = {entry.key[len(f".data/{folder}/") :]: entry.size for entry in web.list(f".data/{folder}/")}
        assert kept == {name: len(name.encode()) * (name != "empty") for name in names}
    assert web.read(".data/odd/-odd").data == b"x\n"


def test_where_there_is_no_curl_python_copies(site: Site, web: Web) -> None:
    web.write(".data/in", b"some\n")
    body = f"cq_cs_cp {PLACE}/in one && cat one && cq_cs_cp one {PLACE}/out\n"
    done = run_job(site, web, body, "python3")
    assert (done.stdout, done.stderr, done.returncode) == ("some\n", "", 0)
    assert web.read(".data/out").data == b"some\n"


@needs_curl
def test_a_long_copy_goes_on_when_its_urls_have_ended(site: Site, web: Web) -> None:
    for number in range(7):
        web.write(f".data/in/{number}", b"x")
    web.good_for = 4
    done = run_job(site, web, f"cq_cs_cp {PLACE}/in out && ls out | wc -l && cq_cs_cp out {PLACE}/out\n")
    assert (done.stdout.strip(), done.returncode) == ("7", 0)
    assert "403" in done.stderr
    assert len(list(web.list(".data/out/"))) == 7


@needs_curl
def test_a_copy_that_is_refused_again_and_again_fails(site: Site, web: Web) -> None:
    web.write(".data/in/a", b"x")
    web.good_for = 0
    done = run_job(site, web, f"cq_cs_cp {PLACE}/in out || cq_cs_cp {PLACE}/in/a out || ls -A out\n")
    assert (done.stdout, done.returncode) == ("", 0)
    assert "cloudq_cs_cp: a could not be copied" in done.stderr
    assert f"cloudq_cs_cp: {PLACE}/in/a could not be copied" in done.stderr


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        pytest.param(
            f"cq_cs_cp {PLACE}/none x", 1, "agent of system here: no such object: .data/none", id="nothing"
        ),
        pytest.param(f"cq_cs_cp none {PLACE}/x", 1, "none: no such file", id="no file"),
        pytest.param(
            "cq_cs_cp s3://bucket/x y", 127, "the command aws is not installed on system here", id="elsewhere"
        ),
        pytest.param(
            f"cq_cs_cp {PLACE}/x y '' me",
            127,
            "the command aws is not installed on system here",
            id="profile",
        ),
        pytest.param(
            f"mkdir d; : >'d/a\nb'; cq_cs_cp d {PLACE}/x",
            1,
            "d: a name with a line break cannot be copied",
            id="line break",
        ),
        pytest.param(
            f"PATH=${{PATH}}2; cq_cs_cp {PLACE}/large x",
            127,
            "neither curl nor python3 is installed on",
            id="no way",
        ),
        pytest.param(
            f": >large; truncate -s 6G large; cq_cs_cp large {PLACE}/x",
            1,
            "large: larger than 5 GiB",
            id="too large",
        ),
        pytest.param(
            f"rm -r ../../spool/*/copies; cq_cs_cp {PLACE}/large x", 1, "no agent has made", id="no agent"
        ),
    ],
)
def test_the_copy_function_says_what_is_wrong(
    site: Site, web: Web, body: str, status: int, message: str
) -> None:
    web.write(".data/large", b"")
    site.store = web
    agent, job = start(site, f"{body}\n")
    path = tools(site.folder / "tools", "curl truncate")
    tools(site.folder / "tools2", "")
    with answering(agent, job):
        done = subprocess.run(
            ["/bin/sh", str(site.folders.work_dir(job.id) / "job_local.sh")],
            env={"PATH": str(path)},
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr.startswith(f"cloudq_cs_cp: {message}") or f" {message}" in done.stderr


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        (("GET", "s3://bucket/1f/manifest.json"), f"s3://bucket/1f/manifest.json: {BELOW}"),
        (("GET", "s3://bucket"), f"s3://bucket: {BELOW}"),
        (("PUT", "s3://bucket/.data"), "s3://bucket/.data: expected the name of an object"),
        (("PUT", "s3://bucket/.database/x"), f"s3://bucket/.database/x: {BELOW}"),
        (("PUT", "s3://other/.data/x"), f"s3://other/.data/x: {BELOW}"),
        (("PUT", "s3://bucket/.data/../1f/cancel"), f"bucket/.data/../1f/cancel: {INSIDE}"),
        (("PUT", "s3://bucket/.data/x", "../../1f/cancel"), f"../../1f/cancel: {INSIDE}"),
        (("PUT", "s3://bucket/.data/x", "a\033[2Jb"), "a%1B[2Jb: expected a name of printable characters"),
        (("GET", "s3://bucket/.data/x//y"), f"bucket/.data/x//y: {INSIDE}"),
        (("DELETE", "s3://bucket/.data/x"), "expected GET or PUT, got 'DELETE'"),
        (("GET",), "expected a request to copy: lines of UTF-8"),
        (("PUT", "s3://bucket/.data/x", *(["a"] * 1001)), "expected at most 1000 files at a time, got 1001"),
        (
            ("PUT", "s3://bucket/.data/x", "a" * 5_000_000),
            "expected a request to copy of at most 4194304 bytes",
        ),
    ],
    ids=lambda value: None if isinstance(value, str) else value[-1][:30],
)
def test_a_job_gets_no_url_but_for_its_place(
    site: Site, running: tuple[Agent, Job], lines: tuple[str, ...], complaint: str
) -> None:
    assert ask(site, *running, *lines) == [complaint, ""]


def test_a_hostile_name_in_the_bucket_is_refused_before_it_reaches_the_node(
    site: Site, running: tuple[Agent, Job]
) -> None:
    site.store.write(".data/in/../../.bashrc", b"")
    complaint = "../../.bashrc: expected a name that stays inside the folder"
    assert ask(site, *running, "GET", f"{PLACE}/in") == [complaint, ""]


def test_what_is_no_plain_file_of_the_job_is_neither_read_nor_waited_for(
    site: Site, running: tuple[Agent, Job], tmp_path: Path
) -> None:
    agent, job = running
    folder = site.folders.copies(job.id)
    secret = tmp_path / "secret"
    secret.write_text("secret\n")
    (folder / "link.request").symlink_to(secret)
    os.mkfifo(folder / "pipe.request")
    (folder / "folder.request").mkdir()
    run_passes(agent)
    assert sorted(path.name for path in folder.iterdir()) == [
        "folder.request",
        "link.request",
        "pipe.request",
    ]
    for name in ("link", "pipe"):
        with pytest.raises(FileNotFoundError, match="no plain file"):
            copying._read(folder / f"{name}.request")
    assert site.job(job.id).state == "RUN"


def test_a_request_that_was_just_taken_back_is_no_fault(
    site: Site, running: tuple[Agent, Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    agent, job = running
    gone = site.folders.copies(job.id) / "a.request"
    monkeypatch.setattr(copying, "_requests", lambda _: iter([gone]))
    answer_requests(agent.place, job)
    assert list(gone.parent.iterdir()) == []


def test_an_answer_never_goes_through_a_link_of_the_job(
    site: Site, running: tuple[Agent, Job], tmp_path: Path
) -> None:
    precious = tmp_path / "precious"
    precious.write_text("kept")
    (site.folders.copies(running[1].id) / "a.answer").symlink_to(precious)
    assert ask(site, *running, "PUT", f"{PLACE}/x")[0] == "file"
    assert precious.read_text() == "kept"


def test_a_refusal_of_the_store_is_told_and_its_silence_waited_for(
    site: Site, running: tuple[Agent, Job], web: Web
) -> None:
    web.fault = StoreRefusedError("cannot make a URL: ExpiredToken")
    assert ask(site, *running, "PUT", f"{PLACE}/x") == ["cannot make a URL: ExpiredToken", ""]
    web.fault = StoreUnreachableError("no answer")
    agent, job = running
    request = site.folders.copies(job.id) / "b.request"
    request.write_text(f"PUT\n{PLACE}/x\n")
    run_passes(agent)
    assert request.exists()
    web.fault = None
    site.clock.move(minutes=5)
    run_passes(agent)
    assert (request.with_suffix(".answer")).read_text().startswith("file\nhttp")


def test_a_site_may_open_more_places(site: Site, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Web()
    other.write("sets/a/1", b"x")
    monkeypatch.setattr(copying, "open_store", lambda address: other if address.bucket == "other" else None)
    site.store, site.settings = web, {"copy_places": ("s3://other/sets/", "s3://whole/")}
    agent, job = start(site)
    assert ask(site, agent, job, "GET", "s3://other/sets/a") == [
        "folder",
        "/sets/a/1?X-Amz-Signature=GET",
        "1",
        "",
    ]
    assert ask(site, agent, job, "GET", "s3://other/sets")[2] == "a/1"
    assert ask(site, agent, job, "GET", "s3://other/sets/a", "1") == ["folder", ""]
    assert ask(site, agent, job, "GET", "s3://other/set")[0].endswith(
        "expected an object below s3://bucket/.data/ or s3://other/sets/ or s3://whole/"
    )
    place = agent.place
    config = replace(place.config, copy_places=("s3://other/",))
    wide = replace(place, config=config)
    assert "sets/a/1" in copying._answer(wide, copying.Request("GET", "s3://other/", ()))
