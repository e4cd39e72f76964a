"""Clients, two agents, schedulers and faults in any order, held against a model.

Hypothesis makes up the order of everything that can happen: jobs are submitted (plain, arrays, held, for
anybody, by a client of 1.2), cancelled, deleted; two agents of different systems make their passes, die
between any two effects and start anew; their schedulers start, end, fail, requeue, forget and lose jobs;
requests to the store are lost, or take effect without an answer, or are refused, or come twice or late;
scheduler commands fail before or after their effect; time passes. The properties, checked after each step:

1. No job is in a scheduler twice, and none is in two schedulers.
2. A job that a system has claimed stays this system's.
3. A final manifest never changes again.
4. No job is final while its script may still run.
5. A final state is true: DONE if and only if all its scripts ended with 0; ERROR, TIMEOUT, DELETED only if
   one failed, exceeded its time, was cancelled. What the scheduler forgot before anybody saw it is never
   called DONE without an exit status.
6. Whoever sees a final state of a job that a scheduler had finds its logs and its `output.zip`.
7. A job that waits for others is in no scheduler before they are final; what was cancelled as INIT never
   is.
8. A folder of a job whose script runs is never removed.

And when all faults are over and all scripts have ended: every job is final, every one that nobody cancelled
was in a scheduler, and no marker, no live segment and no folder is left.

The unit run makes the same lives each time. `CLOUDQ_LIVES=5000 pytest tests/faults/test_state_machine.py`
makes so many, others each time; what fails is printed as a program, with what makes it fail again.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Callable, Optional, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cloudq.agent.crew import Crew, Rest
from cloudq.agent.passes import Agent
from cloudq.agent.schedulers.base import NativeState, NativeStatus
from cloudq.errors import CloudQError, CommandError
from cloudq.job import ArrayRange, Job, JobKind, JobState, Task
from cloudq.process import DEFAULT_TIMEOUT, Completed
from cloudq.store.memory import MemoryStore
from tests.agent.cluster import FakeCluster, refusal, time_out
from tests.agent.conftest import Clock, Site
from tests.faults.faulty_store import WRITES, Fault, FaultyStore

PICKS = st.integers(0, 11)
LIVES = int(os.environ.get("CLOUDQ_LIVES", "0"))
SYSTEMS = ("here", "there")
META = "#!/bin/bash\n#$ run_on: {}\necho hello\n"
T = TypeVar("T")


class Killed(BaseException):
    """The process is gone: no handler of the agent sees this."""


class Doom:
    """Counts the effects of all agents; at a chosen one, before or after it, the agent dies."""

    def __init__(self) -> None:
        self.countdown = 0
        self.after = False
        self.dead = False

    def around(self, act: Callable[[], T]) -> T:
        """Perform an effect, or die."""
        if self.dead:
            raise Killed
        due = self.countdown == 1
        self.countdown = max(0, self.countdown - 1)
        if due and not self.after:
            self._die()
        answer = act()
        if due:
            self._die()
        return answer

    def _die(self) -> None:
        self.dead = True
        raise Killed


class OneHand(Crew):
    """Does everything at once, so that a life goes the same way each time."""

    def _begin(self, threads: ThreadPoolExecutor, function: Callable[..., object], *args: object) -> None:
        function(*args)

    def _leave(self, key: str, rest: Rest) -> None:
        self._call(key, rest)


@dataclass
class DoomedStore(FaultyStore):
    """A faulty store whose writes are effects."""

    doom: Doom = field(default_factory=Doom)

    def _ask(self, verb: str, key: str, act: Callable[[], T]) -> T:
        if verb not in WRITES:
            if self.doom.dead:
                raise Killed
            return super()._ask(verb, key, act)
        return self.doom.around(lambda: super(DoomedStore, self)._ask(verb, key, act))


@dataclass
class TrueCluster(FakeCluster):
    """A cluster that remembers how each task really ended, also when the scheduler has forgotten it.

    Attributes:
        truth: Native id -> task -> how it ended, None while it has not.
        codes: The same -> exit status that the script left behind.
        forgotten: Native id and task of what the scheduler forgot before anybody may have seen it.
    """

    doom: Doom = field(default_factory=Doom)
    truth: dict[str, dict[Optional[int], Optional[NativeState]]] = field(default_factory=dict)
    codes: dict[tuple[str, Optional[int]], int] = field(default_factory=dict)
    forgotten: set[tuple[str, Optional[int]]] = field(default_factory=set)
    submissions: list[str] = field(default_factory=list)

    def run(
        self, argv: Sequence[str], *, cwd: Optional[Path] = None, timeout: timedelta = DEFAULT_TIMEOUT
    ) -> Completed:
        if argv[1] in ("submit", "cancel"):
            return self.doom.around(lambda: super(TrueCluster, self).run(argv, cwd=cwd, timeout=timeout))
        if self.doom.dead:
            raise Killed
        return super().run(argv, cwd=cwd, timeout=timeout)

    def end(self, native_id: str, task_id: Optional[int], status: NativeStatus) -> None:
        """End a task."""
        self.set(native_id, status, task_id)
        self.truth[native_id][task_id] = status.state

    def unended(self) -> list[tuple[str, Optional[int]]]:
        """Return the tasks that have not ended."""
        return [(n, t) for n, tasks in self.truth.items() for t, ended in tasks.items() if ended is None]

    def _submit(self, tag: str, script: str, tasks: str, *options: str) -> str:
        answer = super()._submit(tag, script, tasks, *options)
        native_id = answer.split()[1]
        self.truth[native_id] = dict.fromkeys(self.jobs[native_id])
        self.submissions.append(tag.split("-")[1])
        return answer

    def _cancel(self, native_id: str) -> str:
        for task_id, ended in self.truth.get(native_id, {}).items():
            if ended is None:
                self.end(native_id, task_id, NativeStatus(NativeState.CANCELLED))
        return ""


class Lives(RuleBasedStateMachine):
    """All of it."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="cloudq-lives-"))
        self.bucket, self.clock, self.doom = MemoryStore(), Clock(), Doom()
        self.store = DoomedStore(self.bucket, doom=self.doom)
        self.sites = [
            Site(
                self.folder / name,
                self.bucket,
                name=name,
                cluster=TrueCluster(doom=self.doom),
                clock=self.clock,
                settings={"transfers": 1},
            )
            for name in SYSTEMS
        ]
        self.client = self.sites[0].bundles
        self.agents: list[Agent] = []
        self.jobs: dict[str, Job] = {}
        self.cancelled: set[str] = set()
        self.deleted: set[str] = set()
        self.never: set[str] = set()
        self.finals: dict[str, bytes] = {}
        self.owners: dict[str, str] = {}

    @initialize()
    def start_agents(self) -> None:
        for site in self.sites:
            site.store = self.store
        self.agents = [self._new_agent(site) for site in self.sites]

    # Clients

    @rule(
        run_on=st.sampled_from([*SYSTEMS, "ANY"]),
        kind=st.sampled_from(["meta", "meta", "local", "1.2"]),
        tasks=st.sampled_from(["", "", "1-2", "4"]),
    )
    def submit(self, run_on: str, kind: str, tasks: str) -> None:
        self._submit(run_on, kind, tasks)

    @precondition(lambda self: self.jobs)
    @rule(run_on=st.sampled_from([*SYSTEMS, "ANY"]), pick=PICKS)
    def submit_held(self, run_on: str, pick: int) -> None:
        awaited = _pick(sorted(self.jobs), pick)
        if awaited not in self.deleted:
            self._submit(run_on, "meta", "", hold_ids=(awaited,))

    def _submit(self, run_on: str, kind: str, tasks: str, hold_ids: tuple[str, ...] = ()) -> None:
        local = kind == "local" and run_on != "ANY"
        job = Job(
            f"job{len(self.jobs):03}",
            "job.sh",
            JobKind.LOCAL if local else JobKind.META,
            run_on="" if local or kind == "1.2" else run_on,
            submit_to=run_on if local else "",
            hold_ids=hold_ids,
            array_range=ArrayRange.parse(tasks) if tasks else None,
            submitted=self.clock(),
            input_size=1,
        )
        self.client.write(job.id, job.name, META.format(run_on).encode())
        job = self.client.create(job).job
        if kind == "1.2":
            record = self.client.load(job.id)
            self.client.save(record, replace(record.job, submit_token=""))
        else:
            self.client.markers.notify(job)
        self.jobs[job.id] = job

    @precondition(lambda self: self.jobs)
    @rule(pick=PICKS, marker=st.booleans())
    def cancel(self, pick: int, marker: bool) -> None:
        job_id = _pick(sorted(self.jobs), pick)
        job = self._job(job_id)
        if job is None or job.state.final or job.state is JobState.COMPLETING:
            return
        self.cancelled.add(job_id)
        self.client.request_cancel(job) if marker else self.client.write(job_id, "cancel", b"")

    @precondition(lambda self: self.finals)
    @rule(pick=PICKS)
    def delete(self, pick: int) -> None:
        job_id = _pick(sorted(self.finals), pick)
        self.client.delete(job_id)
        self.deleted.add(job_id)
        del self.finals[job_id]

    # Agents

    @rule(number=st.integers(0, 1))
    def make_a_pass(self, number: int) -> None:
        self._pass(number)

    @rule(number=st.integers(0, 1))
    def restart(self, number: int) -> None:
        self._restart(number)

    def _pass(self, number: int) -> None:
        agent = self.agents[number]
        with contextlib.suppress(CloudQError, Killed):
            agent.run_pass()
        if self.doom.dead:
            self._restart(number)

    @staticmethod
    def _new_agent(site: Site) -> Agent:
        site.agents.clear()
        try:
            return site.new_agent()
        finally:
            site.agents[0].crew.stop()
            site.agents[0].crew = OneHand(1)

    def _restart(self, number: int) -> None:
        """Start an agent again and again until it comes up, as a service manager does."""
        self.agents[number].crew.stop()
        for _ in range(100):
            self.doom.dead = False
            site = self.sites[number]
            try:
                self.agents[number] = self._new_agent(site)
            except (CloudQError, Killed):
                continue
            return
        raise AssertionError("an agent does not come up again")

    # Schedulers

    @rule(number=st.integers(0, 1), pick=PICKS, code=st.sampled_from([0, 0, 0, 3]))
    def let_scripts_begin_or_end(self, number: int, pick: int, code: int) -> None:
        cluster = self._cluster(number)
        unended = cluster.unended()
        if not unended:
            return
        native_id, task_id = _pick(unended, pick)
        status = cluster.jobs[native_id].get(task_id)
        if status is not None and status.state is NativeState.QUEUED:
            cluster.set(native_id, NativeStatus(NativeState.RUNNING), task_id)
        else:
            self._end(number, native_id, task_id, code)

    @rule(
        number=st.integers(0, 1),
        pick=PICKS,
        event=st.sampled_from(["requeue", "timeout", "lose", "cancel"]),
    )
    def something_happens_to_a_running_task(self, number: int, pick: int, event: str) -> None:
        cluster = self._cluster(number)
        running = [
            (n, t)
            for n, t in cluster.unended()
            if t in cluster.jobs[n] and cluster.jobs[n][t].state is NativeState.RUNNING
        ]
        if not running:
            return
        native_id, task_id = _pick(running, pick)
        if event == "requeue":
            cluster.set(native_id, NativeStatus(NativeState.QUEUED), task_id)
        elif event == "timeout":
            cluster.end(native_id, task_id, NativeStatus(NativeState.TIMED_OUT, reason="walltime exceeded"))
        elif event == "cancel":
            cluster.end(native_id, task_id, NativeStatus(NativeState.CANCELLED, reason="cancelled by root"))
        else:
            cluster.end(native_id, task_id, NativeStatus(NativeState.FAILED, exit_code=1))
            self._forget(cluster, native_id, task_id)

    @rule(number=st.integers(0, 1), pick=PICKS)
    def forget_an_ended_task(self, number: int, pick: int) -> None:
        cluster = self._cluster(number)
        ended = [(n, t) for n, tasks in cluster.jobs.items() for t, s in tasks.items() if s.state.final]
        if ended:
            self._forget(cluster, *_pick(ended, pick))

    def _forget(self, cluster: TrueCluster, native_id: str, task_id: Optional[int]) -> None:
        del cluster.jobs[native_id][task_id]
        cluster.forgotten.add((native_id, task_id))

    def _end(self, number: int, native_id: str, task_id: Optional[int], code: int) -> None:
        """End a script: it leaves a result, logs, and, if it was translated, its exit status."""
        cluster, site = self._cluster(number), self.sites[number]
        script = cluster.scripts[native_id]
        suffix = "" if task_id is None else f".{task_id}"
        spool = site.folder / "spool" / script.parent.name
        script.with_name(f"result{suffix}").write_text("42")
        (spool / f"stdout{suffix}").write_text("hello\n")
        if script.name.endswith("_local.sh"):
            (spool / f"exit_status{suffix}").write_text(f"{code}\n")
            cluster.codes[native_id, task_id] = code
        state = NativeState.FAILED if code else NativeState.COMPLETED
        cluster.end(native_id, task_id, NativeStatus(state, exit_code=code))

    # Faults

    @rule(
        fault=st.sampled_from(sorted(Fault, key=str)),
        ahead=st.integers(1, 12),
        number=st.sampled_from([1, 1, 3, 40]),
    )
    def break_the_store(self, fault: Fault, ahead: int, number: int) -> None:
        first = len(self.store.requests) + ahead
        self.store.fault, self.store.at = fault, range(first, first + number)

    @rule(
        number=st.integers(0, 1),
        verb=st.sampled_from(["submit", "poll", "detail", "find", "cancel"]),
        late=st.booleans(),
        error=st.sampled_from([time_out(), refusal("busy"), refusal("slurmctld is down: busy")]),
    )
    def break_the_scheduler(self, number: int, verb: str, late: bool, error: CommandError) -> None:
        cluster = self._cluster(number)
        if late:
            # A command that took effect and then said nothing, in time.
            cluster.late.setdefault(verb, []).append(time_out())
        else:
            cluster.faults.setdefault(verb, []).append(error)

    @rule(countdown=st.integers(1, 15), after=st.booleans())
    def doom_an_agent(self, countdown: int, after: bool) -> None:
        self.doom.countdown, self.doom.after = countdown, after

    @rule(seconds=st.sampled_from([5, 20, 61, 121, 700]))
    def let_time_pass(self, seconds: int) -> None:
        self.clock.move(seconds=seconds)

    # What is true at any time

    @invariant()
    def no_job_is_in_a_scheduler_twice(self) -> None:
        taken = [job_id for site in self.sites for job_id in self._cluster_of(site).submissions]
        assert len(taken) == len(set(taken)), taken

    @invariant()
    def manifests_are_true(self) -> None:
        for job_id in self.jobs:
            job = self._job(job_id)
            if job is None:
                continue
            if job.run_system:
                assert self.owners.setdefault(job_id, job.run_system) == job.run_system
            self._check_waiting(job)
            if job.state.final:
                self._check_final(job)

    @invariant()
    def folders_of_running_scripts_stay(self) -> None:
        for site in self.sites:
            cluster = self._cluster_of(site)
            for native_id, _ in cluster.unended():
                if cluster.scripts[native_id].parent.name not in self.deleted:
                    assert cluster.scripts[native_id].is_file()

    def _check_waiting(self, job: Job) -> None:
        if self._native(job) is not None:
            assert job.id not in self.never, "a cancelled job that was nobody's was submitted"
            for awaited in job.hold_ids:
                assert awaited in self.finals or awaited in self.deleted, (
                    f"{job.id} did not wait for {awaited}"
                )
        elif job.state.final:
            self.never.add(job.id)

    def _check_final(self, job: Job) -> None:
        data = self.bucket.read(f"{job.id}/manifest.json").data
        assert self.finals.setdefault(job.id, data) == data, "a final manifest was changed"
        found = self._native(job)
        if found is None:
            assert job.state is JobState.DELETED, f"{job.state} {job.error}"
            assert job.id in self.cancelled
            return
        cluster, native_id = found
        whole = Task(job.state, job.error, job.exit_code)
        for task_id, ended in cluster.truth[native_id].items():
            assert ended is not None, f"{job.id} is {job.state}, and task {task_id} goes on"
            allowed = _true_states(cluster, native_id, task_id, cancelled=job.id in self.cancelled)
            task = whole if task_id is None else job.tasks[task_id]
            assert task.state in allowed, f"{job.id}.{task_id}: {task}, really {ended}"
        names = set(self.client.entries(job.id))
        assert "output.zip" in names
        for native, task_id in cluster.codes:
            if native == native_id:
                assert ("stdout" if task_id is None else f"stdout.{task_id}") in names

    def teardown(self) -> None:
        """Let all faults be over and all scripts end; then everything must come to rest."""
        try:
            if self.agents:
                self._come_to_rest()
                self._check_rest()
        finally:
            for agent in self.agents:
                agent.crew.stop()
            shutil.rmtree(self.folder, ignore_errors=True)

    def _come_to_rest(self) -> None:
        self.doom.countdown = 0
        self.store.at = range(0)
        for site in self.sites:
            site.cluster.faults.clear()
            site.cluster.late.clear()
        for _ in range(8 + 4 * len(self.jobs)):
            for number in (0, 1):
                self._pass(number)
                for native_id, task_id in self._cluster(number).unended():
                    self._end(number, native_id, task_id, 0)
            self.clock.move(minutes=3)
            self.manifests_are_true()
            open_ids = set(self.jobs) - set(self.finals) - self.deleted
            if not open_ids and not list(self.client.store.list("agent/")):
                return

    def _check_rest(self) -> None:
        self.no_job_is_in_a_scheduler_twice()
        for job_id in sorted(set(self.jobs) - self.deleted):
            job = self._job(job_id)
            assert job is not None
            assert job.state.final, f"{job_id} is {job.state} for ever: {job}"
            if job_id not in self.cancelled:
                assert self._native(job) is not None, f"{job_id} never ran: {job}"
            assert self.client.entries(job_id, "live/") == {}
        assert [entry.key for entry in self.bucket.list("agent/")] == []
        # What is in no bucket any more may be another bucket's: such a folder is left alone.
        left = {name for site in self.sites for name in site.folders.job_ids()} - self.deleted
        assert left == set(), left

    # Small things

    def _job(self, job_id: str) -> Optional[Job]:
        return None if job_id in self.deleted else self.client.load(job_id).job

    def _cluster(self, number: int) -> TrueCluster:
        return self._cluster_of(self.sites[number])

    @staticmethod
    def _cluster_of(site: Site) -> TrueCluster:
        assert isinstance(site.cluster, TrueCluster)
        return site.cluster

    def _native(self, job: Job) -> Optional[tuple[TrueCluster, str]]:
        """Return where a job really is, whatever its manifest says."""
        for site in self.sites:
            cluster = self._cluster_of(site)
            for tag, native_id in cluster.tags.items():
                if tag.split("-")[1] == job.id:
                    return cluster, native_id
        return None


def _pick(choices: Sequence[T], pick: int) -> T:
    """Choose by a number, so that what Hypothesis draws does not depend on what there is."""
    return choices[pick % len(choices)]


def _true_states(
    cluster: TrueCluster, native_id: str, task_id: Optional[int], *, cancelled: bool
) -> set[JobState]:
    """Return what may be said of a task that has ended."""
    true = {
        NativeState.COMPLETED: JobState.DONE,
        NativeState.FAILED: JobState.ERROR,
        NativeState.TIMED_OUT: JobState.TIMEOUT,
        NativeState.CANCELLED: JobState.DELETED,
    }
    ended = cluster.truth[native_id][task_id]
    assert ended is not None
    allowed = {true[ended]}
    if (native_id, task_id) in cluster.forgotten and (native_id, task_id) not in cluster.codes:
        allowed |= {JobState.ERROR} | ({JobState.DELETED} if cancelled else set())
    return allowed


TestLives = Lives.TestCase
TestLives.settings = settings(
    max_examples=LIVES or 25,
    stateful_step_count=60 if LIVES else 40,
    derandomize=not LIVES,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
