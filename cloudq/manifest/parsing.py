"""Manifests as they are read, also those that others wrote."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Optional

from cloudq.errors import InputError, ManifestError
from cloudq.job import ArrayRange, InputBlob, Job, JobKind, JobState, Task
from cloudq.manifest.members import CONDITIONS, KNOWN, NO_SYSTEM, NUMBERS, TEXTS, TIMES
from cloudq.manifest.tasks import parse_tasks
from cloudq.manifest.times import UNSET, parse_time

MAX_BYTES = 4 * 1024 * 1024
_DEEPEST = 32
MAX_HOLD_IDS = 10_000
"""Each is read again and again while a job waits."""
MAX_INPUT_BLOBS = 100

Fail = Callable[[str, str], ManifestError]
# What names a job to a scheduler stands on command lines: never an option, never several.
_NATIVE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\[\]-]{0,127}\Z")


def parse_manifest(data: bytes, job_id: str) -> Job:
    """Read a manifest, also one that a 1.2 client or agent wrote.

    Members that are missing are taken as empty; members that are not known are kept in `Job.extra`.

    Args:
        data: The bytes of the object.
        job_id: The id under which they were found; it counts, whatever the member `uuid` says.

    Raises:
        ManifestError: Not a JSON object, or a member with a wrong type or value.
    """
    members = parse_members(data, job_id)

    def fail(member: str, expected: str) -> ManifestError:
        return ManifestError(f"job {job_id}: manifest.json: {member}: expected {expected}")

    values: dict[str, Any] = {}
    for member, attribute in TEXTS.items():
        value = members.get(member, "")
        if not isinstance(value, str):
            raise fail(member, f"a string, got {value!r:.60}")
        values[attribute] = value
    for member, attribute in NUMBERS.items():
        value = members.get(member, 0)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise fail(member, f"a whole number, got {value!r:.60}")
        values[attribute] = value
    for member, attribute in TIMES.items():
        values[attribute] = _parse_time(members.get(member, UNSET), member, fail)
    if values["native_id"] and not _NATIVE_ID.match(values["native_id"]):
        raise fail("jobid", f"the id of a scheduler's job, got {values['native_id']!r:.60}")
    values["id"] = job_id
    values["kind"] = JobKind.LOCAL if members.get("jobscript_type") == "local" else JobKind.META
    values["state"] = _parse_state(members.get("state", ""), fail)
    hold_ids = _parse_ids(members, "hold_jid", fail)
    values["conditions"] = {
        job_id: condition
        for member, condition in CONDITIONS.items()
        for job_id in _parse_ids(members, member, fail)
    }
    values["hold_ids"] = tuple(dict.fromkeys((*hold_ids, *values["conditions"])))
    values["array_range"] = _parse_array(members.get("array_tid", ""), fail)
    values["input_blobs"] = _parse_input_blobs(members.get("input_blobs", ""), fail)
    values["exit_code"] = _parse_exit_code(members.get("exit_code", ""), fail)
    values["tasks"] = _parse_tasks(members, fail)
    values["extra"] = tuple((k, v) for k, v in members.items() if k not in KNOWN)
    for member, value in values["extra"]:
        if _is_deep(value):
            raise fail(member, f"values nested {_DEEPEST} times at most")
    if not values["name"]:
        raise fail("name", "the name of the script")
    if values["run_system"] == NO_SYSTEM:
        values["run_system"] = ""
    values["new_agents_only"] = members.get("new_agents_only", False)
    if not isinstance(values["new_agents_only"], bool):
        raise fail("new_agents_only", f"true or false, got {values['new_agents_only']!r:.60}")
    return Job(**values)


def parse_members(data: bytes, job_id: str) -> Mapping[str, Any]:
    """Read a manifest's members as they are, whatever their values.

    Raises:
        ManifestError: Not a JSON object.
    """
    if len(data) > MAX_BYTES:
        raise ManifestError(f"job {job_id}: manifest.json: {len(data)} bytes, at most {MAX_BYTES} are read")
    try:
        members = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"job {job_id}: manifest.json: not JSON in UTF-8: {error}") from error
    if not isinstance(members, dict):
        raise ManifestError(f"job {job_id}: manifest.json: expected a JSON object")
    return members


def _parse_time(value: object, member: str, fail: Fail) -> Optional[datetime]:
    try:
        return parse_time(value)
    except ValueError as error:
        raise fail(member, f"a time such as 2026-01-31T08:00:00+00:00, got {value!r:.60}") from error


def _parse_state(value: object, fail: Fail) -> JobState:
    try:
        return JobState(value)
    except ValueError:
        raise fail("state", f"one of {', '.join(JobState)}, got {value!r:.60}") from None


def _is_deep(value: object) -> bool:
    """Tell whether a value has more levels than it may; what is written recurses, and is indented."""
    level = [value]
    for _ in range(_DEEPEST):
        level = [part for item in level for part in _parts(item)]
        if not level:
            return False
    return True


def _parts(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _parse_input_blobs(value: object, fail: Fail) -> tuple[InputBlob, ...]:
    if value == "":
        return ()
    if not isinstance(value, str):
        raise fail("input_blobs", f"a string, got {value!r:.60}")
    words = value.split()
    if len(words) > MAX_INPUT_BLOBS:
        raise fail("input_blobs", f"at most {MAX_INPUT_BLOBS}, got {len(words)}")
    try:
        return tuple(map(InputBlob.parse, words))
    except InputError as error:
        raise ManifestError(str(fail("input_blobs", str(error).removeprefix("expected ")))) from error


def _parse_ids(members: Mapping[str, Any], member: str, fail: Fail) -> tuple[str, ...]:
    value = members.get(member, "")
    if value == "":
        return ()
    if not isinstance(value, str):
        raise fail(member, "job ids separated by commas")
    if value.count(",") >= MAX_HOLD_IDS:
        raise fail(member, f"at most {MAX_HOLD_IDS} job ids, got {value.count(',') + 1}")
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _parse_array(value: object, fail: Fail) -> Optional[ArrayRange]:
    if value == "":
        return None
    try:
        return ArrayRange.parse(value if isinstance(value, str) else repr(value))
    except InputError as error:
        raise fail("array_tid", str(error)) from error


def _parse_exit_code(value: object, fail: Fail) -> Optional[int]:
    if value == "":
        return None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        return int(value)
    raise fail("exit_code", f"digits, got {value!r:.60}")


def _parse_tasks(members: Mapping[str, Any], fail: Fail) -> dict[int, Task]:
    try:
        return parse_tasks(members)
    except ValueError as error:
        raise fail("task_states", "tasks and states such as 1-3:DONE 4:ERROR") from error
