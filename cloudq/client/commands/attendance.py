"""Staying with a job until it has ended, at a terminal or not."""

from __future__ import annotations

import logging
import sys
from typing import Optional

import click

from cloudq.bundle import Bundles
from cloudq.client.commands.printing import PiecePrinter
from cloudq.client.display.tables import dimmed
from cloudq.client.display.values import visible
from cloudq.client.jobs.cancel import cancel
from cloudq.client.jobs.waits import Pace
from cloudq.client.results.tailing import Follower, Piece, follow
from cloudq.client.signatures import sign_cancel
from cloudq.config import ClientConfig
from cloudq.errors import JobStateError
from cloudq.job import Job, JobState

logger = logging.getLogger(__name__)


class Attendance:
    """Follows one job; after an interruption it goes on where it was.

    Args:
        raw: Leave control characters in what the job prints.
        pace: When to look.
    """

    def __init__(self, bundles: Bundles, job_id: str, *, raw: bool, pace: Optional[Pace] = None) -> None:
        job = bundles.load(job_id).job
        self._bundles = bundles
        self._job_id = job_id
        self._follower = Follower(bundles, job, ("stdout", "stderr"))
        self._printer = PiecePrinter(by_task=job.array_range is not None, raw=raw, apart=True)
        self._pace = pace or Pace()
        self._said = ""

    def follow(self) -> Job:
        """Show what the job prints and, on a terminal, how it is; return it when it has ended."""
        job = follow(
            self._bundles, self._job_id, self._follower, self._pace, show=self._show, note=self._note
        )
        self._printer.end()
        return job

    def _show(self, piece: Piece) -> None:
        self._printer.show(piece)

    def _note(self, job: Job) -> None:
        text = describe(job)
        if text != self._said and sys.stderr.isatty():
            click.echo(dimmed(text), err=True)
        self._said = text


def describe(job: Job) -> str:
    """Say in a line how an open job is."""
    if job.state is JobState.INIT and not job.run_system:
        return "INIT: waits for a system to take it"
    place = f" on {visible(job.run_system)}" if job.run_system else ""
    number = f" as {visible(job.native_id)}" if job.native_id else ""
    reason = f": {visible(job.reason)}" if job.reason else ""
    return f"{job.state}{place}{number}{reason}"


def cancelled_or_left(bundles: Bundles, config: ClientConfig, job_id: str) -> bool:
    """Ask what is to become of a job; False to go on following it. Without a terminal it is left alone."""
    answer = "d"
    if sys.stdin.isatty():
        answer = _asked()
    if answer == "g":
        return False
    if answer == "c":
        try:
            cancel(bundles, job_id, sign_cancel(config, job_id))
            click.echo(f"Job ({job_id}) is canceled", err=True)
        except JobStateError as error:
            click.echo(str(error), err=True)
        return True
    click.echo(f"Job ({job_id}) goes on. Follow it again: cloudqcli log -f {job_id}", err=True)
    return True


def _asked() -> str:
    click.echo("", err=True)
    choice = click.Choice(["d", "c", "g"])
    try:
        answer: str = click.prompt(
            "Leave the job alone (d), cancel it (c), or go on (g)?", type=choice, default="d", err=True
        )
    except click.Abort:
        click.echo("", err=True)
        return "d"
    return answer
