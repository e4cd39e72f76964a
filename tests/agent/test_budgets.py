"""How many requests an agent makes: exact counts, so that they cannot creep."""

from __future__ import annotations

from collections import Counter

import pytest

from cloudq.agent.passes import LOOKS_AT_ONCE
from cloudq.agent.schedulers.base import NativeState
from cloudq.bundle import MANIFEST
from cloudq.job import Job, JobKind, JobState
from cloudq.manifest import render_manifest
from cloudq.store.memory import MemoryStore
from tests.agent.conftest import Site, run_passes


def fill(site: Site, number: int) -> None:
    """Put so many finished jobs into the bucket."""
    for i in range(number):
        job = Job(f"{i:08x}", "job.sh", JobKind.META, JobState.DONE, run_on="here", run_system="here")
        site.bundles.write(job.id, MANIFEST, render_manifest(job))


def requests(site: Site) -> Counter[str]:
    assert isinstance(site.store, MemoryStore)
    return site.store.requests


@pytest.mark.parametrize("number", [0, 1, 2500], ids=["empty", "one", "2,500"])
def test_an_idle_pass_takes_two_listings_whatever_is_in_the_bucket(site: Site, number: int) -> None:
    fill(site, number)
    agent = site.new_agent()
    run_passes(agent, 2)
    requests(site).clear()
    run_passes(agent, 10)
    assert requests(site) == {"LIST": 20}


def test_looking_for_jobs_of_old_clients_costs_less_than_a_request_a_pass(site: Site) -> None:
    """At 10,000 jobs and the default pauses of an idle agent."""
    fill(site, 10_000)
    agent = site.new_agent()
    run_passes(agent)
    requests(site).clear()
    passes = 240
    for _ in range(passes):
        site.clock.move(seconds=15)
        run_passes(agent)
    swept = requests(site)["LIST"] - 2 * passes
    # Each look at the clock also lists the markers of the jobs that are held.
    assert 0 < swept < passes + passes / 4
    assert set(requests(site)) == {"LIST"}


def test_jobs_of_other_agents_are_read_at_every_tenth_look(site: Site) -> None:
    for i in range(50):
        job = Job(f"{i:08x}", "job.sh", JobKind.META, JobState.RUN, run_on="there", run_system="there")
        site.bundles.write(job.id, MANIFEST, render_manifest(job))
    agent = site.new_agent()
    run_passes(agent)
    for looks, reads in ((9, 0), (1, 50), (9, 0), (1, 50)):
        requests(site).clear()
        for _ in range(looks):
            site.clock.move(seconds=601)
            run_passes(agent)
        assert requests(site)["GET"] == reads


def test_a_pass_over_jobs_that_do_not_change_asks_the_scheduler_once(site: Site) -> None:
    agent = site.new_agent()
    for _ in range(100):
        site.submit()
    run_passes(agent, 2)
    for native_id in site.cluster.jobs:
        site.cluster.move(native_id, NativeState.RUNNING)
    run_passes(agent)
    requests(site).clear()
    site.cluster.calls.clear()
    run_passes(agent)
    assert requests(site) == {"LIST": 2}
    assert [call[0] for call in site.cluster.calls] == ["poll"]


def test_the_life_of_a_small_meta_job(site: Site) -> None:
    """Without the listings of the passes. obstore needs no HEAD after a PUT, whose answer has the MD5 sum."""
    agent = site.new_agent()
    run_passes(agent)
    requests(site).clear()
    job = site.submit()
    requests(site).clear()
    run_passes(agent)
    (native_id,) = site.cluster.jobs
    for stream in ("stdout", "stderr"):
        site.folders.log(job.id, stream).write_text(stream)
    site.cluster.move(native_id, NativeState.COMPLETED, exit_code=0)
    run_passes(agent)
    made = Counter(requests(site))
    assert site.job(job.id).state is JobState.DONE
    passes, confirmed_by_their_sum = 4, 3
    assert sum(made.values()) - passes - confirmed_by_their_sum <= 13
    assert made == {
        "LIST": 4,  # two passes
        "GET": 1 + 1,  # manifest, script
        "PUT": 1 + 3 + 4 + 1,  # claim; translation, READY, marker; COMPLETING, logs, outputs; DONE
        "DELETE": 2,  # both markers
        "HEAD": 3,  # after an upload, in this store
    }


def test_an_array_of_ten_thousand_tasks_is_one_native_array(site: Site) -> None:
    agent = site.new_agent()
    job = site.submit(array_range="1-10000")
    run_passes(agent)
    site.cluster.move("1", NativeState.RUNNING)
    run_passes(agent)
    requests(site).clear()
    site.cluster.calls.clear()
    run_passes(agent)
    assert (site.cluster.count("submit"), list(site.cluster.jobs)) == (0, ["1"])
    assert [call[0] for call in site.cluster.calls] == ["poll"]
    assert requests(site) == {"LIST": 2}
    assert site.job(job.id).state is JobState.RUN


def test_of_many_jobs_some_are_looked_at_for_a_cancel_request_at_a_time(site: Site) -> None:
    agent = site.new_agent()
    number = LOOKS_AT_ONCE + 20
    for _ in range(number):
        site.submit()
    run_passes(agent, 3)
    looked = []
    for _ in range(3):
        site.clock.move(seconds=61)
        requests(site).clear()
        run_passes(agent)
        looked.append(requests(site)["HEAD"])
    assert sorted(looked) == [20, LOOKS_AT_ONCE, LOOKS_AT_ONCE]
