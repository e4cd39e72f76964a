"""The command `cloudqcli`."""

from __future__ import annotations

import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Optional

import click

from cloudq.bundle import Bundles
from cloudq.cli import CONTEXT_SETTINGS, EXIT_STATUSES, ErrorReportingGroup, version_option
from cloudq.client.answering import for_each, print_bytes, print_json
from cloudq.client.invocation import (
    all_ids,
    common_options,
    config_file,
    id_options,
    ids_options,
    json_option,
    load_config,
    one_id,
    open_bundles,
    open_configured,
    the_one,
)
from cloudq.config import load_client_config

_EPILOG = (
    "Exit status: " + "; ".join(f"{status} {meaning}" for status, meaning in EXIT_STATUSES.items()) + "."
)


@click.group(cls=ErrorReportingGroup, context_settings=CONTEXT_SETTINGS, epilog=_EPILOG)
@common_options
@version_option
def main() -> None:
    """CloudQ: submit jobs to agents on clusters, through a bucket.

    Ids may be shortened as long as they are unique.
    """


@main.command()
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
    job = submit_job(open_bundles(config), config, submission, now=_now())
    if as_json:
        print_json(program_members(job))
    else:
        click.echo(job.id if parsable else f"Job ({job.id}) {job.name} has been submitted.")


@main.command(name="translate")
@click.argument("script", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--to", "system", required=True, metavar="SYSTEM", help="The system to translate for.")
@common_options
def translate_script(*, script: Path, system: str) -> None:
    """Print what SYSTEM's agent would submit for a meta script, without submitting it."""
    from cloudq.client.translation import translate_for

    config = load_config()
    click.echo(translate_for(open_bundles(config), config, script, system), nl=False)


@main.command()
@id_options
@json_option
@common_options
def stat(*, job_id: Optional[str], id_option: Optional[str], as_json: bool) -> None:
    """Show everything that is recorded of a job."""
    from cloudq.client.stat import load_members, render_members

    bundles = open_configured()
    members = load_members(bundles, bundles.find(one_id(job_id, id_option)), for_programs=as_json)
    if as_json:
        print_json(members)
    else:
        click.echo(render_members(members))


@main.command()
@id_options
@click.option("--agent", metavar="SYSTEM", help="Show an agent's log instead.")
@click.option("--tid", metavar="TASK", help="Only this task of an array job.")
@click.option("--error", is_flag=True, help="Show stderr instead of stdout.")
@click.option("--raw", is_flag=True, help="Do not make control characters visible on a terminal.")
@common_options
def log(
    *,
    job_id: Optional[str],
    id_option: Optional[str],
    agent: Optional[str],
    tid: Optional[str],
    error: bool,
    raw: bool,
) -> None:
    """Show what a job has printed, also while it runs."""
    from cloudq.client import logs

    if agent is not None:
        for option, value in (("--error", error), ("--tid", tid), ("--id", job_id or id_option)):
            if value:
                raise click.UsageError(f"Argument --agent: not allowed with argument {option}")
        print_bytes([logs.read_agent_log(open_configured(), agent)], raw=raw)
        return
    bundles = open_configured()
    found_id = bundles.find(one_id(job_id, id_option))
    stream = "stderr" if error else "stdout"
    if tid is None:
        blocks = logs.read_logs(bundles, found_id, logs.find_logs(bundles, found_id, stream))
    else:
        task_log = logs.find_task_log(bundles, found_id, stream, tid)
        blocks = logs.read_log(bundles, found_id, task_log)
    print_bytes(blocks, raw=raw)


@main.command()
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


@main.command()
@id_options
@click.option(
    "--to", "folder", type=click.Path(path_type=Path), metavar="FOLDER", help="The folder, instead of ID."
)
@click.option("--zip", "packed", is_flag=True, help="Leave output.zip packed.")
@common_options
def stageout(
    *, job_id: Optional[str], id_option: Optional[str], folder: Optional[Path], packed: bool
) -> None:
    """Fetch a job's outputs and logs into a folder named as the job."""
    from cloudq.client.stageout import stage_out

    bundles = open_configured()
    found_id = bundles.find(one_id(job_id, id_option))
    stage_out(bundles, found_id, folder or Path(found_id), packed=packed)
    click.echo(f"Saved as {folder or found_id}.")


@main.command()
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

    jobs = [job for job in listing.load_jobs(bundles, now=_now()).jobs if job.state.final]
    if ask and jobs:
        click.confirm(f"Delete {len(jobs)} jobs that have ended?", abort=True, err=True)
    for job_id in deletion.delete_jobs(bundles, jobs):
        click.echo(f"Job ({job_id}) is deleted.")


@main.command("list")
@json_option
@common_options
def list_jobs(*, as_json: bool) -> None:
    """List the jobs that have not ended."""
    _print_listing(final=False, as_json=as_json)


@main.command()
@json_option
@common_options
def history(*, as_json: bool) -> None:
    """List the jobs that have ended."""
    _print_listing(final=True, as_json=as_json)


def _print_listing(*, final: bool, as_json: bool) -> None:
    from cloudq.client import listing
    from cloudq.manifest import program_members

    found = listing.load_jobs(open_configured(), now=_now())
    jobs = [job for job in found.jobs if job.state.final == final]
    corrupted = f"The following jobs are corrupted: {', '.join(found.corrupted)}"
    if as_json:
        print_json([program_members(job) for job in jobs])
    else:
        click.echo(listing.render_final_jobs(jobs) if final else listing.render_open_jobs(jobs))
    if found.corrupted:
        click.echo(corrupted if as_json else f"\n{corrupted}", err=as_json)


@main.command()
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


def _now() -> datetime:
    return datetime.now(timezone.utc)
