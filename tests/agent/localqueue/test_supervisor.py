"""The supervisor's decisions with children that are no processes, and what keeps processes apart."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Optional

import pytest

from cloudq.agent.localqueue.liveness import _birth_by_ps, birth_of, is_alive, own_birth
from cloudq.agent.localqueue.lock import lock
from cloudq.agent.localqueue.record import LOST, End, Record, Start
from cloudq.agent.localqueue.spool import Spool
from cloudq.agent.localqueue.supervisor import NOT_STARTED, Supervisor, is_supervised, supervise
from cloudq.agent.schedulers.base import NativeState
from cloudq.errors import CommandError
from cloudq.job import ArrayRange
from cloudq.process import fork, start

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)


class Child:
    """A child that ends when the test says so."""

    pid = 0

    def __init__(self) -> None:
        self.status: Optional[int] = None

    def poll(self) -> Optional[int]:
        return self.status


class Children:
    """Starts children and remembers them."""

    def __init__(self) -> None:
        self.started: dict[tuple[int, Optional[int]], Child] = {}

    def __call__(self, job_id: int, task_id: Optional[int]) -> Child:
        assert (job_id, task_id) not in self.started, "started twice"
        self.started[job_id, task_id] = Child()
        return self.started[job_id, task_id]


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    spool = Spool(tmp_path / "queue")
    spool.prepare(slots=2)
    return spool


def add(spool: Spool, tasks: str = "") -> int:
    array_range = ArrayRange.parse(tasks) if tasks else None
    folder = spool.root
    record = Record(folder / "job.sh", folder, folder / "out", folder / "err", "cq-a-1", array_range)
    return spool.add(record, {})


def finish(spool: Spool, children: Children, job_id: int, task_id: Optional[int]) -> None:
    spool.finish(job_id, task_id, End(NativeState.COMPLETED, NOW, 0))
    children.started[job_id, task_id].status = 0


def test_tasks_start_in_order_as_slots_become_free(spool: Spool) -> None:
    children = Children()
    supervisor = Supervisor(spool, children)
    add(spool, "1-2%1")
    add(spool, "1-2")
    assert supervisor.look()
    assert list(children.started) == [(1, 1), (2, 1)]
    finish(spool, children, 2, 1)
    supervisor.look()
    assert list(children.started)[2:] == [(2, 2)]
    finish(spool, children, 1, 1)
    supervisor.look()
    assert list(children.started)[3:] == [(1, 2)]


def test_nothing_is_left_when_all_tasks_have_ended(spool: Spool) -> None:
    children = Children()
    supervisor = Supervisor(spool, children)
    job_id = add(spool)
    supervisor.look()
    finish(spool, children, job_id, None)
    assert not supervisor.look()
    assert not spool.is_live(job_id)


def test_a_child_that_ends_without_a_record_is_not_started_again(spool: Spool) -> None:
    children = Children()
    supervisor = Supervisor(spool, children)
    job_id = add(spool)
    supervisor.look()
    children.started[job_id, None].status = 1
    supervisor.look()
    status = spool.status(job_id, None)
    assert (status.state, status.reason) == (NativeState.FAILED, NOT_STARTED)


def test_a_task_that_lost_its_processes_frees_its_slot(spool: Spool) -> None:
    children = Children()
    first, second = add(spool, "1-2"), add(spool)
    for task_id in (1, 2):
        spool.claim(first, task_id, Start(1, "another boot", NOW))
    Supervisor(spool, children).look()
    assert list(children.started) == [(second, None)]
    assert spool.status(first, 1).reason == LOST


def test_a_cancelled_job_is_not_started(spool: Spool) -> None:
    children = Children()
    spool.cancel(add(spool))
    assert not Supervisor(spool, children).look()
    assert children.started == {}


def test_there_is_one_supervisor_only(spool: Spool) -> None:
    children = Children()
    add(spool)
    with lock(spool.lock) as held:
        assert held
        assert is_supervised(spool)
        supervise(spool, children)
    assert not is_supervised(spool)
    assert children.started == {}


@pytest.fixture
def forked(tmp_path: Path) -> Iterator[list[int]]:
    pids: list[int] = []
    yield pids
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_a_forked_child_does_not_hold_the_lock_of_its_parent(tmp_path: Path, forked: list[int]) -> None:
    with lock(tmp_path / "lock"):
        ready, ready_write = os.pipe()
        forked.append(fork(signal.pause, log=tmp_path / "log").pid)
        os.close(ready_write)
        assert os.read(ready, 1) == b"", "the child has closed what it had in common with its parent"
    os.close(ready)
    with lock(tmp_path / "lock") as held:
        assert held


def test_what_a_forked_child_says_is_in_the_log(tmp_path: Path) -> None:
    def fail() -> None:
        raise RuntimeError("out of paper")

    child = fork(fail, log=tmp_path / "log")
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert (child.poll(), child.poll()) == (1, 1)
    assert "RuntimeError: out of paper" in (tmp_path / "log").read_text()


def test_a_program_that_cannot_be_started_is_an_error(tmp_path: Path) -> None:
    with (
        (tmp_path / "log").open("wb") as log,
        pytest.raises(CommandError, match="/no/such/program") as caught,
    ):
        start(["/no/such/program"], cwd=tmp_path, stdout=log, stderr=log, environment={})
    assert caught.value.status == 127


@pytest.mark.parametrize("birth", [birth_of, _birth_by_ps])
def test_a_living_process_has_one_birth_and_a_dead_one_has_none(birth: object) -> None:
    assert callable(birth)
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    assert birth(child) is None, "it has ended, and only its parent has not asked yet"
    os.waitpid(child, 0)
    assert birth(child) is None
    assert birth(os.getpid()) == birth(os.getpid()) is not None


def test_a_process_is_alive_only_with_its_own_birth() -> None:
    assert is_alive(os.getpid(), own_birth())
    assert not is_alive(os.getpid(), "another")
    assert not is_alive(None, None)
