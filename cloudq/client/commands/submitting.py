"""The commands that submit: submit, run, resubmit."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional

import click

from cloudq.bundle import Bundles
from cloudq.cli import Command
from cloudq.client.commands.answering import for_each, print_json
from cloudq.client.commands.invocation import (
    all_ids,
    common_options,
    find_id,
    ids_options,
    json_option,
    load_config,
    open_bundles,
    present,
    the_one,
)
from cloudq.client.recollection import remember_submitted
from cloudq.config import ClientConfig

_ARGUMENTS = "cloudq.arguments"

logger = logging.getLogger(__name__)


class _WithArguments(click.Command):
    """A command that keeps what stands after `--` for the script."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put them aside."""
        if "--" in args:
            place = args.index("--")
            ctx.meta[_ARGUMENTS] = tuple(args[place + 1 :])
            args = args[:place]
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Show them in the usage."""
        return [*super().collect_usage_pieces(ctx), "[-- ARGUMENT...]"]


_SUBMISSION_OPTIONS: tuple[Callable[[Command], Command], ...] = (
    click.option(
        "--submit-to", default="", metavar="SYSTEM", help="The script is of this system's scheduler."
    ),
    click.option("--submit-opt", default="", metavar="OPTIONS", help="With --submit-to: scheduler options."),
    click.option(
        "--hold-jid", "--after-any", default="", metavar="ID,...", help="Start when all these have ended."
    ),
    click.option("--after-ok", default="", metavar="ID,...", help="Start when these have ended as DONE."),
    click.option(
        "--after-not-ok", default="", metavar="ID,...", help="Start when all these have ended otherwise."
    ),
    click.option(
        "--after-corr", default="", metavar="ID,...", help="Start task N if task N of these was DONE."
    ),
    click.option(
        "--array-tid", default="", metavar="RANGE", help="Make it an array job: 1-10:2, 1,3,7-9, 1-100%4."
    ),
    click.option(
        "--input",
        "inputs",
        multiple=True,
        metavar="PATH[:NAME]",
        help="File or folder to put into the job's folder, there called NAME; repeatable.",
    ),
    click.option(
        "-e",
        "--env",
        "variables",
        multiple=True,
        metavar="NAME[=VALUE]",
        help="A variable for the script; without VALUE, as it is here; repeatable.",
    ),
    click.option("--expires", metavar="TIME", help="Not to be started after so long: 12h, 2d, 1:30:00."),
    click.option(
        "-D",
        "--directive",
        "directives",
        multiple=True,
        metavar="KEY=VALUE",
        help="A directive, instead of what the meta script says: -D walltime=2:00:00; repeatable.",
    ),
)


def submission_options(command: Command) -> Command:
    """Add the options that say what is submitted."""
    for option in reversed(_SUBMISSION_OPTIONS):
        command = option(command)
    return command


@click.command(cls=_WithArguments)
@click.argument("script", required=False, type=click.Path(path_type=Path))
@click.option("--script", "script_option", type=click.Path(path_type=Path), metavar="SCRIPT")
@submission_options
@click.option(
    "--each",
    metavar="FILE",
    help="A job for each row of this CSV file; its columns are variables. - is stdin.",
)
@click.option(
    "--each-line", metavar="FILE", help="A job for each line of this file; its words are arguments."
)
@click.option(
    "--dry-run", is_flag=True, help="Check everything, say what would be submitted, submit nothing."
)
@click.option("--parsable", is_flag=True, help="Print the id only.")
@json_option
@common_options
def submit(
    *,
    script: Optional[Path],
    script_option: Optional[Path],
    each: Optional[str],
    each_line: Optional[str],
    dry_run: bool,
    parsable: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Submit a script: a meta script, or with --submit-to one of a system's own."""
    from cloudq.client.submission import sweeps
    from cloudq.client.submission.dryrun import render_dry_run
    from cloudq.manifest import program_members

    if parsable and as_json:
        raise click.UsageError("Argument --parsable: not allowed with argument --json")
    if each and each_line:
        raise click.UsageError("Argument --each: not allowed with argument --each-line")
    config = load_config()
    options["script"] = the_one(script, script_option, "Job script is not specified.", "--script")
    options["arguments"] = click.get_current_context().meta.get(_ARGUMENTS, ())
    submissions = sweeps.submissions(options, each=each, each_line=each_line)
    bundles = open_bundles(config)
    if dry_run:
        for submission in submissions:
            click.echo(render_dry_run(bundles, config, submission, now=present()))
        return
    jobs = []
    for job in sweeps.submit_all(bundles, config, submissions, now=present):
        jobs.append(job)
        if not as_json:
            click.echo(job.id if parsable else f"Job ({job.id}) {job.name} has been submitted.")
    remember_submitted(config, jobs)
    if as_json:
        members = [program_members(job) for job in jobs]
        print_json(members if each or each_line else members[0])
    elif not parsable and sys.stdout.isatty() and len(jobs) == 1:
        job_id = jobs[0].id
        click.echo(
            f"Next: cloudqcli log -f {job_id}, cloudqcli why {job_id} or cloudqcli cancel {job_id}", err=True
        )


@click.command(context_settings={"allow_interspersed_args": False})
@click.argument("script", type=click.Path(path_type=Path))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@submission_options
@click.option(
    "--to",
    "folder",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Folder of the outputs, instead of ID.",
)
@click.option("--no-stageout", is_flag=True, help="Leave the outputs in the bucket.")
@click.option("--raw", is_flag=True, help="Do not make control characters visible on a terminal.")
@common_options
def run(
    *, arguments: tuple[str, ...], folder: Optional[Path], no_stageout: bool, raw: bool, **options: Any
) -> None:
    """Submit a script, show what it prints, fetch its outputs, and end with its exit status.

    Ctrl-C asks whether to leave the job alone or to cancel it.
    """
    from cloudq.client.submission import sweeps
    from cloudq.client.submission.submit import submit as submit_job

    config = load_config()
    bundles = open_bundles(config)
    options["arguments"] = _script_arguments(arguments)
    job = submit_job(bundles, config, sweeps.submission(options), now=present())
    remember_submitted(config, [job])
    click.echo(f"Job ({job.id}) {job.name} has been submitted.", err=True)
    status = _attend(bundles, config, job.id, folder=None if no_stageout else folder or Path(job.id), raw=raw)
    click.get_current_context().exit(status)


def _script_arguments(arguments: tuple[str, ...]) -> tuple[str, ...]:
    """Return what is the script's, with a warning of what looks like ours."""
    if arguments[:1] == ("--",):
        return arguments[1:]
    ours = {name for parameter in click.get_current_context().command.params for name in parameter.opts}
    for word in arguments:
        if word.startswith("--") and word.partition("=")[0] in ours:
            logger.warning("%s goes to the script; an option of `run` stands before SCRIPT", word)
    return arguments


def _attend(bundles: Bundles, config: ClientConfig, job_id: str, *, folder: Optional[Path], raw: bool) -> int:
    from cloudq.client.commands.attendance import Attendance, cancelled_or_left
    from cloudq.client.jobs.waits import exit_status_of, render_end
    from cloudq.client.results.stageout import stage_out
    from cloudq.notices import send_notices

    attendance = Attendance(bundles, job_id, raw=raw)
    while True:
        try:
            job = attendance.follow()
            break
        except KeyboardInterrupt:
            if cancelled_or_left(bundles, config, job_id):
                return 130
    if folder is not None:
        stage_out(bundles, job_id, folder)
        click.echo(f"Saved as {folder}.", err=True)
    click.echo(render_end(job), err=True)
    send_notices(config.notices, job)
    return exit_status_of(job)


@click.command()
@ids_options
@click.option("--failed", is_flag=True, help="Of array jobs, only the tasks that did not end as DONE.")
@click.option(
    "-D",
    "--directive",
    "directives",
    multiple=True,
    metavar="KEY=VALUE",
    help="A directive, instead of what the meta script said: -D walltime=2:00:00; repeatable.",
)
@common_options
def resubmit(
    *, job_ids: tuple[str, ...], id_options: tuple[str, ...], failed: bool, directives: tuple[str, ...]
) -> None:
    """Submit jobs once more, as new jobs, with the same script, inputs and options."""
    from cloudq.client.submission.resubmission import resubmit as resubmit_job
    from cloudq.client.submission.sweeps import parse_directives

    config = load_config()
    bundles = open_bundles(config)
    changes = parse_directives(directives)

    def act(job_id: str) -> str:
        job = resubmit_job(bundles, config, job_id, failed_only=failed, directives=changes, now=present())
        remember_submitted(config, [job])
        return f"Job ({job.id}) {job.name} has been submitted."

    for_each(lambda text: find_id(bundles, config, text), all_ids(job_ids, id_options), act)
