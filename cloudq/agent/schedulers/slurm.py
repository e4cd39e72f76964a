"""Slurm: sbatch, squeue, scancel, and sacct where the site keeps accounts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional

from cloudq.agent.schedulers.base import Snapshot, Submission, cluster_of
from cloudq.agent.schedulers.slurm_memory import (
    CLUSTER_STEPS_FORMAT,
    STEPS_FORMAT,
    memory_cause,
    parse_memory_causes,
)
from cloudq.agent.schedulers.slurm_parse import (
    ACCOUNT_FORMAT,
    CLUSTER_ACCOUNT_FORMAT,
    CLUSTER_QUEUE_FORMAT,
    CLUSTERS_POLL_FORMAT,
    FIND_ACCOUNT_FORMAT,
    FIND_QUEUE_FORMAT,
    POLL_FORMAT,
    QUEUE_FORMAT,
    is_queue_detail,
    parse_account,
    parse_found,
    parse_queue,
    parse_queue_detail,
)
from cloudq.errors import InputError, SchedulerOutputError

IDS_PER_COMMAND = 500
"""Native ids on one command line: well below the longest argument of Linux (128 KiB)."""

FIND_WINDOW = "now-30days"
"""How far back sacct looks for a tag; without a start it would show only today's jobs."""

_WITH_EXIT_STATUS = "FAILED,OUT_OF_MEMORY"

_CLUSTER_NAME = re.compile(r"^ClusterName\s*=\s*(\S+)", re.MULTILINE)
_ACCOUNTING_TYPE = re.compile(r"^AccountingStorageType\s*=\s*(\S+)", re.MULTILINE)
_ARRAY_OPTION = re.compile(r"-a|--array\b")
_ARRAY_LINE = re.compile(r"^#SBATCH[ \t]+(?:.*[ \t])?(?:-a|--array\b)", re.MULTILINE)
_SUBMITTED = re.compile(r"(\d+)(?:;(\S+))?\Z")

# Both commands obey the user's environment: SLURM_BITSTR_LEN cuts lists of tasks after 64 characters
# unless it is 0, and SLURM_TIME_FORMAT gives times another form.
_PLAIN = ["env", "SLURM_BITSTR_LEN=0", "SLURM_TIME_FORMAT=standard"]

# Slurm's error texts (`man 3 slurm_errno`, and seen with 22.05), in lower case.
_TEMPORARY = (
    "unable to contact slurm controller",
    "socket timed out",
    "connection refused",
    "connection timed out",
    "connect failure",
    "zero bytes were transmitted or received",
    "slurm backup controller in standby mode",
    "resource temporarily unavailable",
    "temporarily unable to accept job",
    "protocol authentication error",
    "munge",
    "maxsubmitjob",
    "required partition not available (inactive or drain)",
)


@dataclass(frozen=True)
class Slurm:
    """Slurm, 20.11 or later.

    The native id of a job on another cluster (`sbatch -M`) is `ID;CLUSTER`. In a federation ids are
    unique, and `--federation` lets the commands look wherever a job has gone; elsewhere it does nothing.

    Attributes:
        cluster: The name of the cluster that the commands speak to; empty if it is not known.
        accounting: Whether the site keeps accounts in a database, so that sacct can tell how a job
            ended long after the controller has forgotten it (MinJobAge, usually 300 s).
    """

    accounting: bool = False
    cluster: str = ""

    @property
    def name(self) -> str:
        """The word of the configuration (`type`), and of the template."""
        return "slurm"

    def version_command(self) -> Optional[list[str]]:
        """Ask for the version."""
        return ["sbatch", "--version"]

    @property
    def keeps_accounts(self) -> bool:
        """Tell whether sacct can be asked."""
        return self.accounting

    def probe_command(self) -> Optional[list[str]]:
        """Ask for the configuration, which any user may read."""
        return ["scontrol", "show", "config"]

    def probed(self, output: str) -> Slurm:
        """Look whether the site keeps accounts, and what the cluster is called.

        Raises:
            SchedulerOutputError: The answer does not say so.
        """
        match = _ACCOUNTING_TYPE.search(output)
        if not match:
            raise SchedulerOutputError("scontrol show config: expected a line AccountingStorageType")
        name = _CLUSTER_NAME.search(output)
        return replace(
            self, accounting=match[1].endswith("slurmdbd"), cluster=name[1] if name else self.cluster
        )

    def submit_command(self, submission: Submission) -> list[str]:
        """Submit; CloudQ's options come after the user's, and all of them win over `#SBATCH` lines.

        sbatch also takes `#PBS` and `#BSUB` lines for options, and looks for them in the whole script: of
        a meta script that is text in its body, such as a here-document.

        Raises:
            InputError: The path of a log has a backslash, with which sbatch expands no `%a`. Or options
                or script make an array job of it, of which CloudQ must know.
        """
        if _ARRAY_LINE.search(submission.text) or any(map(_ARRAY_OPTION.match, submission.options)):
            raise InputError("--array: the tasks of an array job are given at submission (--array_tid)")
        suffix = ".%a" if submission.array_range else ""
        array = [f"--array={submission.array_range}"] if submission.array_range else []
        return [
            "sbatch",
            "--parsable",
            *([] if submission.text else ["--ignore-pbs"]),
            *submission.options,
            f"--comment={submission.tag}",
            f"--chdir={submission.work_dir}",
            f"--output={_pattern(submission.stdout)}{suffix}",
            f"--error={_pattern(submission.stderr)}{suffix}",
            *array,
            str(submission.script),
        ]

    def parse_submit(self, output: str) -> str:
        """Read `123`, or `123;cluster` of a job with `-M`; a site's plugin may print lines before.

        Raises:
            SchedulerOutputError: The last line has another form.
        """
        lines = output.split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        match = _SUBMITTED.match(last)
        if not match:
            raise SchedulerOutputError(f"sbatch: expected a job id, got {output.strip()!r}")
        return match[1] if match[2] in (None, self.cluster) else match[0]

    def poll_command(self, native_ids: Sequence[str]) -> list[str]:
        """Ask squeue for the user's own jobs, one line per task.

        With `--me` the controller sends this user's jobs only, not all of the cluster. `-t all`
        overrules SQUEUE_STATES, and any list of states that leaves out SPECIAL_EXIT and STOPPED.
        Jobs of other clusters are asked about there, with the cluster's name, as their ids are not unique.
        """
        named = sorted({cluster_of(native_id) for native_id in native_ids})
        if any(named):
            clusters = ",".join(filter(None, (name or self.cluster for name in named)))
            return ["squeue", "-r", "-t", "all", "--me", "-M", clusters, "-O", CLUSTERS_POLL_FORMAT]
        ids = ["-j", ",".join(native_ids)] if 0 < len(native_ids) <= IDS_PER_COMMAND else []
        return ["squeue", "--federation", "-r", "-t", "all", "--me", *ids, "-o", POLL_FORMAT]

    def parse_poll(self, output: str) -> Snapshot:
        """Read which jobs are not in a final state. Raises SchedulerOutputError."""
        return self._named(parse_queue(output))

    def detail_commands(self, native_ids: Sequence[str]) -> list[list[str]]:
        """Ask squeue, which remembers ended jobs for MinJobAge, and then sacct where there are accounts.

        The accounts know more, but not the exit status of what failed: 128 and more are stored without
        the 128 (measured with 22.05). Hence there squeue is asked first, about failed jobs only.
        """
        by_cluster: dict[str, list[str]] = {}
        for native_id in native_ids:
            by_cluster.setdefault(cluster_of(native_id), []).append(native_id.partition(";")[0])
        return [
            command
            for cluster, ids in by_cluster.items()
            for command in self._cluster_details(cluster, [",".join(chunk) for chunk in _chunks(ids)])
        ]

    def _cluster_details(self, cluster: str, chunks: Sequence[str]) -> list[list[str]]:
        where = _where(cluster)
        states = _WITH_EXIT_STATUS if self.accounting else "all"
        queue_format = CLUSTER_QUEUE_FORMAT if cluster else QUEUE_FORMAT
        account_format = CLUSTER_ACCOUNT_FORMAT if cluster else ACCOUNT_FORMAT
        squeue = [*_PLAIN, "squeue", *where, "-r", "-t", states]
        sacct = [*_PLAIN, "sacct", *where, "-X", "-P"]
        queue = [[*squeue, "-j", ids, "-O", queue_format] for ids in chunks]
        account = [[*sacct, "-j", ids, f"--format={account_format}"] for ids in chunks]
        return [*queue, *account] if self.accounting else queue

    def parse_detail(self, output: str) -> Snapshot:
        """Read how jobs ended, or that they have not. Raises SchedulerOutputError."""
        if self.accounting and not is_queue_detail(output):
            return self._named(parse_account(output))
        return self._named(parse_queue_detail(output))

    def kill_commands(self, native_id: str) -> list[list[str]]:
        """Ask sacct for the steps of a job: without cgroups only they tell of memory (seen with 22.05)."""
        number, _, cluster = native_id.partition(";")
        steps_format = CLUSTER_STEPS_FORMAT if cluster else STEPS_FORMAT
        command = [*_PLAIN, "sacct", *_where(cluster), "-P", "-j", number, f"--format={steps_format}"]
        return [command] if self.accounting else []

    def parse_kill(self, output: str) -> Mapping[str, Mapping[Optional[int], str]]:
        """Tell which tasks used more memory than they asked for. Raises SchedulerOutputError."""
        return {self._own_name(native_id): tasks for native_id, tasks in parse_memory_causes(output).items()}

    def kill_in_log(self, stderr: str) -> str:
        """Look for slurmstepd's words about memory."""
        return memory_cause(stderr)

    def find_commands(self, tag: str, work_dir: Path) -> list[list[str]]:  # noqa: ARG002
        """Ask for all jobs of the user, as neither command can select by comment; `parse_find` does.

        squeue tells of jobs that the controller remembers, sacct of older ones and of all clusters.
        """
        queue = ["squeue", "-t", "all", "--me", "-o", FIND_QUEUE_FORMAT]
        account = ["sacct", "-L", "-X", "-P", "-S", FIND_WINDOW, f"--format={FIND_ACCOUNT_FORMAT}"]
        return [queue, account] if self.accounting else [queue]

    def parse_find(self, output: str, tag: str, work_dir: Path) -> Optional[str]:
        """Return the job whose comment is the tag. Raises SchedulerOutputError."""
        found = parse_found(output, tag, str(work_dir))
        return found and self._own_name(found)

    def cancel_command(self, native_id: str) -> list[str]:
        """Cancel a job with all its tasks; of a job that has ended scancel says nothing."""
        number, _, cluster = native_id.partition(";")
        return ["scancel", *(["-M", cluster] if cluster else []), number]

    def is_unknown_job(self, stderr: str) -> bool:
        """Tell whether the controller does not know the id (any more)."""
        return "Invalid job id specified" in stderr

    def _named(self, snapshot: Snapshot) -> Snapshot:
        return {self._own_name(native_id): tasks for native_id, tasks in snapshot.items()}

    def _own_name(self, native_id: str) -> str:
        """Leave out the cluster if it is our own."""
        return native_id.removesuffix(f";{self.cluster}") if self.cluster else native_id

    def is_temporary(self, stderr: str) -> bool:
        """Tell whether a refused submission may succeed later.

        So it is when the controller cannot be reached or is overloaded, and when a limit on the number
        of submitted jobs is reached (sbatch then names `AssocMaxSubmitJobLimit` or a QOS limit of that
        kind). A mere "Job violates accounting/QOS policy" is final: the job may be too large for ever.
        """
        said = stderr.lower()
        return any(words in said for words in _TEMPORARY)


def _pattern(path: Path) -> str:
    """Write a path so that sbatch takes it literally."""
    if "\\" in str(path):
        raise InputError(f"{path}: Slurm cannot write logs to a path with a backslash")
    return str(path).replace("%", "%%")


def _where(cluster: str) -> list[str]:
    return ["-M", cluster] if cluster else ["--federation"]


def _chunks(native_ids: Sequence[str]) -> list[Sequence[str]]:
    return [
        native_ids[start : start + IDS_PER_COMMAND] for start in range(0, len(native_ids), IDS_PER_COMMAND)
    ]
