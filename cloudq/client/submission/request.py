"""What a user asks for: checked, before anything is stored."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Optional

from cloudq.bundle import Bundles, check_script_name, native_script_name
from cloudq.client.recollection import find_id
from cloudq.client.submission.inputs import Input, check_inputs
from cloudq.client.submission.scripts import known_definitions, parse_script, read_script, rewrite
from cloudq.config import ClientConfig
from cloudq.errors import InputError
from cloudq.job import ArrayRange, Condition, Job, JobKind, is_job_id, new_job_id
from cloudq.system import ANY


@dataclass(frozen=True)
class Submission:
    """What a user asks for.

    Attributes:
        script: The script's file.
        submit_to: System of a local job; empty for a meta job.
        submit_options: Scheduler options of a local job.
        hold_ids: Jobs that must have ended before, each by its id or the beginning of it.
        conditions: The same for jobs that must have ended in a certain way.
        array_range: The tasks, if it is to be an array job.
        inputs: Files and folders for its working directory.
        directives: What the head of a meta script shall say, whatever it says.
        arguments: The script's positional parameters.
        variables: Variables exported at the script's beginning.
        expires_after: Until when it may be started; None for what the configuration says of signed jobs.
    """

    script: Path
    submit_to: str = ""
    submit_options: str = ""
    hold_ids: tuple[str, ...] = ()
    conditions: Mapping[Condition, tuple[str, ...]] = field(default_factory=dict)
    array_range: Optional[ArrayRange] = None
    inputs: tuple[Input, ...] = ()
    directives: Mapping[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    expires_after: Optional[timedelta] = None


def parse_expires(text: str) -> timedelta:
    """Parse how long a job may wait to be started. Raises InputError."""
    from cloudq.metascript.values import parse_walltime  # few submissions need it

    try:
        return parse_walltime(text)
    except ValueError as error:
        raise InputError(f"--expires: {error}") from error


def expires_of(config: ClientConfig, after: Optional[timedelta], now: datetime) -> Optional[datetime]:
    """Return when a job expires: as asked, or as signed jobs do; None for never."""
    if after is None:
        after = None if config.signing_key is None else config.expires_after
    return None if after is None else now + after


def check(bundles: Bundles, config: ClientConfig, submission: Submission) -> tuple[Job, bytes]:
    """Check what a user asks for, and return the job that would be submitted and its script.

    Raises:
        InputError, NoSuchJobError, StoreError: As for `submit`.
    """
    if submission.directives and submission.submit_to:
        raise InputError("-D: expected a meta script; with --submit-to there is --submit-opt")
    script = rewrite(
        submission.script,
        read_script(submission.script),
        directives=submission.directives,
        arguments=submission.arguments,
        variables=submission.variables,
    )
    name = submission.script.name
    check_script_name(name)
    check_inputs(submission.inputs, (name, native_script_name(name)))
    job = Job(
        id=new_job_id(),
        name=name,
        kind=JobKind.LOCAL if submission.submit_to else JobKind.META,
        submit_to=submission.submit_to,
        submit_options=submission.submit_options,
        array_range=submission.array_range,
    )
    if job.kind is JobKind.LOCAL:
        _check_local(job)
    elif submission.submit_options:
        raise InputError("--submit-opt: expected --submit-to, too; a meta script has #$ other_opts")
    else:
        job = replace(job, run_on=_check_meta(bundles, config, submission.script, script))
    return _with_dependencies(bundles, config, job, submission), script


def _check_local(job: Job) -> None:
    if not is_job_id(job.submit_to) or job.submit_to.upper() == ANY:
        raise InputError(f"--submit-to: expected the name of a system, got {job.submit_to!r}")
    try:
        shlex.split(job.submit_options)
    except ValueError as error:
        raise InputError(f"--submit-opt {job.submit_options!r}: {error}") from error


def _check_meta(bundles: Bundles, config: ClientConfig, path: Path, script: bytes) -> str:
    """Check a meta script and return the system it is for."""
    from cloudq.metascript import check_names

    meta_script = parse_script(path, script)
    check_names(meta_script, *known_definitions(bundles, config, meta_script.directives))
    run_on = meta_script.directives.run_on
    if not is_job_id(run_on):
        raise InputError(f"{path}: run_on: expected the name of a system, got {run_on!r}")
    return run_on


def _with_dependencies(bundles: Bundles, config: ClientConfig, job: Job, submission: Submission) -> Job:
    hold_ids = _full_ids(bundles, config, submission.hold_ids)
    conditions: dict[str, Condition] = {}
    for condition, beginnings in submission.conditions.items():
        if beginnings and condition is Condition.CORR and job.array_range is None:
            raise InputError("--after-corr: expected --array-tid, too: it is for the tasks of an array job")
        for job_id in _full_ids(bundles, config, beginnings):
            if conditions.setdefault(job_id, condition) is not condition:
                raise InputError(f"job {job_id}: expected one condition on how it ends, not two")
    hold_ids = tuple(dict.fromkeys((*hold_ids, *conditions)))
    return replace(job, hold_ids=hold_ids, conditions=conditions)


def _full_ids(bundles: Bundles, config: ClientConfig, texts: Sequence[str]) -> tuple[str, ...]:
    ids = [bundles.load(find_id(bundles, config, text)).job.id for text in texts]
    return tuple(dict.fromkeys(ids))
