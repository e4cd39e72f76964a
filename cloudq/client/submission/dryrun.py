"""What a submission would be, without submitting it."""

from __future__ import annotations

from datetime import datetime

from cloudq.bundle import Bundles
from cloudq.client.submission.request import Submission, check
from cloudq.client.submission.scripts import demand_of
from cloudq.client.systems.fitness import objections
from cloudq.config import ClientConfig


def render_dry_run(bundles: Bundles, config: ClientConfig, submission: Submission, *, now: datetime) -> str:
    """Check a submission, and say what would be submitted and which systems could take it.

    Raises:
        InputError, NoSuchJobError, StoreError: It would be refused.
    """
    job, script = check(bundles, config, submission)
    tasks = "" if job.array_range is None else f", {len(job.array_range.task_ids())} tasks"
    lines = [f"Would submit {job.name} ({len(script)} bytes{tasks}) for {bundles.markers.addressee(job)}"]
    lines += [f"  input {item.path} as {item.name}" for item in submission.inputs]
    lines += [f"  waits for {job_id}" for job_id in job.hold_ids]
    demand = demand_of(config, job, script)
    for presence in filter(demand.names, bundles.agents.presences()):
        against = " and ".join(objections(demand, presence, now=now))
        lines.append(f"  {presence.system}: {against or 'could take it'}")
    return "\n".join(lines)
