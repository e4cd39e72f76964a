"""Grid Engine's commands and parsers against real daemons: `make test-real`, as root, jobs of `cqtest`."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Callable, Optional

import pytest

from cloudq.agent.queue import Queue
from cloudq.agent.schedulers.base import NativeState, NativeStatus, Submission, TaskStatuses
from cloudq.agent.schedulers.gridengine import GridEngine
from cloudq.errors import CommandError
from cloudq.job import ArrayRange, new_job_id
from cloudq.metascript import Placement, parse_meta_script, translate
from cloudq.process import DEFAULT_TIMEOUT, Completed, run
from cloudq.system import System

USER = "cqtest"
PATIENCE_SECONDS = 150.0
SLEEP = "#!/bin/sh\nexec sleep 600\n"
TASKS = ArrayRange.parse("2-100:49%2")
CELL = System("cell", "gridengine", resources={"two": "-pe smp {n}"})
META = """#!/usr/bin/env -S bash -u
#$ resource: two
#$ n_resource: 2
#$ walltime: 0:10:00
#$ other_opts: -v 'GREETING=two words'
#$ -ac a=1 -N native
cat <<END
#$ -l nosuch=1
END
echo "$GREETING $NSLOTS <$ARY_TASK_ID> $-"
exit 5
"""

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(shutil.which("qconf") is None, reason="there is no Grid Engine on this host"),
    pytest.mark.skipif(os.getuid() != 0, reason="jobs are submitted by another user, which only root can do"),
]


def as_user(
    argv: Sequence[str], *, cwd: Optional[Path] = None, timeout: timedelta = DEFAULT_TIMEOUT
) -> Completed:
    return run(["runuser", "-u", USER, "--", *argv], cwd=cwd, timeout=timeout)


def wait(until: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not until():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.2)


@dataclass
class Site:
    """Jobs on the cluster, by the names that the tests give them."""

    folder: Path
    queue: Queue = field(default_factory=lambda: Queue(GridEngine(), as_user, DEFAULT_TIMEOUT))
    submissions: dict[str, Submission] = field(default_factory=dict)
    native_ids: dict[str, str] = field(default_factory=dict)

    def submit(
        self,
        name: str,
        text: str,
        *,
        options: tuple[str, ...] = (),
        tasks: Optional[ArrayRange] = None,
        translated: bool = False,
    ) -> None:
        """Submit a script in a working directory of its own; its names are difficult."""
        work_dir = self.folder / f"{name} 1:2%a"
        work_dir.mkdir()
        path = work_dir / f"1 {name}.sh"
        if translated:
            placement = Placement(str(work_dir), str(work_dir / "exit"))
            path.write_text(translate(parse_meta_script(text, name), CELL, placement))
        else:
            path.write_text(text)
        path.chmod(0o755)
        shutil.chown(work_dir, USER)
        submission = Submission(
            script=path,
            work_dir=work_dir,
            stdout=work_dir / "stdout",
            stderr=work_dir / "stderr",
            tag=f"cq-{new_job_id()}-1",
            name=path.name,
            text="" if translated else text,
            options=options,
            array_range=tasks,
        )
        self.submissions[name] = submission
        _, self.native_ids[name] = self.queue.submit(submission)

    def statuses(self, name: str) -> TaskStatuses:
        """Poll as the agent does."""
        native_id, array_range = self.native_ids[name], self.submissions[name].array_range
        expected = array_range.task_ids() if array_range else (None,)
        answer = self.queue.poll({native_id: expected})
        assert answer.faults == ()
        return answer.statuses[native_id]

    def state(self, name: str) -> Optional[NativeState]:
        """Return the state of a job that is no array."""
        status = self.statuses(name).get(None)
        return None if status is None else status.state

    def ended(self, name: str) -> NativeStatus:
        """Wait for the end of a job that is no array."""
        wait(lambda: (status := self.statuses(name).get(None)) and status.state.final)
        return self.statuses(name)[None]

    def running(self, name: str) -> None:
        """Wait until a job runs."""
        wait(lambda: self.state(name) is NativeState.RUNNING)

    def listed(self, name: str) -> bool:
        """Tell whether the queue has a job, in whatever state."""
        output = as_user(self.queue.scheduler.poll_command([])).stdout
        return f"<JB_job_number>{self.native_ids[name]}<" in output

    def text(self, name: str, file: str) -> str:
        """Return a file of a job's working directory."""
        return (self.submissions[name].work_dir / file).read_text()


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """All jobs of this module, submitted at once."""
    with tempfile.TemporaryDirectory(prefix="cloudq-gridengine-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        site = Site(folder)
        for sleeper in ("cancelled", "rescheduled", "suspended"):
            site.submit(sleeper, SLEEP, options=("-r", "y"))
        site.submit("timeout", SLEEP, options=("-l", "h_rt=0:0:2"))
        site.submit(
            "done", "#!/bin/sh\n#$ -N own -o elsewhere -j y -sync y\necho hello; pwd; echo oops >&2\n"
        )
        site.submit("exit", "#!/bin/sh\nexit 3\n", options=("-o", "elsewhere", "-N", "x"))
        site.submit("signal", "#!/bin/sh\nkill -SEGV $$\n")
        site.submit("error", "#!/bin/sh\nexit 100\n")
        site.submit("again", "#!/bin/sh\n[ -e tried ] && exit 4\ntouch tried\nexit 99\n")
        site.submit("array", "#!/bin/sh\necho $SGE_TASK_ID\nexit $SGE_TASK_ID\n", tasks=TASKS)
        site.submit("meta", META, translated=True)
        site.submit("held", SLEEP, options=("-h",))
        site.submit("held array", SLEEP, options=("-h",), tasks=TASKS)
        try:
            yield site
        finally:
            for native_id in site.native_ids.values():
                site.queue.cancel(native_id)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("done", NativeStatus(NativeState.COMPLETED, exit_code=0), id="exit 0"),
        pytest.param("exit", NativeStatus(NativeState.FAILED, exit_code=3), id="exit 3"),
        pytest.param("again", NativeStatus(NativeState.FAILED, exit_code=4), id="exit 99, then 4"),
        pytest.param("signal", NativeStatus(NativeState.FAILED, signal=11), id="SIGSEGV"),
    ],
)
def test_the_end_of_a_job_is_told(site: Site, name: str, expected: NativeStatus) -> None:
    status = site.ended(name)
    assert (status.state, status.exit_code, status.signal, status.reason) == (
        expected.state,
        expected.exit_code,
        expected.signal,
        "",
    )
    assert status.started is not None
    assert status.finished is not None
    assert timedelta(0) <= datetime.now(timezone.utc) - status.finished < timedelta(minutes=14)


def test_logs_and_directory_are_those_of_cloudq(site: Site) -> None:
    site.ended("done")
    assert site.text("done", "stdout") == f"hello\n{site.submissions['done'].work_dir}\n"
    assert site.text("done", "stderr") == "oops\n"


def test_every_task_has_an_end_and_a_log_of_its_own(site: Site) -> None:
    def states() -> list[NativeState]:
        return [status.state for status in site.statuses("array").values()]

    # Exit 100 is the error state; the task fails all the same.
    wait(lambda: len(states()) == 3 and all(state.final for state in states()))
    ends = {i: status.exit_code for i, status in site.statuses("array").items()}
    assert ends == {2: 2, 51: 51, 100: 100}
    assert [site.text("array", f"stdout.{i}") for i in ends] == [f"{i}\n" for i in ends]


def test_a_translated_script_is_read_and_run_as_it_is_meant(site: Site) -> None:
    assert site.ended("meta").exit_code == 5
    heredoc, answer = site.text("meta", "stdout").splitlines()
    assert heredoc == "#$ -l nosuch=1"
    assert answer.startswith("two words 2 <> ")
    assert "u" in answer.split()[-1]
    assert site.text("meta", "exit") == "5\n"


def test_a_job_over_its_walltime_has_timed_out(site: Site) -> None:
    status = site.ended("timeout")
    assert (status.state, status.reason) == (NativeState.TIMED_OUT, "walltime 0:00:02 exceeded")


def test_a_job_in_the_error_state_has_failed_and_leaves_the_queue_when_it_is_cancelled(site: Site) -> None:
    status = site.ended("error")
    assert (status.state, status.exit_code, status.cancel_needed) == (NativeState.FAILED, 100, True)
    assert site.listed("error")
    site.queue.cancel(site.native_ids["error"])
    wait(lambda: not site.listed("error"))


def test_a_held_array_waits_with_all_its_tasks(site: Site) -> None:
    held = NativeStatus(NativeState.QUEUED, reason="held")
    assert site.statuses("held array") == dict.fromkeys(TASKS.task_ids(), held)


def test_a_rescheduled_job_has_not_ended(site: Site) -> None:
    def records() -> bool:
        return site.queue.scheduler.parse_detail(output()) != {}

    def output() -> str:
        try:
            return as_user(["qacct", "-j", site.native_ids["rescheduled"]]).stdout
        except CommandError:
            return ""

    site.running("rescheduled")
    run(["qmod", "-rj", site.native_ids["rescheduled"]])
    wait(records)
    assert site.state("rescheduled") in (NativeState.QUEUED, NativeState.RUNNING)


def test_a_suspended_job_is_told(site: Site) -> None:
    site.running("suspended")
    run(["qmod", "-sj", site.native_ids["suspended"]])
    wait(lambda: site.state("suspended") is NativeState.SUSPENDED)


@pytest.mark.parametrize("name", ["held", "held array", "cancelled", "exit"])
def test_a_job_is_found_by_its_tag_before_and_after_its_end(site: Site, name: str) -> None:
    if name == "exit":
        site.ended(name)
    submission = site.submissions[name]
    assert site.queue.find(submission.tag, submission.work_dir) == site.native_ids[name]


def test_a_tag_that_was_never_submitted_is_not_found(site: Site) -> None:
    assert site.queue.find("cq-nobody-1", site.folder) is None


def test_a_job_that_is_cancelled_while_it_runs_was_killed(site: Site) -> None:
    site.running("cancelled")
    site.queue.cancel(site.native_ids["cancelled"])
    site.queue.cancel(site.native_ids["cancelled"])
    status = site.ended("cancelled")
    assert (status.state, status.signal) == (NativeState.FAILED, 9)


def test_a_job_that_is_cancelled_while_it_waits_is_missing(site: Site) -> None:
    site.submit("unwanted", SLEEP, options=("-h",))
    site.queue.cancel(site.native_ids["unwanted"])
    wait(lambda: site.statuses("unwanted") == {})
    site.queue.cancel(site.native_ids["unwanted"])


def test_what_qsub_refuses_for_ever_is_not_temporary(site: Site) -> None:
    with pytest.raises(CommandError) as caught:
        site.submit("refused", SLEEP, options=("-q", "nope"))
    assert 'unknown queue "nope"' in caught.value.stderr
    assert not GridEngine().is_temporary(caught.value.stderr)
