"""Exit statuses of 128 and more, which Slurm's accounts do not keep: the controller's memory goes first."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Optional

import pytest

from cloudq.agent.queue import Queue
from cloudq.agent.schedulers.base import NativeState, NativeStatus
from cloudq.agent.schedulers.slurm import Slurm
from cloudq.errors import CommandError
from cloudq.process import DEFAULT_TIMEOUT, Completed
from tests.agent.schedulers.samples import slurm_sample

QUEUE = slurm_sample("detail-queue-exit-128-and-more.txt")
ACCOUNT = slurm_sample("detail-account-exit-128-and-more.txt")
UNKNOWN = slurm_sample("squeue-unknown-job.stderr")
HEADER = "ARRAY_JOB_ID|ARRAY_TASK_ID|STATE|EXIT_CODE|\n"
CODES = {"627": 255, "628": 200, "629": 130, "630": 128, "631": 139, "632": 143, "633": 7}


def poll(native_id: str, *, queue: Optional[str], account: str) -> Optional[NativeStatus]:
    """Poll for a job that has ended; squeue prints this (or knows no such job), and sacct that."""

    def run(
        argv: Sequence[str], *, cwd: Optional[Path] = None, timeout: timedelta = DEFAULT_TIMEOUT
    ) -> Completed:
        if "sacct" in argv:
            return Completed(account)
        if "-O" not in argv:
            return Completed("ARRAY_JOB_ID|ARRAY_TASK_ID|STATE|START_TIME|REASON\n")
        if queue is None:
            raise CommandError(argv, 1, "", UNKNOWN)
        return Completed(queue)

    answer = Queue(Slurm(accounting=True), run, DEFAULT_TIMEOUT).poll({native_id: [None]})
    assert answer.faults == ()
    return answer.statuses[native_id].get(None)


@pytest.mark.parametrize(
    ("native_id", "code"), CODES.items(), ids=[f"exit {code}" for code in CODES.values()]
)
def test_the_exit_status_is_that_which_the_controller_remembers(native_id: str, code: int) -> None:
    status = poll(native_id, queue=QUEUE, account=ACCOUNT)
    assert status is not None
    assert (status.state, status.exit_code, status.signal) == (NativeState.FAILED, code, None)


@pytest.mark.parametrize(
    "queue", [pytest.param(None, id="no job known"), pytest.param(HEADER, id="others known")]
)
def test_what_the_controller_has_forgotten_is_told_by_the_accounts(queue: Optional[str]) -> None:
    status = poll("633", queue=queue, account=ACCOUNT)
    assert status is not None
    assert (status.state, status.exit_code) == (NativeState.FAILED, 7)


def test_who_cancelled_a_job_is_told_by_the_accounts() -> None:
    status = poll("72", queue=HEADER, account=slurm_sample("detail-account-ended.txt"))
    assert status is not None
    assert (status.state, status.reason) == (NativeState.CANCELLED, "cancelled by user 1001")


@pytest.mark.parametrize("native_id", ["634", "635"])
def test_a_signal_stays_a_signal(native_id: str) -> None:
    status = poll(native_id, queue=QUEUE, account=ACCOUNT)
    assert status is not None
    assert (status.exit_code, status.signal) == (None, 9)


def test_a_failed_task_is_told_apart_from_the_others() -> None:
    rows = "27|3|FAILED|33280|Unknown|Unknown|1:00|1|n1|NonZeroExitCode\n"
    assert Slurm(accounting=True).parse_detail(rows)["27"][3].exit_code == 130
