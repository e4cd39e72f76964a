"""Why a job is as it is, in words: what it waits for, who can take it, how it ended and by whose fault."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Optional

from cloudq.bundle import PROJECT, RESOURCE, Bundles
from cloudq.client.diagnosis.faults import fault_of
from cloudq.client.display.durations import render_ago, render_duration
from cloudq.client.display.values import visible, visible_lines
from cloudq.client.results.logs import find_logs, read_log
from cloudq.client.results.tailing import tail_start
from cloudq.client.submission.scripts import parse_script
from cloudq.client.systems.fitness import Demand, objections
from cloudq.errors import CloudQError, ConfigError, ManifestError, NoSuchJobError, NotFoundError
from cloudq.job import Condition, Job, JobKind, JobState, Task, format_task_ids
from cloudq.metascript import Directives, peek_run_on
from cloudq.presence import Presence
from cloudq.system import ANY, Definitions, no_definitions, parse_definitions

LOG_LINES = 5
"""Lines that are shown of each log."""

_LOGS = 3
_NEW = timedelta(seconds=20)


def explain(bundles: Bundles, job: Job, *, now: datetime) -> Iterator[str]:
    """Yield lines that say why a job is as it is.

    Raises:
        StoreError: The bucket cannot be read.
    """
    since = job.finished if job.state.final else job.started or job.ready or job.received or job.submitted
    duration = "" if since is None else f" for {render_duration(now - since)}"
    yield f"Job {job.id} ({visible(job.name)}): {job.state}{duration}."
    if job.state.final:
        yield from _end(job)
    elif not job.run_system:
        yield from _unclaimed(bundles, job, now)
    else:
        yield from _held(job)
        yield from _agent(bundles.agents.presence(job.run_system), job, now)
    if job.state.final or job.started is not None:
        yield from _last_lines(bundles, job)


def _end(job: Job) -> Iterator[str]:
    if job.error:
        yield f"It ended so because: {visible(job.error.strip())}."
    fault = fault_of(job)
    if fault:
        yield f"The fault is {fault}."
    if job.state is JobState.DELETED and not job.error:
        yield "It was cancelled on request."
    if job.state is JobState.DONE:
        yield "It ended well: cloudqcli stageout fetches its outputs."


def _unclaimed(bundles: Bundles, job: Job, now: datetime) -> Iterator[str]:
    if bundles.cancel_requested(job.id):
        yield "It is to be cancelled; the next agent that looks at it does that."
    awaited = list(_awaited(bundles, job))
    yield from awaited
    demand = read_demand(bundles, job)
    named = demand.system.upper() != ANY
    yield f"It is for {visible(demand.system) if named else 'the first system that can take it'}."
    presences = bundles.agents.presences()
    concerned = [presence for presence in presences if demand.names(presence)]
    for presence in concerned:
        against = objections(demand, presence, now=now)
        yield f"- {presence.system}: {' and '.join(against) or _could(presence, awaited, job, now)}."
    if not concerned:
        old = named and bundles.agents.seen(demand.system)
        others = f" In this bucket: {', '.join(presence.system for presence in presences)}." * bool(presences)
        yield (
            "- Its agent is of CloudQ 1.2, which tells nothing."
            if old
            else f"- No agent for it was seen.{others}"
        )


def _could(presence: Presence, awaited: Iterable[str], job: Job, now: datetime) -> str:
    waiting = presence.counts.get("READY", 0) + presence.counts.get("INIT", 0)
    queue = f", with {waiting} of its jobs waiting in the queue" if waiting else ""
    if awaited:
        return "can take it when the jobs it waits for have ended"
    if job.submitted is not None and now - job.submitted < _NEW:
        return f"can take it, and looks every few seconds{queue}"
    return f"can take it{queue}; its settings any_delay and any_max_pending may make it wait"


def _awaited(bundles: Bundles, job: Job) -> Iterator[str]:
    for job_id in job.hold_ids:
        try:
            other = bundles.load(job_id).job
        except (NoSuchJobError, ManifestError):
            continue
        condition = job.conditions.get(job_id, Condition.ANY)
        if not other.state.final:
            place = f" on {visible(other.run_system)}" if other.run_system else ""
            yield f"It waits for job {job_id} ({visible(other.name)}), which is {other.state}{place}."
        elif condition is not Condition.ANY:
            yield f"Job {job_id}, on which it depends ({condition.value}), has ended as {other.state}."


def _held(job: Job) -> Iterator[str]:
    system, number = visible(job.run_system), visible(job.native_id)
    texts: Mapping[JobState, str] = {
        JobState.INIT: f"{system} has taken it and prepares it",
        JobState.READY: f"It is in the queue of {system} as {number}",
        JobState.RUN: f"It runs on {system} as {number}",
        JobState.DELETING: f"It is being cancelled on {system}",
        JobState.COMPLETING: f"It has ended; {system} puts its outputs into the bucket",
    }
    reason = f": {visible(job.reason)}" if job.reason else ""
    yield f"{texts[job.state]}{reason}."
    if job.tasks:
        yield f"Its tasks: {_task_counts(job.tasks)}."


def _task_counts(tasks: Mapping[int, Task]) -> str:
    states = dict.fromkeys(task.state for task in tasks.values())
    ids = {state: [i for i, task in tasks.items() if task.state is state] for state in states}
    return "; ".join(f"{len(found)} {state} ({format_task_ids(found)[:60]})" for state, found in ids.items())


def _agent(presence: Optional[Presence], job: Job, now: datetime) -> Iterator[str]:
    if presence is None:
        yield "Its agent tells nothing of itself (CloudQ 1.2)."
        return
    yield f"The agent of {presence.system} was heard of {render_ago(presence.heartbeat, now)}."
    if presence.trouble:
        yield f"It says: {visible(presence.trouble)}."
    if not presence.alive(now):
        how = "was stopped" if presence.stopped else "is silent"
        yield (
            f"It {how}: what is said here may be old, although the job may go on. When it runs again, it "
            f"follows the job; if it is gone for good, cloudqcli requeue {job.id} gives the job to another."
        )


def _last_lines(bundles: Bundles, job: Job) -> Iterator[str]:
    found = [log for stream in ("stderr", "stdout") for log in find_logs(bundles, job.id, stream) if log.size]
    for log in found[:_LOGS]:
        start = tail_start(bundles, job.id, log, LOG_LINES)
        text = "".join(visible_lines(read_log(bundles, job.id, log, start=start)))
        yield f"Last lines of {log.name}:"
        yield from (f"  {line}" for line in text.splitlines()[-LOG_LINES:])


def read_demand(bundles: Bundles, job: Job) -> Demand:
    """Return what a job in the bucket asks of a system, as far as its script can be understood."""
    if job.kind is JobKind.LOCAL:
        return Demand(job.submit_to, input_digests=job.input_digests)
    directives: Optional[Directives] = None
    system = job.run_on
    with contextlib.suppress(CloudQError):
        script = bundles.read(job.id, job.name)
        system = system or peek_run_on(script.decode("utf-8", "replace"))
        directives = parse_script(Path(job.name), script).directives
    return Demand(
        system or ANY,
        directives,
        _definitions(bundles, job, PROJECT),
        _definitions(bundles, job, RESOURCE),
        input_digests=job.input_digests,
    )


def _definitions(bundles: Bundles, job: Job, name: str) -> Definitions:
    try:
        return parse_definitions(bundles.read(job.id, name).decode("utf-8", "replace"), name)
    except (NotFoundError, ConfigError):
        return no_definitions()
