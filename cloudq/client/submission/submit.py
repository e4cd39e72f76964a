"""Submission: everything is checked first, then the job is packed and delivered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from cloudq.bundle import PROJECT, RESOURCE, Bundles
from cloudq.client.display.progress import waiting
from cloudq.client.submission.delivery import Parcel, deliver
from cloudq.client.submission.inputs import Input
from cloudq.client.submission.request import Submission, check, expires_of
from cloudq.client.submission.scripts import demand_of
from cloudq.client.systems.outlook import Outlook, look_out
from cloudq.config import ClientConfig
from cloudq.job import Job


def submit(bundles: Bundles, config: ClientConfig, submission: Submission, *, now: datetime) -> Job:
    """Check and store a job, and tell the agents.

    Raises:
        InputError: Something about the script, the options or the inputs is refused.
        NoSuchJobError: A job to wait for does not exist.
        StoreError: The bucket is not there, or not everything could be stored; what was is removed again
            as far as possible.
    """
    job, script = check(bundles, config, submission)
    demand = demand_of(config, job, script)
    outlook = look_out(bundles, config, demand, now=now, sparing=bool(submission.inputs))
    objects = {job.name: script, **_definitions(config, outlook)}
    job = replace(job, expires=expires_of(config, submission.expires_after, now))
    parcel = Parcel(job, outlook, objects)
    if submission.inputs:
        parcel = _packed(bundles, config, parcel, submission.inputs)
    return deliver(bundles, config, parcel, now=now)


def _packed(bundles: Bundles, config: ClientConfig, parcel: Parcel, inputs: Sequence[Input]) -> Parcel:
    # Those who submit without inputs need nothing of this.
    from cloudq.client.submission.archives import algorithm_for, look_through, pack
    from cloudq.client.submission.sharing import find_algorithm, pack_apart

    with waiting("reading inputs"):
        contents = [look_through(item) for item in inputs]
        algorithm = find_algorithm(bundles, config, parcel.outlook.demand, contents)
        if algorithm:
            return replace(parcel, shared=pack_apart(contents, algorithm))
        return replace(parcel, archive=pack(contents, algorithm_for(config)))


def _definitions(config: ClientConfig, outlook: Outlook) -> dict[str, bytes]:
    """Return the files that must travel with a job: those whose names its script uses.

    To an agent of 1.2 all, if need be empty ones: it makes a meta job without them an ERROR.
    """
    directives = outlook.demand.directives
    if directives is None:
        return {}
    files = (
        (PROJECT, config.project_file, directives.project in config.projects),
        (RESOURCE, config.resource_file, directives.resource in config.resources),
    )
    wanted = {name: file for name, file, used in files if used or not outlook.is_new}
    return {name: b"" if file is None else file.read_bytes() for name, file in wanted.items()}
