"""The command that reads logs: log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Optional

import click

from cloudq.bundle import Bundles
from cloudq.client.commands.answering import print_bytes, print_json
from cloudq.client.commands.invocation import (
    common_options,
    find_id,
    id_options,
    json_option,
    load_config,
    one_id,
    open_bundles,
    open_configured,
    present,
)
from cloudq.client.display.durations import Duration
from cloudq.client.results.logs import Log


@dataclass(frozen=True)
class _Wanted:
    """Which part of which logs of a job is wanted."""

    job_id: str
    streams: tuple[str, ...]
    task: str
    lines: Optional[int]
    age: Optional[timedelta]


@click.command()
@id_options
@click.option("--agent", metavar="SYSTEM", help="Show an agent's log instead.")
@click.option("--tid", metavar="TASK", help="Only this task of an array job.")
@click.option("--error", is_flag=True, help="Show stderr instead of stdout.")
@click.option("-f", "--follow", is_flag=True, help="Go on until the job has ended; shows stderr, too.")
@click.option("-n", "--tail", "lines", type=click.IntRange(min=0), metavar="N", help="Only the last N lines.")
@click.option(
    "--since", "age", type=Duration(), metavar="TIME", help="Only what came during the last 10m, 2h, 1:30:00."
)
@click.option("--raw", is_flag=True, help="Do not make control characters visible on a terminal.")
@json_option
@common_options
def log(
    *,
    job_id: Optional[str],
    id_option: Optional[str],
    agent: Optional[str],
    tid: Optional[str],
    error: bool,
    follow: bool,
    lines: Optional[int],
    age: Optional[timedelta],
    raw: bool,
    as_json: bool,
) -> None:
    """Show what a job has printed, also while it runs."""
    if as_json and (raw or follow):
        raise click.UsageError(f"Argument --{'raw' if raw else 'follow'}: not allowed with argument --json")
    if agent is not None:
        others: dict[str, object] = {
            "--error": error,
            "--tid": tid,
            "--id": job_id or id_option,
            "--follow": follow,
        }
        others.update({"--tail": lines is not None, "--since": age})
        for option in (option for option, value in others.items() if value):
            raise click.UsageError(f"Argument --agent: not allowed with argument {option}")
        _print_agent_log(agent, raw=raw, as_json=as_json)
        return
    config = load_config()
    bundles = open_bundles(config)
    streams = ("stderr",) if error else ("stdout", "stderr") if follow else ("stdout",)
    found_id = find_id(bundles, config, one_id(job_id, id_option))
    wanted = _Wanted(found_id, streams, tid or "", lines, age)
    if follow:
        _follow(bundles, wanted, raw=raw)
    else:
        _print(bundles, wanted, raw=raw, as_json=as_json)


def _print(bundles: Bundles, wanted: _Wanted, *, raw: bool, as_json: bool) -> None:
    from cloudq.client.results import logs

    found = _find(bundles, wanted)
    starts = _starts(bundles, wanted, found)
    if as_json:
        print_json(logs.log_members(bundles, wanted.job_id, found, starts))
    elif wanted.task:
        for one in found:
            print_bytes(logs.read_log(bundles, wanted.job_id, one, start=starts.get(one.name, 0)), raw=raw)
    else:
        print_bytes(logs.read_logs(bundles, wanted.job_id, found, starts), raw=raw)


def _follow(bundles: Bundles, wanted: _Wanted, *, raw: bool) -> None:
    from cloudq.client.commands.printing import PiecePrinter
    from cloudq.client.jobs.waits import Pace
    from cloudq.client.results.tailing import Follower, follow

    job = bundles.load(wanted.job_id).job
    follower = Follower(bundles, job, wanted.streams, wanted.task)
    if wanted.lines is not None or wanted.age is not None:
        for name, position in _positions(bundles, wanted).items():
            follower.skip(name, position)
    by_task = job.array_range is not None and not wanted.task
    printer = PiecePrinter(by_task=by_task, raw=raw, apart=len(wanted.streams) > 1)
    try:
        follow(bundles, wanted.job_id, follower, Pace(), show=printer.show)
    finally:
        printer.end()


def _positions(bundles: Bundles, wanted: _Wanted) -> Mapping[str, int]:
    """Return where to begin in each log that is there; what came too early is left out."""
    from cloudq.client.results.logs import find_logs

    ends = {
        log.name: log.size for stream in wanted.streams for log in find_logs(bundles, wanted.job_id, stream)
    }
    found = _find(bundles, wanted, must_exist=False)
    begins = {log.name: log.start for log in found}
    return {**ends, **begins, **_starts(bundles, wanted, found)}


def _find(bundles: Bundles, wanted: _Wanted, *, must_exist: bool = True) -> list[Log]:
    from cloudq.client.results.logs import find_logs, find_task_log

    since = None if wanted.age is None else present() - wanted.age
    if wanted.task and must_exist:
        find_task_log(bundles, wanted.job_id, wanted.streams[0], wanted.task)
    return [
        log
        for stream in wanted.streams
        for log in find_logs(bundles, wanted.job_id, stream, since=since)
        if wanted.task in ("", log.task)
    ]


def _starts(bundles: Bundles, wanted: _Wanted, found: list[Log]) -> Mapping[str, int]:
    from cloudq.client.results.tailing import tail_start

    if wanted.lines is None:
        return {log.name: log.start for log in found}
    return {log.name: tail_start(bundles, wanted.job_id, log, wanted.lines) for log in found}


def _print_agent_log(system: str, *, raw: bool, as_json: bool) -> None:
    from cloudq.client.results import logs

    if as_json:
        print_json(logs.agent_log_members(open_configured(), system))
    else:
        print_bytes([logs.read_agent_log(open_configured(), system)], raw=raw)
