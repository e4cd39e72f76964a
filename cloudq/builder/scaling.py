"""When a cluster is made because jobs wait, and deleted because none do: decisions, as pure functions."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from importlib import metadata
from math import isfinite
from typing import Optional

from cloudq.builder.clusters import DELETING, FAILED
from cloudq.errors import InputError

POLICIES = "cloudq.scaling_policies"
"""The entry-point group of policies: callables from `Situation` to `Decision`."""
DEFAULT_POLICY = "threshold"


@dataclass(frozen=True)
class Rule:
    """So many jobs that have waited so long: one pair of `threshold` in LSF's Resource Connector."""

    jobs: int
    minutes: float


DEFAULT_THRESHOLD = (Rule(5, 10), Rule(1, 60), Rule(100, 0))


@dataclass(frozen=True)
class Situation:
    """All that a policy may look at.

    Attributes:
        waiting: For how long each job has waited that nobody has taken and the cluster could take.
        threshold: Any one of these rules is reason to make a cluster.
        status: The cluster's, `CREATING`, `COMPLETED`, `FAILED` or `DELETING`; empty if there is none.
        active: Jobs that the cluster's agent has.
        agent_ended: Whether the agent has ended by itself: idle for long, or at the end of the lease.
        lease_over: Whether the lease has ended.
        lease: How long a new cluster would live, the budget counted in.
        shortest_lease: A cluster that could live less long is not made.
    """

    waiting: Sequence[timedelta]
    threshold: Sequence[Rule] = DEFAULT_THRESHOLD
    status: str = ""
    active: int = 0
    agent_ended: bool = False
    lease_over: bool = False
    lease: timedelta = timedelta(hours=8)
    shortest_lease: timedelta = timedelta(minutes=30)


class Action(Enum):
    """What is to be done now."""

    CREATE = "create"
    DELETE = "delete"
    NOTHING = "nothing"


@dataclass(frozen=True)
class Decision:
    """What is to be done, and why."""

    action: Action
    why: str


Policy = Callable[[Situation], Decision]


def decide(situation: Situation) -> Decision:
    """Make a cluster when a rule is met; delete one that failed, ended or outlived its lease."""
    if situation.status:
        return _decide_to_keep(situation)
    rule = met_rule(situation.waiting, situation.threshold)
    if rule is None:
        return Decision(
            Action.NOTHING, f"{_jobs(len(situation.waiting))} waiting: no rule of the threshold is met"
        )
    why = f"{_jobs(rule.jobs)} or more waiting for {rule.minutes:g} minutes"
    if situation.lease < situation.shortest_lease:
        minutes = situation.lease.total_seconds() / 60
        return Decision(Action.NOTHING, f"{why}, but the budget lasts for {minutes:.0f} minutes only")
    return Decision(Action.CREATE, why)


def _decide_to_keep(situation: Situation) -> Decision:
    if situation.status == DELETING:
        return Decision(Action.NOTHING, "the cluster is being deleted")
    if situation.status == FAILED:
        return Decision(Action.DELETE, "the cluster has failed")
    if situation.lease_over:
        return Decision(Action.DELETE, "the lease has ended")
    if situation.agent_ended and not situation.active:
        return Decision(Action.DELETE, "the agent has ended: there was nothing to do")
    return Decision(Action.NOTHING, f"the cluster has {_jobs(situation.active)}")


def met_rule(waiting: Sequence[timedelta], threshold: Sequence[Rule]) -> Optional[Rule]:
    """Return the first rule that is met, None if none is."""
    for rule in threshold:
        long_enough = sum(each >= timedelta(minutes=rule.minutes) for each in waiting)
        if long_enough >= rule.jobs:
            return rule
    return None


def parse_threshold(text: str) -> tuple[Rule, ...]:
    """Read `[[5,10],[1,60]]`: 5 jobs for 10 minutes, or 1 for 60. Raises InputError."""
    problem = f"--threshold: expected [[JOBS,MINUTES],...], such as [[5,10],[1,60],[100,0]], got {text!r}"
    try:
        pairs = json.loads(text)
        rules = tuple(Rule(jobs, minutes) for jobs, minutes in pairs)
    except (ValueError, TypeError) as error:
        raise InputError(problem) from error
    for rule in rules:
        numbers = isinstance(rule.jobs, int) and isinstance(rule.minutes, (int, float))
        if (
            not numbers
            or not isfinite(rule.minutes)
            or isinstance(rule.jobs, bool)
            or rule.jobs < 1
            or rule.minutes < 0
        ):
            raise InputError(problem)
    if not rules:
        raise InputError(problem)
    return rules


def find_policy(name: str) -> Policy:
    """Return the policy of this name: ours, or one that an installed package offers. Raises InputError."""
    if name == DEFAULT_POLICY:
        return decide
    offered = {each.name: each for each in _entry_points()}
    if name not in offered:
        raise InputError(f"no policy {name!r}: expected {', '.join([DEFAULT_POLICY, *sorted(offered)])}")
    policy: Policy = offered[name].load()
    return policy


def _entry_points() -> Sequence[metadata.EntryPoint]:
    found = metadata.entry_points()
    if hasattr(found, "select"):
        return tuple(found.select(group=POLICIES))
    return tuple(found.get(POLICIES, ()))  # Python 3.9


def _jobs(number: int) -> str:
    return f"{number} job" + "s" * (number != 1)
