"""What the fuzzer begins with: real answers of schedulers, examples, and what CloudQ itself writes."""

from __future__ import annotations

import io
import json
import stat
import zipfile
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cloudq.archive.names import raw_name_field
from cloudq.job import ArrayRange, Condition, Job, JobKind, JobState, Task
from cloudq.manifest import render_manifest
from cloudq.presence import Presence, render_presence
from cloudq.signing import Statement, render_statement

_TESTS = Path(__file__).parents[1]
_EXAMPLES = _TESTS.parent / "examples"
_HOSTILE: list[object] = [
    None, True, -1, 1.5, 10**30, "", "\ud800\x1b[2J", "2026-01-31", "0001-01-01T00:00:00+14:00",
    "1-9%" + "9" * 5000,
    "1-900000:DONE 900001-1900000:DONE", "\u00b2", [], [["x"]], {"a": {}}, {"a": 1e400},
]  # fmt: skip
_NOW = datetime(2026, 1, 31, 8, tzinfo=timezone.utc)


def captured(scheduler: str) -> list[bytes]:
    """Return what was captured of a scheduler; of long files the beginning."""
    files = sorted((_TESTS / "data" / scheduler).iterdir())
    return [file.read_bytes()[:8192] for file in files if file.name != "INDEX.txt"]


def manifests() -> list[bytes]:
    """Return manifests: of a new job, of an array job, of one that waits, and a deep one."""
    job = Job("a1", "job.sh", JobKind.META, submitted=_NOW, run_on="here", input_size=5)
    array = replace(
        job,
        state=JobState.ERROR,
        array_range=ArrayRange.parse("1-4:1%2"),
        tasks={1: Task(JobState.DONE, exit_code=0), 2: Task(JobState.ERROR, "exit 3", 3)},
        native_id="17",
        exit_code=3,
        expires=_NOW,
    )
    held = replace(job, hold_ids=("b", "c"), conditions={"c": Condition.CORR}, extra=(("x", [{"y": 1}]),))
    deep = render_manifest(job)[:-1] + b', "x": ' + b"[" * 40 + b"]" * 40 + b"}"
    return [*map(render_manifest, (job, array, held)), deep, *_spoilt(render_manifest(array))]


def _spoilt(data: bytes) -> list[bytes]:
    """Return the same object with a hostile value for each member in turn, and nested deeply."""
    members = json.loads(data)
    spoilt = [json.dumps({**members, name: value}).encode() for name in members for value in _HOSTILE]
    nested = [data[:-1] + b', "%s": ' % name.encode() + b"[" * 600 + b"]" * 600 + b"}" for name in members]
    return [*spoilt, *nested]


def presences() -> list[bytes]:
    """Return presences with everything that they may have."""
    presence = Presence(
        "here",
        "2.0",
        "slurm",
        "host",
        17,
        _NOW,
        timedelta(seconds=60),
        projects={"p": "x"},
        counts={"RUN": 3},
        refusals={"a1": "not signed"},
    )
    return [render_presence(presence), b"{}", b"[]", *_spoilt(render_presence(presence))]


def statements() -> list[bytes]:
    """Return what is signed of a job, and of a cancel request."""
    job = Statement("job", "bucket/prefix", {"uuid": "a1", "name": "job.sh"}, {"job.sh": "0" * 64})
    return [render_statement(job), render_statement(Statement("cancel", "bucket/", {"uuid": "a1"}))]


def meta_scripts() -> list[bytes]:
    """Return the examples, and the other dialect of the documents."""
    other = (
        b"#!/bin/sh\r\n#$ run_on: ANY\r\n#$ walltime: 1:30:00\r\n#$ other_opts: -l 'a b' \\\r\n#$ -x\r\n"
        b"#$ container_img: docker://python:3\r\n#$ container_image: img0=docker://python:3\r\n"
        b"#SBATCH -x\r\n#$ memory: 1.5G\r\n#$ nodes: 2\r\necho\r\n"
    )
    return [*(file.read_bytes() for file in sorted(_EXAMPLES.glob("*.sh"))), other]


def definitions() -> list[bytes]:
    """Return the examples of project and resource files."""
    return [file.read_bytes() for file in sorted(_EXAMPLES.glob("*.ini"))]


def configurations() -> list[bytes]:
    """Return configurations of both sides, with every section."""
    both = (
        "[default]\nname = here\ncloudq_bucket = b\ncloudq_endpoint_url = https://s\ncloudq_prefix = p/q\n"
        "aws_profile = default\nlog_level = INFO\n"
    )
    client = f"{both}[client]\nproject_profile = config.ini\nexpires_after = 60\nnotify_command = a 'b c'\n"
    agent = (
        f"{both}[agent]\ntype = slurm\ncloudq_directory = ~/x\nnum_procs = 3\ncontainer_cache = y\n"
        "[policy]\nmost_tasks = 3\nlongest_walltime = 2d\nimages = a*, b\nlargest_input = 3G\n"
        "[projects]\np = x%%y\n[registry:nv]\nhost = nvcr.io\nauthfile = f\n"
    )
    return [client.encode(), agent.encode()]


def archives() -> list[bytes]:
    """Return small archives with every kind of member, stored and packed, plain and of the large form."""
    return [_archive(zipfile.ZIP_STORED), _archive(zipfile.ZIP_DEFLATED), _archive(zipfile.ZIP_BZIP2)]


def _archive(compression: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as zip_file:
        zip_file.writestr("there/x", b"x" * 40)
        zip_file.writestr(_member("tool", stat.S_IFREG | 0o755), b"#!/bin/sh\n")
        zip_file.writestr(_member("to", stat.S_IFLNK | 0o777), b"../other")
        zip_file.writestr(_member("empty/", stat.S_IFDIR | 0o700), b"")
        odd = _member("odd%FF", stat.S_IFREG | 0o600)
        odd.extra = raw_name_field("odd\udcff")
        zip_file.writestr(odd, b"odd")
        with zip_file.open("large", "w", force_zip64=True) as member:
            member.write(b"large")
        zip_file.comment = b"a comment"
    return buffer.getvalue()


def _member(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = mode << 16
    return info


def agent_files() -> list[bytes]:
    """Return what an agent keeps of its jobs, whole and cut."""
    kept: list[dict[str, object]] = [
        {"claim_token": "c", "attempt": 1},
        {"claim_token": "c", "native_id": "17", "principals": ["a@b"], "attempt": 1},
        {"outcome": {"state": "DONE", "error": "", "exit_code": 0}, "finished": _NOW.isoformat()},
        {"missing": {"": _NOW.isoformat()}, "settling": {"3": _NOW.isoformat()}},
    ]
    texts = [json.dumps(values).encode() for values in kept]
    return [*texts, *(text[: len(text) // 2] for text in texts), _NOW.isoformat().encode() + b"\ndrain\n"]


def logs() -> list[bytes]:
    """Return logs of jobs that say how far they are, and command the terminal."""
    return [b"# cloudq progress=50%\n", b"\x1b[2J\x1b]0;x\x07\xc2\x9b\r\n\x08\xff"]
