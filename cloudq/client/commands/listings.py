"""The commands that list jobs: list, history."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Optional

import click

from cloudq.bundle import Bundles
from cloudq.cli import Command
from cloudq.client.commands.answering import print_json
from cloudq.client.commands.invocation import common_options, json_option, load_config, open_bundles, present
from cloudq.client.display.durations import Duration
from cloudq.client.display.tables import coloured, on_terminal, terminal_width
from cloudq.client.recollection import remember_jobs
from cloudq.job import Job, JobState

_OPTIONS: tuple[Callable[[Command], Command], ...] = (
    click.option(
        "--state",
        "states",
        type=click.Choice([state.value for state in JobState], case_sensitive=False),
        multiple=True,
        metavar="STATE",
        help="Only jobs in this state; repeatable.",
    ),
    click.option("--system", default="", metavar="SYSTEM", help="Only jobs on this system, or for it."),
    click.option("--name", default="", metavar="PATTERN", help="Only scripts of this name: 'sweep*'."),
    click.option(
        "--newer", type=Duration(), metavar="TIME", help="Only jobs submitted in the last 5m, 2h, 1d."
    ),
    click.option("--older", type=Duration(), metavar="TIME", help="Only jobs submitted earlier than that."),
    click.option("--ids", "ids_only", is_flag=True, help="Print ids only, for cancel - and delete -."),
    json_option,
    common_options,
)


def _listing_options(command: Command) -> Command:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command("list")
@_listing_options
@click.option("-w", "--watch", is_flag=True, help="Show the list again and again, until Ctrl-C.")
def list_jobs(*, watch: bool, **options: Any) -> None:
    """List the jobs that have not ended."""
    if watch and (options["as_json"] or options["ids_only"]):
        raise click.UsageError("Argument --watch: not allowed with arguments --json and --ids")
    if watch:
        _watch(options)
    else:
        _print_listing(options, final=False)


@click.command()
@_listing_options
def history(**options: Any) -> None:
    """List the jobs that have ended."""
    _print_listing(options, final=True)


def _print_listing(options: dict[str, Any], *, final: bool) -> None:
    from cloudq.client.commands.warnings import print_warnings
    from cloudq.client.jobs import listing
    from cloudq.client.jobs.finals import EndedJobs
    from cloudq.manifest import program_members

    config = load_config()
    bundles, ended = open_bundles(config), EndedJobs.of(config)
    found = listing.load_jobs(bundles, now=present(), known=ended, only_others=not final)
    ended.note(found.jobs, present=found.ids)
    jobs = _selected(found.jobs, options, final=final)
    remember_jobs(config, jobs)
    corrupted = f"The following jobs are corrupted: {', '.join(found.corrupted)}"
    as_json, ids_only = options["as_json"], options["ids_only"]
    if as_json:
        print_json([program_members(job) for job in jobs])
    elif ids_only:
        click.echo("".join(f"{job.id}\n" for job in jobs), nl=False)
    else:
        click.echo(_rendered(jobs, final=final))
        print_warnings(bundles, (job.run_system for job in jobs if not final))
    if found.corrupted:
        apart = as_json or ids_only
        click.echo(corrupted if apart else f"\n{corrupted}", err=apart)


def _selected(jobs: Sequence[Job], options: dict[str, Any], *, final: bool) -> list[Job]:
    from cloudq.client.jobs.selection import Selection

    newer: Optional[timedelta] = options["newer"]
    states = [JobState(state.upper()) for state in options["states"]]
    selection = Selection(states, options["system"], options["name"], newer, options["older"])
    now = present()
    return [job for job in jobs if job.state.final == final and selection.admits(job, now=now)]


def _rendered(jobs: Sequence[Job], *, final: bool) -> str:
    """Write the table: that of 1.2 for pipes and files, one that fits the screen on a terminal."""
    from cloudq.client.commands.screen import render_jobs
    from cloudq.client.jobs import listing

    if on_terminal():
        return coloured(render_jobs(jobs, final=final, now=present(), width=terminal_width()))
    return listing.render_final_jobs(jobs) if final else listing.render_open_jobs(jobs)


def _watch(options: dict[str, Any]) -> None:
    from cloudq.client.commands.screen import watch

    def table(jobs: Sequence[Job]) -> str:
        selected = _selected(jobs, options, final=False)
        return f"{_rendered(selected, final=False)}\n\n{len(selected)} jobs. Ctrl-C leaves this list."

    bundles: Bundles = open_bundles(load_config())
    watch(bundles, table)
