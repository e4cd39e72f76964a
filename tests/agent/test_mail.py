"""What lies in inboxes about a job that is being taken: its notice goes late, and no request with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Callable, Optional

import pytest

from cloudq.agent.passes import Agent
from cloudq.agent.queue import Queue
from cloudq.bundle import MANIFEST
from cloudq.client.jobs.cancel import cancel
from cloudq.client.jobs.requeue import Requeue, requeue
from cloudq.job import Job, JobState
from cloudq.manifest import render_manifest
from cloudq.process import DEFAULT_TIMEOUT, Completed
from cloudq.store.memory import MemoryStore
from tests.agent.cluster import FakeScheduler
from tests.agent.conftest import META, Site, run_passes

ANY_META = b"#!/bin/sh\necho\n"


def act_at_submission(site: Site, act: Callable[[], None]) -> None:
    """Have somebody act while a job is being submitted."""

    def run(
        argv: Sequence[str], *, cwd: Optional[Path] = None, timeout: timedelta = DEFAULT_TIMEOUT
    ) -> Completed:
        if argv[1] == "submit":
            act()
        return site.cluster.run(argv, cwd=cwd, timeout=timeout)

    site.queue = Queue(FakeScheduler(), run, timedelta(minutes=1))


def settled_agent(site: Site) -> Agent:
    """Start an agent that has made its first sweep, which looks for requests that no inbox tells of."""
    agent = site.new_agent()
    run_passes(agent)
    return agent


def test_the_notice_stays_until_the_submission_is_recorded_and_then_a_marker_is_there(site: Site) -> None:
    seen: list[list[str]] = []
    act_at_submission(site, lambda: seen.append(site.keys("agent/")))
    job = site.submit()
    run_passes(site.new_agent())
    assert seen == [[f"agent/.inbox/here/{job.id}"]]
    assert site.keys("agent/") == [f"agent/.active/here/{job.id}"]


def test_a_cancel_during_the_submission_is_not_lost_with_the_notice(site: Site) -> None:
    act_at_submission(site, lambda: cancel(site.bundles, job.id))
    agent = settled_agent(site)
    job = site.submit()
    run_passes(agent)
    assert (site.job(job.id).state, site.bundles.markers.inbox("here")) == (JobState.READY, {})
    run_passes(agent, 3)
    assert (site.cluster.count("cancel"), site.job(job.id).state) == (1, JobState.DELETED)
    assert site.keys("agent/") == []


def test_a_request_to_any_is_handed_on_to_whoever_has_the_job(site: Site, there: Site) -> None:
    """It was asked before the claim, and another agent sees it first."""
    job = site.submit(ANY_META, run_on="ANY")
    agent, other = site.new_agent(), there.new_agent()
    run_passes(agent)
    site.bundles.request_cancel(job)
    assert list(site.bundles.markers.mail("ANY")) == [job.id]
    run_passes(other)
    assert (site.bundles.markers.mail("ANY"), list(site.bundles.markers.mail("here"))) == ({}, [job.id])
    run_passes(agent, 3)
    assert site.job(job.id).state is JobState.DELETED
    assert site.keys("agent/") == []


@pytest.mark.parametrize("seconds", [30, 61])
def test_a_cancel_of_a_1_2_client_is_seen_before_the_submission_or_by_the_next_sweep(
    site: Site, seconds: int
) -> None:
    agent = settled_agent(site)
    job = site.submit()
    site.store.write(f"{job.id}/cancel", b"")
    site.clock.move(seconds=seconds)
    run_passes(agent)
    assert site.cluster.count("submit") == (seconds < 60)
    site.clock.move(seconds=61)
    run_passes(agent, 3)
    assert site.job(job.id).state is JobState.DELETED


@pytest.mark.parametrize("token", ["", "of our client"])
def test_only_jobs_of_1_2_clients_have_their_bundles_listed(site: Site, token: str) -> None:
    agent = settled_agent(site)
    job = site.submit(META)
    site.bundles.write(job.id, MANIFEST, render_manifest(replace(site.job(job.id), submit_token=token)))
    assert isinstance(site.store, MemoryStore)
    site.store.requests.clear()
    run_passes(agent)
    assert site.store.requests["LIST"] == 2 + (not token)  # the two inboxes
    assert site.job(job.id).state is JobState.READY


def test_a_job_whose_notice_another_agent_removed_is_found_by_the_next_start(site: Site, there: Site) -> None:
    job = site.submit(ANY_META, run_on="ANY")
    other = there.new_agent()

    def be_killed() -> None:
        run_passes(other)
        raise KeyboardInterrupt

    act_at_submission(site, be_killed)
    agent = site.new_agent()
    run_passes(agent)
    agent.crew.stop()
    assert (site.job(job.id).run_system, site.keys("agent/")) == ("here", [])
    site.queue = None
    site.clock.move(minutes=3)
    agent = site.new_agent()
    run_passes(agent, 2)
    assert (site.cluster.count("submit"), site.job(job.id).state) == (1, JobState.READY)
    assert site.keys("agent/") == [f"agent/.active/here/{job.id}"]


def test_the_old_agent_of_a_requeued_job_is_told_and_a_new_one_may_take_it(site: Site, there: Site) -> None:
    job, agent = site.submit(), site.new_agent()
    run_passes(agent)
    requeue(site.bundles, job.id, Requeue(to="there", force=True))
    assert list(site.bundles.markers.mail("here")) == list(site.bundles.markers.inbox("there")) == [job.id]
    assert site.bundles.markers.inbox("here") == {}
    run_passes(there.new_agent())
    run_passes(agent, 3)
    assert (site.cluster.count("cancel"), site.job(job.id).run_system) == (1, "there")
    assert site.keys("agent/") == [f"agent/.active/there/{job.id}"]


def test_a_job_with_large_inputs_is_marked_before_they_come(site: Site) -> None:
    """That may take hours, for which other agents should not see its notice."""
    job: Job = site.submit(META, input_size=2**30)
    seen: list[list[str]] = []

    class WatchedStore(MemoryStore):
        def download(self, key: str, path: Path) -> None:
            seen.append(site.keys("agent/"))
            super().download(key, path)

    watched = WatchedStore()
    watched.__dict__.update(vars(site.store))
    site.store = watched
    run_passes(site.new_agent())
    assert seen == [[f"agent/.active/here/{job.id}"]]
    assert site.job(job.id).error.startswith("the bundle is not complete")
    assert site.keys("agent/") == []
