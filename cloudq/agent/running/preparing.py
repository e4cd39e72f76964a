"""What is submitted for a job: its work folder filled, its script translated and checked."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional

from cloudq.agent.folders import remove_tree
from cloudq.agent.rights.admission import Delivery, admit
from cloudq.agent.rights.contents import Contents
from cloudq.agent.rights.policing import check_images, check_script
from cloudq.agent.running.definitions import this_system
from cloudq.agent.running.images import ImageFinder
from cloudq.agent.running.inputs import stage_in
from cloudq.agent.schedulers.base import Submission
from cloudq.agent.workplace import Workplace
from cloudq.bundle import INPUT, check_script_name, native_script_name
from cloudq.errors import ArchiveError, InputError
from cloudq.job import ArrayRange, Job, JobKind
from cloudq.metascript import MetaScript, Placement, parse_meta_script, translate
from cloudq.system import System


@dataclass(frozen=True)
class Prepared:
    """A job that is ready to be submitted.

    Attributes:
        submission: What to submit.
        translation: What is submitted for a meta script, None for a local one.
        principals: Who signed it; nobody where nobody must.
    """

    submission: Submission
    translation: Optional[bytes]
    principals: tuple[str, ...]


def prepare(place: Workplace, job: Job, contents: Contents) -> Prepared:
    """Fill the work folder and make the script to submit.

    Raises:
        RefusedError: The job must not run here.
        InputError, ArchiveError, NotFoundError, ConfigError: The bundle cannot be run here.
    """
    check_script_name(job.name)
    delivery = admit(place, job, contents)
    work_dir = place.folders.work_dir(job.id)
    _make_folders(place, job)
    script = delivery.read(job.name)
    stage_in(place, delivery, script)
    _write_script(work_dir / job.name, script)
    submitted, translation, project = work_dir / job.name, None, ""
    if job.kind is JobKind.META:
        submitted = work_dir / native_script_name(job.name)
        translation, project = _translated(place, delivery, script)
        _write_script(submitted, translation)
    submission = Submission(
        script=submitted,
        work_dir=work_dir,
        stdout=place.folders.log(job.id, "stdout"),
        stderr=place.folders.log(job.id, "stderr"),
        tag=job.tag,
        name=job.name,
        text="" if job.kind is JobKind.META else script.decode("utf-8", "replace"),
        options=_split_options(job),
        array_range=remaining(job),
        project=project,
    )
    return Prepared(submission, translation, delivery.principals)


def _make_folders(place: Workplace, job: Job) -> None:
    """Make the job's folders, the work folder an empty one; mostly nothing of them but the spool is there."""
    folders = place.folders
    folders.spool(job.id).mkdir(mode=0o700, exist_ok=True)
    try:
        folders.work_dir(job.id).mkdir(mode=0o700)
    except FileExistsError:
        remove_tree(folders.work_dir(job.id))
        folders.work_dir(job.id).mkdir(mode=0o700)
    if job.kind is JobKind.META:
        folders.copies(job.id).mkdir(mode=0o700, exist_ok=True)  # only translated scripts ask for copies


def _translated(place: Workplace, delivery: Delivery, script: bytes) -> tuple[bytes, str]:
    """Return the script to submit, and what its project is called here."""
    job = delivery.job
    meta = parse_meta_script(script.decode("utf-8"), job.name)
    system = this_system(place, delivery, meta.directives)
    check_script(place, job, meta, system)
    placement = _with_images(
        place,
        meta,
        system,
        Placement(
            work_dir=str(place.folders.work_dir(job.id)),
            status_file=str(place.folders.status_file(job.id)),
            array_range=job.array_range,
        ),
    )
    text = translate(meta, system, placement, template_dirs=[place.config.template_folder])
    return text.encode("utf-8"), system.projects.get(meta.directives.project, "")


def _with_images(place: Workplace, meta: MetaScript, system: System, placement: Placement) -> Placement:
    """Add what the job is to take for the images that its script names.

    Raises:
        InputError, StoreError: An image is not there.
        RefusedError: The policy does not allow it.
    """
    urls = [image.url for image in meta.directives.images]
    minute = int(place.now().timestamp() // 60)
    placement = replace(placement, images=ImageFinder(place.config).find(urls, system, placement, minute))
    check_images(place.config.policy, meta, placement.images)
    return placement


def remaining(job: Job) -> Optional[ArrayRange]:
    """Return the tasks that are to run: all but those that have ended already."""
    if job.array_range is None:
        return None
    ended = {task_id for task_id, task in job.tasks.items() if task.state.final}
    return job.array_range.only(set(job.array_range.task_ids()) - ended)


def _split_options(job: Job) -> tuple[str, ...]:
    if job.kind is not JobKind.LOCAL:
        return ()
    try:
        return tuple(shlex.split(job.submit_options))
    except ValueError as error:
        raise InputError(f"submit_opt: {error}: {job.submit_options!r}") from error


def _write_script(path: Path, content: bytes) -> None:
    """Write a script that its owner may run; an input of the same name is never followed or kept."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        descriptor = os.open(path, flags, 0o700)
    except FileExistsError:
        if path.is_dir() and not path.is_symlink():
            raise ArchiveError(
                f"{INPUT}: has a folder {path.name!r}, which is the name of the script"
            ) from None
        path.unlink()
        descriptor = os.open(path, flags, 0o700)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
