"""The answers of `qstat -f -F json`: one object per job, array or task, its attributes as members."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Optional

from cloudq.agent.schedulers.base import NativeStatus, Snapshot
from cloudq.agent.schedulers.pbs_states import DELETED, EXPIRED, Record, record_status
from cloudq.errors import InputError, SchedulerOutputError
from cloudq.job import ArrayRange

Attributes = Mapping[str, Any]

JOB_ID = re.compile(r"(\d+)(?:\[(\d*)\])?(\.\S+)?\Z")
"""`12.server`, an array `12[].server` or a task `12[3].server`."""

_MEMBER = re.compile(r'(\s*"(?:[^"\\]|\\.)*"\s*:\s*)(.*?)(,?)\s*\Z')


def parse_jobs(output: str, *, expired: bool) -> Snapshot:
    """Read how jobs and tasks stand or ended.

    Args:
        expired: Whether to believe what is said of tasks in state X.

    Raises:
        SchedulerOutputError: It is no answer about jobs.
    """
    snapshot: dict[str, dict[Optional[int], NativeStatus]] = {}
    arrays: dict[str, Attributes] = {}
    for job_id, attributes in load_jobs(output).items():
        native_id, task = _split_id(job_id)
        if task == "":
            arrays[native_id] = attributes
            continue
        record = _record(attributes)
        status = None if record.state == EXPIRED and not expired else record_status(record)
        if status is not None:
            snapshot.setdefault(native_id, {})[None if task is None else int(task)] = status
    for native_id, attributes in arrays.items():
        tasks = snapshot.setdefault(native_id, {})
        snapshot[native_id] = {**_tasks_of_array(attributes), **tasks}
    return snapshot


def load_jobs(output: str) -> Mapping[str, Attributes]:
    """Return the attributes of each job of an answer, by its id.

    Raises:
        SchedulerOutputError: It is no answer about jobs.
    """
    try:
        document = _load(output)
        jobs = document.get("Jobs", {})
        if "timestamp" in document and all(isinstance(attributes, dict) for attributes in jobs.values()):
            return dict(jobs)
    except (ValueError, AttributeError) as error:
        raise SchedulerOutputError(f"qstat: not an answer about jobs: {error}") from error
    raise SchedulerOutputError(f"qstat: not an answer about jobs: {output[:60]!r}")


def find_by_directory(jobs: Mapping[str, Attributes], work_dir: Path) -> Optional[str]:
    """Return the newest of the jobs that were submitted in a directory.

    The server notes where qsub was run; that may be another name of the same directory. The command
    line, which it notes too, has the script's path as we gave it.
    """
    found = [
        job_id
        for job_id, attributes in jobs.items()
        if _member(attributes, "Variable_List", "PBS_O_WORKDIR") == str(work_dir)
        or _is_script_of(work_dir, _text(attributes.get("Submit_arguments")))
    ]
    return max(found, key=lambda job_id: int(re.findall(r"\d+", job_id)[0]), default=None)


def _is_script_of(work_dir: Path, arguments: str) -> bool:
    """Tell whether a command line ends with a file of this directory."""
    _, directory, name = arguments.rpartition(f"{work_dir}/")
    return bool(directory) and "/" not in name


def _load(output: str) -> Any:  # noqa: ANN401
    try:
        return json.loads(output, strict=False)
    except ValueError:
        return json.loads("\n".join(_repaired(output.split("\n"))), strict=False)


def _repaired(lines: list[str]) -> Iterator[str]:
    """Mend what PBS before 20.0 writes: quotes and backslashes in values as they are, `005` as a number.

    https://github.com/openpbs/openpbs/pull/2049, issues 1255 and 2541. There is one member on a line.
    The variables of the job, which may have anything in them, are left out.
    """
    skipping: Optional[str] = None
    for line in lines:
        indent = line[: len(line) - len(line.lstrip())]
        if skipping is not None:
            if indent == skipping and line.strip() in ("}", "},"):
                yield f'{indent}"Variable_List": {{{line.strip()}'
                skipping = None
        elif line.strip().startswith('"Variable_List"') and line.rstrip().endswith("{"):
            skipping = indent
        else:
            yield _repaired_member(line)


def _repaired_member(line: str) -> str:
    match = _MEMBER.match(line)
    if not match or match[2] in ("{", "["):
        return line
    key, value, comma = match.groups()
    try:
        json.loads(value, strict=False)
    except ValueError:
        bare = value[1:-1] if value[:1] == value[-1:] == '"' else value
        return f"{key}{json.dumps(bare)}{comma}"
    return line


def _split_id(job_id: str) -> tuple[str, Optional[str]]:
    """Return native id and task: None for a plain job, an empty text for the array as a whole."""
    match = JOB_ID.match(job_id)
    if not match:
        raise SchedulerOutputError(f"qstat: expected a job id, got {job_id!r}")
    number, task, server = match.groups()
    return (job_id, None) if task is None else (f"{number}[]{server or ''}", task)


def _tasks_of_array(attributes: Attributes) -> dict[Optional[int], NativeStatus]:
    """Say of an array's tasks what holds for all that have no record of their own."""
    record = _record(attributes)
    if record.state == "F":
        key = "array_indices_submitted" if record.substate == DELETED else ""
    else:
        key = "array_indices_remaining"
    indices = _text(attributes.get(key)).strip()
    status = record_status(record)
    if indices in ("", "-") or status is None:
        return {}
    try:
        return dict.fromkeys(ArrayRange.parse(indices).task_ids(), status)
    except InputError as error:
        raise SchedulerOutputError(f"qstat: {key}: {error}") from error


def _record(attributes: Attributes) -> Record:
    return Record(
        state=_text(attributes.get("job_state")),
        substate=_number(attributes, "substate", -1) or 0,
        exit_status=_number(attributes, "Exit_status", None),
        comment=_text(attributes.get("comment")),
        hold_types=_text(attributes.get("Hold_Types")),
        depends="depend" in attributes,
        started=_text(attributes.get("stime")),
        finished=_text(attributes.get("obittime")) or _text(attributes.get("mtime")),
        walltime=_member(attributes, "Resource_List", "walltime"),
        walltime_used=_member(attributes, "resources_used", "walltime"),
    )


def _number(attributes: Attributes, key: str, default: Optional[int]) -> Optional[int]:
    if key not in attributes:
        return default
    try:
        return int(attributes[key])
    except (ValueError, TypeError):
        raise SchedulerOutputError(
            f"qstat: {key}: expected a whole number, got {attributes[key]!r}"
        ) from None


def _member(attributes: Attributes, group: str, key: str) -> str:
    members = attributes.get(group)
    return _text(members.get(key)) if isinstance(members, dict) else ""


def _text(value: object) -> str:
    """Return a value as a text: a comment that looks like a number comes as a number."""
    return "" if value is None else str(value)
