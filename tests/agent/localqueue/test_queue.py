"""The local queue with real processes: what an agent sees of its jobs, whatever is killed meanwhile."""

from __future__ import annotations

import os
import signal
import stat
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from cloudq.agent.localqueue.liveness import is_alive
from cloudq.agent.localqueue.record import LOST, WAITING
from cloudq.agent.localqueue.supervisor import is_supervised
from cloudq.agent.localqueue.task import STOPPED
from cloudq.agent.schedulers.base import NativeState
from cloudq.errors import CommandError
from cloudq.process import run
from tests.agent.localqueue.conftest import LocalCluster

SLEEP = "#!/bin/sh\nexec sleep 600\n"
STUBBORN = "#!/bin/bash\ntrap '' TERM\necho ready > ready\nwhile :; do sleep 0.05; done\n"


def refusal(cluster: LocalCluster, command: Sequence[str]) -> CommandError:
    with pytest.raises(CommandError) as caught:
        run(command, cwd=cluster.work_dir)
    return caught.value


def test_a_job_runs_in_its_directory_and_ends_with_its_exit_status(cluster: LocalCluster) -> None:
    native_id = cluster.submit("#!/bin/bash\npwd; cat; echo oops >&2; exit 3\n")
    cluster.ended(native_id)
    status = cluster.ask(native_id)[None]
    assert (status.state, status.exit_code, status.signal, status.reason) == (NativeState.FAILED, 3, None, "")
    assert status.started is not None
    assert status.finished is not None
    assert timedelta(0) <= status.finished - status.started < timedelta(seconds=120)
    assert cluster.text("stdout") == f"{cluster.work_dir}\n"
    assert cluster.text("stderr") == "oops\n"


def test_a_job_that_succeeds_is_completed(cluster: LocalCluster) -> None:
    status = cluster.ended(cluster.submit("#!/bin/sh\n"))
    assert (status.state, status.exit_code) == (NativeState.COMPLETED, 0)


def test_a_job_that_a_signal_ends_has_failed_by_that_signal(cluster: LocalCluster) -> None:
    status = cluster.ended(cluster.submit("#!/bin/sh\nkill -SEGV $$\n"))
    assert (status.state, status.exit_code, status.signal) == (NativeState.FAILED, None, 11)


def test_a_job_obeys_the_signal_that_nohup_made_its_agent_ignore(
    cluster: LocalCluster, request: pytest.FixtureRequest
) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    request.addfinalizer(lambda: signal.signal(signal.SIGHUP, before))
    status = cluster.ended(cluster.submit("kill -HUP $$; exit 0"))
    assert (status.state, status.signal) == (NativeState.FAILED, signal.SIGHUP)


def test_a_job_without_an_interpreter_line_is_a_shell_script(cluster: LocalCluster) -> None:
    cluster.ended(cluster.submit("echo hello\n"))
    assert cluster.text("stdout") == "hello\n"


def test_a_job_whose_interpreter_is_missing_says_so(cluster: LocalCluster) -> None:
    status = cluster.ended(cluster.submit("#!/no/such/shell\n"))
    assert status.state is NativeState.FAILED
    assert "could not be started" in status.reason
    assert "/no/such/shell" in status.reason


def test_a_job_whose_log_cannot_be_opened_says_so(cluster: LocalCluster) -> None:
    (cluster.work_dir / "stdout").mkdir()
    status = cluster.ended(cluster.submit("#!/bin/sh\n"))
    assert status.state is NativeState.FAILED
    assert "could not be started" in status.reason
    assert "stdout" in status.reason


def test_a_job_has_the_environment_of_its_submission(
    cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.running(cluster.submit(SLEEP))  # the supervisor is there before the variable
    monkeypatch.setenv("COLOUR", "deep blue")
    cluster.ended(cluster.submit('echo "$COLOUR"\n'))
    assert cluster.text("stdout") == "deep blue\n"


def test_the_environment_is_forgotten_when_the_job_has_ended(cluster: LocalCluster) -> None:
    native_id = cluster.submit("#!/bin/sh\n")
    cluster.wait(lambda: not cluster.spool.is_live(int(native_id)))
    assert cluster.spool.environment(int(native_id)) == {}


def test_every_task_of_an_array_runs_with_its_id_and_logs(cluster: LocalCluster) -> None:
    names = "$CLOUDQ_TASK_ID $CLOUDQ_TASK_FIRST $CLOUDQ_TASK_LAST $CLOUDQ_TASK_STEP"
    native_id = cluster.submit(f'echo "{names}"; exit $CLOUDQ_TASK_ID\n', tasks="0-100:50")
    cluster.ended(native_id)
    assert {task_id: status.exit_code for task_id, status in cluster.ask(native_id).items()} == {
        0: 0,
        50: 50,
        100: 100,
    }
    assert [cluster.text(f"stdout.{task_id}") for task_id in (0, 50, 100)] == [
        "0 0 100 50\n",
        "50 0 100 50\n",
        "100 0 100 50\n",
    ]


def test_a_job_that_is_no_array_has_no_task_id(
    cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOUDQ_TASK_ID", "7")
    cluster.ended(cluster.submit("echo ${CLOUDQ_TASK_ID-none}\n"))
    assert cluster.text("stdout") == "none\n"


MARK_OVERLAP = "echo + >> marks; sleep 0.1; echo - >> marks\n"


def most_at_once(marks: str) -> int:
    running = [marks[: index + 1].count("+") - marks[: index + 1].count("-") for index in range(len(marks))]
    return max(running)


def test_no_more_tasks_run_at_once_than_there_are_slots(cluster: LocalCluster) -> None:
    cluster.ended(cluster.submit(MARK_OVERLAP, tasks="1-6"))
    assert most_at_once(cluster.text("marks")) == 2


def test_no_more_tasks_run_at_once_than_the_array_allows(cluster: LocalCluster) -> None:
    cluster.ended(cluster.submit(MARK_OVERLAP, tasks="1-4%1"))
    assert most_at_once(cluster.text("marks")) == 1


def test_a_job_beyond_the_slots_waits_for_its_turn(cluster: LocalCluster) -> None:
    first, second, third = (cluster.submit(SLEEP) for _ in range(3))
    cluster.running(first)
    cluster.running(second)
    status = cluster.ask(third)[None]
    assert (status.state, status.reason) == (NativeState.QUEUED, WAITING)
    cluster.cancel(first)
    cluster.running(third)


def test_a_job_starts_soon_after_its_submission(cluster: LocalCluster) -> None:
    def latency() -> float:
        """Submit a job; tell how long that and its start took. A busy machine may take longer, not always."""
        submitted = time.monotonic()
        native_id = cluster.submit(SLEEP)
        cluster.running(native_id)
        took = time.monotonic() - submitted
        cluster.cancel(native_id)
        cluster.ended(native_id)
        return took

    def latency_of_a_supervisor() -> float:
        took = latency()
        cluster.wait(lambda: not is_supervised(cluster.spool))
        return took

    assert any(latency_of_a_supervisor() < 3 for _ in range(10)), "usually 0.2 s"
    cluster.running(cluster.submit(SLEEP))
    assert any(latency() < 3 for _ in range(10)), "usually 0.2 s"


def test_a_waiting_job_is_cancelled_at_once(cluster: LocalCluster) -> None:
    running = cluster.submit(SLEEP, tasks="1-2")
    waiting = cluster.submit("echo no > started\n")
    cluster.cancel(waiting)
    assert cluster.ask(waiting)[None].state is NativeState.CANCELLED
    cluster.cancel(running)
    cluster.wait(lambda: not any(map(cluster.spool.is_live, (1, 2))))
    assert cluster.text("started") == ""


def test_a_running_job_is_cancelled_with_all_its_processes(cluster: LocalCluster) -> None:
    native_id = cluster.submit("sleep 600 & echo $! > child; wait\n")
    cluster.wait(lambda: cluster.text("child").endswith("\n"))
    start = cluster.running(native_id)
    cluster.cancel(native_id)
    assert cluster.ended(native_id).state is NativeState.CANCELLED
    assert not is_alive(start.script_pid, start.script_birth)
    cluster.wait(lambda: not Path(f"/proc/{cluster.text('child').strip()}/exe").exists())


def test_a_job_that_ignores_a_cancel_is_killed_after_a_while(cluster: LocalCluster) -> None:
    native_id = cluster.submit(STUBBORN, grace=0.2)
    cluster.wait(lambda: cluster.text("ready"))
    cluster.cancel(native_id)
    assert cluster.ended(native_id).state is NativeState.CANCELLED


def test_tasks_that_wait_and_run_are_cancelled_together(cluster: LocalCluster) -> None:
    native_id = cluster.submit(SLEEP, tasks="1-4")
    cluster.running(native_id, 1)
    cluster.cancel(native_id)
    cluster.ended(native_id)
    assert {status.state for status in cluster.ask(native_id).values()} == {NativeState.CANCELLED}


def test_a_cancel_of_an_ended_job_changes_nothing(cluster: LocalCluster) -> None:
    native_id = cluster.submit("#!/bin/sh\n")
    cluster.wait(lambda: not cluster.spool.is_live(int(native_id)))
    cluster.cancel(native_id)
    assert cluster.ask(native_id)[None].state is NativeState.COMPLETED


def test_a_job_over_its_walltime_is_killed(cluster: LocalCluster) -> None:
    native_id = cluster.submit("#!/bin/bash\n#CLOUDQ --walltime=1\n" + STUBBORN, grace=0.1)
    status = cluster.ended(native_id)
    assert (status.state, status.reason) == (NativeState.TIMED_OUT, "walltime 0:00:01 exceeded")


def test_an_option_at_submission_wins_over_the_script(cluster: LocalCluster) -> None:
    native_id = cluster.submit("#CLOUDQ --walltime=3600\nsleep 600\n", options=("--walltime=0:00:01",))
    assert cluster.ended(native_id).state is NativeState.TIMED_OUT


def test_what_a_script_leaves_behind_ends_with_it(cluster: LocalCluster) -> None:
    native_id = cluster.submit("sleep 600 & echo $! > child\n")
    assert cluster.ended(native_id).state is NativeState.COMPLETED
    cluster.wait(lambda: not Path(f"/proc/{cluster.text('child').strip()}/exe").exists())


def test_a_killed_supervisor_loses_no_job_and_starts_none_twice(cluster: LocalCluster) -> None:
    script = "echo started >> starts; while [ ! -e go ]; do sleep 0.05; done; exit 4\n"
    running = cluster.submit(script, tasks="1-2")
    cluster.wait(lambda: cluster.text("starts").count("started") == 2)
    waiting = cluster.submit("exit 5\n")
    os.kill(cluster.supervisor(), signal.SIGKILL)
    (cluster.work_dir / "go").touch()
    cluster.ended(running)
    assert cluster.states(waiting) == [NativeState.QUEUED]
    assert cluster.polled(waiting).exit_code == 5
    assert {status.exit_code for status in cluster.ask(running).values()} == {4}
    assert cluster.text("starts").count("started") == 2


def test_a_new_supervisor_counts_tasks_that_the_old_one_started(cluster: LocalCluster) -> None:
    running, waiting = cluster.submit(SLEEP, tasks="1-2"), cluster.submit("exit 5\n")
    cluster.running(running, 2)
    old = cluster.supervisor()
    os.kill(old, signal.SIGKILL)
    cluster.wait(lambda: cluster.ask(running) and cluster.supervisor() != old)
    assert cluster.states(waiting) == [NativeState.QUEUED]
    cluster.cancel(running)
    assert cluster.ended(waiting).exit_code == 5


def test_a_job_all_of_whose_processes_were_killed_is_lost(cluster: LocalCluster) -> None:
    native_id = cluster.submit(SLEEP)
    start = cluster.running(native_id)
    os.kill(cluster.supervisor(), signal.SIGKILL)
    os.kill(start.pid, signal.SIGKILL)
    os.killpg(start.script_pid or 0, signal.SIGKILL)
    cluster.wait(lambda: not is_alive(start.pid, start.birth))
    cluster.wait(lambda: not is_alive(start.script_pid, start.script_birth))
    status = cluster.ask(native_id)[None]
    assert (status.state, status.reason) == (NativeState.FAILED, LOST)
    cluster.wait(lambda: cluster.ask(native_id) and not cluster.spool.is_live(int(native_id)))
    assert cluster.ask(native_id)[None].reason == LOST


def test_a_script_whose_watcher_was_killed_still_runs_and_can_be_cancelled(cluster: LocalCluster) -> None:
    native_id = cluster.submit(SLEEP)
    start = cluster.running(native_id)
    os.kill(start.pid, signal.SIGKILL)
    cluster.wait(lambda: not is_alive(start.pid, start.birth))
    assert cluster.ask(native_id)[None].state is NativeState.RUNNING
    cluster.cancel(native_id)
    cluster.wait(lambda: not is_alive(start.script_pid, start.script_birth))
    assert cluster.ended(native_id).state is NativeState.FAILED


def test_a_job_that_goes_down_with_the_machine_is_not_cancelled(cluster: LocalCluster) -> None:
    native_id = cluster.submit(SLEEP)
    os.kill(cluster.running(native_id).pid, signal.SIGTERM)
    status = cluster.ended(native_id)
    assert (status.state, status.reason) == (NativeState.FAILED, STOPPED)


def test_the_supervisor_goes_when_nothing_is_left(cluster: LocalCluster) -> None:
    native_id = cluster.submit("#!/bin/sh\n")
    cluster.ended(native_id)
    cluster.wait(lambda: not Path(f"/proc/{cluster.supervisor()}/exe").exists())


def test_a_job_is_found_by_its_tag(cluster: LocalCluster) -> None:
    native_id = cluster.submit("#!/bin/sh\n")
    outputs = {
        tag: cluster.obey(cluster.scheduler.find_commands(tag, cluster.work_dir)[0])
        for tag in ("cq-test-1", "cq-test-2")
    }
    found = {tag: cluster.scheduler.parse_find(out, tag, cluster.work_dir) for tag, out in outputs.items()}
    assert found == {"cq-test-1": native_id, "cq-test-2": None}


def test_an_unknown_job_is_an_error_that_is_recognised(cluster: LocalCluster) -> None:
    scheduler = cluster.scheduler
    for command in (scheduler.poll_command(["9"]), scheduler.cancel_command("9")):
        error = refusal(cluster, command)
        assert (error.status, error.stderr) == (1, "localqueue: unknown job 9\n")
        assert scheduler.is_unknown_job(error.stderr)


def test_an_unknown_job_among_others_is_left_out(cluster: LocalCluster) -> None:
    native_id = cluster.submit("#!/bin/sh\n")
    output = cluster.obey(cluster.scheduler.poll_command([native_id, "9"]))
    assert list(cluster.scheduler.parse_poll(output)) == [native_id]


def test_an_unknown_option_is_refused_in_one_line(cluster: LocalCluster) -> None:
    submission = replace(cluster.submission("#!/bin/sh\n"), options=("--nice=3",))
    error = refusal(cluster, cluster.scheduler.submit_command(submission))
    expected = "localqueue: unknown option '--nice=3': the local queue knows only --walltime=SECONDS\n"
    assert (error.status, error.stderr) == (2, expected)
    assert cluster.spool.job_ids() == []


def test_a_script_that_cannot_be_read_is_refused(cluster: LocalCluster) -> None:
    submission = replace(cluster.submission(""), script=Path("/no/such/script.sh"))
    error = refusal(cluster, cluster.scheduler.submit_command(submission))
    assert (error.status, error.stderr) == (2, "localqueue: /no/such/script.sh: No such file or directory\n")


def test_files_in_the_working_directory_are_not_taken_for_modules(
    cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    for name in ("json.py", "signal.py", "argparse.py"):
        (cluster.work_dir / name).write_text("raise SystemExit('hijacked')\n")
    command = cluster.scheduler.submit_command(cluster.submission("exit 6\n"))
    native_id = run(command, cwd=cluster.work_dir).stdout.strip()
    assert cluster.ended(native_id).exit_code == 6


def test_records_are_for_their_owner_only(cluster: LocalCluster) -> None:
    cluster.ended(cluster.submit("#!/bin/sh\n"))
    assert stat.S_IMODE(cluster.spool.root.stat().st_mode) == 0o700
