"""The command `autoscale`: one pass or many, of look, decide, act."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Optional

import click

from cloudq.builder.invocation import (
    account_options,
    name_argument,
    name_option,
    open_account,
    open_bundles,
    open_workshop,
    present,
    the_name,
)
from cloudq.builder.making import make_order, plan_options
from cloudq.errors import CloudQError
from cloudq.system import ANY

if TYPE_CHECKING:
    from cloudq.builder.aws import Aws
    from cloudq.builder.clusters import Cluster
    from cloudq.builder.creation import Order
    from cloudq.builder.scaling import Decision, Policy, Rule, Situation
    from cloudq.bundle import Bundles


@click.command()
@name_argument
@name_option
@click.option(
    "--threshold", default="[[5,10],[1,60],[100,0]]", show_default=True, metavar="RULES",
    help="When a cluster is made: [[JOBS,MINUTES],...], any one of them.",
)  # fmt: skip
@click.option(
    "--policy", default="threshold", show_default=True, help="Who decides; a package may offer others."
)
@click.option("--foreground", is_flag=True, help="Look again and again, until interrupted.")
@click.option(
    "--interval", default=60, show_default=True, type=click.IntRange(min=1), metavar="SECONDS",
    help="With --foreground: pause between two looks.",
)  # fmt: skip
@click.option("--explain", is_flag=True, help="Tell what was looked at.")
@click.option("--dry-run", is_flag=True, help="Only tell what would be done.")
@plan_options
@account_options
def autoscale(
    *,
    name: Optional[str],
    name_argument: Optional[str],
    threshold: str,
    policy: str,
    foreground: bool,
    interval: int,
    explain: bool,
    dry_run: bool,
    **given: Any,
) -> None:
    """Make the cluster NAME when jobs wait too long, and delete it when it has nothing to do."""
    from cloudq.builder.scaling import find_policy, parse_threshold

    aws, rules, decide = open_account(), parse_threshold(threshold), find_policy(policy)
    order = make_order(aws, the_name(name, name_argument), **given)
    bundles = open_bundles(order.plan.store, given["cs_profile"])
    while True:
        try:
            _pass(aws, order, bundles, rules=rules, decide=decide, explain=explain, dry_run=dry_run)
        except CloudQError as error:
            if not foreground:
                raise
            click.echo(f"Error: {error}; trying again", err=True)
        if not foreground:
            return
        time.sleep(interval)


def _pass(
    aws: Aws,
    order: Order,
    bundles: Bundles,
    *,
    rules: tuple[Rule, ...],
    decide: Policy,
    explain: bool,
    dry_run: bool,
) -> None:
    from cloudq.builder.clusters import Clusters

    cluster = Clusters(aws).find(order.plan.name)
    situation = look(bundles, order, cluster, rules=rules, now=present())
    decision = decide(situation)
    if explain:
        click.echo(explained(situation, bundles, present()), nl=False)
    click.echo(f"{order.plan.name}: {decision.action.value}: {decision.why}")
    if not dry_run:
        act(aws, order, decision)


def look(
    bundles: Bundles, order: Order, cluster: Optional[Cluster], *, rules: tuple[Rule, ...], now: datetime
) -> Situation:
    """See what waits in the bucket, from the markers of jobs that nobody has taken, and what there is."""
    from cloudq.builder.scaling import Situation

    announced = {**bundles.markers.inbox(ANY), **bundles.markers.inbox(order.plan.name)}
    situation = Situation(
        waiting=tuple(now - since for since in announced.values()), threshold=rules, lease=order.plan.lease
    )
    if cluster is None:
        return situation
    presence = bundles.agents.presence(cluster.name)
    # A presence from before this cluster is of an earlier one of the same name.
    ours = presence if presence is not None and presence.heartbeat >= cluster.created else None
    return replace(
        situation,
        status=cluster.status,
        active=sum(ours.counts.values()) if ours else 0,
        agent_ended=ours is not None and ours.stopped,
        lease_over=cluster.expired(now),
    )


def explained(situation: Situation, bundles: Bundles, now: datetime) -> str:
    """Tell what a decision was made from; each line ends in a newline."""
    ages = sorted((each.total_seconds() / 60 for each in situation.waiting), reverse=True)
    oldest = f", the oldest for {ages[0]:.0f} minutes" if ages else ""
    lines = [f"jobs waiting: {len(ages)}{oldest}", f"cluster: {situation.status or 'none'}"]
    lines += [
        f"rule: {rule.jobs} for {rule.minutes:g} minutes: "
        f"{sum(age >= rule.minutes for age in ages)} of {rule.jobs}"
        for rule in situation.threshold
    ]
    lines += [
        f"system {each.system}: {'alive' if each.alive(now) else 'gone'}, {sum(each.counts.values())} jobs"
        for each in bundles.agents.presences()
    ]
    return "".join(f"{line}\n" for line in lines)


def act(aws: Aws, order: Order, decision: Decision) -> None:
    """Do what was decided; what was begun before goes on."""
    from cloudq.builder.creation import Creation
    from cloudq.builder.deletion import Deletion
    from cloudq.builder.scaling import Action

    if decision.action is Action.NOTHING:
        return
    with open_workshop(aws) as workshop:
        if decision.action is Action.CREATE:
            Creation(workshop, order).run()
        else:
            Deletion(workshop, order.plan.name).run(missing_ok=True)
