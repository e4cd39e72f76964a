"""How much memory a killed job of Slurm used: told by the accounts of its steps, and by its log."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Optional

from cloudq.agent.schedulers.slurm_parse import account_ids, records

STEPS_FORMAT = "JobID,State,ExitCode,MaxRSS,ReqMem,AllocCPUS"
"""For `sacct -P` without `-X`: a line for the job (ReqMem), and one for each of its steps (MaxRSS)."""
CLUSTER_STEPS_FORMAT = f"Cluster,{STEPS_FORMAT}"

# `n` and `c` of Slurm before 21.08: for each node, for each core.
_SIZE = re.compile(r"(\d+(?:\.\d+)?)([KMGTP]?)([nc]?)\Z")
_UNITS = " KMGTP"

# Lines of slurmstepd (newer ones begin with a time): of OverMemoryKill (seen with 22.05), and of cgroups.
_STEPD = re.compile(
    r"^(?:slurmstepd[^:\n]*: |\[[\dT:.-]+\] )error: "
    r"(?:.*exceeded (?:job )?memory limit(?: \((\d+) > (\d+)\))?|.*oom[-_]kill event)",
    re.MULTILINE | re.IGNORECASE,
)


def parse_memory_causes(output: str) -> Mapping[str, Mapping[Optional[int], str]]:
    """Read sacct's answer in STEPS_FORMAT: native id -> task -> why it was probably killed.

    Tasks whose steps used no more than what the job asked for are left out. MaxRSS is that of the largest
    process of a step, looked at every so many seconds: it may be less than what the job was killed for.

    Raises:
        SchedulerOutputError: A line has another form.
    """
    asked: dict[tuple[str, Optional[int]], float] = {}
    used: dict[tuple[str, Optional[int]], float] = {}
    for cluster, (job_and_step, state, _, largest, requested, cores) in records(output, 6):
        job, _, step = job_and_step.partition(".")
        native_id, task_ids = account_ids(job)
        for task in [(native_id + cluster, task_id) for task_id in task_ids]:
            if not step:
                asked[task] = _size(requested, cores=cores)
            elif state != "COMPLETED":
                used[task] = max(used.get(task, 0), _size(largest))
    causes: dict[str, dict[Optional[int], str]] = {}
    for (native_id, task_id), size in used.items():
        limit = asked.get((native_id, task_id), 0)
        if 0 < limit < size:
            words = f"killed by signal 9, probably out of memory ({_used(size, limit)})"
            causes.setdefault(native_id, {})[task_id] = words
    return causes


def memory_cause(stderr: str) -> str:
    """Return what Slurm has written to the job's stderr about its memory; empty if it has not."""
    matches = list(_STEPD.finditer(stderr))
    sizes = [_used(float(match[1]), float(match[2])) for match in matches if match[1]]
    return "out of memory" + (f" ({sizes[0]})" if sizes else "") if matches else ""


def _size(text: str, *, cores: str = "") -> float:
    """Return bytes; 0 for what is not known (yet), such as the `16?` of a job that has just begun."""
    match = _SIZE.match(text)
    if not match:
        return 0
    shares = int(cores) if match[3] == "c" and cores.isdigit() else 1
    return float(match[1]) * 1024.0 ** _UNITS.index(match[2] or " ") * shares


def _used(size: float, limit: float) -> str:
    return f"{_words(size)} used, {_words(limit)} asked for"


def _words(size: float) -> str:
    """Write bytes as `1.2G` or `216M`."""
    power = 0
    while size >= 1024 and power < len(_UNITS) - 1:
        size, power = size / 1024, power + 1
    number = f"{size:.3g}" if size < 1000 else f"{size:.0f}"
    return f"{number}{_UNITS[power].strip()}"
