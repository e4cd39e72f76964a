"""Submission: everything is checked first, then the objects are stored, the manifest last of all."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Optional

from cloudq.bundle import (
    INPUT,
    JOB_SIGNATURE,
    MANIFEST,
    PROJECT,
    RESOURCE,
    Bundles,
    check_script_name,
    native_script_name,
)
from cloudq.client.display.progress import transfer, waiting
from cloudq.client.recollection import find_id
from cloudq.client.signatures import sign_job
from cloudq.client.submission.inputs import Input, check_inputs, pack_inputs
from cloudq.client.submission.scripts import demand_of, known_definitions, parse_script, read_script, rewrite
from cloudq.client.systems.outlook import Outlook, look_out
from cloudq.config import ClientConfig
from cloudq.errors import ConflictError, InputError, ManifestError, NoSuchJobError, StoreError
from cloudq.job import ArrayRange, Condition, Job, JobKind, JobState, is_job_id, new_job_id
from cloudq.metascript import check_names
from cloudq.metascript.values import parse_walltime
from cloudq.system import ANY

if TYPE_CHECKING:
    from cloudq.client.submission.sharing import Shared

_ID_ATTEMPTS = 3

logger = logging.getLogger(__name__)


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


@dataclass(frozen=True)
class Parcel:
    """A checked job, who may take it, and what is stored with it: its inputs in the bundle or beside it."""

    job: Job
    outlook: Outlook
    objects: dict[str, bytes] = field(default_factory=dict)
    archive: Optional[Path] = None
    shared: tuple[Shared, ...] = ()


def parse_expires(text: str) -> timedelta:
    """Parse how long a job may wait to be started. Raises InputError."""
    try:
        return parse_walltime(text)
    except ValueError as error:
        raise InputError(f"--expires: {error}") from error


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
    with _scratch_folder(bool(submission.inputs)) as folder:
        job = replace(job, expires=expires_of(config, submission.expires_after, now))
        parcel = Parcel(job, outlook, objects)
        if submission.inputs:
            parcel = _packed(bundles, config, parcel, submission.inputs, Path(folder))
        return deliver(bundles, config, parcel, now=now)


def _packed(
    bundles: Bundles, config: ClientConfig, parcel: Parcel, inputs: Sequence[Input], folder: Path
) -> Parcel:
    from cloudq.client.submission.sharing import may_share, pack_apart

    shared = may_share(bundles, config, parcel.outlook.demand, inputs)
    with waiting("packing inputs"):
        if shared:
            return replace(parcel, shared=pack_apart(inputs, folder))
        pack_inputs(inputs, folder / INPUT)
        return replace(parcel, archive=folder / INPUT)


def _scratch_folder(wanted: bool) -> AbstractContextManager[str]:
    """Make a folder for the time of a block, if one is wanted: the module for it takes long to import."""
    if not wanted:
        return nullcontext("")
    from tempfile import TemporaryDirectory

    return TemporaryDirectory(prefix="cloudq-")


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


def deliver(bundles: Bundles, config: ClientConfig, parcel: Parcel, *, now: datetime) -> Job:
    """Store a checked job, signed if there is a key, and tell the agents; return it as it was stored.

    Raises:
        InputError: There are inputs, and the agent does not know such.
        StoreError: Not everything could be stored; what was is removed again as far as possible.
    """
    archive, script = parcel.archive, parcel.objects[parcel.job.name]
    if archive or parcel.shared:
        _check_knows_inputs(bundles, parcel.outlook)
    archives = [archive.stat().st_size] if archive else [shared.size for shared in parcel.shared]
    input_size = len(script) + sum(archives)
    # An agent of 1.2 makes a meta job an ERROR, also another system's, that lacks what only it wants.
    new_only = parcel.job.kind is JobKind.META and parcel.outlook.is_new
    new_only = new_only or bool(archives)  # It would run any job without its inputs.
    job = replace(parcel.job, submitted=now, input_size=input_size, new_agents_only=new_only)
    job = _store(bundles, config, replace(parcel, job=job))
    _notify(bundles, job, parcel.outlook, now)
    return job


def _check_knows_inputs(bundles: Bundles, outlook: Outlook) -> None:
    """Refuse to send inputs to an agent of 1.2; the outlook may be of a time before it was replaced."""
    system = outlook.demand.system
    if outlook.is_old and bundles.presence(system) is None:
        raise InputError(
            f"--input: the agent of {system} is of CloudQ 1.2, which would run the job without its inputs",
            hint="install a newer agent there, or have the script fetch the files",
        )


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


def _store(bundles: Bundles, config: ClientConfig, parcel: Parcel) -> Job:
    """Store a job under an id that is free, and return it as it was stored."""
    for _ in range(_ID_ATTEMPTS - 1):
        try:
            return _store_as(bundles, config, parcel)
        except ConflictError:
            # Somebody else's job has this id: one chance in 2**48 for each job in the bucket.
            parcel = replace(parcel, job=replace(parcel.job, id=new_job_id()))
    return _store_as(bundles, config, parcel)


def _store_as(bundles: Bundles, config: ClientConfig, parcel: Parcel) -> Job:
    job, objects = parcel.job, dict(parcel.objects)
    if not parcel.shared:
        objects.update(_signature(config, parcel, job))
    with _taken_back_on_failure(bundles, job.id) as stored:
        for name, data in objects.items():
            bundles.add(job.id, name, data)
            stored.append(name)
        if parcel.shared:
            # After the script, by which whoever removes blobs sees that there is such a job.
            from cloudq.client.submission.sharing import place

            job = replace(job, input_blobs=place(bundles, job.id, parcel.shared))
            for name, data in _signature(config, parcel, job).items():
                bundles.add(job.id, name, data)
                stored.append(name)
        if parcel.archive is not None:
            with transfer("sending inputs", parcel.archive.stat().st_size):
                bundles.upload(job.id, INPUT, parcel.archive)
            stored.append(INPUT)
        # Named before it is tried: a write that gave no answer may have taken effect.
        stored.append(MANIFEST)
        return bundles.create(job).job


def _signature(config: ClientConfig, parcel: Parcel, job: Job) -> dict[str, bytes]:
    signature = sign_job(config, job, parcel.objects, parcel.archive)
    return {} if signature is None else {JOB_SIGNATURE: signature}


@contextmanager
def _taken_back_on_failure(bundles: Bundles, job_id: str) -> Iterator[list[str]]:
    """Yield a list for the names of what was stored, and remove that if the block fails."""
    stored: list[str] = []
    try:
        yield stored
    except ConflictError:
        raise  # Another job has this id, so nothing here is surely ours.
    except BaseException:
        if stored:
            _take_back(bundles, job_id, stored)
        raise


def _take_back(bundles: Bundles, job_id: str, names: Sequence[str]) -> None:
    try:
        if MANIFEST in names and not _withdraw(bundles, job_id):
            logger.warning(
                "job %s: submitted all the same: an agent has it; `cloudqcli cancel %s` stops it",
                job_id,
                job_id,
            )
            return
        bundles.discard(job_id, [*names, INPUT])
    except StoreError:
        said = "it is not known whether it was submitted" if MANIFEST in names else "not submitted"
        command = f"cloudqcli delete --force {job_id}"
        logger.warning("job %s: %s; `%s` removes what is left of it", job_id, said, command)
    else:
        logger.warning("job %s: not submitted; what was stored of it has been removed", job_id)


def _withdraw(bundles: Bundles, job_id: str) -> bool:
    """Remove a manifest whose write was not confirmed; False if an agent has claimed the job meanwhile.

    It is made final first, on condition that nobody has changed it: then nobody can claim it any more.
    """
    try:
        record = bundles.load(job_id)
        if record.job.run_system:
            return False
        if not record.job.state.final:
            bundles.save(record, replace(record.job, state=JobState.DELETED))
    except (NoSuchJobError, ConflictError) as error:
        return isinstance(error, NoSuchJobError)
    bundles.discard(job_id, [MANIFEST])
    return True


def _notify(bundles: Bundles, job: Job, outlook: Outlook, now: datetime) -> None:
    try:
        bundles.notify(job)
        for warning in outlook.warnings(bundles, now=now):
            logger.warning("job %s: %s", job.id, warning)
    except (StoreError, ManifestError) as error:
        # Agents find it all the same when they next look through the whole bucket.
        logger.warning("job %s: submitted, but its system could not be told: %s", job.id, error)
