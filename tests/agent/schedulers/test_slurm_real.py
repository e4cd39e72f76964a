"""Slurm's commands and parsers against real daemons: `make test-real`, as root, jobs run as `cqtest`."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Callable, Optional

import pytest

from cloudq.agent.queue import Queue
from cloudq.agent.schedulers.base import NativeState, NativeStatus, Submission, TaskStatuses
from cloudq.agent.schedulers.slurm import Slurm
from cloudq.errors import CommandError
from cloudq.job import ArrayRange, new_job_id
from cloudq.process import DEFAULT_TIMEOUT, Completed, run

USER = "cqtest"
PATIENCE_SECONDS = 150.0
SLEEP = "#!/bin/sh\nexec sleep 600\n"
LARGE_CODES = (130, 200, 255)
GREEDY = """#!/bin/sh
#SBATCH --mem=50M
exec python3 -c 'import time; x = bytearray(200 << 20); x[::4096] = bytes(51200); time.sleep(600)'
"""
TASKS = ArrayRange.parse("1-9:4,100%2")

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(shutil.which("squeue") is None, reason="there is no Slurm on this host"),
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
    accounts: Queue = field(default_factory=lambda: Queue(Slurm(accounting=True), as_user, DEFAULT_TIMEOUT))
    memory: Queue = field(default_factory=lambda: Queue(Slurm(), as_user, DEFAULT_TIMEOUT))
    submissions: dict[str, Submission] = field(default_factory=dict)
    native_ids: dict[str, str] = field(default_factory=dict)

    def submit(
        self, name: str, script: str, *, options: tuple[str, ...] = (), tasks: Optional[ArrayRange] = None
    ) -> None:
        """Submit a script in a working directory of its own, whose name is difficult."""
        work_dir = self.folder / f"{name} 100%a"
        work_dir.mkdir()
        path = work_dir / f"{name}.sh"
        path.write_text(script)
        shutil.chown(work_dir, USER)
        tag = f"cq-{new_job_id()}-1"
        stdout, stderr = work_dir / "stdout", work_dir / "stderr"
        submission = Submission(
            path, work_dir, stdout, stderr, tag, path.name, options=options, array_range=tasks
        )
        self.submissions[name] = submission
        _, self.native_ids[name] = self.accounts.submit(submission)

    def statuses(self, name: str, *, accounting: bool = True) -> TaskStatuses:
        """Poll as the agent does."""
        native_id, array_range = self.native_ids[name], self.submissions[name].array_range
        expected = array_range.task_ids() if array_range else (None,)
        queue = self.accounts if accounting else self.memory
        return queue.poll({native_id: expected}).statuses[native_id]

    def ended(self, name: str, *, accounting: bool) -> NativeStatus:
        """Wait for the end of a job that is no array."""
        wait(lambda: (status := self.statuses(name, accounting=accounting).get(None)) and status.state.final)
        return self.statuses(name, accounting=accounting)[None]

    def running(self, name: str) -> None:
        """Wait until a job runs."""
        wait(lambda: self.state(name) is NativeState.RUNNING)

    def state(self, name: str) -> Optional[NativeState]:
        """Return the state of a job that is no array."""
        status = self.statuses(name).get(None)
        return None if status is None else status.state

    def text(self, name: str, file: str) -> str:
        """Return a file of a job's working directory."""
        return (self.submissions[name].work_dir / file).read_text()

    def control(self, *words: str) -> None:
        """Do what only the administrator may."""
        run(["scontrol", *words])


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """All jobs of this module, submitted at once."""
    with tempfile.TemporaryDirectory(prefix="cloudq-slurm-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        site = Site(folder)
        site.submit("timeout", SLEEP, options=("-t", "1"))
        site.submit("done", "#!/bin/sh\n#SBATCH -J own --output=elsewhere\necho hello; pwd; echo oops >&2\n")
        site.submit("exit", "#!/bin/sh\nexit 3\n", options=("--output=elsewhere", "-J", "my job"))
        for code in LARGE_CODES:
            site.submit(f"exit {code}", f"#!/bin/sh\nexit {code}\n")
        site.submit("signal", "#!/bin/sh\nkill -SEGV $$\n")
        site.submit("greedy", GREEDY)
        site.submit("array", "#!/bin/sh\necho $SLURM_ARRAY_TASK_ID\nexit $SLURM_ARRAY_TASK_ID\n", tasks=TASKS)
        site.submit("held", SLEEP, options=("-H",))
        site.submit("held array", SLEEP, options=("-H",), tasks=TASKS)
        site.submit("cancelled", SLEEP)
        site.submit("requeued", SLEEP)
        site.running("timeout")
        site.control("update", f"JobId={site.native_ids['timeout']}", "EndTime=now+1")
        try:
            yield site
        finally:
            for native_id in site.native_ids.values():
                site.accounts.cancel(native_id)


@pytest.fixture(params=[True, False], ids=["sacct", "squeue"])
def accounting(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def test_the_site_tells_that_it_keeps_accounts(site: Site) -> None:
    queue = Queue(Slurm(), as_user, DEFAULT_TIMEOUT)
    queue.probe()
    assert isinstance(queue.scheduler, Slurm)
    assert queue.scheduler.accounting
    assert queue.scheduler.cluster


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("done", NativeStatus(NativeState.COMPLETED, exit_code=0), id="exit 0"),
        pytest.param("exit", NativeStatus(NativeState.FAILED, exit_code=3), id="exit 3"),
        pytest.param("signal", NativeStatus(NativeState.FAILED, signal=11), id="SIGSEGV"),
    ],
)
def test_the_end_of_a_job_is_told(site: Site, name: str, expected: NativeStatus, accounting: bool) -> None:
    status = site.ended(name, accounting=accounting)
    assert (status.state, status.exit_code, status.signal, status.reason) == (
        expected.state,
        expected.exit_code,
        expected.signal,
        "",
    )
    assert status.started is not None
    assert status.finished is not None
    assert timedelta(0) <= datetime.now(timezone.utc) - status.finished < timedelta(minutes=14)


@pytest.mark.parametrize("code", LARGE_CODES)
def test_an_exit_status_over_128_is_told_as_it_is(site: Site, code: int, accounting: bool) -> None:
    status = site.ended(f"exit {code}", accounting=accounting)
    assert (status.state, status.exit_code, status.signal) == (NativeState.FAILED, code, None)


def test_a_job_killed_for_its_memory_is_told_by_its_steps_and_by_its_log(site: Site) -> None:
    status = site.ended("greedy", accounting=False)
    assert (status.signal, status.reason) == (9, "")
    native_id = site.native_ids["greedy"]
    # What a job asked for may reach the accounts some seconds after its start.
    wait(lambda: site.accounts.kill_causes(native_id))
    words = site.accounts.kill_causes(native_id)[None]
    assert re.fullmatch(r"killed by signal 9, probably out of memory \(2..M used, 50M asked for\)", words)
    logged = site.memory.kill_in_log(site.text("greedy", "stderr"))
    assert re.fullmatch(r"out of memory \(2..M used, 50M asked for\)", logged)


def test_the_accounts_alone_forget_the_128_of_an_exit_status(site: Site) -> None:
    _, command = Slurm(accounting=True).detail_commands([site.native_ids["exit 130"]])
    site.ended("exit 130", accounting=False)
    wait(lambda: "|FAILED|2:0|" in as_user(command).stdout)


def test_logs_and_directory_are_those_of_cloudq(site: Site) -> None:
    site.ended("done", accounting=False)
    assert site.text("done", "stdout") == f"hello\n{site.submissions['done'].work_dir}\n"
    assert site.text("done", "stderr") == "oops\n"


def test_a_job_keeps_the_name_that_its_script_or_its_user_gives_it(site: Site) -> None:
    ids = [site.native_ids[name] for name in ("done", "exit", "held")]
    names = as_user(["squeue", "-h", "-t", "all", "-j", ",".join(ids), "-o", "%j"]).stdout.splitlines()
    assert sorted(names) == ["held.sh", "my job", "own"]


def test_every_task_has_an_end_and_a_log_of_its_own(site: Site, accounting: bool) -> None:
    def states() -> list[NativeState]:
        return [status.state for status in site.statuses("array", accounting=accounting).values()]

    wait(lambda: len(states()) == 4 and all(state.final for state in states()))
    ends = {i: status.exit_code for i, status in site.statuses("array", accounting=accounting).items()}
    assert ends == {1: 1, 5: 5, 9: 9, 100: 100}
    assert [site.text("array", f"stdout.{i}") for i in ends] == [f"{i}\n" for i in ends]


def test_a_held_array_waits_with_all_its_tasks(site: Site) -> None:
    statuses = site.statuses("held array")
    assert {i: (status.state, status.reason) for i, status in statuses.items()} == dict.fromkeys(
        TASKS.task_ids(), (NativeState.QUEUED, "held by the user")
    )


@pytest.mark.parametrize("name", ["held", "held array", "cancelled"])
def test_a_job_is_found_by_its_tag(site: Site, name: str) -> None:
    submission = site.submissions[name]
    assert site.accounts.find(submission.tag, submission.work_dir) == site.native_ids[name]
    assert site.accounts.find("cq-nobody-1", site.folder / "nowhere") is None


def test_an_ended_job_is_found_in_the_accounts(site: Site) -> None:
    site.ended("exit", accounting=True)
    submission = site.submissions["exit"]
    _, command = Slurm(accounting=True).find_commands(submission.tag, submission.work_dir)
    own = Slurm().probed(as_user(["scontrol", "show", "config"]).stdout)
    found = partial(own.parse_find, tag=submission.tag, work_dir=submission.work_dir)
    wait(lambda: found(as_user(command).stdout))
    assert found(as_user(command).stdout) == site.native_ids["exit"]


def test_jobs_that_wait_and_run_can_be_cancelled(site: Site) -> None:
    site.running("cancelled")
    for name in ("held", "held array", "cancelled"):
        site.accounts.cancel(site.native_ids[name])
    for by_accounting in (True, False):
        for name in ("held", "cancelled"):
            assert site.ended(name, accounting=by_accounting).state is NativeState.CANCELLED
        wait(lambda: len(site.statuses("held array", accounting=by_accounting)) == 4)  # noqa: B023
        tasks = site.statuses("held array", accounting=by_accounting)
        assert {status.state for status in tasks.values()} == {NativeState.CANCELLED}
    site.accounts.cancel(site.native_ids["held"])


def test_a_requeued_job_waits_again(site: Site) -> None:
    site.running("requeued")
    site.control("requeue", site.native_ids["requeued"])
    wait(lambda: site.state("requeued") is NativeState.QUEUED)
    wait(lambda: site.statuses("requeued")[None].reason == "its begin time has not come yet")


def test_a_job_sent_to_a_cluster_by_its_name_is_followed_and_cancelled_there(site: Site) -> None:
    # The queue of these tests has not been told that this is its own cluster.
    (cluster,) = set(
        re.findall(r"(?m)^ClusterName\s*=\s*(\S+)", as_user(["scontrol", "show", "config"]).stdout)
    )
    site.submit("there", SLEEP, options=("-M", cluster))
    site.submit("ended there", "#!/bin/sh\nexit 3\n", options=("-M", cluster), tasks=TASKS)
    assert site.native_ids["there"].endswith(f";{cluster}")
    site.running("there")

    def codes() -> list[Optional[int]]:
        # For a moment sacct may tell of a task without its number, too.
        statuses = site.statuses("ended there")
        return [statuses[i].exit_code for i in TASKS.task_ids() if i in statuses]

    wait(lambda: codes() == [3, 3, 3, 3])
    site.accounts.cancel(site.native_ids["there"])
    assert site.ended("there", accounting=True).state is NativeState.CANCELLED


def test_an_unknown_job_is_missing_and_no_fault(site: Site, accounting: bool) -> None:
    queue = site.accounts if accounting else site.memory
    answer = queue.poll({"67000000": [None]})
    assert (answer.statuses, answer.faults) == ({"67000000": {}}, ())


def test_what_sbatch_refuses_for_ever_is_not_temporary(site: Site) -> None:
    with pytest.raises(CommandError, match="Invalid partition name") as caught:
        site.submit("refused", SLEEP, options=("-p", "nope"))
    assert not Slurm().is_temporary(caught.value.stderr)


def test_a_job_over_its_walltime_has_timed_out(site: Site, accounting: bool) -> None:
    status = site.ended("timeout", accounting=accounting)
    assert (status.state, status.reason) == (NativeState.TIMED_OUT, "walltime 0:01:00 exceeded")
