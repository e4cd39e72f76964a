"""The commands that make: `create`, `preset`, `setup`."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Optional

import click

from cloudq.builder.invocation import (
    HOURS,
    Amount,
    StoreOptions,
    account_options,
    client_store,
    name_argument,
    name_option,
    open_account,
    open_workshop,
    present,
    signals_interrupt,
    the_name,
)
from cloudq.errors import InputError

if TYPE_CHECKING:
    from cloudq.builder.aws import Aws
    from cloudq.builder.creation import Order
    from cloudq.builder.plan import Plan
    from cloudq.builder.prices import Estimate


def plan_options(command: Any) -> Any:
    """Add the options that decide what is made; `create` and `autoscale` share them."""
    for option in reversed(
        (
            click.option(
                "--preset-name",
                default="default",
                show_default=True,
                metavar="PRESET",
                help="What the cluster is made of; see `cloudqaws preset`.",
            ),
            click.option(
                "--cs-endpoint",
                metavar="URL",
                help="The job bucket's S3 server; the client's configuration's if not given.",
            ),
            click.option(
                "--cs-bucket",
                metavar="BUCKET",
                help="The job bucket; the client's configuration's if not given.",
            ),
            click.option(
                "--cs-prefix",
                metavar="PREFIX",
                help="Key prefix in it; the client's configuration's if not given.",
            ),
            click.option(
                "--cs-profile", metavar="PROFILE", help="Profile of this computer that opens the job bucket."
            ),
            click.option(
                "--secret-arn",
                default="",
                metavar="ARN",
                help="For a bucket outside AWS: the Secrets Manager secret with its keys.",
            ),
            click.option("--zone", default="", metavar="ZONE", help="Availability zone; any if not given."),
            click.option(
                "--keypair",
                default="",
                metavar="KEYPAIR",
                help="EC2 key pair; none if not given, and then nobody can log in.",
            ),
            click.option(
                "--max-nodes",
                type=click.IntRange(min=1),
                metavar="N",
                help="Most nodes of the first queue, instead of the preset's.",
            ),
            click.option(
                "--instance-type",
                "instance_types",
                multiple=True,
                metavar="TYPE",
                help="Instance type of the first queue; repeatable, in the order of preference.",
            ),
            click.option("--spot", is_flag=True, help="Spot instances for the compute nodes."),
            click.option(
                "--lease",
                default=8.0,
                show_default=True,
                type=HOURS,
                metavar="HOURS",
                help="How long the cluster may live.",
            ),
            click.option(
                "--budget",
                type=Amount(),
                metavar="USD",
                help="Shorten the lease so that it cannot cost more.",
            ),
            click.option(
                "--idle-minutes",
                default=60,
                show_default=True,
                type=click.IntRange(min=5),
                metavar="MINUTES",
                help="End the cluster after so long without jobs.",
            ),
            click.option(
                "--nat",
                is_flag=True,
                help="No public addresses for the nodes; they go out by a NAT gateway, which costs.",
            ),
            click.option("--ssm", is_flag=True, help="Let Session Manager open a shell on the head node."),
        )
    ):
        command = option(command)
    return command


@click.command()
@name_argument
@name_option
@plan_options
@click.option("--dry-run", is_flag=True, help="Show what would be made, and make nothing.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@account_options
def create(
    *, name: Optional[str], name_argument: Optional[str], dry_run: bool, yes: bool, **given: Any
) -> None:
    """Make a Slurm cluster whose head node runs the agent NAME. Go on where an earlier attempt stopped."""
    from cloudq.builder.creation import Creation
    from cloudq.builder.tables import render_plan

    aws = open_account()
    order = make_order(aws, the_name(name, name_argument), **given)
    text = render_plan(
        order.plan, order.estimate, region=aws.region, lease_until=present() + order.plan.lease
    )
    click.echo(text, nl=False)
    if dry_run:
        return
    if not yes:
        click.confirm("Make it?", abort=True, err=True)
    with open_workshop(aws) as workshop:
        try:
            Creation(workshop, order).run()
        except KeyboardInterrupt:
            click.echo(
                "\nInterrupted; AWS goes on. The same command goes on, "
                f"`cloudqaws delete {order.plan.name}` takes it back.",
                err=True,
            )
            raise
    click.echo(f"AWS compute cluster ({order.plan.name}) has been created.")


def make_order(
    aws: Aws,
    name: str,
    *,
    preset_name: str,
    cs_endpoint: Optional[str],
    cs_bucket: Optional[str],
    cs_prefix: Optional[str],
    cs_profile: Optional[str],
    secret_arn: str,
    zone: str,
    keypair: str,
    max_nodes: Optional[int],
    instance_types: tuple[str, ...],
    spot: bool,
    lease: float,
    budget: Optional[float],
    idle_minutes: int,
    nat: bool,
    ssm: bool,
) -> Order:
    """Turn options into an order. Raises InputError, ConfigError, AwsError."""
    from cloudq.builder.creation import Order
    from cloudq.builder.plan import Plan, adapt, make_store
    from cloudq.builder.presets import load_preset, user_folder
    from cloudq.builder.prices import estimate_for
    from cloudq.builder.wheelhouse import agent_archive

    given = client_store(StoreOptions(cs_endpoint, cs_bucket, cs_prefix, cs_profile))
    store = make_store(
        endpoint_url=given.endpoint_url or "",
        bucket=given.bucket or "",
        prefix=given.prefix or "",
        secret_arn=secret_arn,
    )
    if store.endpoint_url and not store.secret_arn:
        raise InputError(
            f"--secret-arn: {store.endpoint_url} is outside AWS, and the cluster needs its keys",
            hint="put them into Secrets Manager, see docs/aws.md, and give the secret's ARN",
        )
    plan = Plan(
        name=name,
        preset=adapt(
            load_preset(preset_name, user_folder()), max_nodes=max_nodes, instance_types=instance_types
        ),
        store=store,
        lease=timedelta(hours=lease),
        idle=timedelta(minutes=idle_minutes),
        zone=zone,
        keypair=keypair,
        spot=spot,
        ssm=ssm,
        nat=nat,
    )
    estimate = estimate_for(plan, aws, user_folder())
    return Order(_within(plan, budget, estimate), preset_name, estimate, agent_archive)


def _within(plan: Plan, budget: Optional[float], estimate: Estimate) -> Plan:
    """Shorten the lease so that the cluster cannot cost more than the budget. Raises InputError."""
    from dataclasses import replace

    from cloudq.builder.prices import affordable

    if budget is None:
        return plan
    if estimate.unknown:
        raise InputError(
            f"--budget: no price of {', '.join(estimate.unknown)} is known here, so it could not be kept",
            hint="give it in ~/.cloudq/aws/prices.yaml, see docs/aws.md",
        )
    return replace(plan, lease=min(plan.lease, affordable(budget, estimate.full)))


@click.command()
@click.option("--preset-name", metavar="NAME", help="Name of the copy; of the preset, too, if there is one.")
@click.option("--from", "origin", metavar="PRESET", help="The preset to copy, if it has another name.")
@account_options
def preset(*, preset_name: Optional[str], origin: Optional[str]) -> None:
    """Copy a preset for editing; without a name, list the presets."""
    from cloudq.builder.presets import copy_preset, load_preset, packaged_presets, user_folder

    folder = user_folder()
    if preset_name is None:
        for name in packaged_presets():
            click.echo(f"{name:<16}{load_preset(name, folder).description}")
        return
    packaged = preset_name if preset_name in packaged_presets() else "default"
    file = copy_preset(preset_name, origin or packaged, folder)
    click.echo(f"Preset ({preset_name}) has been created.")
    click.echo(f"Edit {file}, and use it with: cloudqaws create --preset-name {preset_name} ...")


@click.command()
@click.option("--check", is_flag=True, help="Only say what is there; exit status 1 if pcluster is not.")
@account_options
def setup(*, check: bool) -> None:
    """Find AWS ParallelCluster's command, or install it in an environment of its own."""
    import os

    from cloudq.builder.pcluster import find_pcluster, install_pcluster, with_node
    from cloudq.builder.presets import user_folder
    from cloudq.errors import ClusterError
    from cloudq.process import run_tethered as run

    environment = with_node(os.environ, user_folder())
    with signals_interrupt():
        try:
            command = find_pcluster(user_folder(), run=run, environment=environment)
        except ClusterError:
            if check:
                raise
            click.echo("Installing AWS ParallelCluster (some minutes) ...", err=True)
            command = install_pcluster(user_folder(), run=run, environment=environment)
    click.echo(f"pcluster is {command}")
