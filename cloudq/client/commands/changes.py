"""The commands that change something: cancel, delete, init."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Optional

import click

from cloudq.cli import bucket_options
from cloudq.client.commands.answering import for_each
from cloudq.client.commands.invocation import (
    all_ids,
    common_options,
    config_file,
    find_id,
    ids_options,
    load_config,
    open_bundles,
    open_configured,
    present,
)
from cloudq.config import ClientConfig, load_client_config


@click.command()
@ids_options
@click.option("-y", "--yes", is_flag=True, help="Do not ask, however many they are.")
@common_options
def cancel(*, job_ids: tuple[str, ...], id_options: tuple[str, ...], yes: bool) -> None:
    """Ask for jobs to be cancelled."""
    from cloudq.client.jobs.cancel import cancel as cancel_job
    from cloudq.client.signatures import sign_cancel

    config = load_config()
    bundles = open_bundles(config)
    texts = all_ids(job_ids, id_options)
    if not yes:
        _confirm(f"Cancel {len(texts)} jobs?", texts)

    def act(job_id: str) -> str:
        cancel_job(bundles, job_id, sign_cancel(config, job_id))
        return f"Job ({job_id}) is canceled"

    for_each(lambda text: find_id(bundles, config, text), texts, act)


@click.command()
@ids_options
@click.option("--agent", metavar="SYSTEM", help="Delete the log of this agent instead.")
@click.option(
    "--all", "everything", is_flag=True, help="Delete all jobs that have ended, whoever's they are."
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask, however many they are.")
@click.option("--force", is_flag=True, help="Also what has no readable manifest.")
@common_options
def delete(
    *,
    job_ids: tuple[str, ...],
    id_options: tuple[str, ...],
    agent: Optional[str],
    everything: bool,
    yes: bool,
    force: bool,
) -> None:
    """Delete jobs that have ended."""
    from cloudq.client.jobs import deletion
    from cloudq.client.jobs.finals import EndedJobs

    if (agent is not None) + everything + bool(job_ids or id_options) > 1:
        raise click.UsageError("only one of ID, --agent and --all is allowed")
    if everything:
        _delete_all(load_config(), ask=not yes and sys.stdin.isatty())
        return
    if agent is not None:
        deletion.delete_agent_log(open_configured(), agent, now=present())
        click.echo(f"Agent log ({agent}) is deleted.")
        return
    config = load_config()
    bundles = open_bundles(config)
    texts = all_ids(job_ids, id_options)
    if not yes:
        _confirm(f"Delete {len(texts)} jobs?", texts)

    deleted: list[str] = []

    def act(job_id: str) -> str:
        deletion.delete_job(bundles, job_id, force=force)
        deleted.append(job_id)
        return f"Job ({job_id}) is deleted."

    try:
        for_each(lambda text: find_id(bundles, config, text), texts, act)
    finally:
        EndedJobs.of(config).forget(deleted)


def _confirm(question: str, texts: Collection[str]) -> None:
    """Ask before several jobs are changed, if there is somebody to ask."""
    if len(texts) > 1 and sys.stdin.isatty():
        click.confirm(question, abort=True, err=True)


def _delete_all(config: ClientConfig, *, ask: bool) -> None:
    from cloudq.client.jobs import deletion, listing
    from cloudq.client.jobs.finals import EndedJobs

    bundles = open_bundles(config)
    jobs = [job for job in listing.load_jobs(bundles, now=present()).jobs if job.state.final]
    if ask and jobs:
        click.confirm(f"Delete {len(jobs)} jobs that have ended?", abort=True, err=True)
    for job_id in deletion.delete_jobs(bundles, jobs):
        click.echo(f"Job ({job_id}) is deleted.")
    EndedJobs.of(config).forget(job.id for job in jobs)


@click.command()
@click.option("--name", metavar="NAME", help="A name for this computer.")
@bucket_options
@click.option("--force", is_flag=True, help="Replace a configuration file that exists.")
@common_options
def init(*, force: bool, **given: Optional[str]) -> None:
    """Write the configuration file; asks for what is not given, unless URL and bucket are."""
    from cloudq.setup import CLIENT_QUESTIONS, answered, refuse_to_replace, write_config

    place = config_file()
    refuse_to_replace(place, force=force)
    beside = ("project.ini", "resource.ini")

    def write(values: Mapping[str, str]) -> list[Path]:
        return write_config(
            place, "client-config.ini", values, force=force, check=load_client_config, beside=beside
        )

    for file in answered(CLIENT_QUESTIONS, given, write):
        click.echo(f"Saved as {file}.")
