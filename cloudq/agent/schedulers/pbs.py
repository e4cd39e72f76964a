"""PBS Professional and OpenPBS: qsub, qstat, qdel."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from cloudq.agent.schedulers.base import Snapshot, Submission
from cloudq.agent.schedulers.pbs_parse import JOB_ID, parse_jobs
from cloudq.errors import InputError, SchedulerOutputError
from cloudq.job import ArrayRange

IDS_PER_COMMAND = 500
"""Native ids on one command line that asks how jobs ended."""

QSTAT = ["qstat", "-E", "-f", "-F", "json"]
"""With `-E` qstat sends one request for all jobs, not one connection for each, and takes it for a success
if it knows one of them. Without, qstat after 23.06 shows the first job only
(https://github.com/openpbs/openpbs/issues/2672)."""

_TASK_INDEX = ".^array_index^"
# check_job_name in ck_job_name.c of OpenPBS; versions before 20 take no dot.
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_+.-]{0,99}\Z")
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_+-]")
_ARRAY_OPTION = re.compile(r"-J")
_ARRAY_LINE = re.compile(r"^[ \t]*#PBS[ \t]+(?:.*[ \t])?-J", re.MULTILINE)
_UNKNOWN = re.compile(r"^q(?:stat|del): (?:Unknown Job Id|.*Job has finished)", re.MULTILINE)
_UNREACHABLE = ("connection refused", "connect to", "errno=")
# Texts of pbs_messages.c, in lower case.
_TEMPORARY = re.compile(
    r"connection refused|cannot connect to|couldn't connect to|no free connections|connection table full"
    r"|server shutting down|queue is not enabled|temporarily unavailable|could not contact"
    r"|would exceed \S.*limit(?! on resource)|maximum number of jobs|munge"
)


@dataclass(frozen=True)
class Pbs:
    """PBS Professional and OpenPBS, 18.1 or later."""

    @property
    def name(self) -> str:
        """The word of the configuration (`type`), and of the template."""
        return "pbs"

    def version_command(self) -> Optional[list[str]]:
        """Ask for the version."""
        return ["qsub", "--version"]

    @property
    def keeps_accounts(self) -> bool:
        """Return True: a server without a history says so when it is asked."""
        return True

    def probe_command(self) -> Optional[list[str]]:
        """Return None: whether the server keeps a history is seen from its answers, and may change."""
        return None

    def probed(self, output: str) -> Pbs:  # noqa: ARG002
        """Return it as it is."""
        return self

    def submit_command(self, submission: Submission) -> list[str]:
        """Submit; CloudQ's options come after the user's, and all of them win over `#PBS` lines.

        With `-k oed` the logs grow in place (qsub(1B)), if the node can write there; else they come at
        the end. There is no option for the tag: `-v` on the command line would switch off the `-v` of
        the script, and `-N` its name. The working directory, which PBS notes, stands for it. A name is
        given only where qsub would refuse the one that it makes of the script's file name.

        With `-f` qsub leaves no process behind that submits for the next ones: an answer that this one
        owes could not be told from a refusal.

        Raises:
            InputError: PBS cannot number the tasks so. Or options or script make an array job of it, of
                which CloudQ must know.
        """
        if _ARRAY_LINE.search(submission.text) or any(map(_ARRAY_OPTION.match, submission.options)):
            raise InputError("-J: the tasks of an array job are given at submission (--array_tid)")
        array = submission.array_range
        suffix = _TASK_INDEX if array else ""
        return [
            "qsub",
            "-f",
            *_name_option(submission),
            *submission.options,
            *(["-J", array_option(array)] if array else []),
            *("-k", "oed"),
            *("-o", f"{submission.stdout}{suffix}"),
            *("-e", f"{submission.stderr}{suffix}"),
            str(submission.script),
        ]

    def parse_submit(self, output: str) -> str:
        """Read `123.server` or `123[].server`; a site's hook may print lines before.

        Raises:
            SchedulerOutputError: The last line has another form.
        """
        return _parse_id(output)

    def poll_command(self, native_ids: Sequence[str]) -> list[str]:
        """Ask about all jobs and tasks that have not ended."""
        return [*QSTAT, "-t", *native_ids]

    def parse_poll(self, output: str) -> Snapshot:
        """Read how jobs stand; of a task that has ended the details tell. Raises SchedulerOutputError."""
        return parse_jobs(output, expired=False)

    def detail_commands(self, native_ids: Sequence[str]) -> list[list[str]]:
        """Ask the server's history; where it keeps none (job_history_enable) it tells nothing."""
        starts = range(0, len(native_ids), IDS_PER_COMMAND)
        return [[*QSTAT, "-x", "-t", *native_ids[start : start + IDS_PER_COMMAND]] for start in starts]

    def parse_detail(self, output: str) -> Snapshot:
        """Read how jobs ended. Raises SchedulerOutputError."""
        return parse_jobs(output, expired=True)

    def find_commands(self, tag: str, work_dir: Path) -> list[list[str]]:  # noqa: ARG002
        """Look through the user's jobs for the one that was submitted in the working directory.

        qstat can select by user or tell everything, but not both at once: hence a small program.
        """
        return [[sys.executable, "-m", "cloudq.agent.pbs_search", str(work_dir)]]

    def parse_find(self, output: str, tag: str, work_dir: Path) -> Optional[str]:  # noqa: ARG002
        """Read the id, if there is one. Raises SchedulerOutputError."""
        return _parse_id(output) if output.strip() else None

    def cancel_command(self, native_id: str) -> list[str]:
        """Cancel a job with all its tasks."""
        return ["qdel", native_id]

    def is_unknown_job(self, stderr: str) -> bool:
        """Tell whether the server does not know the id, or only in its history."""
        reached = not any(words in stderr.lower() for words in _UNREACHABLE)
        return reached and bool(_UNKNOWN.search(stderr))

    def is_temporary(self, stderr: str) -> bool:
        """Tell whether a refused submission may succeed later.

        So it is when the server cannot be reached, and when a limit on the number of queued jobs is
        reached. A limit on a resource is final: the job may be too large for ever.
        """
        return bool(_TEMPORARY.search(stderr.lower()))


def _name_option(submission: Submission) -> list[str]:
    """Name a job whose script's file name is no name for PBS; it would refuse blanks, quotes, umlauts."""
    if _NAME.match(submission.script.name):
        return []
    name = _NOT_IN_NAMES.sub("_", submission.script.name)[:90]
    return ["-N", name if name[0].isalpha() else f"job_{name}"]


def array_option(array_range: ArrayRange) -> str:
    """Write tasks as `qsub -J` wants them: `FIRST-LAST[:STEP][%LIMIT]`, at least two numbers.

    A single task N is `N-(N+1):2`: the step leads past the second number.

    Raises:
        InputError: The tasks are not evenly spaced.
    """
    task_ids = array_range.task_ids()
    first, last = task_ids[0], task_ids[-1]
    limit = "" if array_range.limit is None else f"%{array_range.limit}"
    if first == last:
        return f"{first}-{first + 1}:2{limit}"
    step = task_ids[1] - first
    if task_ids != tuple(range(first, last + 1, step)):
        raise InputError(
            f"array range {array_range}: PBS takes only one range, FIRST-LAST or FIRST-LAST:STEP"
        )
    return f"{first}-{last}{f':{step}' if step > 1 else ''}{limit}"


def _parse_id(output: str) -> str:
    last = next((line.strip() for line in reversed(output.split("\n")) if line.strip()), "")
    match = JOB_ID.match(last)
    if not match or match[2]:
        raise SchedulerOutputError(f"PBS: expected a job id, got {output.strip()!r}")
    return last
