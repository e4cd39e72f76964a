"""Raises agents as processes of their own and kills each at another effect: `python -m tests.faults.nursery`.

One process, without threads, forks all of them, so that none has to start Python and load its modules. The
bucket is a directory; the scheduler and the time are kept in a file, as they outlive the agent.
"""

from __future__ import annotations

import gc
import io
import json
import os
import pickle
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Optional

from cloudq.agent.folders import Folders
from cloudq.agent.schedulers.base import NativeState
from cloudq.bundle import Bundles
from cloudq.errors import CloudQError
from cloudq.job import JobState
from cloudq.process import DEFAULT_TIMEOUT, Completed
from cloudq.store.directory import DirectoryStore
from cloudq.store.files import appearing
from tests.agent.cluster import FakeCluster
from tests.agent.conftest import Clock, Site, run_passes
from tests.faults.children import in_child
from tests.faults.doom import Doom, doomed_runner, doomed_store

PASSES = 14
"""Enough for a whole life under an agent that nobody kills."""

END = "one\ntwo\n"


@dataclass
class World:
    """What is outside of the agent's process, kept in a file."""

    cluster: FakeCluster = field(default_factory=FakeCluster)
    moment: datetime = field(default_factory=lambda: Clock().moment)
    age: int = 0
    job_id: str = ""


@dataclass
class Place:
    """The folders of one life.

    Args:
        folder: An empty folder.
        kind: What the job does: `done`, `failed`, `cancelled` or `array`.
    """

    folder: Path
    kind: str

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)
        self.store = DirectoryStore(self.folder, "bucket")
        self.agent_folder = self.folder / "agent"
        self._kept = self.folder / "world"
        site = Site(self.agent_folder, self.store)
        array_range = "1-2" if self.kind == "array" else None
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("data", "42\n")
        job = site.submit(input_size=1000, array_range=array_range)
        site.bundles.write(job.id, "input.zip", packed.getvalue())
        self.keep(World(job_id=job.id))

    @property
    def bundles(self) -> Bundles:
        return Bundles(self.store)

    def world(self) -> World:
        """Read the world."""
        world = pickle.loads(self._kept.read_bytes())
        assert isinstance(world, World)
        return world

    def keep(self, world: World) -> None:
        """Write the world."""
        with appearing(self._kept) as file:
            pickle.dump(world, file)

    def run(
        self, argv: Sequence[str], *, cwd: Optional[Path] = None, timeout: timedelta = DEFAULT_TIMEOUT
    ) -> Completed:
        """Run a command of the cluster."""
        world = self.world()
        done = world.cluster.run(argv, cwd=cwd, timeout=timeout)
        self.keep(world)
        return done

    def step(self) -> None:
        """Let a minute go by in the world."""
        world = self.world()
        world.moment += timedelta(minutes=1)
        if world.cluster.jobs:
            world.age += 1
            self._move(world)
        self.keep(world)

    def _move(self, world: World) -> None:
        folders = Folders(self.agent_folder, "here")
        suffixes = (".1", ".2") if self.kind == "array" else ("",)
        text = {1: "one\n", 3: END}.get(world.age)
        for suffix in suffixes if text else ():
            folders.log(world.job_id, "stdout" + suffix).write_text(text or "")
        if world.age == 1:
            world.cluster.move("1", NativeState.RUNNING)
        elif world.age == 3 and self.kind == "cancelled":
            self.bundles.request_cancel(self.bundles.load(world.job_id).job)
        elif world.age == 3:
            folders.work_dir(world.job_id).joinpath("result").write_text("42")
            failed = self.kind == "failed"
            state = NativeState.FAILED if failed else NativeState.COMPLETED
            world.cluster.move("1", state, exit_code=7 if failed else 0)

    @property
    def settled(self) -> bool:
        """Whether the job has ended and no marker of it is left."""
        return self.bundles.load(self.world().job_id).job.state.final and not self.bundles.markers.active(
            "here"
        )

    def wrong(self) -> str:
        """Say what is wrong in the end; nothing if all is right."""
        world, bundles = self.world(), self.bundles
        job, entries = bundles.load(world.job_id).job, bundles.entries(world.job_id)
        state = {"failed": JobState.ERROR, "cancelled": JobState.DELETED}.get(self.kind, JobState.DONE)
        logs = {"stdout.1", "stdout.2"} if self.kind == "array" else {"stdout"}
        wanted = {"input.zip", "job.sh", "job_local.sh", "manifest.json", "output.zip", *logs}
        wanted |= {"cancel"} if self.kind == "cancelled" else set()
        site = Site(self.agent_folder, self.store)
        checks = {
            f"ran {len(world.cluster.jobs)} times": len(world.cluster.jobs) == 1,
            f"ended as {job.state} {job.error}": job.state is state,
            f"objects {sorted(entries)}": set(entries) == wanted,
            f"markers {site.keys('agent/')}": site.keys("agent/") == [],
            f"folders {list(site.folders.job_ids())}": list(site.folders.job_ids()) == [],
        }
        found = [words for words, right in checks.items() if not right]
        if not found and any(bundles.read(world.job_id, log) != END.encode() for log in logs):
            found.append("a log is not whole")
        if not found and entries["output.zip"].size != job.output_size:
            found.append("output.zip is not that of the manifest")
        return "; ".join(found)


def raise_agent(place: Place, at: int) -> tuple[bool, list[str]]:
    """Run an agent as a process that dies before effect `at`; return whether it did, and its effects."""
    report = place.folder / "effects"
    status = in_child(lambda: _be_an_agent(place, Doom(at), report))
    if os.WIFSIGNALED(status):
        return True, []
    assert os.WEXITSTATUS(status) == 0, "the agent failed"
    return False, json.loads(report.read_text())


def _be_an_agent(place: Place, doom: Doom, report: Path) -> None:
    world = place.world()
    site = Site(place.agent_folder, doomed_store(place.store, doom), clock=Clock(world.moment))
    site.cluster = replace(world.cluster)
    site.cluster.run = doomed_runner(place.run, doom, ("submit", "cancel"))  # type: ignore[method-assign]
    doom.watch_files(place.agent_folder)
    agent = site.new_agent()
    for _ in range(PASSES):
        settled = place.settled
        try:
            run_passes(agent)
        except CloudQError as error:
            print(error, file=sys.stderr)
        known = list(doom.effects)
        place.step()
        # What the world does is no effect of the agent.
        doom.effects[:] = known
        site.clock.moment = place.world().moment
        if settled:
            break
    report.write_text(json.dumps(doom.effects))


def kill_at_each(folder: Path, kind: str, away: int) -> dict[str, object]:
    """Kill an agent before each effect of its life, and start it again; return effects and what was wrong.

    Args:
        away: Minutes that go by before the next start.
    """
    calm = Place(folder / "calm", kind)
    _, effects = raise_agent(calm, 0)
    wrong = {"nobody killed it": calm.wrong()}
    for at, effect in enumerate(effects, 1):
        place = Place(folder / f"{at}", kind)
        killed, _ = raise_agent(place, at)
        for _ in range(away):
            place.step()
        raise_agent(place, 0)
        wrong[f"killed before effect {at}, {effect}"] = place.wrong() if killed else "was not killed"
    place = Place(folder / "again", kind)
    at = 1
    while raise_agent(place, at)[0]:
        at += 1
    wrong[f"killed {at - 1} times, each time one effect later"] = place.wrong()
    return {"effects": effects, "wrong": {where: words for where, words in wrong.items() if words}}


if __name__ == "__main__":
    gc.freeze()
    print(json.dumps(kill_at_each(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))))
