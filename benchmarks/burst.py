"""A burst of jobs, on-premise slots first and then the cloud, played without a cloud, and a picture of it.

    python benchmarks/burst.py [--jobs 3000] [--slots 1000] [--nodes 100] [--picture burst.svg]

It repeats the experiment of KEK's elastic batch system: 3,000 jobs at once. When to make the cluster and
when to delete it is decided by the same function as in `cloudqaws autoscale`; how long nodes and clusters
take to come and go are assumptions, which stand in `World`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Optional

from cloudq.builder.clusters import COMPLETED, CREATING, DELETING
from cloudq.builder.scaling import Action, Situation, decide, parse_threshold

STEP = timedelta(minutes=1)
NONE = timedelta(0)


@dataclass(frozen=True)
class World:
    """What is played; times are what ParallelCluster usually takes, not measured here.

    Attributes:
        slots: Jobs that run on-premise at the same time.
        nodes, slots_of_node: The most nodes of the cluster, and jobs that one runs at the same time.
        cluster_takes, node_takes, deletion_takes: Until each is there, or gone.
        idle: How long the agent has no job before it ends.
    """

    jobs: int = 3000
    duration: timedelta = timedelta(minutes=60)
    slots: int = 1000
    nodes: int = 100
    slots_of_node: int = 8
    cluster_takes: timedelta = timedelta(minutes=10)
    node_takes: timedelta = timedelta(minutes=4)
    node_idle: timedelta = timedelta(minutes=5)
    deletion_takes: timedelta = timedelta(minutes=6)
    idle: timedelta = timedelta(minutes=15)
    threshold: str = "[[5,10],[1,60],[100,0]]"


@dataclass(frozen=True)
class Moment:
    """How many jobs are where, and how many nodes run, at one time."""

    time: timedelta
    waiting: int
    on_premise: int
    in_cloud: int
    done: int
    nodes: int


@dataclass
class Play:
    """The state of a played world."""

    world: World
    now: timedelta = NONE
    waiting: int = 0
    done: int = 0
    on_premise: list[timedelta] = field(default_factory=list)
    in_cloud: list[timedelta] = field(default_factory=list)
    coming: list[timedelta] = field(default_factory=list)
    nodes: int = 0
    nodes_idle_since: timedelta = NONE
    status: str = ""
    changes_at: timedelta = NONE
    idle_since: timedelta = NONE
    said: list[str] = field(default_factory=list)

    def run(self, until: timedelta) -> list[Moment]:
        """Play until everything is done and gone, or a time."""
        self.waiting = self.world.jobs
        moments = []
        while self.now <= until:
            self._end_jobs()
            self._start_on_premise()
            self._change_cluster()
            self._change_nodes()
            self._start_in_cloud()
            self._decide()
            moments.append(self._moment())
            if self.done == self.world.jobs and not self.status:
                break
            self.now += STEP
        return moments

    def _end_jobs(self) -> None:
        for running in (self.on_premise, self.in_cloud):
            ended = sum(end <= self.now for end in running)
            self.done += ended
            running[:] = [end for end in running if end > self.now]

    def _start_on_premise(self) -> None:
        self._start(self.on_premise, self.world.slots)

    def _start_in_cloud(self) -> None:
        if self.status == COMPLETED:
            self._start(self.in_cloud, self.nodes * self.world.slots_of_node)

    def _start(self, running: list[timedelta], slots: int) -> None:
        started = min(self.waiting, max(0, slots - len(running)))
        self.waiting -= started
        running += [self.now + self.world.duration] * started

    def _change_cluster(self) -> None:
        if self.status == CREATING and self.now >= self.changes_at:
            self.status, self.idle_since = COMPLETED, self.now
        elif self.status == DELETING and self.now >= self.changes_at:
            self.status = ""
        if self.in_cloud:
            self.idle_since = self.now

    def _change_nodes(self) -> None:
        """Slurm asks for the nodes that the waiting jobs need, and lets them go when they were idle."""
        if self.status != COMPLETED:
            self.nodes, self.coming = 0, []
            return
        self.nodes += sum(time <= self.now for time in self.coming)
        self.coming = [time for time in self.coming if time > self.now]
        per_node = self.world.slots_of_node
        needed = min(self.world.nodes, -(-(self.waiting + len(self.in_cloud)) // per_node))
        wanted = needed - self.nodes - len(self.coming)
        self.coming += [self.now + self.world.node_takes] * max(0, wanted)
        busy = -(-len(self.in_cloud) // per_node)
        if busy == self.nodes or self.waiting:
            self.nodes_idle_since = self.now
        elif self.now - self.nodes_idle_since >= self.world.node_idle:
            self.nodes = busy

    def _decide(self) -> None:
        situation = Situation(
            waiting=(self.now,) * self.waiting,
            threshold=parse_threshold(self.world.threshold),
            status=self.status,
            active=len(self.in_cloud),
            agent_ended=self.status == COMPLETED and self.now - self.idle_since >= self.world.idle,
        )
        decision = decide(situation)
        if decision.action is Action.NOTHING:
            return
        self.said.append(f"{self.now.total_seconds() / 60:4.0f} min  {decision.action.value}: {decision.why}")
        creates = decision.action is Action.CREATE
        self.status = CREATING if creates else DELETING
        self.changes_at = self.now + (self.world.cluster_takes if creates else self.world.deletion_takes)

    def _moment(self) -> Moment:
        return Moment(self.now, self.waiting, len(self.on_premise), len(self.in_cloud), self.done, self.nodes)


AREAS = (("done", "#c8d6c0"), ("on_premise", "#4878a8"), ("in_cloud", "#e08030"), ("waiting", "#d8d8d8"))
_WIDTH, _HEIGHT, _LEFT, _TOP = 720, 360, 60, 40


def picture(moments: Sequence[Moment], world: World) -> str:
    """Draw every job's state over time as areas, and the nodes as a line; SVG."""
    minutes = moments[-1].time.total_seconds() / 60

    def x(moment: Moment) -> float:
        return _LEFT + _WIDTH * moment.time.total_seconds() / 60 / minutes

    def y(jobs: float) -> float:
        return _TOP + _HEIGHT * (1 - jobs / world.jobs)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH + 2 * _LEFT} {_HEIGHT + 3 * _TOP}" '
        'font-family="sans-serif" font-size="13"><rect width="100%" height="100%" fill="white"/>'
    ]
    base = [0] * len(moments)
    for place, (name, colour) in enumerate(AREAS):
        top = [low + getattr(moment, name) for low, moment in zip(base, moments)]
        outline = [f"{x(m):.1f},{y(v):.1f}" for m, v in zip(moments, top)]
        outline += [f"{x(m):.1f},{y(v):.1f}" for m, v in reversed(list(zip(moments, base)))]
        parts.append(f'<polygon points="{" ".join(outline)}" fill="{colour}"/>')
        parts.append(f'<rect x="{_LEFT + 150 * place}" y="12" width="12" height="12" fill="{colour}"/>')
        parts.append(f'<text x="{_LEFT + 18 + 150 * place}" y="23">{name.replace("_", " ")}</text>')
        base = top
    line = " ".join(f"{x(m):.1f},{_TOP + _HEIGHT * (1 - m.nodes / world.nodes):.1f}" for m in moments)
    parts.append(f'<polyline points="{line}" fill="none" stroke="black" stroke-dasharray="4 3"/>')
    parts.append(f'<text x="{_LEFT + 600}" y="23">- - nodes (of {world.nodes})</text>')
    for minute in range(0, int(minutes) + 1, 10):
        at = _LEFT + _WIDTH * minute / minutes
        parts.append(f'<text x="{at:.0f}" y="{_TOP + _HEIGHT + 20}" text-anchor="middle">{minute}</text>')
    for share in range(5):
        jobs = world.jobs * share // 4
        parts.append(f'<text x="{_LEFT - 6}" y="{y(jobs) + 4:.0f}" text-anchor="end">{jobs}</text>')
    parts.append(
        f'<text x="{_LEFT + _WIDTH / 2}" y="{_TOP + _HEIGHT + 42}" text-anchor="middle">minutes</text>'
    )
    return "".join([*parts, "</svg>\n"])


def summary(moments: Sequence[Moment]) -> str:
    """Tell when all was done and gone, and what the cloud did."""
    done = next((m.time for m in moments if m.done == moments[-1].done), moments[-1].time)
    node_hours = sum(m.nodes for m in moments) * STEP.total_seconds() / 3600
    return (
        f"all done after {done.total_seconds() / 60:.0f} min, nothing left after "
        f"{moments[-1].time.total_seconds() / 60:.0f} min; at most {max(m.nodes for m in moments)} nodes, "
        f"{node_hours:.0f} node-hours"
    )


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Play one burst, print what was decided, and write the picture."""
    parser = argparse.ArgumentParser(description="Play a burst of jobs.")
    for name in ("jobs", "slots", "nodes"):
        parser.add_argument(f"--{name}", type=int, default=getattr(World(), name))
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args(argv)
    world = World(jobs=given.jobs, slots=given.slots, nodes=given.nodes)
    play = Play(world)
    moments = play.run(timedelta(hours=12))
    print("\n".join([*play.said, summary(moments)]))
    if given.picture:
        given.picture.write_text(picture(moments, world), encoding="utf-8")


if __name__ == "__main__":
    main()
