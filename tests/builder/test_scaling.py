"""When a cluster is made because jobs wait, and deleted because none do."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from cloudq.builder.autoscaling import explained, look
from cloudq.builder.clusters import COMPLETED, CREATING, DELETING, FAILED
from cloudq.builder.creation import Creation
from cloudq.builder.scaling import Action, Rule, Situation, decide, find_policy, parse_threshold
from cloudq.bundle import Bundles
from cloudq.errors import InputError
from cloudq.job import Job, JobKind
from cloudq.presence import Presence, render_presence
from cloudq.store.memory import MemoryStore
from tests.builder.conftest import make_order
from tests.builder.fakes import Account, make_workshop


def waiting(jobs: int, minutes: float) -> tuple[timedelta, ...]:
    return (timedelta(minutes=minutes),) * jobs


@pytest.mark.parametrize(
    ("ages", "action"),
    [
        pytest.param(waiting(0, 0), Action.NOTHING, id="none"),
        pytest.param(waiting(5, 9.9), Action.NOTHING, id="five for less than ten minutes"),
        pytest.param(waiting(5, 10), Action.CREATE, id="five for ten minutes"),
        pytest.param(waiting(4, 59), Action.NOTHING, id="four for less than an hour"),
        pytest.param(waiting(1, 60), Action.CREATE, id="one for an hour"),
        pytest.param(waiting(99, 0), Action.NOTHING, id="ninety-nine at once"),
        pytest.param(waiting(100, 0), Action.CREATE, id="a hundred at once"),
        pytest.param(waiting(4, 10) + waiting(50, 1), Action.NOTHING, id="only old ones count"),
    ],
)
def test_a_cluster_is_made_when_one_rule_is_met(ages: Sequence[timedelta], action: Action) -> None:
    assert decide(Situation(ages)).action is action


@pytest.mark.parametrize(
    ("situation", "action", "why"),
    [
        (Situation(waiting(500, 99), status=CREATING), Action.NOTHING, "the cluster has 0 jobs"),
        (Situation((), status=COMPLETED, active=1), Action.NOTHING, "the cluster has 1 job"),
        (Situation((), status=COMPLETED, agent_ended=True), Action.DELETE, "the agent has ended"),
        (Situation((), status=COMPLETED, active=2, lease_over=True), Action.DELETE, "the lease has ended"),
        (Situation(waiting(9, 99), status=FAILED), Action.DELETE, "the cluster has failed"),
        (Situation((), status=DELETING), Action.NOTHING, "being deleted"),
        (
            Situation(waiting(9, 99), lease=timedelta(minutes=5)),
            Action.NOTHING,
            "the budget lasts for 5 minutes",
        ),
    ],
    ids=["coming", "at work", "idle", "lease over", "failed", "going", "no money"],
)
def test_what_there_is_counts(situation: Situation, action: Action, why: str) -> None:
    decision = decide(situation)
    assert decision.action is action
    assert why in decision.why


def test_a_threshold_is_read_in_the_words_of_lsf() -> None:
    assert parse_threshold("[[5,10],[1,60]]") == (Rule(5, 10), Rule(1, 60))


@pytest.mark.parametrize(
    "text", ["", "5,10", "[]", "[5,10]", "[[0,1]]", "[[1,-1]]", '[["a",1]]', "[[1,2,3]]", "[[1,NaN]]", "{}"]
)
def test_another_threshold_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="--threshold: expected"):
        parse_threshold(text)


def test_an_unknown_policy_is_refused_with_those_that_there_are() -> None:
    assert find_policy("threshold") is decide
    with pytest.raises(InputError, match="no policy 'x': expected threshold"):
        find_policy("x")


def test_jobs_for_any_system_and_for_the_cluster_are_waiting(account: Account) -> None:
    bundles, order = Bundles(MemoryStore()), make_order()
    for job_id, system in (("a1", "ANY"), ("b2", "lab"), ("c3", "other")):
        bundles.markers.notify(Job(job_id, "job.sh", JobKind.META, run_on=system))
    since = max(bundles.markers.inbox("ANY").values())
    situation = look(bundles, order, None, rules=(Rule(1, 0),), now=since + timedelta(minutes=7))
    assert len(situation.waiting) == 2
    assert situation.status == ""
    assert explained(situation, bundles, since).startswith(
        "jobs waiting: 2, the oldest for 7 minutes\ncluster: none\nrule: 1 for 0 minutes: 2 of 1\n"
    )


@pytest.mark.parametrize(("minutes", "ended"), [(1, True), (-1, False)], ids=["this one", "an earlier one"])
def test_an_agent_that_has_ended_is_seen_unless_it_was_of_an_earlier_cluster(
    account: Account, tmp_path: Path, minutes: int, ended: bool
) -> None:
    shop, order, bundles = make_workshop(account, tmp_path), make_order(), Bundles(MemoryStore())
    cluster = Creation(shop, order).run()
    beat = cluster.created + timedelta(minutes=minutes)
    presence = Presence("lab", "2.0", "slurm", "head", 1, beat, timedelta(minutes=1), stopped=True)
    bundles.store.write("agent/.systems/lab.json", render_presence(presence))
    situation = look(bundles, order, cluster, rules=(), now=account.now)
    assert (situation.status, situation.agent_ended) == (COMPLETED, ended)
