"""A cluster that obeys the tests: a scheduler for speed and faults. The real ones are in tests/real."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Optional

from cloudq.agent.schedulers.base import NativeState, NativeStatus, Snapshot, Submission
from cloudq.errors import CommandError, CommandTimeoutError, SchedulerOutputError
from cloudq.process import DEFAULT_TIMEOUT, Completed

Tasks = dict[Optional[int], NativeStatus]

_one_at_a_time = threading.Lock()


@dataclass(frozen=True)
class FakeScheduler:
    """The commands of the fake cluster, and how its JSON is read."""

    name: str = "local"

    def version_command(self) -> Optional[list[str]]:
        return ["fake", "version"]

    @property
    def keeps_accounts(self) -> bool:
        return True

    def probe_command(self) -> Optional[list[str]]:
        return None

    def probed(self, output: str) -> FakeScheduler:
        return self

    def submit_command(self, submission: Submission) -> list[str]:
        tasks = "" if submission.array_range is None else str(submission.array_range)
        group = ["-g", submission.project] if submission.project else []
        return ["fake", "submit", submission.tag, str(submission.script), tasks, *submission.options, *group]

    def parse_submit(self, output: str) -> str:
        if not output.startswith("job "):
            raise SchedulerOutputError(f"fake: expected 'job N', got {output!r}")
        return output.split()[1]

    def poll_command(self, native_ids: Sequence[str]) -> list[str]:
        return ["fake", "poll", *native_ids]

    def parse_poll(self, output: str) -> Snapshot:
        return _parse(output)

    def detail_commands(self, native_ids: Sequence[str]) -> list[list[str]]:
        return [["fake", "detail", *native_ids]]

    def parse_detail(self, output: str) -> Snapshot:
        return _parse(output)

    def kill_commands(self, native_id: str) -> list[list[str]]:
        return [["fake", "why", native_id]]

    def parse_kill(self, output: str) -> Mapping[str, Mapping[Optional[int], str]]:
        native_id, task_id, cause = json.loads(output)
        return {native_id: {task_id: cause}} if cause else {}

    def kill_in_log(self, stderr: str) -> str:
        return "out of memory" if "fake: over memory" in stderr else ""

    def find_commands(self, tag: str, work_dir: Path) -> list[list[str]]:
        return [["fake", "find", tag]]

    def parse_find(self, output: str, tag: str, work_dir: Path) -> Optional[str]:
        if not output.startswith("found ") or not output.endswith("\n"):
            raise SchedulerOutputError(f"fake: expected 'found N', got {output!r}")
        return output[len("found ") :].strip() or None

    def cancel_command(self, native_id: str) -> list[str]:
        return ["fake", "cancel", native_id]

    def is_unknown_job(self, stderr: str) -> bool:
        return "unknown" in stderr

    def is_temporary(self, stderr: str) -> bool:
        return "busy" in stderr


@dataclass
class FakeCluster:
    """What the fake commands do. A test moves the jobs by hand.

    Attributes:
        jobs: Native id -> its tasks.
        tags: Tag -> native id.
        scripts: Native id -> path of the submitted script.
        causes: Native id -> a task that was killed, and why.
        calls: The commands that were run.
        faults: Sub-command -> an error to raise instead, once for each in the list.
        late: Sub-command -> the same, but after the command took effect.
    """

    jobs: dict[str, Tasks] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    scripts: dict[str, Path] = field(default_factory=dict)
    causes: dict[str, tuple[Optional[int], str]] = field(default_factory=dict)
    calls: list[tuple[str, ...]] = field(default_factory=list)
    faults: dict[str, list[Exception]] = field(default_factory=dict)
    late: dict[str, list[Exception]] = field(default_factory=dict)

    def run(
        self, argv: Sequence[str], *, cwd: Optional[Path] = None, timeout: timedelta = DEFAULT_TIMEOUT
    ) -> Completed:
        """Run a fake command."""
        verb = argv[1]
        with _one_at_a_time:
            self.calls.append(tuple(argv[1:]))
            if self.faults.get(verb):
                raise self.faults[verb].pop(0)
            done = Completed(getattr(self, f"_{verb}")(*argv[2:]))
            if self.late.get(verb):
                raise self.late[verb].pop(0)
            return done

    def count(self, verb: str) -> int:
        """Return how many times a sub-command was run."""
        return sum(call[0] == verb for call in self.calls)

    def set(self, native_id: str, status: NativeStatus, task_id: Optional[int] = None) -> None:
        """Put a job or task into a state."""
        self.jobs[native_id][task_id] = status

    def move(self, native_id: str, state: NativeState, **details: object) -> None:
        """Put all tasks of a job into a state."""
        for task_id in self.jobs[native_id]:
            self.set(native_id, NativeStatus(state, **details), task_id)  # type: ignore[arg-type]

    def _version(self) -> str:
        return "fake 1.0\n"

    def _submit(self, tag: str, script: str, tasks: str, *options: str) -> str:
        from cloudq.job import ArrayRange

        native_id = str(len(self.tags) + 1)
        ids: Sequence[Optional[int]] = ArrayRange.parse(tasks).task_ids() if tasks else [None]
        self.jobs[native_id] = {task_id: NativeStatus(NativeState.QUEUED, reason="busy") for task_id in ids}
        self.tags[tag] = native_id
        self.scripts[native_id] = Path(script)
        return f"job {native_id}\n"

    def _poll(self, *native_ids: str) -> str:
        return self._render(native_ids, final=False)

    def _detail(self, *native_ids: str) -> str:
        return self._render(native_ids, final=True)

    def _why(self, native_id: str) -> str:
        return json.dumps([native_id, *self.causes.get(native_id, (None, ""))])

    def _find(self, tag: str) -> str:
        return f"found {self.tags.get(tag, '')}\n"

    def _cancel(self, native_id: str) -> str:
        self.move(native_id, NativeState.CANCELLED)
        return ""

    def _render(self, native_ids: Sequence[str], *, final: bool) -> str:
        return json.dumps(
            [
                [
                    *[i, task_id, s.state.value, s.exit_code, s.signal, s.reason],
                    *[s.settles_after.total_seconds(), s.cancel_needed, s.tag],
                ]
                for i in native_ids
                for task_id, s in self.jobs.get(i, {}).items()
                if s.state.final is final
            ]
        )


def refusal(stderr: str) -> CommandError:
    """Make the error of a command that ended with status 1."""
    return CommandError(["fake"], 1, "", stderr)


def time_out() -> CommandTimeoutError:
    """Make the error of a command that did not end in time."""
    return CommandTimeoutError(["fake"], 1)


def _parse(output: str) -> Snapshot:
    snapshot: dict[str, Tasks] = {}
    try:
        for native_id, task_id, state, exit_code, signal, reason, settles, cancel, tag in json.loads(output):
            status = NativeStatus(
                NativeState(state),
                exit_code,
                signal,
                reason,
                settles_after=timedelta(seconds=settles),
                cancel_needed=cancel,
                tag=tag,
            )
            snapshot.setdefault(native_id, {})[task_id] = status
    except ValueError as error:
        raise SchedulerOutputError(f"fake: {error}") from error
    return snapshot
