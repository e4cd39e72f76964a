"""The answer to `status`: the tasks of jobs and how they stand, as JSON."""

from __future__ import annotations

import json

from cloudq.agent.schedulers.base import Snapshot, TaskStatuses


def render_answer(snapshot: Snapshot) -> str:
    """Write the tasks of each job as JSON."""
    return json.dumps({native_id: _tasks_members(tasks) for native_id, tasks in snapshot.items()})


def _tasks_members(tasks: TaskStatuses) -> list[dict[str, object]]:
    return [
        {
            "task": task_id,
            "state": status.state,
            "exit_code": status.exit_code,
            "signal": status.signal,
            "reason": status.reason,
            "started": status.started and status.started.isoformat(),
            "finished": status.finished and status.finished.isoformat(),
        }
        for task_id, status in tasks.items()
    ]
