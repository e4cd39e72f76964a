"""Tables of jobs for a terminal: they fit its width, times are local, progress is shown; live if wanted."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Optional

import click

from cloudq.bundle import Bundles
from cloudq.client.display.durations import render_duration
from cloudq.client.display.tables import on_terminal, render_table
from cloudq.client.display.values import visible
from cloudq.client.jobs.listing import load_jobs
from cloudq.client.jobs.waits import Pace
from cloudq.job import Job, JobState

WATCH_INTERVAL = timedelta(seconds=3)

_HOME = "\x1b[H"
_CLEAR_LINE, _CLEAR_BELOW = "\x1b[K", "\x1b[J"
_OTHER_SCREEN, _FIRST_SCREEN = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"


def render_jobs(jobs: Sequence[Job], *, final: bool, now: datetime, width: int) -> str:
    """Write the table of `list` or `history`."""
    last = ("ended", "took") if final else ("for", "why")
    rows = [(*_begin(job, now), *(_end(job, now) if final else _wait(job, now))) for job in jobs]
    return render_table(("job-ID", "name", "state", "system", "submitted", *last), rows, width=width)


def _begin(job: Job, now: datetime) -> tuple[str, ...]:
    system = job.run_system or job.submit_to or job.run_on or "-"
    return job.id, job.name, _state(job), system, _moment(job.submitted, now)


def _end(job: Job, now: datetime) -> tuple[str, ...]:
    took = job.finished - job.started if job.finished and job.started else None
    return _moment(job.finished, now), "-" if took is None else render_duration(took)


def _wait(job: Job, now: datetime) -> tuple[str, ...]:
    since = job.started or job.submitted
    return "-" if since is None else render_duration(now - since), _why(job)


def _state(job: Job) -> str:
    """Write a state with what is known of the progress: of the job's own words, or of its tasks."""
    if job.array_range is None or not job.tasks or job.state is not JobState.RUN:
        return f"{job.state} {job.progress}%" if job.progress and not job.state.final else job.state.value
    counts = Counter(task.state.final for task in job.tasks.values())
    return f"{job.state} {counts[True]}/{len(job.tasks)}"


def _why(job: Job) -> str:
    if job.state is JobState.INIT and not job.run_system:
        return "waits for a system" if not job.hold_ids else "waits for other jobs"
    return visible(job.reason)


def _moment(moment: Optional[datetime], now: datetime) -> str:
    if moment is None:
        return "-"
    local = moment.astimezone()
    today = local.date() == now.astimezone().date()
    return f"{local:%H:%M:%S}" if today else f"{local:%Y-%m-%d %H:%M}"


def watch(bundles: Bundles, table: Callable[[Sequence[Job]], str], pace: Optional[Pace] = None) -> None:
    """Show a table of all jobs again and again, until somebody interrupts it.

    Manifests that are known to be final are not read again.
    """
    pace = pace or Pace(interval=WATCH_INTERVAL)
    known: dict[str, Job] = {}
    live = on_terminal()
    _write(_OTHER_SCREEN if live else "")
    try:
        while True:
            listing = pace.ask(lambda: load_jobs(bundles, now=datetime.now().astimezone(), known=known))
            if listing is not None:
                known.update({job.id: job for job in listing.jobs if job.state.final})
                text = table(listing.jobs)
                _write(_on_screen(text) if live else f"{text}\n\n")
            pace.pause()
    except KeyboardInterrupt:
        return
    finally:
        _write(_FIRST_SCREEN if live else "")


def _on_screen(text: str) -> str:
    """Write over what is there, line by line, so that nothing flickers."""
    import shutil

    lines = text.split("\n")[: shutil.get_terminal_size().lines - 1]
    return _HOME + "".join(f"{line}{_CLEAR_LINE}\n" for line in lines) + _CLEAR_BELOW


def _write(text: str) -> None:
    if text:
        click.echo(text, nl=False, color=True)
        sys.stdout.flush()
