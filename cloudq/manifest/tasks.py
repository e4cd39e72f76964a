"""The tasks of an array job, in two members of the manifest.

`task_states` is such as `1-3,5:DONE 4:ERROR`, `task_errors` the text of a JSON list of
`[tasks, exit code or null, error]`: both are strings, because lists and objects stop `stat` of 1.2.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Optional

from cloudq.errors import InputError
from cloudq.job import MAX_TASKS, ArrayRange, JobState, Task, format_task_ids


def render_task_states(tasks: Mapping[int, Task]) -> str:
    """Write the states, each with the list of its tasks."""
    by_state: dict[JobState, list[int]] = {}
    for task_id, task in tasks.items():
        by_state.setdefault(task.state, []).append(task_id)
    return " ".join(f"{format_task_ids(ids)}:{state}" for state, ids in by_state.items())


def render_task_errors(tasks: Mapping[int, Task]) -> str:
    """Write errors and exit codes, each with the list of its tasks."""
    by_error: dict[tuple[str, Optional[int]], list[int]] = {}
    for task_id, task in tasks.items():
        if task.error or task.exit_code:
            by_error.setdefault((task.error, task.exit_code), []).append(task_id)
    if not by_error:
        return ""
    return json.dumps([[format_task_ids(ids), code, error] for (error, code), ids in by_error.items()])


def parse_tasks(members: Mapping[str, Any]) -> dict[int, Task]:
    """Read both members. Raises ValueError."""
    tasks: dict[int, Task] = {}
    if members.get("task_states", "") == members.get("task_errors", "") == "":
        return tasks
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
        raise ValueError("task_states, task_errors") from error
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
