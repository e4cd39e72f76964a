"""The records of the local queue."""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from cloudq.agent.localqueue.record import (
    LOST,
    End,
    Record,
    Start,
    parse_end,
    parse_record,
    parse_start,
    render_end,
    render_record,
    render_start,
)
from cloudq.agent.localqueue.spool import RETENTION, Spool
from cloudq.agent.schedulers.base import NativeState
from cloudq.errors import NoSuchJobError
from cloudq.job import ArrayRange

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
RECORD = Record(Path("/w/job.sh"), Path("/w"), Path("/w/stdout"), Path("/w/stderr"), "cq-a-1")
DEAD = Start(1, "another boot", NOW, 2, "another boot")


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    spool = Spool(tmp_path / "queue")
    spool.prepare(slots=3)
    return spool


def test_records_survive_being_written_and_read() -> None:
    limited = Record(
        **{**vars(RECORD), "array_range": ArrayRange.parse("1-3%2"), "walltime": timedelta(minutes=1)}
    )
    end = End(NativeState.TIMED_OUT, NOW, None, 9, "why")
    assert parse_record(render_record(RECORD)) == RECORD
    assert parse_record(render_record(limited)) == limited
    assert parse_start(render_start(DEAD)) == DEAD
    assert parse_end(render_end(end)) == end


def test_ids_count_up_from_one(spool: Spool) -> None:
    assert [spool.add(RECORD, {}) for _ in range(3)] == [1, 2, 3]


def test_a_folder_whose_submission_was_killed_is_no_job(spool: Spool) -> None:
    spool.add(RECORD, {})
    (spool.root / "jobs" / "2").mkdir()
    assert not spool.is_live(2)
    with pytest.raises(NoSuchJobError, match="unknown job 2"):
        spool.load(2)
    assert spool.add(RECORD, {}) == 3


def test_the_environment_may_have_bytes_that_are_no_text(spool: Spool) -> None:
    value = os.fsdecode(b"\xff")
    assert spool.environment(spool.add(RECORD, {"ODD": value})) == {"ODD": value}


def test_only_the_first_claim_of_a_task_succeeds(spool: Spool) -> None:
    job_id = spool.add(RECORD, {})
    assert spool.claim(job_id, None, DEAD)
    assert not spool.claim(job_id, None, Start(7, "x", NOW))
    assert spool.start(job_id, None) == DEAD


def test_a_task_without_processes_and_without_an_end_is_lost(spool: Spool) -> None:
    job_id = spool.add(RECORD, {})
    spool.claim(job_id, None, DEAD)
    status = spool.status(job_id, None)
    assert (status.state, status.reason, status.started) == (NativeState.FAILED, LOST, NOW)


def test_a_process_id_that_is_used_again_is_not_the_task(spool: Spool) -> None:
    job_id = spool.add(RECORD, {})
    spool.claim(job_id, None, Start(os.getpid(), "born before", NOW))
    assert spool.status(job_id, None).reason == LOST


def test_the_number_of_slots_can_be_changed(spool: Spool) -> None:
    spool.prepare(slots=5)
    assert spool.slots() == 5


def age(spool: Spool, job_id: int, name: str, days: float) -> None:
    then = NOW.timestamp() - timedelta(days=days).total_seconds()
    os.utime(spool.root / "jobs" / str(job_id) / name, (then, then))


def test_jobs_that_ended_long_ago_are_forgotten(spool: Spool) -> None:
    for _ in range(4):
        spool.add(RECORD, {})
    for job_id, days in ((1, 31), (2, 31), (3, 29)):
        spool.close(job_id)
        age(spool, job_id, "ended", days)
    spool.forget_old(NOW)
    assert timedelta(days=30) == RETENTION
    assert spool.job_ids() == [3, 4]


def test_a_live_job_is_not_forgotten_however_old(spool: Spool) -> None:
    for _ in range(3):
        spool.add(RECORD, {})
    spool.close(2)
    age(spool, 2, "ended", 31)
    spool.forget_old(NOW + timedelta(days=999))
    assert spool.job_ids() == [1, 3]


def test_the_last_id_is_never_used_again(spool: Spool) -> None:
    spool.close(spool.add(RECORD, {}))
    spool.forget_old(NOW + timedelta(days=999))
    assert spool.add(RECORD, {}) == 2


def test_a_folder_that_never_became_a_job_is_forgotten(spool: Spool) -> None:
    (spool.root / "jobs" / "1").mkdir()
    age(spool, 1, "", 31)
    spool.add(RECORD, {})
    spool.forget_old(NOW)
    assert spool.job_ids() == [2]
