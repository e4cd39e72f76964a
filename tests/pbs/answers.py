"""What the simulated qstat prints: the attributes of the real OpenPBS 23.06.06, with other values."""

from __future__ import annotations

import copy
import getpass
import json
import time
from pathlib import Path
from typing import Any, Optional

from tests.pbs.state import SERVER, Standing, State, Submitted

DATA = Path(__file__).parents[1] / "data" / "pbs"
_SAMPLE = json.loads((DATA / "qstat-x-f-json-finished-exit0.json").read_text())
_ATTRIBUTES = _SAMPLE["Jobs"]["9.pbshost"]
_ONLY_WHILE_OR_AFTER_RUNNING = ("stime", "exec_host", "exec_vnode", "resources_used", "jobdir", "run_count")
_ONLY_AFTER_RUNNING = ("obittime", "Exit_status", "Stageout_status")
_TASK_COMMENTS = {91: "Subjob terminated", 92: "Subjob finished", 93: "Subjob failed"}


def sample(name: str) -> str:
    """Return what a real command printed."""
    return (DATA / name).read_text()


def render(jobs: Optional[dict[str, Any]]) -> str:
    """Write an answer; None for one without jobs."""
    head = {key: _SAMPLE[key] for key in ("timestamp", "pbs_version", "pbs_server")}
    return json.dumps({**head, **({"Jobs": jobs} if jobs else {})}, indent="\t") + "\n"


def is_finished(state: State, job: Submitted) -> bool:
    """Tell whether a job has ended with all its tasks."""
    return all(state.standing(job, task).state == "F" for task in job.indices)


def job_entries(state: State, job: Submitted, *, history: bool, tasks: bool) -> dict[str, Any]:
    """Return a job and, if asked for, its tasks, by their ids."""
    if not job.tasks:
        return {job.id: _attributes(job, None, state.standing(job, None))}
    entries = {job.id: _array_attributes(state, job)}
    for task in job.indices if tasks else ():
        assert task is not None
        standing = state.standing(job, task)
        if standing.state == "F" and not history:
            # While others of the array go on, the server makes this up from the array's own record.
            standing = Standing("X", 70, _TASK_COMMENTS[standing.substate])
        entries[job.task_id(task)] = _attributes(job, task, standing)
    return entries


def _array_attributes(state: State, job: Submitted) -> dict[str, Any]:
    standings = [state.standing(job, task) for task in job.indices]
    states = {standing.state for standing in standings}
    if states == {"F"}:
        whole = Standing("F", max(standing.substate for standing in standings), exit_status=0)
    else:
        whole = standings[0] if states <= {"Q", "H"} else Standing("B", 70, "Job Array Began at Sat Nov 21")
    waiting = [str(i) for i, standing in zip(job.indices, standings) if standing.state in "QH"]
    return {
        **_attributes(job, None, whole),
        "array": "True",
        "array_indices_submitted": job.tasks.partition("%")[0],
        "array_indices_remaining": ",".join(waiting) or "-",
    }


def _attributes(job: Submitted, task: Optional[int], standing: Standing) -> dict[str, Any]:
    attributes: dict[str, Any] = copy.deepcopy(_ATTRIBUTES)
    del attributes["comment"]
    missing = (
        *(_ONLY_WHILE_OR_AFTER_RUNNING if standing.started is None else ()),
        *(_ONLY_AFTER_RUNNING if standing.exit_status is None else ()),
        *(() if standing.state == "F" else ("history_timestamp",)),
    )
    for key in missing:
        del attributes[key]
    variables = {**attributes["Variable_List"], "PBS_O_WORKDIR": job.work_dir, "PBS_O_QUEUE": job.queue}
    attributes.update(_values(job, standing), Variable_List=variables)
    if job.walltime is not None:
        attributes["Resource_List"]["walltime"] = time.strftime("%H:%M:%S", time.gmtime(job.walltime))
    if task is not None and standing.state != "X":
        attributes.update(array_id=job.id, array_index=task)
    return attributes


def _values(job: Submitted, standing: Standing) -> dict[str, Any]:
    values = {
        "Job_Name": job.name,
        "Job_Owner": f"{getpass.getuser()}@{SERVER}",
        "job_state": standing.state,
        "substate": standing.substate,
        "comment": standing.comment or None,
        "Hold_Types": "u" if standing.state == "H" else "n",
        "queue": job.queue,
        "project": job.project,
        "ctime": time.ctime(job.submitted),
        "mtime": time.ctime(standing.finished or standing.started or job.submitted),
        "stime": standing.started and time.ctime(standing.started),
        "obittime": standing.finished and standing.started and time.ctime(standing.finished),
        "Exit_status": standing.exit_status,
        "Keep_Files": job.keep,
        "Output_Path": f"{SERVER}:{job.stdout}",
        "Error_Path": f"{SERVER}:{job.stderr}",
        "Submit_arguments": " ".join(job.arguments),
    }
    return {key: value for key, value in values.items() if value is not None}
