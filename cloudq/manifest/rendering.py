"""Manifests as they are written: as CloudQ 1.2 does, then what only we write, then what we do not know."""

from __future__ import annotations

import json
from dataclasses import replace

from cloudq.errors import ManifestError
from cloudq.job import Job
from cloudq.manifest.members import (
    CONDITIONS,
    KNOWN,
    NO_SYSTEM,
    NOT_SIGNED,
    NUMBERS,
    OPTIONAL,
    ORDER_OF_1_2,
    TEXTS,
    TIMES,
    is_time_member,
)
from cloudq.manifest.parsing import MAX_BYTES
from cloudq.manifest.tasks import render_task_errors, render_task_states
from cloudq.manifest.times import UNSET, format_time


def render_manifest(job: Job) -> bytes:
    """Write a job as CloudQ 1.2 does: its members first and all present, then ours, then unknown ones."""
    members = manifest_members(job)
    return json.dumps(members, indent=4).encode("ascii")


def manifest_members(job: Job) -> dict[str, object]:
    """Return the manifest's members and values, in order."""
    values: dict[str, object] = {member: getattr(job, attribute) for member, attribute in TEXTS.items()}
    values.update({member: getattr(job, attribute) for member, attribute in NUMBERS.items()})
    values.update({member: format_time(getattr(job, attribute)) for member, attribute in TIMES.items()})
    values["jobscript_type"] = job.kind.value
    values["new_agents_only"] = job.new_agents_only
    if job.new_agents_only and not job.run_system:
        values["run_system"] = NO_SYSTEM
    values["hold_jid"] = ",".join(job.hold_ids)
    for member, condition in CONDITIONS.items():
        values[member] = ",".join(i for i in job.hold_ids if job.conditions.get(i) is condition)
    values["array_tid"] = "" if job.array_range is None else str(job.array_range)
    values["state"] = job.state.value
    values["input_blobs"] = " ".join(map(str, job.input_blobs))
    values["expires"] = "" if job.expires is None else values["expires"]
    values["exit_code"] = "" if job.exit_code is None else str(job.exit_code)
    values["task_states"] = render_task_states(job.tasks)
    values["task_errors"] = render_task_errors(job.tasks)
    ordered = {member: values[member] for member in ORDER_OF_1_2}
    ordered.update({member: values[member] for member in OPTIONAL if values[member] not in ("", 0)})
    ordered.update(dict(job.extra))
    return ordered


def signed_members(job: Job) -> dict[str, object]:
    """Return the members that say what is to be run, and that nobody changes: what a signature is for."""
    return {
        member: value
        for member, value in manifest_members(job).items()
        if member not in NOT_SIGNED and member in KNOWN and value not in ("", UNSET)
    }


def program_members(job: Job) -> dict[str, object]:
    """Return the members for programs: as in the manifest, but with values of their own types.

    The exit code is a number or None, a time that is not yet set is None,
    each task of an array job is an object.
    """
    members = {
        member: None if is_time_member(member) and value in (UNSET, "") else value
        for member, value in manifest_members(job).items()
    }
    members.pop("task_errors", None)
    members["exit_code"] = job.exit_code
    if job.tasks:
        members["task_states"] = {
            str(task_id): {"state": task.state.value, "exit_code": task.exit_code, "error": task.error}
            for task_id, task in job.tasks.items()
        }
    return members


def next_revision(job: Job) -> Job:
    """Return the job as it is to be written next: no two writes of one manifest have the same bytes."""
    return replace(job, revision=job.revision + 1)


def check_room(job: Job) -> None:
    """Refuse a manifest that could not be read any more if it was written again, and something added.

    Its JSON may have been shorter than ours, which is indented and in ASCII.

    Raises:
        ManifestError: It is as large.
    """
    size = len(render_manifest(job))
    if size > MAX_BYTES // 2:
        raise ManifestError(f"job {job.id}: manifest.json: {size} bytes as we write it, too many to run it")
