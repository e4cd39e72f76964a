"""Jobs that wait for others, and what they wait for."""

from __future__ import annotations

import pytest

from cloudq.agent.decisions.dependencies import Verdict, judge
from cloudq.agent.schedulers.base import NativeState, NativeStatus
from cloudq.job import ArrayRange, Condition, Job, JobKind, JobState, Task
from tests.agent.conftest import Site, run_passes

DELETED = "job b was deleted, so that how it ended is not known"


def _job(**values: object) -> Job:
    return Job("a", "job.sh", JobKind.META, submit_token="t", hold_ids=("b",), **values)  # type: ignore[arg-type]


def _other(state: JobState, **values: object) -> Job:
    return Job("b", "job.sh", JobKind.META, state, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("condition", "state", "error"),
    [
        pytest.param(Condition.ANY, JobState.ERROR, "", id="any-error"),
        pytest.param(Condition.OK, JobState.DONE, "", id="ok-done"),
        pytest.param(Condition.OK, JobState.ERROR, "after_ok: job b ended as ERROR", id="ok-error"),
        pytest.param(Condition.OK, JobState.DELETED, "after_ok: job b ended as DELETED", id="ok-deleted"),
        pytest.param(Condition.NOT_OK, JobState.TIMEOUT, "", id="not-ok-timeout"),
        pytest.param(Condition.NOT_OK, JobState.DONE, "after_not_ok: job b ended as DONE", id="not-ok-done"),
        pytest.param(Condition.CORR, JobState.ERROR, "after_corr: job b ended as ERROR", id="corr-no-array"),
        pytest.param(Condition.ANY, None, "", id="any-gone"),
        pytest.param(Condition.OK, None, f"after_ok: {DELETED}", id="ok-gone"),
    ],
)
def test_a_condition_is_met_or_can_never_be(condition: Condition, state: JobState, error: str) -> None:
    awaited = {"b": None if state is None else _other(state)}
    expected = Verdict(outcome=Task(JobState.DELETED, error)) if error else Verdict()
    assert judge(_job(conditions={"b": condition}), awaited) == expected


def test_while_one_job_has_not_ended_all_wait() -> None:
    assert judge(_job(), {"b": _other(JobState.COMPLETING)}) == Verdict(waits=True)


def test_what_can_never_be_met_is_said_at_once() -> None:
    job = Job(
        *("a", "job.sh", JobKind.META),
        hold_ids=("b", "c"),
        conditions={"b": Condition.OK},
        submit_token="t",
    )
    verdict = judge(job, {"b": _other(JobState.ERROR), "c": _other(JobState.RUN)})
    assert verdict.outcome == Task(JobState.DELETED, "after_ok: job b ended as ERROR")


def test_task_by_task_only_those_run_whose_counterparts_ended_well() -> None:
    tasks = {1: Task(JobState.DONE), 2: Task(JobState.ERROR, "exit 7")}
    other = _other(JobState.ERROR, array_range=ArrayRange.parse("1-2"), tasks=tasks)
    job = _job(conditions={"b": Condition.CORR}, array_range=ArrayRange.parse("1-3"))
    error = "after_corr: task 2 of job b ended as ERROR"
    assert judge(job, {"b": other}) == Verdict(tasks={2: Task(JobState.DELETED, error)})
    only_two = _job(conditions={"b": Condition.CORR}, array_range=ArrayRange.parse("2"))
    assert judge(only_two, {"b": other}) == Verdict(outcome=Task(JobState.DELETED, error))


def test_a_job_after_a_failed_one_ends_as_deleted_and_says_why(site: Site) -> None:
    agent, first = site.new_agent(), site.submit()
    after = site.submit(hold_ids=(first.id,), conditions={first.id: Condition.OK})
    run_passes(agent)
    site.cluster.move("1", NativeState.FAILED, exit_code=1)
    run_passes(agent, 2)
    ended = site.job(after.id)
    assert (ended.state, ended.error) == (JobState.DELETED, f"after_ok: job {first.id} ended as ERROR")
    assert site.cluster.count("submit") == 1


def test_the_tasks_after_failed_ones_do_not_run_and_the_others_do(site: Site) -> None:
    agent, first = site.new_agent(), site.submit(array_range="1-3")
    after = site.submit(array_range="1-3", hold_ids=(first.id,), conditions={first.id: Condition.CORR})
    run_passes(agent)
    for task_id in (1, 3):
        site.cluster.set("1", NativeStatus(NativeState.COMPLETED), task_id)
    site.cluster.set("1", NativeStatus(NativeState.FAILED, exit_code=7), 2)
    run_passes(agent, 2)
    assert set(site.cluster.jobs["2"]) == {1, 3}
    site.cluster.move("2", NativeState.COMPLETED)
    run_passes(agent)
    ended = site.job(after.id)
    assert [task.state for task in ended.tasks.values()] == [JobState.DONE, JobState.DELETED, JobState.DONE]
    assert ended.error == f"task 2: after_corr: task 2 of job {first.id} ended as ERROR"
