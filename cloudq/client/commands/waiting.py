"""The command that waits: wait."""

from __future__ import annotations

from datetime import timedelta
from typing import Optional

import click

from cloudq.client.commands.answering import print_json
from cloudq.client.commands.invocation import (
    all_ids,
    common_options,
    find_id,
    ids_options,
    json_option,
    load_config,
    open_bundles,
)
from cloudq.client.display.durations import Duration
from cloudq.job import JobState


@click.command()
@ids_options
@click.option("--any", "until_any", is_flag=True, help="Return when the first of them has ended.")
@click.option(
    "--timeout", "limit", type=Duration(), metavar="TIME", help="Give up after 90s, 5m, 2h (exit status 124)."
)
@json_option
@common_options
def wait(
    *,
    job_ids: tuple[str, ...],
    id_options: tuple[str, ...],
    until_any: bool,
    limit: Optional[timedelta],
    as_json: bool,
) -> None:
    """Wait until jobs have ended; exit status 0 if all that ended are DONE."""
    from cloudq.client.display.progress import waiting
    from cloudq.client.jobs.waits import Pace, ended_jobs, render_end
    from cloudq.manifest import program_members
    from cloudq.notices import send_notices

    config = load_config()
    bundles = open_bundles(config)
    ids = [find_id(bundles, config, text) for text in all_ids(job_ids, id_options)]
    ended = []
    with waiting(_not_ended(len(set(ids)))) as shown:
        for job in ended_jobs(bundles, ids, Pace(limit)):
            ended.append(job)
            shown.say(f"{len(ended)} of {len(set(ids))} jobs have ended")
            if not as_json:
                with shown.aside():
                    click.echo(render_end(job))
            send_notices(config.notices, job)
            if until_any:
                break
    if as_json:
        print_json([program_members(job) for job in ended])
    click.get_current_context().exit(int(any(job.state is not JobState.DONE for job in ended)))


def _not_ended(count: int) -> str:
    if count == 1:
        return "the job has not ended; Ctrl-C leaves it alone"
    return f"{count} jobs have not ended; Ctrl-C leaves them alone"
