"""The local queue: jobs are processes of the agent's host (see `cloudq.agent.localqueue`)."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Optional

from cloudq.agent import localqueue
from cloudq.agent.schedulers.base import NativeState, NativeStatus, Snapshot, Submission
from cloudq.errors import SchedulerOutputError

_PROGRAM = str(Path(localqueue.__file__).parent)
_ID = re.compile(r"(\d+)\s*\Z")
_UNKNOWN = re.compile(r"^localqueue: unknown job \d+$", re.MULTILINE)


@dataclass(frozen=True)
class Local:
    """The mini batch system that comes with the agent.

    Attributes:
        root: The directory of its records, for this user alone.
        slots: How many tasks run at once.
    """

    root: Path
    slots: int = 1

    @property
    def name(self) -> str:
        """The word of the configuration (`type`), and of the template."""
        return "local"

    def version_command(self) -> Optional[list[str]]:
        """Return None: it comes with the agent."""
        return None

    @property
    def keeps_accounts(self) -> bool:
        """Return True."""
        return True

    def probe_command(self) -> Optional[list[str]]:
        """Return None: nothing is to be known."""
        return None

    def probed(self, output: str) -> Local:  # noqa: ARG002
        """Return it as it is."""
        return self

    def submit_command(self, submission: Submission) -> list[str]:
        """Submit; the one option that users may give is `--walltime=SECONDS`."""
        array = [f"--array={submission.array_range}"] if submission.array_range else []
        return self._command(
            "submit",
            f"--tag={submission.tag}",
            f"--chdir={submission.work_dir}",
            f"--output={submission.stdout}",
            f"--error={submission.stderr}",
            *array,
            *(f"--option={word}" for word in submission.options),
            "--",
            str(submission.script),
        )

    def parse_submit(self, output: str) -> str:
        """Read the id. Raises SchedulerOutputError."""
        return _parse_id(output)

    def poll_command(self, native_ids: Sequence[str]) -> list[str]:
        """Ask about all jobs at once; the answer has the ended ones, too."""
        return self._command("status", *native_ids)

    def parse_poll(self, output: str) -> Snapshot:
        """Read how jobs stand and ended. Raises SchedulerOutputError."""
        return _parse_answer(output)

    def detail_commands(self, native_ids: Sequence[str]) -> list[list[str]]:  # noqa: ARG002
        """Return nothing: the poll tells all there is."""
        return []

    def parse_detail(self, output: str) -> Snapshot:
        """Read what a poll says. Raises SchedulerOutputError."""
        return _parse_answer(output)

    def find_commands(self, tag: str, work_dir: Path) -> list[list[str]]:  # noqa: ARG002
        """Ask for the job of this tag."""
        return [self._command("find", f"--tag={tag}")]

    def parse_find(self, output: str, tag: str, work_dir: Path) -> Optional[str]:  # noqa: ARG002
        """Read the id, if there is one. Raises SchedulerOutputError."""
        return _parse_id(output) if output.strip() else None

    def cancel_command(self, native_id: str) -> list[str]:
        """Cancel a job with all its tasks; nothing happens to one that has ended."""
        return self._command("cancel", native_id)

    def is_unknown_job(self, stderr: str) -> bool:
        """Tell whether there is no such job (any more)."""
        return bool(_UNKNOWN.search(stderr))

    def is_temporary(self, stderr: str) -> bool:
        """Tell whether the host was short of something: processes, memory, disk."""
        said = stderr.lower()
        return any(words in said for words in ("temporarily unavailable", "cannot allocate", "no space left"))

    def _command(self, *words: str) -> list[str]:
        return [sys.executable, _PROGRAM, "--root", str(self.root), "--slots", str(self.slots), *words]


def _parse_id(output: str) -> str:
    match = _ID.match(output)
    if not match:
        raise SchedulerOutputError(f"local queue: expected a job id, got {output.strip()!r}")
    return match[1]


def _parse_answer(output: str) -> Snapshot:
    try:
        jobs: dict[str, list[dict[str, Any]]] = json.loads(output)
        return {
            native_id: {members["task"]: _status(members) for members in tasks}
            for native_id, tasks in jobs.items()
        }
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise SchedulerOutputError(f"local queue: not an answer about jobs: {error}") from error


def _status(members: dict[str, Any]) -> NativeStatus:
    return NativeStatus(
        NativeState(members["state"]),
        members["exit_code"],
        members["signal"],
        members["reason"],
        _time(members["started"]),
        _time(members["finished"]),
    )


def _time(text: Optional[str]) -> Optional[datetime]:
    return None if text is None else datetime.fromisoformat(text)
