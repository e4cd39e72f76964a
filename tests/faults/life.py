"""The life of one job, and what must be true of it whatever goes wrong meanwhile."""

from __future__ import annotations

import contextlib
import io
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from cloudq.agent.passes import Agent
from cloudq.agent.schedulers.base import NativeState
from cloudq.errors import CloudQError
from cloudq.job import Job, JobState
from cloudq.store import Store
from cloudq.store.memory import MemoryStore
from tests.agent.conftest import Site, run_passes

PATIENCE = 6
"""Passes after which everything must be settled, a minute apart."""

BEGINNING, END = "one\n", "one\ntwo\n"


@dataclass
class Life:
    """One job under one agent at a time.

    Args:
        folder: Where the agent keeps its files.
        wrap: Puts something between the agent and the bucket.
        cancelled: Whether the user cancels the job while it runs.
        submit_token: What a client writes; one of 1.2 writes none.
        trouble: Whether something is still wrong: patience begins when it is over.
    """

    folder: Path
    wrap: Callable[[Store], Store] = lambda store: store
    cancelled: bool = False
    trouble: Callable[[], bool] = lambda: False
    bucket: Store = field(default_factory=MemoryStore)
    submit_token: str = ""

    def __post_init__(self) -> None:
        self.site = Site(self.folder, self.bucket)
        self.job = self.site.submit(input_size=1000, submit_token=self.submit_token)
        self.client = self.site.bundles
        self.client.write(self.job.id, "input.zip", _packed("data", "42\n"))
        self.site.store = self.wrap(self.bucket)
        self._agent: Optional[Agent] = None
        self._seen: list[JobState] = []

    @property
    def ran(self) -> int:
        """How often the scheduler took the script."""
        return len(self.site.cluster.jobs)

    def live(self) -> None:
        """Bring the job from its submission to its end, and give the agent time to settle everything."""
        self._pass_until(lambda: self.ran > 0)
        self.write(self.site.folders.log(self.job.id, "stdout"), BEGINNING)
        self.site.cluster.move("1", NativeState.RUNNING)
        self._passes(2)
        self.write(self.site.folders.log(self.job.id, "stdout"), END)
        self.write(self.site.folders.work_dir(self.job.id) / "result", "42")
        if self.cancelled:
            self.client.request_cancel(self.client.load(self.job.id).job)
        else:
            self.site.cluster.move("1", NativeState.COMPLETED, exit_code=0)
        self._pass_until(lambda: not self.trouble() or self._settled)
        self._passes(PATIENCE)

    def check(self, where: str) -> None:
        """Say what must be true in the end."""
        job = self.client.load(self.job.id).job
        expected = JobState.DELETED if self.cancelled else JobState.DONE
        assert self.ran == 1, where
        assert job.state is expected, f"{where}: {job.state} {job.error}"
        entries = self.client.entries(self.job.id)
        wanted = {"input.zip", "job.sh", "job_local.sh", "manifest.json", "output.zip", "stdout"}
        assert set(entries) == wanted | ({"cancel"} if self.cancelled else set()), where
        assert self.client.read(self.job.id, "stdout") == END.encode(), where
        assert entries["output.zip"].size == job.output_size, where
        packed = zipfile.ZipFile(io.BytesIO(self.client.read(self.job.id, "output.zip")))
        assert {"data", "result"} <= set(packed.namelist()), where
        assert [entry.key for entry in self.bucket.list("agent/")] == [], where
        assert list(self.site.folders.job_ids()) == [], where

    @property
    def _settled(self) -> bool:
        """Whether the job has ended, and the agent has nothing left to do for it."""
        left = [*self.bucket.list("agent/"), *self.site.folders.job_ids()]
        return final_job(self).state.final and not left

    def close(self) -> None:
        """Stop the agents."""
        for agent in self.site.agents:
            agent.crew.stop()

    def _pass_until(self, reached: Callable[[], bool]) -> None:
        for _ in range(10 * PATIENCE):
            if reached():
                return
            self._passes(1)
        raise AssertionError("nothing goes on")

    def _passes(self, number: int) -> None:
        for _ in range(number):
            with contextlib.suppress(CloudQError):
                self._agent = self._agent or self.site.new_agent()
                run_passes(self._agent)
            self._check_word()
            self.site.clock.move(minutes=1)

    def _check_word(self) -> None:
        """What the user sees is true at every moment: no end before the end, no way back."""
        job = self.client.load(self.job.id).job
        native = [s.state for tasks in self.site.cluster.jobs.values() for s in tasks.values()]
        if job.state is JobState.RUN:
            assert NativeState.QUEUED not in native
        if job.state.final or job.state is JobState.COMPLETING:
            assert native
            assert all(state.final for state in native)
        if job.state.final:
            assert {"stdout", "output.zip"} <= set(self.client.entries(job.id))
        assert not (self._seen and self._seen[-1].final and job.state is not self._seen[-1])
        self._seen.append(job.state)

    def write(self, path: Path, text: str) -> None:
        """Write a file as the job does."""
        path.write_text(text)


def live_all(lives: Iterable[tuple[str, Life]]) -> list[str]:
    """Live all these lives and return what went wrong in them."""
    wrong: list[str] = []
    for where, life in lives:
        try:
            life.live()
            life.check(where)
        except AssertionError as error:
            wrong.append(f"{where}: {error}".splitlines()[0])
        finally:
            life.close()
    return wrong


def final_job(life: Life) -> Job:
    """Return the job as the client sees it."""
    return life.client.load(life.job.id).job


def _packed(name: str, text: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(name, text)
    return packed.getvalue()
