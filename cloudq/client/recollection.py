"""What this computer remembers of a bucket, in the user's cache folder: recent jobs and systems.

Everything here may be deleted at any time, and no command fails because it cannot be written.
"""

from __future__ import annotations

import contextlib
import os
from binascii import crc32
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Optional

from cloudq.errors import NoSuchJobError
from cloudq.job import Job, is_job_id

if TYPE_CHECKING:
    from cloudq.bundle import Bundles, SignsOfLife
    from cloudq.config import ClientConfig
    from cloudq.presence import Presence

LAST = "@last"
"""Stands for the job that was submitted last from this computer."""

MAX_JOBS = 500
_JOBS = "jobs"
_LAST = "last"
_SIGNS = "signs"


@dataclass(frozen=True)
class RememberedJob:
    """A job as it was when last seen."""

    id: str
    name: str
    state: str


def cache_folder(config: ClientConfig) -> Path:
    """Return the folder of this bucket; it need not exist."""
    # Not by hashlib, which takes longer to import than all the rest of a command's work.
    top = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    place = f"{config.store.endpoint_url} {config.store.bucket} {config.prefix}"
    return top / "cloudq" / f"{config.store.bucket}-{crc32(place.encode()):08x}"


def keep(file: Path, data: bytes) -> None:
    """Write a file of the cache, if that is possible."""
    from cloudq.store.files import appearing

    with contextlib.suppress(OSError):
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with appearing(file) as stream:
            stream.write(data)


def remember_submitted(config: ClientConfig, jobs: Iterable[Job]) -> None:
    """Remember jobs that were just submitted, in this order."""
    submitted = list(jobs)
    remember_jobs(config, submitted)
    if submitted:
        keep(cache_folder(config) / _LAST, f"{submitted[-1].id}\n".encode())


def remember_jobs(config: ClientConfig, jobs: Iterable[Job]) -> None:
    """Remember jobs that were seen, the newest last; they replace what is known of them."""
    known = {job.id: job for job in recall_jobs(config)}
    before = dict(known)
    for job in jobs:
        known.pop(job.id, None)
        known[job.id] = RememberedJob(job.id, job.name, job.state.value)
    if known != before or list(known) != list(before):
        lines = [f"{job.id}\t{job.state}\t{job.name}\n" for job in list(known.values())[-MAX_JOBS:]]
        keep(cache_folder(config) / _JOBS, "".join(lines).encode("utf-8", "replace"))


def recall_jobs(config: ClientConfig) -> list[RememberedJob]:
    """Return the jobs that are remembered, the newest last."""
    jobs = []
    for line in _read(cache_folder(config) / _JOBS).splitlines():
        job_id, _, rest = line.partition("\t")
        state, _, name = rest.partition("\t")
        if is_job_id(job_id):
            jobs.append(RememberedJob(job_id, name, state))
    return jobs


def remember_systems(config: ClientConfig, presences: Iterable[Presence]) -> None:
    """Remember what systems published."""
    from cloudq.presence import render_presence

    for presence in presences:
        keep(cache_folder(config) / f"{presence.system.lower()}.json", render_presence(presence))


def remember_signs(config: ClientConfig, signs: SignsOfLife, now: datetime) -> None:
    """Remember who had left something in the bucket at a time."""
    kinds = ("presence", signs.presences), ("log", signs.logs)
    lines = [f"{kind} {name} {when.isoformat()}\n" for kind, found in kinds for name, when in found.items()]
    keep(cache_folder(config) / _SIGNS, "".join([f"{now.isoformat()}\n", *lines]).encode())


def recall_signs(config: ClientConfig) -> Optional[tuple[SignsOfLife, datetime]]:
    """Return what is remembered of that, and of when it is; None if nothing is."""
    from cloudq.bundle import SignsOfLife

    first, *lines = _read(cache_folder(config) / _SIGNS).splitlines() or [""]
    found: dict[str, dict[str, datetime]] = {"presence": {}, "log": {}}
    try:
        seen = datetime.fromisoformat(first)
        for kind, name, when in map(str.split, lines):
            found[kind][name] = datetime.fromisoformat(when)
    except (ValueError, KeyError):
        return None
    return SignsOfLife(found["presence"], found["log"]), seen


def find_id(bundles: Bundles, config: ClientConfig, text: str) -> str:
    """Return the id that a text stands for: the beginning of one, or `@last`.

    Raises:
        NoSuchJobError: There is none.
        InputError: There are several.
    """
    return bundles.find(last_submitted(config) if text == LAST else text)


def last_submitted(config: ClientConfig) -> str:
    """Return the id of the job that was submitted last from here.

    Raises:
        NoSuchJobError: None was, as far as is known.
    """
    job_id = _read(cache_folder(config) / _LAST).strip()
    if not is_job_id(job_id):
        raise NoSuchJobError(f"{LAST}: no job has been submitted from here to this bucket")
    return job_id


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
