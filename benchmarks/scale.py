"""What an agent costs with 0 to 100,000 finished jobs in the bucket, counted in a store in memory.

    python benchmarks/scale.py [--finished 0 1000 10000 100000] [--active 1000] [--agents 20]

The agents are the real ones, with the default intervals; store and cluster are those of the unit tests, and
the clock is moved by hand. First one agent without jobs lives a day, then all agents look at the bucket with
their active jobs.
"""

from __future__ import annotations

import argparse
import logging
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import record  # noqa: E402
from cloudq.agent.daemon.heartbeat import Heartbeat  # noqa: E402
from cloudq.agent.passes import Agent  # noqa: E402
from cloudq.agent.schedulers.base import NativeState  # noqa: E402
from cloudq.bundle import MANIFEST  # noqa: E402
from cloudq.job import Job, JobKind, JobState  # noqa: E402
from cloudq.manifest import render_manifest  # noqa: E402
from cloudq.store.memory import MemoryStore  # noqa: E402
from tests.agent.conftest import Site, run_passes  # noqa: E402

PRICES = {"LIST": 0.005, "PUT": 0.005, "POST": 0.005, "GET": 0.0004, "HEAD": 0.0004, "DELETE": 0.0}
"""USD for 1,000 requests: S3 Standard, us-east-1, aws.amazon.com/s3/pricing."""

PASSES = 5
_DAY = 24 * 3600


def price(requests: Mapping[str, int]) -> float:
    """Return what requests cost, in USD."""
    return sum(PRICES[kind] * number / 1000 for kind, number in requests.items())


def fill(store: MemoryStore, number: int) -> set[str]:
    """Put so many finished jobs into a store, five objects each; return their ids."""
    ids = {f"{i:08x}" for i in range(number)}
    for job_id in ids:
        job = Job(job_id, "job.sh", JobKind.META, JobState.DONE, run_on="agent0", run_system="agent0")
        store.write(f"{job_id}/{MANIFEST}", render_manifest(job))
        for name in ("job.sh", "stdout", "stderr", "output.zip"):
            store.write(f"{job_id}/{name}", b"x")
    return ids


def busy_agents(
    store: MemoryStore, folder: Path, finished: set[str], *, agents: int, active: int
) -> dict[str, object]:
    """Let agents hold their share of the active jobs; count what a pass of all of them costs."""
    sites = [Site(folder / f"agent{i}", store, name=f"agent{i}") for i in range(agents)]
    for site in sites:
        site.folder.mkdir()
    running = [(site, site.new_agent()) for site in sites]
    for site, agent in running:
        # As if it had run for long: the first look of a new agent reads each finished manifest once.
        agent._sweep.final |= finished
        for _ in range(active // agents):
            site.submit(run_on=site.name)
        run_passes(agent, 2)
        for native_id in site.cluster.jobs:
            site.cluster.move(native_id, NativeState.RUNNING)
        run_passes(agent)
        site.cluster.calls.clear()
    store.requests.clear()
    begun, cpu = time.perf_counter(), time.process_time()
    for _ in range(PASSES):
        for _, agent in running:
            run_passes(agent)
    passes = PASSES * agents
    found = {
        "active": sum(len(agent.roster.all()) for _, agent in running),
        "requests_per_pass": {kind: number / passes for kind, number in store.requests.items()},
        "scheduler_commands_per_pass": sum(len(site.cluster.calls) for site in sites) / passes,
        "cpu_ms_per_pass": record.median([1000 * (time.process_time() - cpu) / passes]),
        "ms_per_pass": record.median([1000 * (time.perf_counter() - begun) / passes]),
    }
    for _, agent in running:
        agent.crew.stop()
        agent.crew.wait()
    return found


def idle_day(store: MemoryStore, folder: Path) -> dict[str, object]:
    """Let one agent without jobs live a day, from its start on; count its requests."""
    site = Site(folder / "idle", store, name="idle")
    site.folder.mkdir()
    agent = site.new_agent()
    site.folders.agent_log.write_text("x")
    heartbeat = Heartbeat(agent)
    store.requests.clear()
    heartbeat.beat()
    run_passes(agent)
    start = Counter(store.requests)
    store.requests.clear()
    passes = live(site, agent, heartbeat)
    day = Counter(store.requests)
    agent.crew.stop()
    agent.crew.wait()
    return {
        "start": dict(start),
        "start_usd": round(price(start), 4),
        "passes": passes,
        "day": dict(day),
        "day_usd": round(price(day), 4),
    }


def live(site: Site, agent: Agent, heartbeat: Heartbeat) -> int:
    """Pass the time of a day as the service does; return how many passes there were."""
    passes, elapsed = 0, 0.0
    while elapsed < _DAY:
        config = agent.place.config
        pause = (config.interval if agent.busy else config.idle_interval).total_seconds()
        site.clock.move(seconds=pause)
        elapsed += pause
        heartbeat.beat()
        run_passes(agent)
        passes += 1
    return passes


def main() -> None:
    """Measure, print a table, and write results/scale.json and docs/scale.svg."""
    parser = argparse.ArgumentParser(description="Count what an agent costs with many old jobs.")
    parser.add_argument("--finished", type=int, nargs="+", default=[0, 1000, 10_000, 100_000])
    parser.add_argument("--active", type=int, default=1000)
    parser.add_argument("--agents", type=int, default=20)
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)
    begun = {**record.machine(), "agents": given.agents, "prices_usd_per_1000": PRICES}
    results: dict[str, dict[str, object]] = {}
    for number in given.finished:
        with tempfile.TemporaryDirectory(prefix="cloudq-bench-") as place:
            store = MemoryStore()
            finished = fill(store, number)
            row: dict[str, object] = {"one_idle_day": idle_day(store, Path(place))}
            row.update(busy_agents(store, Path(place), finished, agents=given.agents, active=given.active))
            row["peak_rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            results[str(number)] = row
            print(number, row, flush=True)
    record.save("scale", begun=begun, versions={"cloudq": record.cloudq_version()}, results=results)
    days = {
        f"{number} finished jobs": {"one day": row["one_idle_day"]["day_usd"]}
        for number, row in results.items()
    }  # type: ignore[index]
    picture = record.bars("USD for a day of an idle agent", days, "USD", common_scale=True)
    (record.PICTURES / "scale.svg").write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()
