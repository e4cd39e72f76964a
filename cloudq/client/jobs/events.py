"""What happened to a job, moment by moment, as far as its record tells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Optional

from cloudq.client.display.durations import render_duration
from cloudq.client.display.tables import render_table
from cloudq.job import Job
from cloudq.manifest import format_time


@dataclass(frozen=True)
class Event:
    """One moment in the life of a job, in words."""

    time: datetime
    text: str


def events_of(job: Job) -> list[Event]:
    """Return what happened, in order."""
    native = f" as {job.native_id}" if job.native_id else ""
    size = f", {job.output_size} bytes of outputs" if job.output_size else ""
    found: tuple[tuple[Optional[datetime], str], ...] = (
        (job.submitted, f"submitted, {job.input_size} bytes of script and inputs"),
        (job.received, f"claimed by {job.run_system}"),
        (job.ready, f"accepted by its scheduler{native}"),
        (job.started, "started"),
        (job.finished, f"ended as {job.state}{f': {job.error}' if job.error else ''}"),
        (job.stage_out_started, "logs and outputs on their way"),
        (job.stage_out_finished, f"logs and outputs in the bucket{size}"),
    )
    events = [Event(time, " ".join(text.split())) for time, text in found if time is not None]
    return sorted(events, key=lambda event: event.time)


def render_events(events: Sequence[Event], *, width: int, local: bool) -> str:
    """Write them as a table: when, how long after the one before, what."""
    rows = []
    before: Optional[datetime] = None
    for event in events:
        after = "" if before is None else f"+{render_duration(event.time - before)}"
        moment = event.time.astimezone() if local else event.time
        zone = "" if local else " UTC"
        rows.append((f"{moment:%Y/%m/%d %H:%M:%S}{zone}", after, event.text))
        before = event.time
    return render_table(("time", "after", "event"), rows, width=width)


def event_members(events: Sequence[Event]) -> list[dict[str, str]]:
    """Return them for programs."""
    return [{"time": format_time(event.time), "event": event.text} for event in events]
