"""Jobs from the bucket to their end on the simulated PBS."""

from __future__ import annotations

from datetime import timedelta

import pytest

from cloudq.job import Job, JobState
from tests.agent.conftest import run_passes
from tests.pbs.conftest import Site


def log(site: Site, job: Job, name: str = "stdout") -> str:
    return site.bundles.read(job.id, name).decode()


@pytest.mark.parametrize(
    ("body", "state", "error", "exit_code"),
    [
        pytest.param("echo out; echo why >&2", JobState.DONE, "", 0, id="well"),
        pytest.param("echo out; echo why >&2; exit 7", JobState.ERROR, "exit 7", 7, id="exit"),
    ],
)
def test_a_job_ends_as_its_script_does(
    site: Site, body: str, state: JobState, error: str, exit_code: int
) -> None:
    site.new_agent()
    ended = site.ended(site.submit(body))
    assert (ended.state, ended.error, ended.exit_code) == (state, error, exit_code)
    assert (log(site, ended), log(site, ended, "stderr")) == ("out\n", "why\n")
    assert ended.started
    assert ended.finished
    assert ended.native_id == "1.pbshost"


def test_a_signal_is_told_by_the_shell_that_runs_the_script(site: Site) -> None:
    site.new_agent()
    job = site.ended(site.submit("kill -SEGV $$"))
    assert (job.state, job.exit_code) == (JobState.ERROR, 139)
    assert job.error == "exit 139 (a command was killed by signal 11 (SIGSEGV))"


def test_a_meta_script_runs_in_its_working_directory(site: Site) -> None:
    site.new_agent()
    job = site.ended(site.submit("pwd; echo $SYSTEM"))
    assert log(site, job) == f"{site.folders.work_dir(job.id)}\nhere\n"


def test_a_local_script_starts_at_home_and_knows_its_working_directory(site: Site) -> None:
    site.new_agent()
    job = site.submit(
        "#PBS -N 'my_job' -o elsewhere\npwd; echo $PBS_JOBNAME\ncd $PBS_O_WORKDIR; pwd", local=True
    )
    site.ended(job)
    home = site.folder.parent / "home"
    assert log(site, job) == f"{home}\nmy_job\n{site.folders.work_dir(job.id)}\n"


ARY_TASK = "echo $ARY_TASK_ID $ARY_TASK_FIRST $ARY_TASK_LAST $ARY_TASK_STEPSIZE"


def test_each_task_of_an_array_ends_for_itself(site: Site) -> None:
    site.new_agent()
    job = site.ended(site.submit(f"{ARY_TASK}; test $ARY_TASK_ID != 4 || exit 7", tasks="2-6:2%2"))
    assert (job.state, job.error, job.native_id) == (JobState.ERROR, "task 4: exit 7", "1[].pbshost")
    assert {i: task.exit_code for i, task in job.tasks.items()} == {2: 0, 4: 7, 6: 0}
    assert [log(site, job, f"stdout.{i}") for i in (2, 4, 6)] == ["2 2 6 2\n", "4 2 6 2\n", "6 2 6 2\n"]


def test_the_end_of_a_task_is_seen_while_others_run(site: Site) -> None:
    site.new_agent()
    job = site.submit("test $ARY_TASK_ID = 2 || exit 7; while [ ! -e go ]; do sleep 0.02; done", tasks="1-2")
    site.pass_until(
        lambda: (
            {i: task.state for i, task in site.job(job).tasks.items()} == {1: JobState.ERROR, 2: JobState.RUN}
        )
    )
    assert site.job(job).tasks[1].error == "exit 7"
    (site.folders.work_dir(job.id) / "go").touch()
    assert site.ended(job).tasks[2].state is JobState.DONE


def test_an_array_may_have_a_single_task(site: Site) -> None:
    site.new_agent()
    job = site.ended(site.submit(ARY_TASK, tasks="7"))
    assert (job.state, set(job.tasks)) == (JobState.DONE, {7})
    assert log(site, job, "stdout.7") == "7 7 7 1\n"


def test_an_array_that_pbs_cannot_number_is_refused_with_the_reason(site: Site) -> None:
    site.new_agent()
    job = site.ended(site.submit("true", tasks="1,2,9"))
    assert job.state is JobState.ERROR
    assert job.error == "array range 1,2,9: PBS takes only one range, FIRST-LAST or FIRST-LAST:STEP"


def test_tasks_that_others_have_left_and_pbs_cannot_number_are_refused_with_the_reason(site: Site) -> None:
    site.new_agent()
    first = site.ended(site.submit("case $ARY_TASK_ID in 2|3) exit 1; esac", tasks="1-5"))
    after = site.ended(site.submit("true", tasks="1-5", after=first))
    problem = "array range 1,4-5: PBS takes only one range, FIRST-LAST or FIRST-LAST:STEP"
    assert after.error == f"not all tasks of 1-5 are to run (after_corr), only 1,4-5: {problem}"


def test_a_job_over_its_walltime_times_out(site: Site) -> None:
    site.new_agent()
    job = site.ended(site.submit("#$ walltime: 0:00:01\necho half > kept; exec sleep 600"))
    assert (job.state, job.error, job.exit_code) == (JobState.TIMEOUT, "walltime 0:00:01 exceeded", None)
    assert "=>> PBS: job killed: walltime 2 exceeded limit 1" in log(site, job, "stderr")


def test_a_waiting_job_can_be_cancelled(site: Site) -> None:
    site.server.change(started=False)
    site.new_agent()
    for tasks in ("", "1-3"):
        job = site.submit("true", tasks=tasks)
        site.pass_until(lambda: site.job(job).native_id)  # noqa: B023
        site.bundles.request_cancel(site.job(job))
        ended = site.ended(job)
        assert (ended.state, ended.error) == (JobState.DELETED, "")


def test_a_running_job_can_be_cancelled(site: Site) -> None:
    site.new_agent()
    job = site.submit("echo started; touch begun; sleep 600")
    site.pass_until((site.folders.work_dir(job.id) / "begun").exists)
    site.pass_until(lambda: site.job(job).state is JobState.RUN)
    site.bundles.request_cancel(site.job(job))
    ended = site.ended(job)
    assert (ended.state, ended.error) == (JobState.DELETED, "")
    assert log(site, ended) == "started\n"


def test_a_job_that_somebody_deletes_says_who(site: Site) -> None:
    site.server.change(started=True)
    site.new_agent()
    job = site.submit("sleep 600")
    site.pass_until(lambda: site.job(job).state is JobState.RUN)
    site.server.delete(next(site.server.jobs()))
    ended = site.ended(job)
    assert ended.state is JobState.DELETED
    assert ended.error.startswith("deleted by ")
    assert ended.error.endswith("@pbshost")


def test_a_held_job_waits_and_says_why(site: Site) -> None:
    site.new_agent()
    job = site.submit("true", local=True, options="-h")
    site.pass_until(lambda: site.job(job).reason)
    assert (site.job(job).state, site.job(job).reason) == (JobState.READY, "held by the user")


def test_logs_come_while_the_job_runs(site: Site) -> None:
    site.new_agent()
    job = site.submit("echo one; while [ ! -e go ]; do sleep 0.02; done; echo two")
    site.pass_until(lambda: site.bundles.entries(job.id, "live/stdout/"))
    assert site.job(job).state is JobState.RUN
    (site.folders.work_dir(job.id) / "go").touch()
    assert log(site, site.ended(job)) == "one\ntwo\n"


def test_without_a_history_the_status_that_the_script_left_counts(site: Site) -> None:
    site.server.change(history=False)
    site.new_agent()
    job = site.submit("exit 7")
    site.pass_until(lambda: site.folders.status_file(job.id).exists())
    run_passes(site.agents[-1], 2)
    assert not site.job(job).state.final
    site.clock.ahead += timedelta(seconds=31)
    assert (site.ended(job).state, site.job(job).error) == (JobState.ERROR, "exit 7")


def test_a_history_that_is_switched_off_does_not_lose_running_jobs(site: Site) -> None:
    site.new_agent()
    job = site.submit("while [ ! -e go ]; do sleep 0.02; done")
    site.pass_until(lambda: site.job(job).state is JobState.RUN)
    site.server.change(history=False)
    site.clock.ahead += timedelta(minutes=11)
    run_passes(site.agents[-1], 2)
    assert site.job(job).state is JobState.RUN


def test_a_server_that_is_down_for_a_while_changes_no_job(site: Site) -> None:
    site.new_agent()
    job = site.submit("while [ ! -e go ]; do sleep 0.02; done")
    site.pass_until(lambda: site.job(job).state is JobState.RUN)
    site.server.change(down=True)
    site.clock.ahead += timedelta(minutes=11)
    late = site.submit("true")
    run_passes(site.agents[-1], 2)
    assert site.job(job).state is JobState.RUN
    assert site.job(late).reason.startswith("the scheduler takes no jobs now: Connection refused")
    site.server.change(down=False)
    site.clock.ahead += timedelta(minutes=3)
    (site.folders.work_dir(job.id) / "go").touch()
    assert site.ended(job).state is JobState.DONE
    assert site.ended(late).state is JobState.DONE


@pytest.mark.parametrize("started", [True, False], ids=["ended", "waiting"])
def test_a_job_whose_submission_gave_no_answer_is_found_and_not_submitted_again(
    site: Site, started: bool
) -> None:
    site.server.change(started=started, qsub_seconds=5)
    site.command_timeout = timedelta(seconds=1)
    site.new_agent()
    job = site.submit("true")
    run_passes(site.agents[-1])
    assert site.job(job).native_id == ""
    site.command_timeout = timedelta(seconds=60)
    site.new_agent()
    site.pass_until(lambda: site.job(job).native_id)
    site.server.change(started=True)
    assert site.ended(job).state is JobState.DONE
    assert [submitted.id for submitted in site.server.jobs()] == [site.job(job).native_id]


def test_a_refused_submission_ends_the_job_with_the_words_of_qsub(site: Site) -> None:
    site.new_agent()
    job = site.ended(site.submit("true", local=True, options="-q nowhere"))
    assert (job.state, job.error) == (JobState.ERROR, "qsub: Unknown queue")


@pytest.mark.parametrize("name", ["it's my jöb.sh", "2 计.sh"])
@pytest.mark.parametrize("local", [True, False], ids=["local", "meta"])
def test_a_script_may_have_a_name_that_pbs_takes_for_none(site: Site, name: str, local: bool) -> None:
    site.new_agent()
    assert site.ended(site.submit("true", name=name, local=local)).state is JobState.DONE


def test_options_of_the_template_are_understood_by_qsub(site: Site) -> None:
    site.new_agent()
    head = "#$ walltime: 1:00:00\n#$ other_opts: -N 'one-word' -P group1 -q rt_HF -l select=2\n"
    site.ended(site.submit(f"{head}true"))
    (job,) = site.server.jobs()
    assert (job.name, job.project, job.queue) == ("one-word", "group1", "rt_HF")
    assert (job.walltime, job.select, job.keep) == (3600, "2", "oed")
