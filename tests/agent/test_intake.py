"""Which jobs an agent takes, which it leaves, and which must wait."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from cloudq.agent.schedulers.base import NativeState
from cloudq.errors import StoreUnreachableError
from cloudq.job import Job, JobState
from cloudq.store import Blob
from cloudq.store.memory import MemoryStore
from tests.agent.conftest import META, SCRIPT, Site, run_passes

ANY_META = b"#!/bin/bash\necho hello\n"


def _without_marker(site: Site, job: Job) -> None:
    site.bundles.markers.remove_notice(site.bundles.markers.addressee(job), job.id)


def _as_of_a_1_2_client(site: Site, job: Job) -> None:
    """Write the manifest as a 1.2 client does: nothing of ours in it, and no marker."""
    _without_marker(site, job)
    record = site.bundles.load(job.id)
    site.store.write(f"{job.id}/manifest.json", _manifest(replace(record.job, submit_token="", run_on="")))


def _manifest(job: Job) -> bytes:
    from cloudq.manifest import render_manifest

    return render_manifest(job)


@pytest.mark.parametrize("spelling", ["here", "HERE", "Here"])
def test_system_names_are_compared_without_case(site: Site, spelling: str) -> None:
    """Defect 32."""
    agent, job = site.new_agent(), site.submit(SCRIPT, submit_to=spelling)
    run_passes(agent)
    assert site.job(job.id).state is JobState.READY
    assert site.job(job.id).run_system == "here"


def test_a_job_for_another_system_is_left_alone(site: Site) -> None:
    agent, job = site.new_agent(), site.submit(META.replace(b"here", b"there"), run_on="there")
    run_passes(agent, 2)
    assert site.job(job.id).state is JobState.INIT


def test_a_job_that_names_no_system_is_taken_by_the_first_that_can(site: Site) -> None:
    """Defect 65."""
    agent, job = site.new_agent(), site.submit(ANY_META, run_on="ANY")
    run_passes(agent)
    assert site.job(job.id).state is JobState.READY


def test_a_job_whose_project_has_no_meaning_here_is_left_to_others(site: Site) -> None:
    script = b"#$ project: p1\necho\n"
    agent = site.new_agent()
    job = site.submit(script, run_on="ANY")
    site.bundles.write(job.id, "project", b"[p1]\nthere = group\n")
    run_passes(agent, 2)
    assert site.job(job.id).state is JobState.INIT
    other = site.submit(script, run_on="ANY")
    site.bundles.write(other.id, "project", b"[p1]\nhere = group\n")
    run_passes(agent, 2)
    assert site.job(other.id).state is JobState.READY


def test_a_project_that_only_the_agent_knows_is_enough(site: Site) -> None:
    site.settings["projects"] = {"p1": "group"}
    agent, job = site.new_agent(), site.submit(b"#$ project: p1\necho\n", run_on="ANY")
    run_passes(agent)
    assert site.job(job.id).state is JobState.READY


def test_without_conditional_writes_no_job_for_any_system_is_taken(site: Site) -> None:
    agent = site.new_agent(takes_any=False)
    job, named = site.submit(ANY_META, run_on="ANY"), site.submit()
    run_passes(agent, 2)
    assert site.job(job.id).state is JobState.INIT
    assert site.job(named.id).state is JobState.READY


def test_a_job_for_any_system_is_not_taken_before_its_time(site: Site) -> None:
    site.settings["any_delay"] = timedelta(minutes=5)
    agent, job = site.new_agent(), site.submit(ANY_META, run_on="ANY")
    run_passes(agent)
    assert site.job(job.id).state is JobState.INIT
    site.clock.move(minutes=5)
    run_passes(agent)
    assert site.job(job.id).state is JobState.READY


def test_no_more_jobs_for_any_system_are_taken_than_may_wait(site: Site) -> None:
    site.settings["any_max_pending"] = 2
    agent = site.new_agent()
    jobs = [site.submit(ANY_META, run_on="ANY") for _ in range(5)]
    run_passes(agent, 3)
    assert site.cluster.count("submit") == 2
    for native_id in list(site.cluster.jobs):
        site.cluster.move(native_id, NativeState.RUNNING)
    run_passes(agent)
    site.clock.move(seconds=11)
    run_passes(agent)
    assert site.cluster.count("submit") == 4
    assert sum(site.job(job.id).state is JobState.INIT for job in jobs) == 1


def test_two_agents_never_both_take_a_job(site: Site, tmp_path: Path) -> None:
    """Defect 7, for jobs that either could take."""
    other = Site(tmp_path / "other", site.store, name="there")
    jobs = [site.submit(ANY_META, run_on="ANY") for _ in range(20)]
    site.settings["any_max_pending"] = other.settings["any_max_pending"] = 100
    agents = [site.new_agent(), other.new_agent()]
    for _ in range(3):
        for agent in agents:
            agent.run_pass()
        for agent in agents:
            assert agent.crew.wait(timedelta(seconds=120))
    agents[1].crew.stop()
    assert site.cluster.count("submit") + other.cluster.count("submit") == 20
    assert {site.job(job.id).state for job in jobs} == {JobState.READY}


def test_a_held_job_waits_for_all_its_jobs(site: Site) -> None:
    agent = site.new_agent()
    first, second = site.submit(), site.submit()
    held = site.submit(hold_ids=(first.id, second.id))
    run_passes(agent)
    natives = {site.job(job.id).native_id for job in (first, second)}
    assert site.job(held.id).state is JobState.INIT
    one, other = sorted(natives)
    site.cluster.move(one, NativeState.COMPLETED)
    run_passes(agent, 2)
    assert site.job(held.id).state is JobState.INIT
    site.cluster.move(other, NativeState.FAILED, exit_code=1)
    run_passes(agent, 2)
    assert site.job(held.id).state is JobState.READY


def test_a_job_held_by_an_unknown_id_of_a_1_2_client_never_runs(site: Site) -> None:
    """Defect 31: a mistyped id releases nothing."""
    agent, job = site.new_agent(), site.submit(hold_ids=("nosuchjob",))
    _as_of_a_1_2_client(site, job)
    run_passes(agent, 3)
    ended = site.job(job.id)
    assert (ended.state, ended.error) == (JobState.ERROR, "hold_jid: no such job: nosuchjob")
    assert site.cluster.count("submit") == 0


class _ShyStore(MemoryStore):
    """A store that cannot read some keys."""

    hidden: str = ""

    def read(self, key: str) -> Blob:
        if self.hidden and key.startswith(self.hidden):
            raise StoreUnreachableError("no answer")
        return super().read(key)


def test_a_store_fault_releases_no_held_job(tmp_path: Path) -> None:
    """Defect 30."""
    store = _ShyStore()
    site = Site(tmp_path, store)
    agent, first = site.new_agent(), site.submit()
    held = site.submit(hold_ids=(first.id,))
    store.hidden = f"{first.id}/"
    run_passes(agent)
    assert site.job(held.id).state is JobState.INIT
    agent.crew.stop()


def test_a_job_of_a_1_2_client_is_found_without_a_marker(site: Site) -> None:
    agent, job = site.new_agent(), site.submit()
    _as_of_a_1_2_client(site, job)
    run_passes(agent, 2)
    assert site.job(job.id).state is JobState.READY


def test_a_cancel_of_a_1_2_client_is_found_without_a_marker(site: Site) -> None:
    agent, job = site.new_agent(), site.submit()
    run_passes(agent)
    site.cluster.move("1", NativeState.RUNNING)
    run_passes(agent)
    site.store.write(f"{job.id}/cancel", b"")
    site.clock.move(seconds=61)
    run_passes(agent, 3)
    assert site.job(job.id).state is JobState.DELETED


def test_final_jobs_are_read_once_whatever_their_number(site: Site) -> None:
    """Defect 90."""
    for _ in range(5):
        job = site.submit()
        _without_marker(site, job)
        record = site.bundles.load(job.id)
        site.bundles.save(record, replace(record.job, state=JobState.DONE))
    agent = site.new_agent()
    run_passes(agent, 2)
    assert isinstance(site.store, MemoryStore)
    site.store.requests.clear()
    site.clock.move(seconds=61)
    run_passes(agent)
    # Two inboxes, the top level, the markers of what is held.
    assert site.store.requests == {"LIST": 4}


def test_an_idle_pass_costs_two_listings(site: Site) -> None:
    agent = site.new_agent()
    run_passes(agent)
    assert isinstance(site.store, MemoryStore)
    site.store.requests.clear()
    run_passes(agent)
    assert site.store.requests == {"LIST": 2}
    assert site.cluster.calls == []


def test_a_pass_over_active_jobs_without_news_costs_one_question(site: Site) -> None:
    """Defects 72, 92, 93."""
    agent = site.new_agent()
    for _ in range(20):
        site.submit()
    run_passes(agent, 2)
    for native_id in site.cluster.jobs:
        site.cluster.move(native_id, NativeState.RUNNING)
    run_passes(agent, 2)
    assert isinstance(site.store, MemoryStore)
    site.store.requests.clear()
    site.cluster.calls.clear()
    run_passes(agent)
    assert site.store.requests == {"LIST": 2}
    assert [call[0] for call in site.cluster.calls] == ["poll"]


def test_an_unreadable_manifest_stops_nobody(site: Site) -> None:
    agent, job = site.new_agent(), site.submit()
    site.store.write("broken/manifest.json", b"{")
    site.store.write("agent/.inbox/here/broken", b"")
    run_passes(agent, 2)
    assert site.job(job.id).state is JobState.READY
    assert site.keys("agent/.inbox/") == []
