"""The reception: every job that was announced and is not ours yet comes by here."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Optional

from cloudq.agent.decisions.dependencies import Verdict, judge
from cloudq.agent.pauses import lasts
from cloudq.agent.rights.admission import cancel_requested, has_expired
from cloudq.agent.roster import Roster
from cloudq.agent.taking import intake
from cloudq.agent.taking.intake import Candidate, Decision
from cloudq.agent.workplace import ActiveJob, Workplace
from cloudq.bundle import Mail, Record
from cloudq.errors import ManifestError, NoSuchJobError
from cloudq.job import JobState, Task
from cloudq.manifest import check_room
from cloudq.system import ANY

logger = logging.getLogger(__name__)

LOOK_AGAIN_AFTER = {Decision.WAIT: timedelta(seconds=10), Decision.NOT_OURS: timedelta(minutes=1)}
"""How long a job that is not taken is left alone; one that is announced again is looked at once."""

MAX_REFUSALS = 200
"""Most refused jobs that an agent publishes."""


@dataclass(frozen=True)
class _Waiting:
    """A job that was not taken: what was found, what the inbox had about it, when to look again."""

    candidate: Candidate
    mail: Mail
    look_again: datetime


class Reception:
    """Decides about announced jobs, and remembers those that must wait.

    Args:
        place: The surroundings.
        roster: The jobs that are held; limits how many `ANY` jobs are taken.
        takes_any: Whether jobs that name no system may be taken at all.
        final: Ids of jobs known to be final; shared with the sweep.
    """

    def __init__(self, place: Workplace, roster: Roster, *, takes_any: bool, final: set[str]) -> None:
        self._place = place
        self._roster = roster
        self._takes_any = takes_any
        self._final = final
        self._waiting: dict[str, _Waiting] = {}
        self.refusals: dict[str, str] = {}

    def knows(self, job_id: str) -> bool:
        """Tell whether a job waits here."""
        return job_id in self._waiting

    def must_wait(self, job_id: str, mail: Mail) -> bool:
        """Tell whether a job was looked at since anything was said about it, and not long ago."""
        waiting = self._waiting.get(job_id)
        if waiting is None or waiting.mail != mail:
            return False
        return lasts(self._place.now(), waiting.look_again, max(LOOK_AGAIN_AFTER.values()))

    def wake_held(self) -> None:
        """Look again at once at the jobs that wait for others: one has ended."""
        now = self._place.now()
        for job_id, waiting in list(self._waiting.items()):
            if waiting.candidate.job.hold_ids:
                self._waiting[job_id] = replace(waiting, look_again=now)

    def receive(self, job_id: str, mailbox: str, mail: Mail) -> Optional[ActiveJob]:
        """Look at a job in an inbox; return it if it is ours now, or was before and was forgotten.

        Raises:
            StoreError: It could not be looked at; it stays announced.
        """
        bundles = self._place.bundles
        try:
            record = bundles.load(job_id)
            if not record.job.run_system:
                check_room(record.job)
        except (NoSuchJobError, ManifestError) as error:
            logger.warning("job %s: left alone: %s", job_id, error)
            bundles.markers.remove_mail(mailbox, job_id, mail)
            return None
        if record.job.state.final or record.job.run_system:
            return self._receive_claimed(record, mailbox, mail)
        return self._receive_unclaimed(record, mailbox, mail)

    def _receive_claimed(self, record: Record, mailbox: str, mail: Mail) -> Optional[ActiveJob]:
        """Remove what an inbox has about a job that needs nobody any more; return it if it is ours."""
        job, markers, active = record.job, self._place.bundles.markers, None
        if not job.state.final and self._place.has_claimed(job):
            markers.mark_active(self._place.config.name, job.id)
            active = ActiveJob(record, recovered=True)
        elif not job.state.final and mail.requested and self._place.bundles.cancel_requested(job.id):
            markers.request(job)  # Asked before it was claimed: whoever has it may not have seen that.
        markers.remove_mail(mailbox, job.id, mail)
        return active

    def _receive_unclaimed(self, record: Record, mailbox: str, mail: Mail) -> Optional[ActiveJob]:
        candidate = self._with_refusal(self._candidate(record))
        verdict = self._verdict(record)
        if candidate.outcome is None:
            candidate = replace(candidate, outcome=verdict.outcome, tasks=verdict.tasks)
        reserved = self._reserve(candidate)
        try:
            decision = intake.decide(self._place, candidate, any_allowed=reserved, held=verdict.waits)
            if decision is Decision.TAKE:
                return self._take(candidate, mailbox, mail)
        finally:
            if reserved:
                self._roster.release_any()
        self._let_wait(candidate, decision, mailbox, mail)
        return None

    def _take(self, candidate: Candidate, mailbox: str, mail: Mail) -> Optional[ActiveJob]:
        active = intake.claim(self._place, candidate)
        self._forget(candidate.job.id)
        if active is None:
            return None  # At the next pass it is another's, and so is what was asked about it.
        # What was asked is seen in the bundle. The notice stays until the job is marked.
        active.notice_in, active.cancel_noticed = mailbox, mail.requested is not None
        self._roster.add(active)
        if mail.requested:
            self._place.bundles.markers.remove_mail(mailbox, candidate.job.id, replace(mail, announced=None))
        return active

    def _verdict(self, record: Record) -> Verdict:
        """Judge the dependencies; while one of them cannot be understood, the job waits."""
        try:
            return judge(record.job, intake.read_awaited(self._place, record.job, self._final))
        except ManifestError as error:
            if not self.knows(record.job.id):
                logger.warning("job %s: waits: %s", record.job.id, error)
            return Verdict(waits=True)

    def _candidate(self, record: Record) -> Candidate:
        known = self._waiting.get(record.job.id)
        if known is not None and not known.candidate.refusal:
            return replace(known.candidate, record=record, tasks={})
        return intake.read_candidate(self._place, record)

    def _with_refusal(self, candidate: Candidate) -> Candidate:
        """End a job that has expired, or is for `ANY` and refused by every system; note what we refuse."""
        job = candidate.job
        self.refusals.pop(job.id, None)
        if has_expired(job, self._place.now()):
            return replace(candidate, outcome=Task(JobState.ERROR, f"expired on {job.expires}: not started"))
        if not candidate.refusal:
            return candidate
        if not self.knows(job.id):
            logger.info("job %s: left to other systems: %s", job.id, candidate.refusal)
        if len(self.refusals) < MAX_REFUSALS:
            self.refusals[job.id] = candidate.refusal
        others = self._other_refusals(job.id)
        if not all(others.values()):
            return candidate
        words = "; ".join(f"{name}: {refusal}" for name, refusal in others.items())
        words = f"{self._place.config.name}: {candidate.refusal}{'; ' * bool(words)}{words}"
        return replace(candidate, outcome=Task(JobState.ERROR, f"no system takes it: {words}"))

    def _other_refusals(self, job_id: str) -> dict[str, str]:
        """Return why the other systems that are alive refuse a job; nothing for those that do not."""
        own, now = self._place.config.name.lower(), self._place.now()
        alive = [p for p in self._place.bundles.agents.presences() if p.alive(now) and p.takes_any]
        return {p.system: p.refusals.get(job_id, "") for p in alive if p.system.lower() != own}

    def _reserve(self, candidate: Candidate) -> bool:
        """Keep a place in the queue until the claim is made; False for jobs that need none."""
        if candidate.run_on.upper() != ANY or not self._takes_any:
            return False
        return self._roster.reserve_any(self._place.config.any_max_pending)

    def _let_wait(self, candidate: Candidate, decision: Decision, mailbox: str, mail: Mail) -> None:
        job_id = candidate.job.id
        answers_for = candidate.run_on.lower() in (self._place.config.name.lower(), ANY.lower())
        if answers_for and cancel_requested(self._place, candidate.job):
            intake.delete_unclaimed(self._place, candidate.record)
            self._forget(job_id)
            self._place.bundles.markers.remove_mail(mailbox, job_id, mail)
            return
        look_again = self._place.now() + LOOK_AGAIN_AFTER[decision]
        self._waiting[job_id] = _Waiting(candidate, mail, look_again)

    def _forget(self, job_id: str) -> None:
        self._waiting.pop(job_id, None)
        self.refusals.pop(job_id, None)
