"""The manifest: the one place that knows the JSON members of a job's record."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any, Optional

from cloudq.errors import InputError, ManifestError
from cloudq.job import (
    MAX_TASKS,
    ArrayRange,
    Condition,
    InputBlob,
    Job,
    JobKind,
    JobState,
    Task,
    format_task_ids,
)

MAX_BYTES = 4 * 1024 * 1024
_DEEPEST = 32
MAX_HOLD_IDS = 10_000
"""Each is read again and again while a job waits."""
NO_SYSTEM = "-"
"""The `run_system` of a job that nobody has; agents of 1.2 leave it alone, as if another system had it."""
MAX_INPUT_BLOBS = 100

Fail = Callable[[str, str], ManifestError]
_UNSET = "-"
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?(Z|[+-]\d\d:?\d\d)?\Z")

# Member -> attribute of Job, in the order of CloudQ 1.2. Further members come after them.
_TEXTS = {
    "uuid": "id",
    "jobid": "native_id",
    "name": "name",
    "submit_to": "submit_to",
    "submit_opt": "submit_options",
    "workdir": "work_dir",
    "run_system": "run_system",
    "local_account": "local_account",
    "local_group": "local_group",
    "submit_command": "submit_command",
    "error_msg": "error",
    "submit_opt_local": "native_options",
    "local_name": "native_script",
    "run_on": "run_on",
    "reason": "reason",
    "submit_token": "submit_token",
    "claim_token": "claim_token",
}
_TIMES = {
    "time_submit": "submitted",
    "time_receive": "received",
    "time_ready": "ready",
    "time_start": "started",
    "time_stageout_start": "stage_out_started",
    "time_stageout_finish": "stage_out_finished",
    "time_finish": "finished",
    "expires": "expires",
}
_NUMBERS = {
    "size_input": "input_size",
    "size_output": "output_size",
    "revision": "revision",
    "attempt": "attempt",
    "progress": "progress",
}
# Conditions on some of the ids in hold_jid, which 1.2 only waits for.
_CONDITIONS = {
    "after_ok": Condition.OK,
    "after_not_ok": Condition.NOT_OK,
    "after_corr": Condition.CORR,
}

# What CloudQ 1.2 writes, in its order; these are always present.
_ORDER_OF_1_2 = (
    "uuid", "jobid", "name", "jobscript_type", "hold_jid", "array_tid", "submit_to", "submit_opt", "state",
    "workdir", "run_system", "local_account", "local_group", "submit_command", "time_submit", "time_receive",
    "time_ready", "time_start", "time_stageout_start", "time_stageout_finish", "time_finish", "size_input",
    "size_output", "error_msg",
)  # fmt: skip
# What it adds for meta jobs, and what only we write: left out while empty.
_OPTIONAL = (
    "submit_opt_local", "local_name", "run_on", "after_ok", "after_not_ok", "after_corr", "expires",
    "input_blobs", "reason", "progress", "exit_code", "task_states", "task_errors", "new_agents_only",
    "submit_token", "claim_token", "revision", "attempt",
)  # fmt: skip
MEMBERS = _ORDER_OF_1_2 + _OPTIONAL
# What an agent writes, and the token by which a client knows its own write again. All other members are
# signed, so that a new one is signed unless it is named here.
_NOT_SIGNED = frozenset({
    "jobid", "state", "workdir", "run_system", "local_account", "local_group", "submit_command",
    "time_receive", "time_ready", "time_start", "time_stageout_start", "time_stageout_finish", "time_finish",
    "size_output", "error_msg", "submit_opt_local", "local_name", "reason", "progress", "exit_code",
    "task_states", "task_errors", "submit_token", "claim_token", "revision", "attempt",
})  # fmt: skip
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
    for member, attribute in _TEXTS.items():
        value = members.get(member, "")
        if not isinstance(value, str):
            raise fail(member, f"a string, got {value!r:.60}")
        values[attribute] = value
    for member, attribute in _NUMBERS.items():
        value = members.get(member, 0)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise fail(member, f"a whole number, got {value!r:.60}")
        values[attribute] = value
    for member, attribute in _TIMES.items():
        values[attribute] = _parse_time(members.get(member, _UNSET), member, fail)
    if values["native_id"] and not _NATIVE_ID.match(values["native_id"]):
        raise fail("jobid", f"the id of a scheduler's job, got {values['native_id']!r:.60}")
    values["id"] = job_id
    values["kind"] = JobKind.LOCAL if members.get("jobscript_type") == "local" else JobKind.META
    values["state"] = _parse_state(members.get("state", ""), fail)
    hold_ids = _parse_ids(members, "hold_jid", fail)
    values["conditions"] = {
        job_id: condition
        for member, condition in _CONDITIONS.items()
        for job_id in _parse_ids(members, member, fail)
    }
    values["hold_ids"] = tuple(dict.fromkeys((*hold_ids, *values["conditions"])))
    values["array_range"] = _parse_array(members.get("array_tid", ""), fail)
    values["input_blobs"] = _parse_input_blobs(members.get("input_blobs", ""), fail)
    values["exit_code"] = _parse_exit_code(members.get("exit_code", ""), fail)
    values["tasks"] = _parse_tasks(members, fail)
    values["extra"] = tuple((k, v) for k, v in members.items() if k not in MEMBERS)
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


def render_manifest(job: Job) -> bytes:
    """Write a job as CloudQ 1.2 does: its members first and all present, then ours, then unknown ones."""
    members = manifest_members(job)
    return json.dumps(members, indent=4).encode("ascii")


def manifest_members(job: Job) -> dict[str, object]:
    """Return the manifest's members and values, in order."""
    values: dict[str, object] = {member: getattr(job, attribute) for member, attribute in _TEXTS.items()}
    values.update({member: getattr(job, attribute) for member, attribute in _NUMBERS.items()})
    values.update({member: format_time(getattr(job, attribute)) for member, attribute in _TIMES.items()})
    values["jobscript_type"] = job.kind.value
    values["new_agents_only"] = job.new_agents_only
    if job.new_agents_only and not job.run_system:
        values["run_system"] = NO_SYSTEM
    values["hold_jid"] = ",".join(job.hold_ids)
    for member, condition in _CONDITIONS.items():
        values[member] = ",".join(i for i in job.hold_ids if job.conditions.get(i) is condition)
    values["array_tid"] = "" if job.array_range is None else str(job.array_range)
    values["state"] = job.state.value
    values["input_blobs"] = " ".join(map(str, job.input_blobs))
    values["expires"] = "" if job.expires is None else values["expires"]
    values["exit_code"] = "" if job.exit_code is None else str(job.exit_code)
    values["task_states"] = _render_task_states(job.tasks)
    values["task_errors"] = _render_task_errors(job.tasks)
    ordered = {member: values[member] for member in _ORDER_OF_1_2}
    ordered.update({member: values[member] for member in _OPTIONAL if values[member] not in ("", 0)})
    ordered.update(dict(job.extra))
    return ordered


def signed_members(job: Job) -> dict[str, object]:
    """Return the members that say what is to be run, and that nobody changes: what a signature is for."""
    return {
        member: value
        for member, value in manifest_members(job).items()
        if member not in _NOT_SIGNED and member in MEMBERS and value not in ("", _UNSET)
    }


def program_members(job: Job) -> dict[str, object]:
    """Return the members for programs: as in the manifest, but with values of their own types.

    The exit code is a number or None, a time that is not yet set is None,
    each task of an array job is an object.
    """
    members = {
        member: None if is_time_member(member) and value in (_UNSET, "") else value
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


def is_time_member(member: str) -> bool:
    """Tell whether a member holds a time, also one that this version does not know."""
    return member.startswith("time_")


def format_time(moment: Optional[datetime]) -> str:
    """Write a time as CloudQ 1.2 does: whole seconds, UTC with offset, `-` for not yet."""
    if moment is None:
        return _UNSET
    return moment.astimezone(timezone.utc).replace(microsecond=0).isoformat()


def next_revision(job: Job) -> Job:
    """Return the job as it is to be written next: no two writes of one manifest have the same bytes."""
    return replace(job, revision=job.revision + 1)


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


def check_room(job: Job) -> None:
    """Refuse a manifest that could not be read any more if it was written again, and something added.

    Its JSON may have been shorter than ours, which is indented and in ASCII.

    Raises:
        ManifestError: It is as large.
    """
    size = len(render_manifest(job))
    if size > MAX_BYTES // 2:
        raise ManifestError(f"job {job.id}: manifest.json: {size} bytes as we write it, too many to run it")


def parse_time(value: object) -> Optional[datetime]:
    """Read a time as manifests have it, in UTC; None for not yet.

    Raises:
        ValueError: It is no time.
    """
    if value in (_UNSET, ""):
        return None
    match = _TIME.match(value) if isinstance(value, str) else None
    if not match:
        raise ValueError(f"no time: {value!r:.60}")
    offset = {"Z": "+00:00", None: "+00:00"}.get(match[2], match[2])
    if offset[-3] != ":":
        offset = offset[:3] + ":" + offset[3:]
    try:
        return datetime.fromisoformat(match[1] + offset).astimezone(timezone.utc)
    except OverflowError as error:
        raise ValueError(f"no time in UTC: {value!r:.60}") from error


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


# task_states: "1-3,5:DONE 4:ERROR"; task_errors: JSON text of {error: [exit code or null, "4"], …}.
# Both are strings because lists and objects stop `stat` of 1.2.


def _render_task_states(tasks: Mapping[int, Task]) -> str:
    by_state: dict[JobState, list[int]] = {}
    for task_id, task in tasks.items():
        by_state.setdefault(task.state, []).append(task_id)
    return " ".join(f"{format_task_ids(ids)}:{state}" for state, ids in by_state.items())


def _render_task_errors(tasks: Mapping[int, Task]) -> str:
    by_error: dict[tuple[str, Optional[int]], list[int]] = {}
    for task_id, task in tasks.items():
        if task.error or task.exit_code:
            by_error.setdefault((task.error, task.exit_code), []).append(task_id)
    if not by_error:
        return ""
    return json.dumps([[format_task_ids(ids), code, error] for (error, code), ids in by_error.items()])


def _parse_tasks(members: Mapping[str, Any], fail: Fail) -> dict[int, Task]:
    tasks: dict[int, Task] = {}
    try:
        states = [part.partition(":") for part in members.get("task_states", "").split()]
        for task_ids, (_, _, state) in zip(_task_ids(ids for ids, _, _ in states), states):
            final_code = 0 if state == JobState.DONE.value else None
            tasks.update(dict.fromkeys(task_ids, Task(JobState(state), exit_code=final_code)))
        errors = json.loads(members.get("task_errors", "") or "[]")
        for task_ids, (_, code, error) in zip(_task_ids(ids for ids, _, _ in errors), errors):
            if not (isinstance(error, str) and (code is None or type(code) is int)):
                raise ValueError(error)
            for task_id in task_ids:
                tasks[task_id] = replace(tasks[task_id], error=error, exit_code=code)
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError, InputError) as error:
        raise fail("task_states", "tasks and states such as 1-3:DONE 4:ERROR") from error
    return dict(sorted(tasks.items()))


def _task_ids(lists: Iterable[str]) -> Iterator[tuple[int, ...]]:
    """Read lists of tasks; as each task is in one of them, all have no more than one array job may have."""
    room = MAX_TASKS
    for text in lists:
        task_ids = ArrayRange.parse(text).task_ids()
        room -= len(task_ids)
        if room < 0:
            raise ValueError(f"more than {MAX_TASKS} tasks")
        yield task_ids
