"""The commands that change something: submit, cancel, delete, init."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Optional

import click

from cloudq.bundle import Bundles
from cloudq.client.answering import for_each, print_json
from cloudq.client.invocation import (
    all_ids,
    common_options,
    config_file,
    ids_options,
    json_option,
    load_config,
    open_bundles,
    open_configured,
    present,
    the_one,
)
from cloudq.config import load_client_config


@click.command()
@click.argument("script", required=False, type=click.Path(path_type=Path))
@click.option("--script", "script_option", type=click.Path(path_type=Path), metavar="SCRIPT")
@click.option("--submit-to", default="", metavar="SYSTEM", help="Submit a script of this system's scheduler.")
@click.option("--submit-opt", default="", metavar="OPTIONS", help="With --submit-to: scheduler options.")
@click.option(
    "--hold-jid", "--after-any", default="", metavar="ID,...", help="Start when all these have ended."
)
@click.option("--after-ok", default="", metavar="ID,...", help="Start when these have ended as DONE.")
@click.option(
    "--after-not-ok", default="", metavar="ID,...", help="Start when all these have ended otherwise."
)
@click.option("--after-corr", default="", metavar="ID,...", help="Start task N if task N of these was DONE.")
@click.option(
    "--array-tid", default="", metavar="RANGE", help="Make it an array job: 1-10:2, 1,3,7-9, 1-100%4."
)
@click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="PATH[:NAME]",
    help="File or folder to put into the job's folder, there called NAME; repeatable.",
)
@click.option("--parsable", is_flag=True, help="Print the id only.")
@json_option
@common_options
def submit(
    *,
    script: Optional[Path],
    script_option: Optional[Path],
    submit_to: str,
    submit_opt: str,
    hold_jid: str,
    after_ok: str,
    after_not_ok: str,
    after_corr: str,
    array_tid: str,
    inputs: tuple[str, ...],
    parsable: bool,
    as_json: bool,
) -> None:
    """Submit a script: a meta script, or with --submit-to one of a system's own."""
    from cloudq.client.inputs import parse_input
    from cloudq.client.submission import Submission
    from cloudq.client.submission import submit as submit_job
    from cloudq.job import ArrayRange, Condition
    from cloudq.manifest import program_members

    if parsable and as_json:
        raise click.UsageError("Argument --parsable: not allowed with argument --json")
    config = load_config()
    submission = Submission(
        script=the_one(script, script_option, "Job script is not specified.", "--script"),
        submit_to=submit_to.strip(),
        submit_options=submit_opt.strip(),
        hold_ids=_ids(hold_jid),
        conditions={
            Condition.OK: _ids(after_ok),
            Condition.NOT_OK: _ids(after_not_ok),
            Condition.CORR: _ids(after_corr),
        },
        array_range=ArrayRange.parse(array_tid) if array_tid.strip() else None,
        inputs=tuple(map(parse_input, inputs)),
    )
    job = submit_job(open_bundles(config), config, submission, now=present())
    if as_json:
        print_json(program_members(job))
    else:
        click.echo(job.id if parsable else f"Job ({job.id}) {job.name} has been submitted.")


@click.command()
@ids_options
@common_options
def cancel(*, job_ids: tuple[str, ...], id_options: tuple[str, ...]) -> None:
    """Ask for jobs to be cancelled."""
    from cloudq.client.cancel import cancel as cancel_job

    bundles = open_configured()

    def act(job_id: str) -> str:
        cancel_job(bundles, job_id)
        return f"Job ({job_id}) is canceled"

    for_each(bundles, all_ids(job_ids, id_options), act)


@click.command()
@ids_options
@click.option("--agent", metavar="SYSTEM", help="Delete the log of this agent instead.")
@click.option(
    "--all", "everything", is_flag=True, help="Delete all jobs that have ended, whoever's they are."
)
@click.option("-y", "--yes", is_flag=True, help="With --all: do not ask.")
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
    from cloudq.client import deletion

    if (agent is not None) + everything + bool(job_ids or id_options) > 1:
        raise click.UsageError("only one of ID, --agent and --all is allowed")
    if everything:
        _delete_all(open_configured(), ask=not yes and sys.stdin.isatty())
        return
    if agent is not None:
        deletion.delete_agent_log(open_configured(), agent)
        click.echo(f"Agent log ({agent}) is deleted.")
        return
    bundles = open_configured()

    def act(job_id: str) -> str:
        deletion.delete_job(bundles, job_id, force=force)
        return f"Job ({job_id}) is deleted."

    for_each(bundles, all_ids(job_ids, id_options), act)


def _delete_all(bundles: Bundles, *, ask: bool) -> None:
    from cloudq.client import deletion, listing

    jobs = [job for job in listing.load_jobs(bundles, now=present()).jobs if job.state.final]
    if ask and jobs:
        click.confirm(f"Delete {len(jobs)} jobs that have ended?", abort=True, err=True)
    for job_id in deletion.delete_jobs(bundles, jobs):
        click.echo(f"Job ({job_id}) is deleted.")


@click.command()
@click.option("--name", metavar="NAME", help="A name for this computer.")
@click.option("--endpoint-url", metavar="URL", help="URL of the S3 server; empty for Amazon S3.")
@click.option("--bucket", metavar="BUCKET", help="The bucket, which must exist.")
@click.option("--prefix", metavar="PREFIX", help="Key prefix of everything; empty for the whole bucket.")
@click.option("--profile", metavar="PROFILE", help="Profile of the AWS configuration files.")
@click.option("--force", is_flag=True, help="Replace a configuration file that exists.")
@common_options
def init(*, force: bool, **given: Optional[str]) -> None:
    """Write the configuration file; asks for what is not given, unless URL and bucket are."""
    from cloudq.setup import CLIENT_QUESTIONS, answers, write_config

    written = write_config(
        config_file(),
        "client-config.ini",
        answers(CLIENT_QUESTIONS, given),
        force=force,
        check=load_client_config,
        beside=("project.ini", "resource.ini"),
    )
    for file in written:
        click.echo(f"Saved as {file}.")


def _ids(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
