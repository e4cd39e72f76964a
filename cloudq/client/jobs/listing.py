"""All jobs of a bucket, and the tables of `list` and `history`."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from itertools import islice
from types import MappingProxyType
from typing import Optional, TypeVar, Union

from cloudq.bundle import Bundles
from cloudq.client.display.values import shown_time, visible
from cloudq.errors import ManifestError, NoSuchJobError
from cloudq.job import Job

READERS = 32
"""Manifests that are read at the same time."""

_READERS_OF_ALL = 96
"""The same for all manifests of a bucket: far from the store it is waiting that takes the time."""

_BATCH = 8

SUBMISSION_TIME = timedelta(hours=1)
"""Without a manifest for so long, a job is not being submitted any more."""

Found = TypeVar("Found")

_OUR_ID = re.compile(r"[0-9a-f]{8}(?:[0-9a-f]{4})?\Z")
_NOTHING: Mapping[str, Job] = MappingProxyType({})
_FIRST = datetime.min.replace(tzinfo=timezone.utc)


@dataclass(frozen=True)
class Listing:
    """What is in a bucket.

    Attributes:
        jobs: By time of submission, those without one first.
        corrupted: Ids whose manifest cannot be understood, or was never written.
        ids: All that look like jobs.
    """

    jobs: tuple[Job, ...]
    corrupted: tuple[str, ...]
    ids: tuple[str, ...] = ()


def load_jobs(
    bundles: Bundles, *, now: datetime, known: Mapping[str, Job] = _NOTHING, only_others: bool = False
) -> Listing:
    """Read all manifests but those of known jobs.

    Args:
        bundles: The bucket.
        now: The time it is.
        known: Jobs that need not be read; one that is not understood after all raises KeyError, and is.
        only_others: Leave the known ones out of the answer.

    What has none is left out: a job that is being submitted or deleted at this moment, or another's
    folder. Only if its name is one of our ids and nothing of it is new, it counts as corrupted.

    Raises:
        StoreError: One of them could not be read; it is not said to be missing.
    """

    def load(job_id: str) -> Union[Job, str, None]:
        if job_id in known:
            with contextlib.suppress(KeyError):
                return None if only_others else known[job_id]
        try:
            return bundles.load(job_id).job
        except ManifestError:
            return job_id
        except NoSuchJobError:
            return job_id if _abandoned(bundles, job_id, now) else None

    ids, found = _each(bundles.ids(), load)
    jobs = sorted((job for job in found if isinstance(job, Job)), key=lambda job: job.submitted or _FIRST)
    return Listing(tuple(jobs), tuple(job_id for job_id in found if isinstance(job_id, str)), ids)


def _each(names: Iterable[str], load: Callable[[str], Found]) -> tuple[tuple[str, ...], list[Found]]:
    """Do something for each of the names, many at a time and while there are more to come.

    Returns:
        The names and what was found, in order.
    """
    from concurrent.futures import ThreadPoolExecutor

    def load_batch(batch: Sequence[str]) -> list[Found]:
        return [load(name) for name in batch]

    with ThreadPoolExecutor(_READERS_OF_ALL) as pool:
        ids: list[str] = []
        batches = []
        try:
            remaining = iter(names)
            # By batches, as to hand a name to another thread takes about as long as to read what it is of.
            while batch := tuple(islice(remaining, _BATCH)):
                ids += batch
                batches.append(pool.submit(load_batch, batch))
            return tuple(ids), [found for batch in batches for found in batch.result()]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def render_open_jobs(jobs: Iterable[Job]) -> str:
    """Write the table of `list`."""
    return _render(jobs, ("job-ID", "name", "state", "run-system", "submit at"))


def render_final_jobs(jobs: Iterable[Job]) -> str:
    """Write the table of `history`."""
    return _render(jobs, ("job-ID", "name", "state", "run-system", "submit at", "start at", "finish at"))


@dataclass(frozen=True)
class _Column:
    width: int
    value: Callable[[Job], str]
    longest: Optional[int] = None


_COLUMNS: Mapping[str, _Column] = {
    "job-ID": _Column(12, lambda job: job.id, 12),
    "name": _Column(20, lambda job: visible(job.name), 20),
    "state": _Column(10, lambda job: job.state.value),
    "run-system": _Column(10, lambda job: visible(job.run_system), 10),
    "submit at": _Column(23, lambda job: shown_time(job.submitted)),
    "start at": _Column(23, lambda job: shown_time(job.started)),
    "finish at": _Column(23, lambda job: shown_time(job.finished)),
}


def _render(jobs: Iterable[Job], names: Sequence[str]) -> str:
    columns = [_COLUMNS[name] for name in names]
    header = "  ".join(f"{name:>{column.width}}" for name, column in zip(names, columns))
    rows = ["  ".join(f"{c.value(job)[: c.longest]:>{c.width}}" for c in columns) for job in jobs]
    return "\n".join([header, "-" * len(header), *rows])


def _abandoned(bundles: Bundles, job_id: str, now: datetime) -> bool:
    if not _OUR_ID.match(job_id):
        return False
    entries = bundles.entries(job_id).values()
    return bool(entries) and max(entry.modified for entry in entries) < now - SUBMISSION_TIME
