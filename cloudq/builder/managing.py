"""The commands for clusters that exist: `list`, `delete`, `extend`, `reap`."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Optional

import click

from cloudq.builder.invocation import (
    HOURS,
    account_options,
    json_option,
    name_argument,
    name_option,
    open_account,
    open_bundles,
    open_workshop,
    present,
    print_json,
    the_name,
)

if TYPE_CHECKING:
    from cloudq.builder.clusters import Cluster

cs_profile_option = click.option(
    "--cs-profile",
    metavar="PROFILE",
    help="Profile of this computer that opens the job bucket; the client's configuration's if not given.",
)
force_option = click.option("--force", is_flag=True, help="Do not wait for the outputs of running jobs.")


@click.command("list")
@json_option
@account_options
def list_clusters(*, as_json: bool) -> None:
    """Show the clusters of this account and region, also half made ones."""
    from cloudq.builder.clusters import Clusters
    from cloudq.builder.presets import user_folder
    from cloudq.builder.prices import load_prices
    from cloudq.builder.tables import cluster_members, render_clusters

    aws, now, table = open_account(), present(), load_prices(user_folder())
    clusters = Clusters(aws).all()
    if as_json:
        print_json([cluster_members(each, now=now, table=table, region=aws.region) for each in clusters])
    else:
        click.echo(render_clusters(clusters, now=now, table=table, region=aws.region), nl=False)


@click.command()
@name_argument
@name_option
@force_option
@cs_profile_option
@account_options
def delete(
    *,
    name: Optional[str],
    name_argument: Optional[str],
    force: bool,
    cs_profile: Optional[str],
) -> None:
    """Delete a cluster and all that belongs to it; wait for its running jobs first."""
    from cloudq.builder.deletion import Deletion
    from cloudq.builder.draining import drain

    name = the_name(name, name_argument)
    with open_workshop(open_account()) as workshop:
        cluster = workshop.clusters.find(name)
        if cluster is not None and not force and cluster.setup_bucket:
            drain(workshop, cluster, open_bundles(cluster.label.store, cs_profile))
        Deletion(workshop, name).run()
    click.echo(f"AWS compute cluster ({name}) has been deleted.")


@click.command()
@name_argument
@name_option
@click.option(
    "--lease",
    required=True,
    type=HOURS,
    metavar="HOURS",
    help="How long the cluster may live from now on.",
)
@account_options
def extend(*, name: Optional[str], name_argument: Optional[str], lease: float) -> None:
    """Give a cluster a new lease; its agent knows within two minutes."""
    from cloudq.builder.clusters import COMPLETED, Clusters
    from cloudq.builder.setup_bucket import SetupBucket
    from cloudq.errors import ClusterError

    aws = open_account()
    cluster = Clusters(aws).get(the_name(name, name_argument))
    if cluster.status != COMPLETED:
        raise ClusterError(f"{cluster.name} is {cluster.status}: its lease cannot be changed")
    until = present() + timedelta(hours=lease)
    SetupBucket(aws, cluster.setup_bucket).write_lease(until)
    click.echo(
        f"{cluster.name} may live until {until:%Y/%m/%d %H:%M:%S} UTC, "
        f"for {lease * cluster.label.full_price:.2f} USD at most."
    )


@click.command()
@click.option("--dry-run", is_flag=True, help="Only say which clusters have outlived their lease.")
@account_options
def reap(*, dry_run: bool) -> None:
    """Delete every cluster that has outlived its lease; for cron, without asking."""
    from cloudq.builder.clusters import Clusters
    from cloudq.builder.reaping import overdue, reap_all

    aws = open_account()
    expired = overdue(Clusters(aws).all(), now=present())
    for cluster in expired:
        click.echo(f"{cluster.name}: {overdue_since(cluster)}")
    if expired and not dry_run:
        with open_workshop(aws) as workshop:
            reap_all(workshop, [cluster.name for cluster in expired], tell=click.echo)


def overdue_since(cluster: Cluster) -> str:
    """Tell why a cluster is to go."""
    until = cluster.lease_until
    return (
        f"the lease ended at {until:%Y/%m/%d %H:%M:%S} UTC" if until else f"{cluster.status}, without a lease"
    )
