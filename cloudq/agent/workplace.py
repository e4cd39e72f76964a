"""What every step of the agent needs: configuration, bucket, folders, queue; and what it knows of a job."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Optional

from cloudq.agent.folders import Folders
from cloudq.agent.lease import Lease
from cloudq.agent.ledger import Ledger
from cloudq.agent.queue import Queue
from cloudq.agent.schedulers.base import TaskStatuses
from cloudq.agentconfig import AgentConfig
from cloudq.bundle import Bundles, Record
from cloudq.job import Job, Task


@dataclass(frozen=True)
class Workplace:
    """The surroundings of an agent. `now` tells the time (aware), `account` who runs the jobs.

    `lease` says whether this is still the one agent of its name.
    """

    config: AgentConfig
    bundles: Bundles
    folders: Folders
    queue: Queue
    account: str
    now: Callable[[], datetime]
    lease: Lease

    @property
    def ledger(self) -> Ledger:
        """What this agent knows of the signed jobs it has run."""
        return Ledger(self.folders.root / "ledger")

    @property
    def signed_only(self) -> bool:
        """True if jobs and cancel requests must be signed."""
        return self.config.allowed_signers is not None

    def has_claimed(self, job: Job) -> bool:
        """Tell whether a job is this system's, after its manifest."""
        return job.run_system.lower() == self.config.name.lower()


@dataclass(frozen=True)
class Submitted:
    """What is not yet in the bucket of a job that was submitted.

    Attributes:
        native_id: What it became.
        time: When.
        command: The words by which it was submitted.
        translation: What was submitted for a meta script; None if it is no longer known, or there is none.
    """

    native_id: str
    time: datetime
    command: str = ""
    translation: Optional[bytes] = None


@dataclass
class ActiveJob:
    """A job that this agent holds, and what it remembers about it from pass to pass.

    One worker at a time has it in hand. Everything here may be lost at any moment: it is found again
    in the bucket, in the scheduler and in the job's spool folder.

    Attributes:
        record: The manifest as last read or written.
        recovered: True if it was found again at a start: what happened before is not remembered.
        untouched: True until the first step after our claim: nothing of an earlier one has to be looked for.
        marked: There is a marker of it, by which a next start finds it again.
        notice_in: The inbox in which the notice still lies by which it was taken; by that a next start finds
            it until it is marked.
        submission: What is to be recorded of its submission.
        cancel_noticed: Somebody may have asked to cancel it.
        cancelled_at: When the scheduler was last asked to cancel it.
        missing_since, settling_since: As in `lifecycle.Evidence`.
        settled: The job, and the statuses that have changed nothing of it.
        uploaded: Log name -> bytes of it that are in the bucket.
        ends: Log name -> the last bytes of that part, by which a log that was begun anew is known.
        looked_at: Log name -> size and time of the file when it had nothing new.
        segments: Names of the live segments in the bucket.
        progress: Log name -> the percentage that it told, the latest last.
        outcome: How it ended.
        outcome_kept: That is kept in its folder, too.
        finished: When it ended.
        not_before: When to try again after a fault.
        fault: What went wrong last, so that it is logged once and not at each pass.
        faulted: Something went wrong: a request that was given up may yet take effect.
        claim_doubted: Somebody may have taken the claim away: it is to be compared before the next step.
        system_ends: It is to be cancelled because the time of the system is over.
        taken_away: It is another claim's by now: what we have of it is to be cancelled and removed.
    """

    record: Record
    recovered: bool = False
    untouched: bool = False
    marked: bool = False
    notice_in: str = ""
    submission: Optional[Submitted] = None
    cancel_noticed: bool = False
    cancelled_at: Optional[datetime] = None
    missing_since: dict[Optional[int], datetime] = field(default_factory=dict)
    settling_since: dict[Optional[int], datetime] = field(default_factory=dict)
    settled: Optional[tuple[Job, TaskStatuses]] = None
    uploaded: dict[str, int] = field(default_factory=dict)
    ends: dict[str, bytes] = field(default_factory=dict)
    looked_at: dict[str, tuple[int, int]] = field(default_factory=dict)
    segments: list[str] = field(default_factory=list)
    progress: dict[str, int] = field(default_factory=dict)
    outcome: Optional[Task] = None
    outcome_kept: bool = False
    finished: Optional[datetime] = None
    not_before: Optional[datetime] = None
    fault: str = ""
    faulted: bool = False
    claim_doubted: bool = False
    taken_away: bool = False
    system_ends: bool = False

    @property
    def job(self) -> Job:
        """The job as its manifest has it."""
        return self.record.job
