"""Bundles made to break in: each is refused with one line, the next job runs, nothing lands elsewhere."""

from __future__ import annotations

import io
import json
import logging
import os
import stat
import struct
import zipfile
from datetime import timedelta
from pathlib import Path
from typing import Union

import pytest

from cloudq.agent.queue import Queue
from cloudq.archive import unpack
from cloudq.bundle import INPUT, PROJECT
from cloudq.errors import ArchiveError, ManifestError
from cloudq.job import JobState
from cloudq.manifest import render_manifest
from cloudq.presence import parse_presence
from cloudq.process import run
from cloudq.store.memory import MemoryStore
from tests.agent.cluster import FakeScheduler
from tests.agent.conftest import META, Site, run_passes, site

__all__ = ["site"]

Member = tuple[Union[str, zipfile.ZipInfo], bytes]
pytestmark = pytest.mark.skipif(os.name != "posix", reason="agents run on Unix")


def special(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = mode << 16
    return info


def zipped(*members: Member, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as zip_file:
        for info, data in members:
            zip_file.writestr(info, data)
    return buffer.getvalue()


def bomb() -> bytes:
    """Say of 1 kB that it is 4 TB, in the way of large archives."""
    info = special("bomb", stat.S_IFREG | 0o600)
    data = bytearray(zipped((info, b"\0" * 1000)))
    central = data.index(b"PK\x01\x02")
    extra = struct.pack("<HHQ", 1, 8, 2**42)
    data[central + 24 : central + 28] = b"\xff" * 4
    data[central + 30 : central + 32] = struct.pack("<H", len(extra))
    place = central + 46 + len("bomb")
    data[place:place] = extra
    end = data.rindex(b"PK\x05\x06")
    size = struct.unpack_from("<L", data, end + 12)[0] + len(extra)
    data[end + 12 : end + 16] = struct.pack("<L", size)
    return bytes(data)


ARCHIVES = {
    "path traversal": (zipped(("../../evil", b"x")), "expected a name that stays inside the folder"),
    "absolute path": (zipped(("/tmp/evil", b"x")), "expected a name that stays inside the folder"),
    "link out of the folder": (
        zipped((special("out", stat.S_IFLNK | 0o777), b"../.."), ("out/evil", b"x")),
        "out/evil: out in the archive is not a folder",
    ),
    "device": (zipped((special("sda", stat.S_IFBLK | 0o666), b"")), "sda: neither file, folder nor link"),
    "zip bomb": (bomb(), "the archive unpacks to 4398046511104 bytes, "),
    "newline in a name": (zipped(("a\nb", b"x")), "a%0Ab: has control characters"),
    "escape sequence in a name": (zipped(("a\x1b[2J", b"x")), "a%1B[2J: has control characters"),
    "no archive": (b"\xff" * 100, "input.zip: damaged"),
    "a folder in the script's place": (
        zipped(("job.sh/x", b"x")),
        "input.zip: has a folder 'job.sh', which is the name of the script",
    ),
    "a name of 300 bytes": (zipped(("n" * 300, b"x")), "too long a name for this file system"),
    "a bomb of another kind": (
        zipped(("x", b"x"), compression=zipfile.ZIP_BZIP2),
        "x: packed in another way than deflated or stored",
    ),
}
MANIFESTS = {
    "deep JSON": b"[" * 500_000,
    "deep JSON in a member": b'{"x": ' * 100_000 + b"1" + b"}" * 100_000,
    "huge": b'{"x": "' + b"a" * 5_000_000 + b'"}',
    "UTF-16": '{"name": "job.sh"}'.encode("utf-16"),
    "no object": b"[]",
    "endless number": b'{"revision": ' + b"9" * 10_000 + b"}",
    "NUL": b"\0",
    "nested 40 times": b'{"name": "job.sh", "state": "INIT", "run_on": "here", "x": '
    + b"[" * 40
    + b"]" * 40
    + b"}",
    "three times as long as it comes": (
        b'{"name": "job.sh", "state": "INIT", "run_on": "here", "x": "' + b"\xc3\xa9" * 500_000 + b'"}'
    ),
}
VALUES: tuple[object, ...] = (
    None,
    True,
    -1,
    1.5,
    10**30,
    "\ud800\x1b[2J\n",
    "../../x",
    [],
    [["x"]],
    {"a": {}},
)
MEMBERS = (
    "name",
    "state",
    "hold_jid",
    "array_tid",
    "jobid",
    "run_system",
    "submit_opt",
    "time_submit",
    "size_input",
)
NAMES = ["../evil", "/etc/evil", "a/b", "..", "a\nb", "a\x1b[2J", "é\ud800", "x" * 300, "-rf\0"]


def below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def assert_next_job_runs(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Make passes; the agent must take a job that came after, and say everything in lines."""
    caplog.set_level(logging.INFO, logger="cloudq")
    good = site.submit()
    run_passes(site.new_agent(), 3)
    assert site.job(good.id).native_id
    assert {path.name for path in site.folder.parent.iterdir()} == {site.folder.name}
    for record in caplog.records:
        if record.levelno > logging.DEBUG:
            assert not record.exc_info, caplog.text
            assert all(char.isprintable() for char in record.getMessage()), record.getMessage()


def assert_refused(site: Site, job_id: str, reason: str) -> None:
    job = site.job(job_id)
    assert job.state is JobState.ERROR
    assert reason in job.error
    assert "\n" not in job.error
    assert not site.folders.work_dir(job_id).exists() or below(site.folders.work_dir(job_id)) == set()


@pytest.mark.parametrize("name", ARCHIVES)
def test_a_hostile_archive_is_refused(name: str, site: Site, caplog: pytest.LogCaptureFixture) -> None:
    data, reason = ARCHIVES[name]
    job = site.submit(input_size=len(META) + len(data))
    site.bundles.write(job.id, INPUT, data)
    assert_next_job_runs(site, caplog)
    assert_refused(site, job.id, reason)


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_hostile_manifest_is_left_alone(name: str, site: Site, caplog: pytest.LogCaptureFixture) -> None:
    job = site.submit()
    site.bundles.write(job.id, "manifest.json", MANIFESTS[name])
    assert_next_job_runs(site, caplog)
    assert site.bundles.read(job.id, "manifest.json") == MANIFESTS[name]
    assert f"job {job.id}: " in caplog.text


def test_wrong_types_everywhere_stop_nothing(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    for member in MEMBERS:
        for value in VALUES:
            job = site.submit()
            members = {**json.loads(render_manifest(job)), member: value}
            site.bundles.write(job.id, "manifest.json", json.dumps(members).encode())
    assert_next_job_runs(site, caplog)


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_hostile_script_name_is_refused(name: str, site: Site, caplog: pytest.LogCaptureFixture) -> None:
    job = site.submit()
    members = {**json.loads(render_manifest(job)), "name": name}
    site.bundles.write(job.id, "manifest.json", json.dumps(members).encode())
    assert_next_job_runs(site, caplog)
    assert_refused(site, job.id, "script name ")


@pytest.mark.parametrize("job_id", ["../evil", "a/b", "a/../../evil", "..", "-x", "a b", "a\nb", ".hidden"])
def test_an_id_that_is_no_plain_name_is_not_looked_at(
    job_id: str, site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    job = site.submit()
    manifest = site.bundles.read(job.id, "manifest.json")
    site.bundles.delete(job.id)
    site.store.write(f"{job_id}/manifest.json", manifest)
    site.store.write(f"agent/.inbox/here/{job_id}", b"")
    assert_next_job_runs(site, caplog)
    assert site.store.read(f"{job_id}/manifest.json").data == manifest


def test_a_reason_is_no_longer_than_a_manifest_can_hold(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    job = site.submit(META.replace(b"here", b"here\n#$ " + b"k" * 20_000 + b": x"))
    assert_next_job_runs(site, caplog)
    assert_refused(site, job.id, "job.sh:3: unknown directive 'kkk")
    assert len(site.job(job.id).error) == 4000


@pytest.mark.parametrize("options", ["-x a\0b", "-x \ud800"], ids=ascii)
def test_options_that_no_command_can_be_given_are_refused(
    tmp_path: Path, options: str, caplog: pytest.LogCaptureFixture
) -> None:
    site = Site(tmp_path / "site", MemoryStore(), queue=Queue(FakeScheduler(), run, timedelta(seconds=10)))
    job = site.submit(submit_to="here", submit_options=options)
    run_passes(site.new_agent(), 3)
    assert_refused(site, job.id, "fake: an argument that no command can be given: ")


@pytest.mark.parametrize(
    ("script", "project"),
    [
        pytest.param(META + b"\xff\xfe", b"", id="script in no known encoding"),
        pytest.param(META + b"\0", b"", id="script with a NUL"),
        pytest.param(META.replace(b"here", b"here\n#$ project: p"), b"\xff[p]\n", id="definitions"),
        pytest.param(META.replace(b"here", b"here\n#$ \x1b[2J: x"), b"", id="escape sequence in a directive"),
    ],
)
def test_a_file_that_is_no_text_is_refused(
    script: bytes, project: bytes, site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    job = site.submit(script)
    if project:
        site.bundles.write(job.id, PROJECT, project)
    assert_next_job_runs(site, caplog)
    assert_refused(site, job.id, "")


def test_entries_are_counted_before_they_are_kept(tmp_path: Path) -> None:
    archive, folder = tmp_path / "a.zip", tmp_path / "folder"
    data = bytearray(zipped(*((str(number), b"") for number in range(40))))
    # The number at the end is a lie; the directory is what counts.
    end = data.rindex(b"PK\x05\x06")
    data[end + 8 : end + 12] = struct.pack("<HH", 1, 1)
    archive.write_bytes(data)
    with pytest.raises(ArchiveError, match=r"^the archive has more than 30 members, the most"):
        unpack(archive, folder, max_members=30)
    assert below(folder) == set()


PRESENCE: dict[str, object] = {
    "system": "elsewhere",
    "version": "2.0",
    "scheduler": "local",
    "host": "h",
    "pid": 1,
    "heartbeat": "2026-01-31T08:00:00+00:00",
    "interval": 60,
}


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 500_000,
        b'{"heartbeat": "2026-01-31", "interval": 1e300}',
        b"\xff",
        b"[]",
        b"null",
        *(
            json.dumps({**PRESENCE, **wrong}).encode()
            for wrong in (
                {"system": None},
                {"pid": "1"},
                {"stopped": 1},
                {"interval": -1},
                {"interval": 8e13},
                {"refusals": ["x"]},
                {"counts": {"RUN": None}},
            )
        ),
    ],
    ids=range(12),
)
def test_a_hostile_presence_stops_nothing(data: bytes, site: Site, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ManifestError, match="^x: not an agent's presence: "):
        parse_presence(data, "x")
    site.store.write("agent/.systems/elsewhere.json", data)
    assert_next_job_runs(site, caplog)


@pytest.mark.parametrize("run_on", ["here", "ANY"])
def test_a_script_or_manifest_that_would_fill_the_memory_is_not_read(
    site: Site, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, run_on: str
) -> None:
    monkeypatch.setattr("cloudq.store.LARGEST_READ", 5000)
    script = site.submit(META + b"#" * 5000, run_on=run_on)
    manifest = site.submit(run_on=run_on)
    site.store.write(f"{manifest.id}/manifest.json", b"[" * 6000)
    assert_next_job_runs(site, caplog)
    ended = site.job(script.id)
    assert ended.state is JobState.ERROR
    assert f"{script.id}/job.sh: {len(META) + 5000} bytes, at most 5000 are read" in ended.error
    assert "manifest.json: 6000 bytes, at most 5000 are read" in caplog.text
