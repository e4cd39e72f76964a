"""The life of a job under an agent, from its announcement to its last object."""

from __future__ import annotations

import io
import os
import threading
import zipfile
from datetime import timedelta
from pathlib import Path

import pytest

from cloudq.agent.folders import remove_tree
from cloudq.agent.schedulers.base import NativeState, NativeStatus
from cloudq.errors import CommandError
from cloudq.job import JobState, Task
from cloudq.store import Entry
from cloudq.store.memory import MemoryStore
from tests.agent.cluster import refusal, time_out
from tests.agent.conftest import META, SCRIPT, Site, run_passes


def _archive_names(site: Site, job_id: str) -> list[str]:
    return zipfile.ZipFile(io.BytesIO(site.bundles.read(job_id, "output.zip"))).namelist()


def test_a_job_that_ends_well_leaves_logs_outputs_and_no_marker(site: Site) -> None:
    agent, job = site.new_agent(), site.submit()
    run_passes(agent)
    assert site.job(job.id).state is JobState.READY
    assert site.job(job.id).native_id == "1"
    site.cluster.move("1", NativeState.RUNNING)
    run_passes(agent)
    assert site.job(job.id).state is JobState.RUN
    (site.folders.work_dir(job.id) / "result.txt").write_text("42")
    site.folders.log(job.id, "stdout").write_text("hello\n")
    site.folders.log(job.id, "stderr").write_text("")
    site.cluster.move("1", NativeState.COMPLETED, exit_code=0)
    run_passes(agent)
    done = site.job(job.id)
    assert (done.state, done.exit_code, done.error) == (JobState.DONE, 0, "")
    assert site.bundles.read(job.id, "stdout") == b"hello\n"
    assert sorted(_archive_names(site, job.id)) == ["job.sh", "job_local.sh", "result.txt"]
    assert done.output_size == len(site.bundles.read(job.id, "output.zip"))
    assert site.keys("agent/") == []
    assert not site.folders.work_dir(job.id).exists()
    assert not site.folders.spool(job.id).exists()


@pytest.mark.parametrize(
    ("status", "state", "error", "exit_code"),
    [
        pytest.param(NativeStatus(NativeState.FAILED, exit_code=7), JobState.ERROR, "exit 7", 7, id="exit"),
        pytest.param(
            NativeStatus(NativeState.FAILED, signal=9),
            JobState.ERROR,
            "killed by signal 9 (SIGKILL)",
            137,
            id="signal",
        ),
        pytest.param(
            NativeStatus(NativeState.FAILED, exit_code=1, reason="out of memory"),
            JobState.ERROR,
            "out of memory",
            1,
            id="memory",
        ),
        pytest.param(
            NativeStatus(NativeState.TIMED_OUT, reason="walltime 1:00:00 exceeded"),
            JobState.TIMEOUT,
            "walltime 1:00:00 exceeded",
            None,
            id="walltime",
        ),
        pytest.param(NativeStatus(NativeState.CANCELLED), JobState.DELETED, "", None, id="cancelled"),
    ],
)
def test_every_final_state_has_its_reason_and_its_outputs(
    site: Site, status: NativeStatus, state: JobState, error: str, exit_code: int
) -> None:
    """Defect 6: jobs that end as ERROR, TIMEOUT or DELETED keep their outputs."""
    agent, job = site.new_agent(), site.submit()
    run_passes(agent)
    (site.folders.work_dir(job.id) / "checkpoint").write_text("half")
    site.cluster.set("1", status)
    run_passes(agent)
    ended = site.job(job.id)
    assert (ended.state, ended.error, ended.exit_code) == (state, error, exit_code)
    assert "checkpoint" in _archive_names(site, job.id)


def test_an_exit_status_that_the_accounts_have_lessened_is_mended(site: Site) -> None:
    """sacct has 127:0 for `exit 255`; the exit-status file has the truth."""
    agent, job = site.new_agent(), site.submit()
    run_passes(agent)
    site.folders.status_file(job.id).write_text("255\n")
    site.cluster.move("1", NativeState.FAILED, exit_code=127)
    run_passes(agent)
    assert (site.job(job.id).exit_code, site.job(job.id).error) == (255, "exit 255")


def test_a_failed_poll_changes_no_job(site: Site) -> None:
    """Defect 2: an outage of the scheduler is no end of anything."""
    agent, job = site.new_agent(), site.submit()
    run_passes(agent)
    site.cluster.move("1", NativeState.RUNNING)
    run_passes(agent)
    before = site.job(job.id)
    site.cluster.faults["poll"] = [refusal("controller down"), time_out()]
    run_passes(agent, 2)
    assert site.job(job.id) == before
    assert site.folders.work_dir(job.id).is_dir()


def test_an_empty_answer_ends_nothing_until_the_job_is_lost(site: Site) -> None:
    agent, job = site.new_agent(), site.submit(SCRIPT, submit_to="here")
    run_passes(agent)
    del site.cluster.jobs["1"]
    run_passes(agent)
    site.clock.move(minutes=9)
    run_passes(agent)
    assert site.job(job.id).state is JobState.READY
    site.clock.move(minutes=2)
    run_passes(agent)
    ended = site.job(job.id)
    assert ended.state is JobState.ERROR
    assert ended.error.startswith("lost by the scheduler")


def test_a_forgotten_job_ends_as_its_exit_status_file_says(site: Site) -> None:
    """Defect 26: what the scheduler forgot while the agent was away is not DONE."""
    agent, job = site.new_agent(), site.submit()
    run_passes(agent)
    site.folders.status_file(job.id).write_text("3\n")
    del site.cluster.jobs["1"]
    run_passes(agent)
    assert not site.job(job.id).state.final
    site.clock.move(seconds=31)
    run_passes(agent)
    assert (site.job(job.id).state, site.job(job.id).error) == (JobState.ERROR, "exit 3")


def test_a_state_that_may_be_taken_back_is_not_believed_at_once(site: Site) -> None:
    """Defect 10: a job whose node fails and that is requeued goes on."""
    agent, job = site.new_agent(), site.submit()
    run_passes(agent)
    site.cluster.move("1", NativeState.FAILED, reason="node n2 failed", settles_after=timedelta(seconds=60))
    run_passes(agent)
    assert not site.job(job.id).state.final
    site.cluster.move("1", NativeState.RUNNING)
    site.clock.move(seconds=61)
    run_passes(agent)
    assert site.job(job.id).state is JobState.RUN
    site.cluster.move("1", NativeState.FAILED, reason="node n2 failed", settles_after=timedelta(seconds=60))
    run_passes(agent)
    site.clock.move(seconds=60)
    run_passes(agent)
    assert site.job(job.id).error == "node n2 failed"


@pytest.mark.parametrize(
    ("scheduler", "recorded"), [("abci", ("gaa50000", "-g gaa50000")), ("local", ("", ""))], ids=str
)
def test_the_group_that_a_job_is_charged_to_is_recorded_where_g_means_one(
    site: Site, scheduler: str, recorded: tuple[str, str]
) -> None:
    site.settings.update(projects={"p1": "gaa50000"}, scheduler=scheduler)
    agent, job = site.new_agent(), site.submit(META.replace(b"\necho", b"\n#$ project: p1\necho"))
    run_passes(agent)
    now = site.job(job.id)
    assert (now.local_group, now.native_options) == recorded


def test_the_record_of_another_job_that_had_the_same_number_ends_nothing(site: Site) -> None:
    agent, job = site.new_agent(), site.submit()
    run_passes(agent)
    site.cluster.move("1", NativeState.FAILED, exit_code=1, tag="cq-0123456789ab-1")
    run_passes(agent, 2)
    assert not site.job(job.id).state.final
    site.cluster.move("1", NativeState.COMPLETED, tag=site.job(job.id).tag)
    run_passes(agent)
    assert site.job(job.id).state is JobState.DONE


def test_a_job_stuck_in_a_state_of_error_ends_and_leaves_the_queue(site: Site) -> None:
    agent, job = site.new_agent(), site.submit()
    run_passes(agent)
    site.cluster.faults["cancel"] = [refusal("qmaster is down")]
    site.cluster.move("1", NativeState.FAILED, reason="no such directory", cancel_needed=True)
    run_passes(agent)
    assert not site.job(job.id).state.final
    site.clock.move(minutes=10)
    run_passes(agent)
    ended = site.job(job.id)
    assert (ended.state, ended.error) == (JobState.ERROR, "no such directory")
    assert site.cluster.count("cancel") == 2


def test_a_task_stuck_in_a_state_of_error_does_not_end_the_others(site: Site) -> None:
    agent, job = site.new_agent(), site.submit(array_range="1-2")
    run_passes(agent)
    site.cluster.set("1", NativeStatus(NativeState.FAILED, reason="stuck", cancel_needed=True), 1)
    site.cluster.set("1", NativeStatus(NativeState.RUNNING), 2)
    run_passes(agent)
    assert site.job(job.id).tasks[1] == Task(JobState.ERROR, "stuck")
    assert site.cluster.count("cancel") == 0
    site.cluster.set("1", NativeStatus(NativeState.COMPLETED), 2)
    run_passes(agent)
    assert site.cluster.count("cancel") == 1
    assert site.job(job.id).error == "task 1: stuck"


def test_one_failed_task_does_not_end_the_array(site: Site) -> None:
    """Defect 5."""
    agent, job = site.new_agent(), site.submit(array_range="1-3")
    run_passes(agent)
    site.cluster.set("1", NativeStatus(NativeState.FAILED, exit_code=7), 1)
    site.cluster.set("1", NativeStatus(NativeState.RUNNING), 2)
    run_passes(agent)
    now = site.job(job.id)
    assert now.state is JobState.RUN
    assert now.tasks[1] == Task(JobState.ERROR, "exit 7", 7)
    assert now.tasks[3] == Task(JobState.READY)
    for task_id in (2, 3):
        site.cluster.set("1", NativeStatus(NativeState.COMPLETED), task_id)
        site.folders.spool(job.id).joinpath(f"stdout.{task_id}").write_text(f"{task_id}\n")
    run_passes(agent)
    ended = site.job(job.id)
    assert (ended.state, ended.error) == (JobState.ERROR, "task 1: exit 7")
    assert [t.state for t in ended.tasks.values()] == [JobState.ERROR, JobState.DONE, JobState.DONE]
    assert site.bundles.read(job.id, "stdout.3") == b"3\n"


def test_a_pending_array_with_ten_and_more_tasks_keeps_them_apart(site: Site) -> None:
    """Defects 3 and 12."""
    agent, job = site.new_agent(), site.submit(array_range="1-12:1%2")
    run_passes(agent)
    assert site.job(job.id).state is JobState.READY
    for task_id in range(1, 13):
        site.folders.spool(job.id).joinpath(f"stdout.{task_id}").write_text(f"{task_id}\n")
    site.cluster.move("1", NativeState.COMPLETED)
    run_passes(agent)
    names = [name for name in site.bundles.entries(job.id) if name.startswith("stdout")]
    assert len(names) == 12
    assert site.bundles.read(job.id, "stdout.12") == b"12\n"


class PairsOnly(MemoryStore):
    """Takes logs of tasks two at a time, and never one alone."""

    def __init__(self) -> None:
        super().__init__()
        self.pair = threading.Barrier(2)

    def upload(self, path: Path, key: str) -> Entry:
        if "/stdout." in key:
            self.pair.wait(60)
        return super().upload(path, key)


def test_the_logs_of_many_tasks_are_sent_several_at_a_time(site: Site) -> None:
    site.store = PairsOnly()
    agent, job = site.new_agent(), site.submit(array_range="1-12")
    run_passes(agent)
    for task_id in range(1, 13):
        site.folders.spool(job.id).joinpath(f"stdout.{task_id}").write_text(f"{task_id}\n")
    site.cluster.move("1", NativeState.COMPLETED)
    run_passes(agent)
    assert site.job(job.id).state is JobState.DONE
    assert [site.bundles.read(job.id, f"stdout.{i}") for i in (1, 12)] == [b"1\n", b"12\n"]


def test_cancelling_a_running_job_ends_it_as_deleted_with_its_outputs(site: Site) -> None:
    agent, job = site.new_agent(), site.submit()
    run_passes(agent)
    site.cluster.move("1", NativeState.RUNNING)
    run_passes(agent)
    (site.folders.work_dir(job.id) / "checkpoint").write_text("half")
    site.bundles.request_cancel(site.job(job.id))
    run_passes(agent, 2)
    assert site.cluster.count("cancel") == 1
    assert site.job(job.id).state is JobState.DELETED
    assert "checkpoint" in _archive_names(site, job.id)
    assert site.keys("agent/") == []


@pytest.mark.parametrize(
    ("end", "state", "error"),
    [
        pytest.param({"signal": 9}, JobState.DELETED, "", id="killed"),
        pytest.param({"exit_code": 143}, JobState.DELETED, "", id="a signal, as its shell tells"),
        pytest.param({"exit_code": 7}, JobState.ERROR, "exit 7", id="ended by itself"),
    ],
)
def test_a_job_that_was_killed_when_it_was_cancelled_is_deleted(
    site: Site, end: dict[str, int], state: JobState, error: str
) -> None:
    """Grid Engine does not tell that a job was deleted, only that it was killed."""
    agent, job = site.new_agent(), site.submit()
    run_passes(agent)
    site.bundles.request_cancel(site.job(job.id))
    site.cluster.move("1", NativeState.RUNNING)
    site.cluster.late["cancel"] = [refusal("slow")]
    run_passes(agent)
    site.cluster.move("1", NativeState.FAILED, **end)
    site.clock.move(seconds=30)
    site.cluster.faults["cancel"] = [refusal("unknown job")]
    run_passes(agent)
    ended = site.job(job.id)
    assert (ended.state, ended.error) == (state, error)


def test_a_job_being_cancelled_does_not_flap_back_to_run(site: Site) -> None:
    """Defect 41, and 39: asking again after a minute is no error."""
    agent, job = site.new_agent(), site.submit()
    run_passes(agent)
    site.cluster.move("1", NativeState.RUNNING)
    run_passes(agent)
    started = site.job(job.id).started
    site.bundles.request_cancel(site.job(job.id))
    run_passes(agent)
    site.cluster.move("1", NativeState.RUNNING)
    run_passes(agent, 2)
    assert (site.job(job.id).state, site.job(job.id).started) == (JobState.DELETING, started)
    site.clock.move(seconds=61)
    run_passes(agent, 2)
    assert site.cluster.count("cancel") == 2
    assert site.job(job.id).state is JobState.DELETED


def test_a_job_cancelled_before_anybody_took_it_is_never_submitted(site: Site) -> None:
    job = site.submit()
    site.bundles.request_cancel(job)
    run_passes(site.new_agent())
    assert site.cluster.count("submit") == 0
    assert site.job(job.id).state is JobState.DELETED


def test_a_cancel_that_arrives_with_the_claim_is_not_overlooked(site: Site) -> None:
    """The request's marker is the one of the submission: it is gone when the claim is made."""
    agent, job = site.new_agent(), site.submit()
    record = site.bundles.load(job.id)
    site.bundles.request_cancel(job)
    site.bundles.markers.remove_notice("here", job.id)
    site.bundles.markers.mark_active("here", job.id)
    site.folders.spool(job.id).mkdir()
    site.bundles.claim(record, "here", now=site.clock())
    agent.recover()
    run_passes(agent)
    assert site.cluster.count("submit") == 0
    assert site.job(job.id).state is JobState.DELETED


def test_a_cancelled_job_that_another_system_has_is_left_to_it(site: Site) -> None:
    """Defect 43: a running job was recorded as DELETED."""
    agent, job = site.new_agent(), site.submit(run_on="there")
    site.bundles.request_cancel(job)
    site.bundles.claim(site.bundles.load(job.id), "there", now=site.clock())
    site.clock.move(seconds=61)
    run_passes(agent, 3)
    assert site.job(job.id).state is JobState.INIT


def test_a_cancelled_job_for_a_system_without_an_agent_ends_all_the_same(site: Site) -> None:
    agent, job = site.new_agent(), site.submit(run_on="nowhere")
    site.bundles.request_cancel(job)
    site.clock.move(seconds=61)
    run_passes(agent, 2)
    assert site.job(job.id).state is JobState.DELETED
    assert site.keys("agent/") == []


def test_folders_without_rights_are_staged_out_and_removed(site: Site) -> None:
    """What a job forbade itself must not stop the agent, nor its next start."""
    agent, job = site.new_agent(), site.submit()
    run_passes(agent)
    closed = site.folders.work_dir(job.id) / "closed"
    closed.mkdir()
    (closed / "file").write_text("data")
    (closed / "file").chmod(0o000)
    closed.chmod(0o000)
    site.cluster.move("1", NativeState.COMPLETED)
    run_passes(agent)
    assert "closed/file" in _archive_names(site, job.id)
    assert list(site.folders.job_ids()) == []


def test_a_job_that_removed_its_own_folder_says_so(site: Site) -> None:
    agent, job = site.new_agent(), site.submit()
    run_passes(agent)
    remove_tree(site.folders.work_dir(job.id))
    site.cluster.move("1", NativeState.COMPLETED)
    run_passes(agent)
    ended = site.job(job.id)
    assert (ended.state, ended.reason) == (
        JobState.DONE,
        "no output.zip: the job's working directory is gone",
    )


def test_files_that_cannot_be_packed_are_named_in_the_manifest(site: Site) -> None:
    agent, job = site.new_agent(), site.submit()
    run_passes(agent)
    os.mkfifo(site.folders.work_dir(job.id) / "pipe")
    site.cluster.move("1", NativeState.COMPLETED)
    run_passes(agent)
    assert site.job(job.id).reason == "not in output.zip: pipe: neither file, folder nor link"


def test_a_submission_command_that_was_killed_may_have_worked(site: Site) -> None:
    agent, job = site.new_agent(), site.submit()
    site.cluster.late["submit"] = [CommandError(["fake"], -9, "", "")]
    run_passes(agent, 2)
    assert site.job(job.id).native_id == "1"
    assert site.cluster.count("submit") == 1


def test_a_submission_command_that_cannot_be_started_is_tried_again(site: Site) -> None:
    agent, job = site.new_agent(), site.submit()
    site.cluster.faults["submit"] = [CommandError(["fake"], 127, "", "fake: no such file")]
    run_passes(agent)
    assert site.job(job.id).state is JobState.INIT
    site.clock.move(seconds=6)
    run_passes(agent)
    assert site.job(job.id).state is JobState.READY


def test_a_script_named_cancel_something_is_no_cancel_request(site: Site) -> None:
    """Defect 37: only the exact name counts."""
    agent, job = site.new_agent(), site.submit()
    site.bundles.write(job.id, "cancel_orders.sh", b"")
    run_passes(agent)
    assert site.job(job.id).state is JobState.READY


def test_a_refused_submission_is_an_error_with_the_schedulers_words(site: Site) -> None:
    agent, job = site.new_agent(), site.submit(SCRIPT, submit_to="here", submit_options="--no-such")
    site.cluster.faults["submit"] = [refusal("fake: unknown option --no-such\n")]
    run_passes(agent)
    ended = site.job(job.id)
    assert (ended.state, ended.error) == (JobState.ERROR, "fake: unknown option --no-such")
    assert site.keys("agent/") == []


def test_a_refusal_that_may_pass_is_tried_again(site: Site) -> None:
    """Defect 29."""
    agent, job = site.new_agent(), site.submit()
    site.cluster.faults["submit"] = [refusal("controller busy")]
    run_passes(agent)
    assert site.job(job.id).reason == "the scheduler takes no jobs now: controller busy"
    site.clock.move(minutes=3)
    run_passes(agent)
    assert site.job(job.id).state is JobState.READY


def test_a_submission_that_timed_out_but_worked_is_found_by_its_tag(site: Site) -> None:
    agent, job = site.new_agent(), site.submit()
    site.cluster.late["submit"] = [time_out()]
    run_passes(agent, 2)
    assert site.job(job.id).native_id == "1"
    assert site.cluster.count("submit") == 1


def test_a_submission_that_timed_out_and_failed_is_made_again_only_after_a_while(site: Site) -> None:
    agent, job = site.new_agent(), site.submit()
    site.cluster.faults["submit"] = [time_out()]
    run_passes(agent, 3)
    assert site.cluster.count("submit") == 1
    site.clock.move(minutes=3)
    run_passes(agent)
    assert site.cluster.count("submit") == 2
    assert site.job(job.id).native_id == "1"


def test_a_job_that_ran_unseen_is_not_run_again(site: Site) -> None:
    """The submission gave no answer, and the scheduler forgets what has ended (PBS without history)."""
    agent, job = site.new_agent(), site.submit()
    site.cluster.faults["submit"] = [time_out()]
    run_passes(agent)
    site.folders.status_file(job.id).write_text("3\n")
    site.clock.move(minutes=3)
    run_passes(agent)
    assert site.cluster.count("submit") == 1
    assert site.job(job.id).error == "exit 3"


def test_a_job_cancelled_while_it_waited_has_no_start(site: Site) -> None:
    agent, job = site.new_agent(), site.submit()
    run_passes(agent)
    site.bundles.request_cancel(site.job(job.id))
    run_passes(agent, 2)
    assert site.job(job.id).state is JobState.DELETED
    assert site.job(job.id).started is None


def test_a_broken_meta_script_of_a_1_2_client_ends_as_error(site: Site) -> None:
    script = META.replace(b"run_on: here", b"run_on: here\n#$ walltime: soon")
    agent, job = site.new_agent(), site.submit(script)
    run_passes(agent)
    ended = site.job(job.id)
    assert ended.state is JobState.ERROR
    assert ended.error.startswith("job.sh:3: walltime:")


def test_live_logs_cost_only_the_new_bytes(site: Site) -> None:
    agent, job = site.new_agent(), site.submit()
    run_passes(agent)
    site.cluster.move("1", NativeState.RUNNING)
    log = site.folders.log(job.id, "stdout")
    log.write_text("one\n")
    run_passes(agent)
    run_passes(agent)
    log.write_text("one\ntwo\n")
    run_passes(agent)
    segments = {n: site.bundles.read(job.id, n) for n in site.bundles.entries(job.id, "live/")}
    assert segments == {
        "live/stdout/000000000000000": b"one\n",
        "live/stdout/000000000000004": b"two\n",
    }
    site.cluster.move("1", NativeState.COMPLETED)
    run_passes(agent)
    assert site.bundles.entries(job.id, "live/") == {}
    assert site.bundles.read(job.id, "stdout") == b"one\ntwo\n"


@pytest.mark.parametrize("second", ["TWO\n", "TWO\nthree\n"], ids=["of the same size", "longer"])
def test_a_log_that_was_begun_anew_is_uploaded_anew(site: Site, second: str) -> None:
    """A job that was requeued writes its log from the beginning."""
    agent, job = site.new_agent(), site.submit()
    run_passes(agent)
    site.cluster.move("1", NativeState.RUNNING)
    for text in ("one\n", second):
        site.folders.log(job.id, "stdout").write_text(text)
        run_passes(agent)
    (name,) = site.bundles.entries(job.id, "live/stdout/")
    assert site.bundles.read(job.id, name) == second.encode()


def test_a_restarted_agent_goes_on_where_the_log_was(site: Site) -> None:
    agent, job = site.new_agent(), site.submit()
    run_passes(agent)
    site.cluster.move("1", NativeState.RUNNING)
    log = site.folders.log(job.id, "stdout")
    log.write_text("one\n")
    run_passes(agent)
    again = site.new_agent()
    log.write_text("one\ntwo\n")
    run_passes(again)
    assert site.bundles.read(job.id, "live/stdout/000000000000004") == b"two\n"
    site.cluster.move("1", NativeState.COMPLETED)
    run_passes(again)
    assert site.bundles.entries(job.id, "live/") == {}


def test_other_files_named_out_or_err_do_not_hide_the_log(site: Site) -> None:
    """Defects 13 and 14."""
    agent, job = site.new_agent(), site.submit()
    run_passes(agent)
    for name in ("a.out", "x.err", "stdout", "job.o1"):
        (site.folders.work_dir(job.id) / name).write_text("not a log")
    site.folders.log(job.id, "stdout").write_text("the log\n")
    site.cluster.move("1", NativeState.COMPLETED)
    run_passes(agent)
    assert site.bundles.read(job.id, "stdout") == b"the log\n"
    assert {"a.out", "x.err", "stdout", "job.o1"} <= set(_archive_names(site, job.id))
