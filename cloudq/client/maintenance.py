"""The commands for when something went wrong: doctor, requeue."""

from __future__ import annotations

import click

from cloudq.cli import log_to_stderr, remembered
from cloudq.client.answering import for_each
from cloudq.client.invocation import (
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
    from cloudq.client.requeue import Requeue
    from cloudq.client.requeue import requeue as requeue_job

    config = load_config()
    bundles = open_bundles(config)
    wanted = Requeue(to=to.strip(), force=force)

    def act(job_id: str) -> str:
        job = requeue_job(bundles, job_id, wanted)
        return f"Job ({job_id}) is requeued for {bundles.addressee(job)}."

    for_each(lambda text: find_id(bundles, config, text), all_ids(job_ids, id_options), act)


@click.command()
@json_option
@common_options
@click.pass_context
def doctor(ctx: click.Context, *, as_json: bool) -> None:
    """Look at everything that a client needs; exit status 1 if something does not work."""
    from cloudq.client.doctor import examine
    from cloudq.doctor import tell

    log_to_stderr(remembered("log_level"))
    ctx.exit(0 if tell(examine(config_file(), present), as_json=as_json) else 1)
