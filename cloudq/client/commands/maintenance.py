"""The commands for when something went wrong: doctor, requeue."""

from __future__ import annotations

import sys

import click

from cloudq.cli import log_to_stderr, remembered
from cloudq.client.commands.answering import for_each
from cloudq.client.commands.invocation import (
    all_ids,
    common_options,
    config_file,
    find_id,
    ids_options,
    json_option,
    load_config,
    open_bundles,
    present,
)


@click.command()
@ids_options
@click.option("--to", default="", metavar="SYSTEM", help="Send them to this system, or to ANY, instead.")
@click.option("--force", is_flag=True, help="Take them away from an agent that is alive, too.")
@common_options
def requeue(*, job_ids: tuple[str, ...], id_options: tuple[str, ...], to: str, force: bool) -> None:
    """Run jobs once more whose agent is gone for good."""
    from cloudq.client.jobs.requeue import Requeue
    from cloudq.client.jobs.requeue import requeue as requeue_job
    from cloudq.client.signatures import sign_requeue

    config = load_config()
    bundles = open_bundles(config)
    wanted = Requeue(to=to.strip(), force=force)

    def act(job_id: str) -> str:
        job = requeue_job(bundles, job_id, wanted, sign=lambda job: sign_requeue(config, job))
        return f"Job ({job_id}) is requeued for {bundles.markers.addressee(job)}."

    for_each(lambda text: find_id(bundles, config, text), all_ids(job_ids, id_options), act)


@click.command()
@json_option
@click.option("--repair", is_flag=True, help="Remove what crashes have left in the bucket; asks for each.")
@click.option("-y", "--yes", is_flag=True, help="With --repair: do not ask.")
@common_options
@click.pass_context
def doctor(ctx: click.Context, *, as_json: bool, repair: bool, yes: bool) -> None:
    """Look at everything that a client needs; exit status 1 if something does not work."""
    from cloudq.client.commands.doctor import examine
    from cloudq.doctor import tell

    if yes and not repair:
        raise click.UsageError("Argument --yes: expected --repair, too")
    if repair and as_json:
        raise click.UsageError("Argument --json: not allowed with argument --repair")
    if repair:
        _repair(yes=yes)
        return
    log_to_stderr(remembered("log_level"))
    ctx.exit(0 if tell(examine(config_file(), present), as_json=as_json) else 1)


def _repair(*, yes: bool) -> None:
    """Show what may be removed, and remove it if that is wanted; without anybody to ask, only show it."""
    from cloudq.client.commands.repair import find_removals
    from cloudq.store.probe import store_time

    config = load_config()
    bundles = open_bundles(config)
    now = store_time(bundles.store, bundles.probe_folder)
    found = removed = 0
    for removal in find_removals(bundles, config.store, now):
        found += 1
        click.echo(removal.said)
        if yes or (sys.stdin.isatty() and click.confirm("Remove it?", err=True)):
            removal.remove()
            removed += 1
    click.echo(f"{removed} of {found} left-overs removed." if found else "Nothing is left over.")
    if removed < found and not sys.stdin.isatty():
        click.echo("Hint: --yes removes them", err=True)
