"""The commands that ask: translate, stat, why, systems, stageout."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

import click

from cloudq.bundle import Bundles
from cloudq.client.commands.answering import for_each, print_json
from cloudq.client.commands.invocation import (
    all_ids,
    common_options,
    find_id,
    id_options,
    json_option,
    load_config,
    one_id,
    open_bundles,
    present,
)
from cloudq.client.display.tables import coloured, on_terminal, terminal_width

OPEN_STATES = frozenset({"INIT", "READY", "RUN", "DELETING", "COMPLETING"})


@click.command(name="translate")
@click.argument("script", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--to", "system", required=True, metavar="SYSTEM", help="The system to translate for.")
@click.option(
    "--templates",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="FOLDER",
    help="A copy of the site's own templates.",
)
@common_options
def translate_script(*, script: Path, system: str, templates: Optional[Path]) -> None:
    """Print what SYSTEM's agent would submit for a meta script, without submitting it."""
    from cloudq.client.submission.translation import translate_for

    config = load_config()
    click.echo(translate_for(open_bundles(config), config, script, system, templates), nl=False)


@click.command()
@id_options
@click.option("--events", is_flag=True, help="Show what happened when, instead.")
@json_option
@common_options
def stat(*, job_id: Optional[str], id_option: Optional[str], events: bool, as_json: bool) -> None:
    """Show everything that is recorded of a job."""
    from cloudq.client.commands.warnings import print_warnings
    from cloudq.client.jobs.stat import load_members, render_members
    from cloudq.manifest import NO_SYSTEM

    config = load_config()
    bundles = open_bundles(config)
    found_id = find_id(bundles, config, one_id(job_id, id_option))
    if events:
        _print_events(bundles, found_id, as_json=as_json)
        return
    members = load_members(bundles, found_id, for_programs=as_json)
    if as_json:
        print_json(members)
    else:
        click.echo(render_members(members, local=on_terminal()))
        system = str(members.get("run_system", ""))
        if members.get("state") in OPEN_STATES and system != NO_SYSTEM:
            print_warnings(bundles, [system])


def _print_events(bundles: Bundles, job_id: str, *, as_json: bool) -> None:
    from cloudq.client.jobs.events import event_members, events_of, render_events

    found = events_of(bundles.load(job_id).job)
    if as_json:
        print_json(event_members(found))
    else:
        click.echo(render_events(found, width=terminal_width(), local=on_terminal()))


@click.command()
@id_options
@common_options
def why(*, job_id: Optional[str], id_option: Optional[str]) -> None:
    """Say in words why a job waits, or how it ended and whose fault that was."""
    from cloudq.client.diagnosis.why import explain

    config = load_config()
    bundles = open_bundles(config)
    job = bundles.load(find_id(bundles, config, one_id(job_id, id_option))).job
    for line in explain(bundles, job, now=present()):
        click.echo(line)


@click.command()
@json_option
@common_options
def systems(*, as_json: bool) -> None:
    """Show the systems: their agents, what they accept, how much they have to do."""
    from cloudq.client.recollection import remember_systems
    from cloudq.client.systems.overview import load_systems, render_systems, system_members

    config = load_config()
    now = present()
    views, unclaimed = load_systems(open_bundles(config))
    remember_systems(config, [view.presence for view in views])
    if as_json:
        print_json([system_members(view, now=now) for view in views])
    else:
        click.echo(coloured(render_systems(views, unclaimed, now=now, width=terminal_width())))


@click.command()
@id_options
@click.argument("patterns", metavar="[PATTERN]...", nargs=-1)
@click.option(
    "--to",
    "folder",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="The folder, instead of ID; of several jobs (-), a folder for their folders.",
)
@click.option("--zip", "packed", is_flag=True, help="Leave output.zip packed.")
@common_options
def stageout(
    *,
    job_id: Optional[str],
    id_option: Optional[str],
    patterns: tuple[str, ...],
    folder: Optional[Path],
    packed: bool,
) -> None:
    """Fetch a job's outputs and logs into a folder named as the job; only some of them: 'results/*.csv'.

    Of the jobs whose ids come on stdin, if ID is -.
    """
    from cloudq.client.jobs.selection import Patterns
    from cloudq.client.results.stageout import stage_out

    if id_option and job_id:
        patterns, job_id = (job_id, *patterns), None
    if packed and patterns:
        raise click.UsageError("Argument --zip: not allowed with argument PATTERN")
    config = load_config()
    bundles = open_bundles(config)
    text = one_id(job_id, id_option)

    def act(found_id: str) -> str:
        place = Path(found_id) if folder is None else folder / found_id if text == "-" else folder
        stage_out(bundles, found_id, place, packed=packed, patterns=Patterns(patterns))
        return f"Saved as {place}."

    if text == "-":
        for_each(lambda one: find_id(bundles, config, one), all_ids((text,), ()), act)
    else:
        click.echo(act(find_id(bundles, config, text)))
