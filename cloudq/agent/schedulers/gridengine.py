"""Grid Engine (Son of Grid Engine, Univa, Altair, Open Cluster Scheduler): qsub, qstat, qacct, qdel."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from cloudq.agent.schedulers.base import Snapshot, Submission
from cloudq.agent.schedulers.gridengine_parse import parse_accounts, parse_found, parse_queue
from cloudq.errors import InputError, SchedulerOutputError
from cloudq.job import ArrayRange

PREFIX = "#CQ$"
"""How the option lines of a translated script begin. qsub looks for its usual `#$` in the whole script,
also in here-documents of the body, which are nobody's options."""

# `$user` is replaced by qstat itself. The states are pending, running, suspended: all that have not ended.
_QUEUE = ["qstat", "-xml", "-u", "$user", "-s", "prs"]
# Against what the script or the site's sge_request may say: wait for the end, take the script for a
# program and look for no options in it, write both logs to one file.
_PLAIN = ["-sync", "n", "-b", "n", "-j", "n"]

_MAX_NAME = 100
_SUBMITTED = re.compile(r"(\d+)(?:\.\d+-\d+:\d+)?\Z")
_ARRAY_LINE = re.compile(r"^#\$[ \t]*(?:.*[ \t])?-t(?:[ \t]|$)", re.MULTILINE)
_UNKNOWN = re.compile(
    r"^error: job (?:id|name) \S+ not found$"
    r'|^denied: job "\d+" does not exist$'
    # There is no accounting file (yet), or it cannot be read here.
    r"|^no jobs running since startup$",
    re.MULTILINE,
)
# Seen with 8.1.9 while the qmaster was down, and with max_u_jobs or max_jobs reached.
_TEMPORARY = (
    "commlib error",
    "unable to send message to qmaster",
    "unable to contact qmaster",
    "jobs are allowed per",
)


@dataclass(frozen=True)
class GridEngine:
    """Grid Engine, 6.2 or later.

    Attributes:
        name: The word of the configuration (`type`), and of the template.
        group_option: Whether the site's qsub wants a project as `-g GROUP` on its command line (ABCI).
    """

    name: str = "gridengine"
    group_option: bool = False

    def version_command(self) -> Optional[list[str]]:
        """Ask for the version."""
        return ["qsub", "-help"]

    @property
    def keeps_accounts(self) -> bool:
        """Return True."""
        return True

    def probe_command(self) -> Optional[list[str]]:
        """Return None: nothing is to be known."""
        return None

    def probed(self, output: str) -> GridEngine:  # noqa: ARG002
        """Return it as it is."""
        return self

    def submit_command(self, submission: Submission) -> list[str]:
        """Submit; CloudQ's options come after the user's, and all of them win over lines of the script.

        The job's name ends in the tag, because nothing else that all versions keep in their accounts is
        free for us: the account string (`-A`) is what some sites charge.

        Raises:
            InputError: The tasks are not what one `-t` can say, options or script make an array job of
                it, of which CloudQ must know, or Grid Engine would not take a path literally.
        """
        if _ARRAY_LINE.search(submission.text) or "-t" in submission.options:
            raise InputError("-t: the tasks of an array job are given at submission (--array_tid)")
        suffix = ".$TASK_ID" if submission.array_range else ""
        return [
            "qsub",
            "-terse",
            *submission.options,
            *([] if submission.text else ["-C", PREFIX]),
            *(["-g", submission.project] if self.group_option and submission.project else []),
            *_PLAIN,
            *["-N", _job_name(submission)],
            *["-wd", _literal(submission.work_dir)],
            *["-o", _log_path(submission.stdout) + suffix],
            *["-e", _log_path(submission.stderr) + suffix],
            *_array_options(submission.array_range),
            str(submission.script),
        ]

    def parse_submit(self, output: str) -> str:
        """Read `123`, or `123.1-9:4` of an array job; a wrapper of the site may print lines before.

        Raises:
            SchedulerOutputError: The last line has another form.
        """
        lines = output.split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        match = _SUBMITTED.match(last)
        if not match:
            raise SchedulerOutputError(f"qsub: expected a job id, got {output.strip()!r}")
        return match[1]

    def poll_command(self, native_ids: Sequence[str]) -> list[str]:  # noqa: ARG002
        """Ask qstat for all jobs of the user; its list cannot be had for some of them."""
        return list(_QUEUE)

    def parse_poll(self, output: str) -> Snapshot:
        """Read which jobs have not ended. Raises SchedulerOutputError."""
        return parse_queue(output)

    def detail_commands(self, native_ids: Sequence[str]) -> list[list[str]]:
        """Ask qacct, which tells of one job at a time. Its records appear up to 2 s after the end."""
        return [["qacct", "-j", native_id] for native_id in native_ids]

    def parse_detail(self, output: str) -> Snapshot:
        """Read how a job ended. Raises SchedulerOutputError."""
        return parse_accounts(output)

    def find_commands(self, tag: str, work_dir: Path) -> list[list[str]]:  # noqa: ARG002
        """Ask for all jobs of the user that have not ended, and for ended ones by the end of their name."""
        return [list(_QUEUE), ["qacct", "-j", f"*.{tag}"]]

    def parse_find(self, output: str, tag: str, work_dir: Path) -> Optional[str]:  # noqa: ARG002
        """Return the job whose name ends in the tag. Raises SchedulerOutputError."""
        return parse_found(output, tag)

    def cancel_command(self, native_id: str) -> list[str]:
        """Delete a job with all its tasks; one on a lost node goes when the node is back."""
        return ["qdel", native_id]

    def is_unknown_job(self, said: str) -> bool:
        """Tell whether qacct or qdel does not know the job (qdel says so on stdout)."""
        return bool(_UNKNOWN.search(said))

    def is_temporary(self, stderr: str) -> bool:
        """Tell whether a refused submission may succeed later: the qmaster is down, or a limit reached."""
        said = stderr.lower()
        return any(words in said for words in _TEMPORARY)


def _job_name(submission: Submission) -> str:
    """Make a name that Grid Engine takes: sge_types(5) says which, and that it begins with no digit."""
    name = re.sub(r"[^A-Za-z0-9._+=-]", "_", submission.name)[:_MAX_NAME]
    first = "" if re.match(r"[A-Za-z_.]", name) else "_"
    return f"{first}{name}.{submission.tag}"


def _literal(path: Path) -> str:
    """Return a path that Grid Engine takes as it is: it replaces names after `$`, and splits at commas."""
    if "$" in str(path) or "," in str(path):
        raise InputError(f"{path}: Grid Engine cannot use a path with a dollar sign or a comma")
    return str(path)


def _log_path(path: Path) -> str:
    """Write the path of a log; what stands before a colon would be a host."""
    return f":{_literal(path)}" if ":" in str(path) else _literal(path)


def _array_options(array_range: Optional[ArrayRange]) -> list[str]:
    if array_range is None:
        return []
    task_ids = array_range.task_ids()
    first, last, step = _even_span(task_ids) if len(array_range.spans) > 1 else array_range.spans[0]
    if first == 0 or task_ids != tuple(range(first, last + 1, step)):
        raise InputError(
            f"array range {array_range}: Grid Engine can only do FIRST-LAST:STEP such as 1-9:2, "
            "FIRST being 1 or more"
        )
    limit = [] if array_range.limit is None else ["-tc", str(array_range.limit)]
    return ["-t", f"{first}-{last}:{step}", *limit]


def _even_span(task_ids: Sequence[int]) -> tuple[int, int, int]:
    """Return first, last and step of a list such as 1,3,5, which could be said in one span."""
    step = task_ids[1] - task_ids[0] if len(task_ids) > 1 else 1
    return task_ids[0], task_ids[-1], step
