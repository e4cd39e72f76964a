"""The agent's passes: look at what is new, ask the scheduler once, give each job to one worker."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Optional

from cloudq.agent import conflicts
from cloudq.agent.collecting import Collector
from cloudq.agent.crew import Crew, Next, Transfer
from cloudq.agent.decisions.lifecycle import unfinished
from cloudq.agent.pauses import lasts
from cloudq.agent.queue import Answer
from cloudq.agent.recovery import Recovery
from cloudq.agent.rights.admission import cancel_requested
from cloudq.agent.rights.claims import mark
from cloudq.agent.roster import Roster
from cloudq.agent.running.copying import answer_requests
from cloudq.agent.running.finishing import finish, keep_outcome
from cloudq.agent.running.following import follow, is_at_rest
from cloudq.agent.running.starting import record_submission, start
from cloudq.agent.schedulers.base import TaskStatuses
from cloudq.agent.taking import intake
from cloudq.agent.taking.reception import Reception
from cloudq.agent.taking.sweep import Sweep
from cloudq.agent.trouble import Trouble
from cloudq.agent.workplace import ActiveJob, Workplace
from cloudq.bundle import Mail, Record
from cloudq.errors import CloudQError, ConflictError, NoSuchJobError, StoreError
from cloudq.job import Job
from cloudq.system import ANY

logger = logging.getLogger(__name__)

RETRY_AFTER = timedelta(seconds=5)
QUIET_AFTER = timedelta(minutes=5)
LONGEST_WITHOUT_SWEEP = timedelta(minutes=10)
LOOKS_AT_ONCE = 100

WORKERS_PER_TRANSFER = 4
"""Of three requests of 20 ms for each job, 17 workers made 150 jobs a second, and 33 made 180 (measured)."""

_LARGE = 1024 * 1024
"""Bytes of inputs that are staged in by a porter."""


class Agent:
    """All jobs of one system, moved forward pass by pass.

    A pass costs what is new: two listings of the inbox, one question to the scheduler, and work for
    the jobs that changed. A long upload delays no other job and no pass.

    Args:
        place: The surroundings.
        takes_any: Whether jobs that name no system may be taken (the store does conditional writes).
    """

    def __init__(self, place: Workplace, *, takes_any: bool) -> None:
        self.place = place
        self.takes_any = takes_any
        self.roster = Roster()
        transfers = place.config.transfers
        self.crew = Crew(WORKERS_PER_TRANSFER * transfers + 1, porters=max(1, transfers))
        self._recovery = Recovery(place, self.roster)
        self._sweep = Sweep(place.bundles, place.config.name)
        self._collector = Collector(place, self.crew)
        self._reception = Reception(place, self.roster, takes_any=takes_any, final=self._sweep.final)
        self._last_activity = self._next_sweep = self._swept = place.now()
        self._passes_since_sweep = 0
        self._announced: set[str] = set()
        self._doubtful: set[str] = set()
        self._unlooked: list[ActiveJob] = []
        self.scheduler_trouble = Trouble("the scheduler")

    @property
    def refusals(self) -> Mapping[str, str]:
        """Jobs for `ANY` that are left to others because of their signature or the policy, and why."""
        return self._reception.refusals

    @property
    def trouble(self) -> str:
        """What is wrong with the scheduler, in words; empty if nothing is."""
        return "; ".join(filter(None, (self.scheduler_trouble.text, self.place.queue.pauses)))

    @property
    def busy(self) -> bool:
        """True while there are jobs, or there were some minutes ago."""
        return bool(self.roster.all()) or self.place.now() - self._last_activity < QUIET_AFTER

    def recover(self) -> None:
        """Find the jobs again that this system holds. Raises StoreError."""
        self.place.ledger.prune(self.place.now())
        self._recovery.recover_all()

    def run_pass(self, *, takes_jobs: bool = True) -> None:
        """Look once at everything that is new and at every active job.

        Args:
            takes_jobs: False for an agent that stands by, and only follows the jobs that it has.

        Raises:
            StoreError: The bucket could not be listed.
        """
        for mailbox in (self.place.config.name, ANY) if takes_jobs else ():
            for job_id, mail in self.place.bundles.markers.mail(mailbox).items():
                self._look_at(job_id, mailbox, mail)
        self._passes_since_sweep += 1
        now, interval = self.place.now(), self.place.config.sweep_interval
        if not lasts(now, self._next_sweep, interval):
            self._next_sweep = now + interval
            if takes_jobs and self._is_sweep_due():
                self._swept, self._passes_since_sweep = now, 0
                self.crew.give("sweep", self._run_sweep)
                self.crew.give("left-overs", self._sweep_left_overs)
                self._collector.begin_if_due()
            self._expect_cancels()
        for active in self.roster.all():
            if not _is_followed(active):
                self.crew.give(_key(active.job.id), self._work_on, active, None)
        # By the crew, because a scheduler that hangs must not hold up what needs no answer of it.
        self.crew.give("poll", self._poll)

    # What is new

    def _look_at(self, job_id: str, mailbox: str, mail: Mail) -> None:
        if self._reception.must_wait(job_id, mail):
            return
        self._last_activity = self.place.now()
        active = self.roster.get(job_id)
        if active is None:
            self.crew.give(_key(job_id), self._receive, job_id, mailbox, mail)
            return
        is_ours = active.notice_in == mailbox  # the notice by which we took it, and will remove it
        if mail.requested or not is_ours:
            # It is to be cancelled, or was requeued. The bundle says so, too: the markers may go.
            active.cancel_noticed = active.claim_doubted = True
            seen = replace(mail, announced=None) if is_ours else mail
            remove = self.place.bundles.markers.remove_mail
            self.crew.give(f"marker {job_id}", remove, mailbox, job_id, seen)

    def _receive(self, job_id: str, mailbox: str, mail: Mail) -> Optional[Next]:
        if self.roster.get(job_id) is not None:
            return None  # It was taken since the inbox was listed.
        try:
            active = self._reception.receive(job_id, mailbox, mail)
        except StoreError:
            self._doubtful.add(job_id)  # Whether it is ours now is not known, and another may have it.
            raise
        if active is not None and active.recovered:
            self._recovery.recover(active.record)
        elif active is not None:
            return self._work_on(active, None)
        return None

    def _is_sweep_due(self) -> bool:
        """Tell whether the last sweep has cost less than a request a pass by now, or is long ago."""
        recently = timedelta(0) <= self.place.now() - self._swept < LONGEST_WITHOUT_SWEEP
        return not recently or self._passes_since_sweep > self._sweep.pages

    def _run_sweep(self) -> None:
        """Announce unclaimed jobs that carry no marker, take up lost ones."""
        held = {active.job.id for active in self.roster.all()}
        for record in self._sweep.open_jobs(skip=held):
            job = record.job
            if self.crew.stopping:
                return
            if self.place.has_claimed(job):
                self.crew.give(_key(job.id), partial(self._recovery.recover_job, job.id, marked=False))
            elif not job.run_system:
                self.crew.give(_key(job.id), self._sweep_unclaimed, record)

    def _expect_cancels(self) -> None:
        """Look at each job for a cancel request without a marker, or whose marker another agent took.

        Of many jobs at some each time, in turn.
        """
        held = self.roster.all()
        if not self._unlooked:
            self._unlooked = held
        number = max(LOOKS_AT_ONCE, len(held) // 10)
        now, self._unlooked = self._unlooked[:number], self._unlooked[number:]
        for active in now:
            active.cancel_noticed = active.claim_doubted = True

    def _sweep_left_overs(self) -> None:
        """Look for what writes without an answer may have left: markers of jobs not held, live segments."""
        doubtful, self._doubtful = self._doubtful, set()
        marked = set(self.place.bundles.markers.active(self.place.config.name))
        for job_id in doubtful | marked:
            if self.roster.get(job_id) is not None:
                continue
            recover = partial(self._recovery.recover_job, job_id, marked=job_id in marked)
            if not self.crew.give(_key(job_id), recover) and job_id in doubtful:
                self._doubtful.add(job_id)

    def _sweep_unclaimed(self, record: Record) -> None:
        """End a job that nobody has claimed and nobody wants any more; announce it if nobody has.

        Any agent may end it, as in CloudQ 1.2: the job may be for a system that has no agent. Whoever
        claims it at the same moment wins or loses the one conditional write.
        """
        job = record.job
        if cancel_requested(self.place, job):
            intake.delete_unclaimed(self.place, record)
            markers = self.place.bundles.markers
            markers.remove_all_mail([job.id], [markers.addressee(job)])
        elif not self._reception.knows(job.id) and job.id not in self._announced:
            self._announced.add(job.id)
            self.place.bundles.markers.notify(job)

    def _poll(self) -> None:
        """Ask the scheduler once about all submitted jobs, and give each to a worker."""
        submitted = [a for a in self.roster.all() if _is_followed(a)]
        permitted = self.place.queue.polls.permits
        answer = self._ask_scheduler([active.job for active in submitted]) if permitted else None
        for active in submitted:
            statuses = None if answer is None else answer.statuses.get(active.job.native_id)
            if not is_at_rest(active, statuses):
                self.crew.give(_key(active.job.id), self._work_on, active, statuses)

    def _ask_scheduler(self, jobs: Sequence[Job]) -> Optional[Answer]:
        """Ask once about these jobs; None if there was no answer, which changes no job."""
        expected = {job.native_id: unfinished(job) for job in jobs}
        try:
            answer = self.place.queue.poll(expected)
        except CloudQError as error:
            self._note_poll(str(error), len(expected))
            return None
        if expected:
            self._note_poll("; ".join(map(str, answer.faults)), len(expected))
        return answer

    def _note_poll(self, fault: str, jobs: int) -> None:
        if fault:
            self.scheduler_trouble.met("has not answered", fault, self.place.now(), jobs=jobs)
        else:
            self.scheduler_trouble.over(self.place.now())

    def _work_on(
        self, active: ActiveJob, statuses: Optional[TaskStatuses], *, by_porter: bool = False
    ) -> Optional[Next]:
        """Move a job forward.

        That it was submitted is recorded when other jobs have been submitted, too; porters move files.
        """
        if active.not_before is not None and lasts(self.place.now(), active.not_before, RETRY_AFTER):
            return None
        known = active.submission
        try:
            try:
                if active.claim_doubted:
                    conflicts.check_claim(self.place, active)
                if not active.taken_away:
                    self._step(active, statuses, by_porter=by_porter)
            except (ConflictError, NoSuchJobError):
                conflicts.settle(self.place, active)
            if active.taken_away:
                conflicts.surrender(self.place, self.roster, active)
            elif _moves_files(active) and not by_porter:
                keep_outcome(self.place, active)
                return Transfer(partial(self._work_on, active, None, by_porter=True))
            active.fault, active.not_before = "", None
        except (CloudQError, OSError) as error:
            active.not_before, active.faulted = self.place.now() + RETRY_AFTER, True
            if str(error) != active.fault:
                active.fault = str(error)
                logger.warning("job %s: will be tried again: %s", active.job.id, error)
            return None
        return partial(self._work_on, active, None) if active.submission not in (None, known) else None

    def _step(self, active: ActiveJob, statuses: Optional[TaskStatuses], *, by_porter: bool) -> None:
        if active.submission is not None:
            record_submission(self.place, active)
            self._mark(active)
        elif active.outcome is None and not active.job.native_id:
            self._start(active, by_porter=by_porter)
        elif active.outcome is None:
            self._mark(active)
            follow(self.place, active, statuses)
            if active.outcome is None:
                answer_requests(self.place, active.job)
        if active.outcome is None or self.crew.stopping:
            return
        if by_porter or not _moves_files(active):
            finish(self.place, active)
            self._forget(active)

    def _start(self, active: ActiveJob, *, by_porter: bool) -> None:
        """Submit a job if it may be now, and here; what is not submitted at once is marked before."""
        may_start = self.place.queue.submissions.permits and (by_porter or not _moves_files(active))
        if not (may_start and active.untouched):
            self._mark(active)
        if may_start:
            start(self.place, active)

    def _mark(self, active: ActiveJob) -> None:
        if not active.marked:
            mark(self.place, active)

    def _forget(self, active: ActiveJob) -> None:
        self._last_activity = self.place.now()
        if active.faulted:
            self._doubtful.add(active.job.id)
        self._sweep.final.add(active.job.id)
        self.roster.remove(active.job.id)
        self._reception.wake_held()
        self.place.queue.submissions.hurry()  # a limit on the number of jobs is no longer reached


def _moves_files(active: ActiveJob) -> bool:
    """Tell whether the next step of a job stages out what it has made, or stages in much."""
    job = active.job
    brings_much = job.input_size > _LARGE or bool(job.input_blobs)
    if active.outcome is not None:
        return brings_much or job.native_id != ""
    return brings_much and active.submission is None and not job.native_id


def _is_followed(active: ActiveJob) -> bool:
    """Tell whether the scheduler knows best what becomes of a job."""
    return active.outcome is None and active.job.native_id != "" and not active.taken_away


def _key(job_id: str) -> str:
    return f"job {job_id}"
