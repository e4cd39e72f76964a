"""What crashes have left in a bucket: objects and markers that nobody will ever look at again."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Optional

from cloudq.bundle.agents import SYSTEMS
from cloudq.bundle.bundles import Bundles
from cloudq.bundle.markers import ACTIVE, INBOX
from cloudq.bundle.names import is_product
from cloudq.errors import ManifestError, NoSuchJobError
from cloudq.job import Job
from cloudq.store import Entry
from cloudq.store.probe import TRIAL_AGE

READERS = 32

BROKEN_OFF_AGE = timedelta(days=1)
"""Nothing of a submission is younger: an upload that takes longer than a day is taken for a broken one."""

MARKER_AGE = timedelta(days=1)
UPLOAD_AGE = timedelta(days=7)
PRESENCE_AGE = timedelta(days=30)

_OUR_ID = re.compile(r"[0-9a-f]{8}(?:[0-9a-f]{4})?\Z")


@dataclass(frozen=True)
class Leftover:
    """Objects to be removed together, and what they are, for a person."""

    said: str
    keys: tuple[str, ...]


@dataclass(frozen=True)
class _Bucket:
    """What was found: each id with its job, None if it has no manifest; unreadable ones are not in it."""

    bundles: Bundles
    jobs: Mapping[str, Optional[Job]]
    unreadable: frozenset[str]
    now: datetime

    def old(self, entry: Entry, age: timedelta) -> bool:
        return self.now - entry.modified >= age

    def gone(self, job_id: str) -> bool:
        """Tell whether there is no manifest of this job, readable or not."""
        return self.jobs.get(job_id) is None and job_id not in self.unreadable


def find_leftovers(bundles: Bundles, now: datetime) -> Iterator[Leftover]:
    """Yield what may be removed. What is young may be in use: the age limits are those above.

    Args:
        now: The time by the store's clock.

    Raises:
        StoreError: The bucket could not be read.
    """
    bucket = _read(bundles, now)
    yield from _broken_off(bucket)
    yield from _notices(bucket)
    yield from _claims(bucket)
    yield from _presences(bucket)
    for entry in bundles.store.list(bundles.probe_folder):
        if bucket.old(entry, TRIAL_AGE):
            yield Leftover(f"{entry.key}: a trial of the store, of {_day(entry)}", (entry.key,))


def _read(bundles: Bundles, now: datetime) -> _Bucket:
    unreadable = set()

    def load(job_id: str) -> Optional[Job]:
        try:
            return bundles.load(job_id).job
        except NoSuchJobError:
            return None
        except ManifestError:
            unreadable.add(job_id)
            return None

    ids = list(bundles.ids())
    with ThreadPoolExecutor(READERS) as pool:
        jobs = dict(zip(ids, pool.map(load, ids)))
    return _Bucket(bundles, jobs, frozenset(unreadable), now)


def _broken_off(bucket: _Bucket) -> Iterator[Leftover]:
    """Yield bundles without a manifest, if their names are ours and nothing in them is young."""
    for job_id in bucket.jobs:
        if not bucket.gone(job_id) or not _OUR_ID.match(job_id):
            continue
        entries = bucket.bundles.entries(job_id)
        if entries and all(bucket.old(entry, BROKEN_OFF_AGE) for entry in entries.values()):
            last = max(entries.values(), key=lambda entry: entry.modified)
            made = any(is_product(name, "") for name in entries)
            what = "logs and outputs without a job" if made else "a submission that broke off"
            keys = tuple(entry.key for entry in entries.values())
            yield Leftover(f"{job_id}: {what}, objects: {len(keys)}, the last of {_day(last)}", keys)


def _notices(bucket: _Bucket) -> Iterator[Leftover]:
    """Yield the requests to look at, or to cancel, jobs that are gone or have ended."""
    for system, job_id, entry in bucket.bundles.markers.of_kind(INBOX):
        job = bucket.jobs.get(job_id)
        if bucket.old(entry, MARKER_AGE) and (bucket.gone(job_id) or (job and job.state.final)):
            state = f"that is {job.state}" if job else "that is gone"
            yield Leftover(f"{entry.key}: a request to {system} about a job {state}", (entry.key,))


def _claims(bucket: _Bucket) -> Iterator[Leftover]:
    """Yield markers of claims that are void, of agents that were not heard of for as long."""
    silent: dict[str, bool] = {}
    for system, job_id, entry in bucket.bundles.markers.of_kind(ACTIVE):
        job = bucket.jobs.get(job_id)
        held = job is not None and not job.state.final and job.run_system.lower() == system
        if held or job_id in bucket.unreadable or not bucket.old(entry, MARKER_AGE):
            continue
        if system not in silent:
            heard = bucket.bundles.agents.last_sign_of_life(system)
            silent[system] = heard is None or bucket.now - heard >= MARKER_AGE
        if silent[system]:
            state = f"that is {job.state}" if job else "that is gone"
            yield Leftover(f"{entry.key}: a claim of {system} on a job {state}", (entry.key,))


def _presences(bucket: _Bucket) -> Iterator[Leftover]:
    """Yield what agents long gone have published, unless they have jobs that are open."""
    holders = {job.run_system.lower() for job in bucket.jobs.values() if job and not job.state.final}
    top = f"{bucket.bundles.prefix}{SYSTEMS}"
    for entry in bucket.bundles.store.list(top):
        system, dot, kind = entry.key[len(top) :].rpartition(".")
        if dot and kind == "json" and system not in holders and bucket.old(entry, PRESENCE_AGE):
            yield Leftover(f"{entry.key}: agent {system}, not heard of since {_day(entry)}", (entry.key,))


def _day(entry: Entry) -> str:
    return f"{entry.modified:%Y-%m-%d %H:%M} UTC"
