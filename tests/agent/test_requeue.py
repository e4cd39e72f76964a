"""A job that is taken away from an agent, and what that agent does when it returns."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from cloudq.agent.daemon.heartbeat import Heartbeat
from cloudq.agent.schedulers.base import NativeState
from cloudq.bundle import OUTPUT
from cloudq.client.jobs.deletion import delete_job
from cloudq.client.jobs.requeue import Requeue, requeue, unclaimed
from cloudq.errors import InputError, JobStateError
from cloudq.job import JobState
from cloudq.presence import Presence
from cloudq.store.memory import MemoryStore
from tests.agent.cluster import FakeCluster, refusal
from tests.agent.conftest import Site, run_passes
from tests.store.test_probe import CarelessStore


def finish(site: Site, native_id: str = "1") -> None:
    site.cluster.move(native_id, NativeState.COMPLETED)


def presence(name: str = "here", **values: object) -> Presence:
    minute = timedelta(minutes=1)
    made = Presence(name, "0", "local", "host", 1, datetime.now(timezone.utc), minute)
    return replace(made, **values)  # type: ignore[arg-type]


def test_a_job_of_an_agent_that_is_gone_runs_elsewhere_once_more(site: Site, there: Site) -> None:
    job = site.submit()
    run_passes(site.new_agent())
    freed = requeue(site.bundles, job.id, Requeue(to="there"))
    assert (freed.state, freed.run_system, freed.native_id, freed.run_on) == (
        JobState.INIT, "", "", "there",
    )  # fmt: skip
    agent = there.new_agent()
    run_passes(agent)
    assert (site.job(job.id).run_system, site.job(job.id).attempt) == ("there", 2)
    finish(there)
    run_passes(agent)
    assert site.job(job.id).state is JobState.DONE
    delete_job(site.bundles, job.id)
    assert site.keys() == []


def test_an_agent_that_was_cut_off_ends_its_copy_and_writes_nothing(site: Site, there: Site) -> None:
    job, old = site.submit(), site.new_agent()
    run_passes(old)
    site.cluster.move("1", NativeState.RUNNING)
    site.folders.log(job.id, "stdout").write_text("old")
    requeue(site.bundles, job.id, Requeue(to="there"))
    new = there.new_agent()
    run_passes(new)
    there.folders.log(job.id, "stdout").write_text("new")
    finish(there)
    run_passes(old)
    site.clock.move(seconds=10)
    run_passes(old)
    assert site.cluster.jobs["1"][None].state is NativeState.CANCELLED
    run_passes(new)
    assert site.job(job.id).state is JobState.DONE
    assert site.bundles.read(job.id, "stdout") == b"new"
    assert old.roster.all() == []
    assert list(site.folders.job_ids()) == []
    assert site.keys("agent/") == []


def test_an_agent_that_is_started_again_ends_its_copy(site: Site, there: Site) -> None:
    job = site.submit()
    run_passes(site.new_agent())
    finish(site)
    requeue(site.bundles, job.id, Requeue(to="there"))
    run_passes(there.new_agent())
    returned = site.new_agent()
    run_passes(returned)
    assert list(site.folders.job_ids()) == []
    assert site.job(job.id).run_system == "there"
    assert OUTPUT not in site.bundles.entries(job.id)


def test_it_cancels_its_own_copy_and_not_the_one_whose_id_is_in_the_manifest(site: Site, there: Site) -> None:
    job, other = site.submit(), None
    run_passes(site.new_agent())
    there.cluster.tags.update({f"x{number}": "" for number in range(6)})
    requeue(site.bundles, job.id, Requeue(to="there"))
    run_passes(there.new_agent())
    assert site.job(job.id).native_id == "7"
    other = site.submit()
    run_passes(site.new_agent())
    assert site.job(other.id).native_id == "2"
    assert [call for call in site.cluster.calls if call[0] == "cancel"] == [("cancel", "1")]


def test_the_old_copy_is_asked_about_again_until_the_scheduler_answers(site: Site, there: Site) -> None:
    job, old = site.submit(), site.new_agent()
    run_passes(old)
    requeue(site.bundles, job.id, Requeue(to="there"))
    site.cluster.faults["cancel"] = [refusal("the controller is down")]
    run_passes(old)
    assert site.folders.work_dir(job.id).exists()
    for _ in range(2):
        site.clock.move(seconds=10)
        run_passes(old)
    assert site.cluster.jobs["1"][None].state is NativeState.CANCELLED
    assert not site.folders.work_dir(job.id).exists()


def test_the_same_agent_may_take_it_again_when_its_first_copy_has_ended(site: Site) -> None:
    job = site.submit()
    run_passes(site.new_agent())
    requeue(site.bundles, job.id, Requeue())
    again = site.new_agent()
    for _ in range(3):
        run_passes(again)
        site.clock.move(seconds=61)
    assert site.cluster.tags == {f"cq-{job.id}-1": "1", f"cq-{job.id}-2": "2"}
    assert site.cluster.jobs["1"][None].state is NativeState.CANCELLED
    finish(site, "2")
    run_passes(again)
    assert site.job(job.id).state is JobState.DONE


def test_an_agent_elsewhere_on_the_same_cluster_ends_the_earlier_copy_first(
    site: Site, tmp_path: Path
) -> None:
    job = site.submit()
    run_passes(site.new_agent())
    requeue(site.bundles, job.id, Requeue())
    elsewhere = Site(tmp_path / "elsewhere", site.store, cluster=site.cluster, clock=site.clock)
    agent = elsewhere.new_agent()
    run_passes(agent)
    assert list(site.cluster.tags) == [f"cq-{job.id}-1"]
    site.clock.move(seconds=10)
    run_passes(agent)
    agent.crew.stop()
    assert site.cluster.jobs["1"][None].state is NativeState.CANCELLED
    assert site.cluster.tags[f"cq-{job.id}-2"] == "2"


def test_nothing_is_uploaded_of_a_job_that_was_taken_away_between_two_tries(site: Site) -> None:
    job, agent = site.submit(), site.new_agent()
    run_passes(agent)
    finish(site)
    record = site.bundles.load(job.id)
    record = site.bundles.save(
        record, replace(record.job, state=JobState.COMPLETING, stage_out_started=site.clock())
    )
    agent.roster.all()[0].record = record
    site.bundles.save(record, replace(record.job, claim_token="another"))
    run_passes(agent)
    assert OUTPUT not in site.bundles.entries(job.id)


def test_a_living_agent_keeps_its_job(site: Site) -> None:
    job, agent = site.submit(), site.new_agent()
    run_passes(agent)
    site.folders.agent_log.touch()
    Heartbeat(agent).beat()
    before = site.job(job.id)
    with pytest.raises(JobStateError, match=r"agent here was heard of \d s ago; .* after 190 s of silence$"):
        requeue(site.bundles, job.id, Requeue())
    assert site.job(job.id) == before


def test_a_living_agent_loses_its_job_by_force_and_ends_its_copy(
    site: Site, there: Site, caplog: pytest.LogCaptureFixture
) -> None:
    job, agent = site.submit(), site.new_agent()
    run_passes(agent)
    site.bundles.agents.publish(presence())
    requeue(site.bundles, job.id, Requeue(to="there", force=True))
    assert "its copy may run beside the new one until it notices" in caplog.text
    run_passes(agent)
    assert site.cluster.count("cancel") == 1


def test_an_agent_that_was_stopped_is_not_alive(site: Site) -> None:
    job = site.submit()
    run_passes(site.new_agent())
    site.bundles.agents.publish(presence(stopped=True))
    assert requeue(site.bundles, job.id, Requeue()).run_system == ""


def test_an_agent_of_1_2_is_alive_while_its_log_is_new(site: Site) -> None:
    job = site.submit()
    run_passes(site.new_agent())
    site.store.write("agent/here", b"a line\n")
    with pytest.raises(JobStateError, match="after 600 s of silence$"):
        requeue(site.bundles, job.id, Requeue())


def test_a_job_that_nobody_has_taken_is_sent_elsewhere(site: Site, there: Site) -> None:
    job = site.submit()
    with pytest.raises(JobStateError, match="no system has taken it yet: nothing to requeue$"):
        requeue(site.bundles, job.id, Requeue())
    requeue(site.bundles, job.id, Requeue(to="there"))
    assert site.keys("agent/") == [f"agent/.inbox/there/{job.id}"]


def test_any_system_may_take_a_job_whose_script_names_one(site: Site, there: Site) -> None:
    job = site.submit()
    requeue(site.bundles, job.id, Requeue(to="any"))
    run_passes(there.new_agent())
    assert site.job(job.id).run_system == "there"


@pytest.mark.parametrize(
    ("to", "message"),
    [
        ("ANY", "^--to ANY: job .* has a script for the scheduler of here only$"),
        ("a/b", "^--to: expected the name of a system or ANY, got 'a/b'$"),
    ],
)
def test_a_local_job_goes_only_to_a_system(site: Site, to: str, message: str) -> None:
    job = site.submit(submit_to="here")
    with pytest.raises(InputError, match=message):
        requeue(site.bundles, job.id, Requeue(to=to))


def test_a_job_that_has_ended_is_not_requeued(site: Site) -> None:
    job, agent = site.submit(), site.new_agent()
    run_passes(agent)
    finish(site)
    run_passes(agent)
    with pytest.raises(JobStateError, match="^The job is already completed: "):
        requeue(site.bundles, job.id, Requeue(force=True))


def test_where_conditions_are_ignored_nothing_is_requeued(tmp_path: Path) -> None:
    site = Site(tmp_path, CarelessStore(), cluster=FakeCluster())
    job = site.submit()
    with pytest.raises(JobStateError, match="^memory: does not do conditional writes"):
        requeue(site.bundles, job.id, Requeue(to="there"))


def test_nothing_of_the_first_run_is_left_in_the_manifest(site: Site) -> None:
    job = site.submit(array_range="1-3")
    run_passes(site.new_agent())
    taken = site.job(job.id)
    assert unclaimed(taken) == replace(job, attempt=1, revision=taken.revision)


def test_what_the_first_run_has_stored_is_removed(site: Site) -> None:
    job = site.submit()
    run_passes(site.new_agent())
    for name in ("stdout", "stderr.3", "live/stdout/000", OUTPUT):
        site.bundles.write(job.id, name, b"")
    requeue(site.bundles, job.id, Requeue())
    assert list(site.bundles.entries(job.id)) == ["job.sh", "manifest.json"]


def test_two_who_requeue_one_job_free_it_once(site: Site) -> None:
    class LateStore(MemoryStore):
        """Somebody else is faster at each replacement."""

        def replace(self, key: str, data: bytes, *, etag: str) -> str:
            if key.endswith("manifest.json"):
                super().write(key, self.read(key).data + b" ")
            return super().replace(key, data, etag=etag)

    late = Site(site.folder, LateStore())
    job = late.submit()
    with pytest.raises(JobStateError, match="was changed by somebody else at this moment$"):
        requeue(late.bundles, job.id, Requeue(to="there"))
