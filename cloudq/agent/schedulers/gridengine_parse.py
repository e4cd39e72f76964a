"""The answers of qstat (XML) and qacct (one line per field)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Optional
from xml.etree import ElementTree

from cloudq.agent.schedulers.base import NativeState, NativeStatus, Snapshot
from cloudq.agent.schedulers.gridengine_states import (
    Record,
    live_state,
    parse_duration,
    parse_size,
    parse_time,
    record_status,
)
from cloudq.errors import InputError, SchedulerOutputError
from cloudq.job import ArrayRange

_SEPARATOR = re.compile(r"^=+$", re.MULTILINE)
_TAGGED_NAME = re.compile(r".*\.(cq-[A-Za-z0-9._-]+-[0-9]+)\Z")
_FAILED = re.compile(r"([0-9]+)\s*(?::\s*(.*))?\Z")
_NOBODY = frozenset({"", "none", "undefined"})


def parse_queue(output: str) -> Snapshot:
    """Read `qstat -xml`; jobs and tasks in an error state are left out, as if they had ended.

    Raises:
        SchedulerOutputError: It is not the XML of a list of jobs, or a state is unknown.
    """
    snapshot: dict[str, dict[Optional[int], NativeStatus]] = {}
    for job in _queue_jobs(output):
        letters = _field(job, "state")
        state = live_state(letters)
        if state is None:
            continue
        status = _live_status(state, letters, job.findtext("JAT_start_time", ""))
        tasks = snapshot.setdefault(_field(job, "JB_job_number"), {})
        tasks.update(dict.fromkeys(_task_ids(job), status))
    return snapshot


def parse_accounts(output: str) -> Snapshot:
    """Read `qacct -j`; the last record of a task tells of its last try.

    Numbers are used again after some time, and at once after a crash of the qmaster. Records without the
    name that CloudQ gives its jobs are those of others; the others say by their tag whose they are.

    Raises:
        SchedulerOutputError: A record has another form.
    """
    snapshot: dict[str, dict[Optional[int], NativeStatus]] = {}
    for record in _records(output):
        name = _TAGGED_NAME.match(record.name)
        if name:
            status = replace(record_status(record), tag=name[1])
            snapshot.setdefault(record.native_id, {})[record.task_id] = status
    return snapshot


def parse_found(output: str, tag: str) -> Optional[str]:
    """Return the number of the newest job whose name ends in the tag, from either command's answer.

    Raises:
        SchedulerOutputError: It is no answer of qstat or qacct.
    """
    if output.lstrip().startswith("<"):
        jobs = [(_field(job, "JB_job_number"), _field(job, "JB_name")) for job in _queue_jobs(output)]
    else:
        jobs = [(record.native_id, record.name) for record in _records(output)]
    found = [int(native_id) for native_id, name in jobs if name.endswith(f".{tag}")]
    return str(max(found)) if found else None


def _queue_jobs(output: str) -> Iterator[ElementTree.Element]:
    try:
        # What a command of this host prints; expat limits how far entities expand.
        root = ElementTree.fromstring(output)  # noqa: S314
    except ElementTree.ParseError as error:
        raise SchedulerOutputError(f"qstat: not an answer in XML: {error}") from error
    if root.tag != "job_info" or root.find("job_info") is None:
        raise SchedulerOutputError(f"qstat: expected a list of jobs (job_info), got {root.tag!r}")
    return root.iter("job_list")


def _field(job: ElementTree.Element, name: str) -> str:
    text = job.findtext(name, "").strip()
    if not text or (name == "JB_job_number" and not text.isdigit()):
        raise SchedulerOutputError(f"qstat: expected a {name} in each job, got {text!r}")
    return text


def _live_status(state: NativeState, letters: str, started: str) -> NativeStatus:
    if state is NativeState.QUEUED:
        return NativeStatus(state, reason="held" if "h" in letters else "")
    return NativeStatus(state, started=parse_time(started))


def _task_ids(job: ElementTree.Element) -> tuple[Optional[int], ...]:
    """Read `3` or `1-4:1,7`; a job that is no array has nothing."""
    text = job.findtext("tasks", "").strip()
    if not text:
        return (None,)
    try:
        return ArrayRange.parse(text).task_ids()
    except InputError as error:
        raise SchedulerOutputError(f"qstat: tasks {text!r}: {error}") from error


def _records(output: str) -> Iterator[Record]:
    if not output.strip():
        return
    head, *parts = _SEPARATOR.split(output)
    if head.strip() or not parts or not output.endswith("\n"):
        raise SchedulerOutputError(f"qacct: expected records, got {output[:80]!r} … {output[-40:]!r}")
    for part in parts:
        fields = dict(_pairs(part))
        # A parallel job may have records of its parts on other nodes, too.
        if fields.get("pe_taskid", "").lower() in _NOBODY:
            yield _record(fields)


def _pairs(part: str) -> Iterator[tuple[str, str]]:
    for line in part.strip().split("\n"):
        name, _, value = line.strip().partition(" ")
        yield name, value.strip()


def _record(fields: Mapping[str, str]) -> Record:
    try:
        failed = _FAILED.match(fields["failed"])
        if not failed:
            raise ValueError(f"failed {fields['failed']!r}")
        task, deleted_by = fields["taskid"], fields.get("deleted_by", "")
        return Record(
            native_id=str(int(fields["jobnumber"])),
            task_id=int(task) if task.isdigit() else None,
            name=fields["jobname"],
            failed=int(failed[1]),
            failure=failed[2] or "",
            # What follows is the name of a signal.
            exit_status=int(fields["exit_status"].split(" ")[0]),
            started=parse_time(fields.get("start_time", "")),
            finished=parse_time(fields.get("end_time", "")),
            wallclock=parse_duration(fields.get("ru_wallclock", "")) or timedelta(0),
            cpu=parse_duration(fields.get("cpu", "")) or timedelta(0),
            memory=parse_size(fields.get("maxvmem", "")) or 0.0,
            page_faults=_number(fields.get("ru_minflt", "")),
            slots=_number(fields.get("slots", "")) or 1,
            category=fields.get("category", ""),
            deleted_by="" if deleted_by.lower() in _NOBODY else deleted_by,
        )
    except (KeyError, ValueError) as error:
        raise SchedulerOutputError(f"qacct: not a record of a job: {error}") from error


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0
