"""All jobs of a bucket, and the tables of 1.2."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from itertools import islice

import pytest

from cloudq.bundle import MANIFEST, Bundles
from cloudq.client.jobs.listing import load_jobs, render_final_jobs, render_open_jobs
from cloudq.errors import StoreUnreachableError
from cloudq.job import JobState
from cloudq.store import Blob
from cloudq.store.memory import MemoryStore
from tests.client.conftest import NOW, put_job


def now() -> datetime:
    return datetime.now(timezone.utc)


def test_the_table_of_open_jobs_is_that_of_1_2(bundles: Bundles) -> None:
    job = put_job(bundles, "e5b685e0", state=JobState.RUN, run_system="sys1")
    assert render_open_jobs([job]).splitlines() == [
        "      job-ID                  name       state  run-system                submit at",
        "-----------------------------------------------------------------------------------",
        "    e5b685e0                job.sh         RUN        sys1  2026/11/21 22:06:26 UTC",
    ]


def test_the_table_of_final_jobs_has_their_times_too(bundles: Bundles) -> None:
    job = put_job(bundles, "e5b685e0", state=JobState.ERROR, finished=NOW + timedelta(hours=2))
    header, line, row = render_final_jobs([job]).splitlines()
    assert header.endswith(
        "  run-system                submit at                 start at                finish at"
    )
    assert line == "-" * len(header) == "-" * 133
    assert row == (
        "    e5b685e0                job.sh       ERROR              2026/11/21 22:06:26 UTC"
        "                        -  2026/11/22 00:06:26 UTC"
    )


def test_long_and_odd_values_are_cut_and_made_visible(bundles: Bundles) -> None:
    job = put_job(bundles, "abcdefghijklmno", name="\x1b[31m" + "x" * 30, run_system="a-long-system")
    row = render_open_jobs([job]).splitlines()[2]
    assert row.startswith("abcdefghijkl  \\x1b[31mxxxxxxxxxxxx        INIT  a-long-sys  ")


def test_an_empty_bucket_has_an_empty_table(bundles: Bundles) -> None:
    assert len(render_open_jobs(load_jobs(bundles, now=now()).jobs).splitlines()) == 2


def test_jobs_are_sorted_by_submission_those_without_a_time_first(bundles: Bundles) -> None:
    """Defect 51: a manifest without a time stopped listings."""
    put_job(bundles, "a", submitted=NOW + timedelta(seconds=2))
    put_job(bundles, "b", submitted=None)
    put_job(bundles, "c", submitted=NOW)
    bundles.write("d", MANIFEST, b'{"name": "x", "state": "RUN", "time_submit": "2026-11-21T22:06:27"}')
    assert [job.id for job in load_jobs(bundles, now=now()).jobs] == ["b", "c", "d", "a"]


@pytest.mark.parametrize(
    "data", [b"", b"no JSON", b"[]", b'{"name": null}', b'{"name": "x", "state": "ODD"}'], ids=repr
)
def test_an_unreadable_manifest_is_corrupted_and_stops_nothing(bundles: Bundles, data: bytes) -> None:
    """Defect 50: it stopped `list`, `history` and `delete --all`."""
    put_job(bundles, "good")
    bundles.write("bad", MANIFEST, data)
    listing = load_jobs(bundles, now=now())
    assert [job.id for job in listing.jobs] == ["good"]
    assert listing.corrupted == ("bad",)


def test_other_things_in_the_bucket_are_no_jobs(bundles: Bundles) -> None:
    """Defect 52: they were listed as corrupted jobs."""
    for key in ("photos/cat.jpg", "stray", "agent/sys1", ".git/HEAD"):
        bundles.store.write(key, b"")
    listing = load_jobs(bundles, now=now() + timedelta(days=1))
    assert (listing.jobs, listing.corrupted) == ((), ())


def test_a_job_that_is_being_submitted_is_not_corrupted_at_once(bundles: Bundles) -> None:
    """Defect 52."""
    bundles.write("0123456789ab", "job.sh", b"")
    bundles.write("01234567", "job.sh", b"")
    assert load_jobs(bundles, now=now()).corrupted == ()
    assert load_jobs(bundles, now=now() + timedelta(minutes=59)).corrupted == ()
    assert load_jobs(bundles, now=now() + timedelta(minutes=61)).corrupted == ("01234567", "0123456789ab")


def test_a_store_fault_is_not_a_missing_job() -> None:
    """Defect 30."""

    class BrittleStore(MemoryStore):
        def read(self, key: str) -> Blob:
            if key.startswith("b"):
                raise StoreUnreachableError("no answer")
            return super().read(key)

    bundles = Bundles(BrittleStore())
    for job_id in ("a", "b", "c"):
        put_job(bundles, job_id)
    with pytest.raises(StoreUnreachableError, match="no answer"):
        load_jobs(bundles, now=now())


def test_a_listing_that_breaks_off_is_a_fault_and_no_shorter_list() -> None:
    class BreaksOff(MemoryStore):
        def list_folders(self, prefix: str) -> Iterator[str]:
            yield from islice(super().list_folders(prefix), 20)
            raise StoreUnreachableError("the connection broke off")

    bundles = Bundles(BreaksOff())
    for number in range(30):
        put_job(bundles, f"{number:012x}")
    with pytest.raises(StoreUnreachableError, match="broke off"):
        load_jobs(bundles, now=now())
