"""Recovery: what an earlier process of this agent held, found again by its markers, manifests and folders."""

from __future__ import annotations

import logging
from dataclasses import replace

from cloudq.agent.rights import trust
from cloudq.agent.rights.claims import is_taken_away, remember_claim
from cloudq.agent.roster import Roster
from cloudq.agent.running.finishing import finish, recall_outcome
from cloudq.agent.running.observations import recall_observations
from cloudq.agent.workplace import ActiveJob, Workplace
from cloudq.bundle import Record
from cloudq.errors import ManifestError, NoSuchJobError
from cloudq.job import Job, JobKind

logger = logging.getLogger(__name__)


class Recovery:
    """Takes up again the jobs that are this system's, and lets go of those that are not any more.

    Args:
        place: The surroundings.
        roster: The jobs that the agent holds.
    """

    def __init__(self, place: Workplace, roster: Roster) -> None:
        self._place = place
        self._roster = roster
        self._foreign: set[str] = set()

    def recover_all(self) -> None:
        """Find the jobs again that this system holds. Raises StoreError."""
        for job_id in self._place.bundles.markers.active(self._place.config.name):
            try:
                self.recover_job(job_id)
            except ManifestError as error:
                logger.warning("job %s: no longer followed: %s", job_id, error)
                self._unmark(job_id)
        self._remove_left_overs()

    def recover_job(self, job_id: str, *, marked: bool = True) -> None:
        """Take up again a job that is ours by a marker or its manifest; let go of it if it was deleted.

        The manifest is read by whoever has the job in hand: one that was read before may be overtaken.
        """
        if self._roster.get(job_id) is not None:
            return
        try:
            self.recover(self._place.bundles.load(job_id), marked=marked)
        except NoSuchJobError:
            gone = Job(job_id, job_id, JobKind.META)
            if is_taken_away(self._place, gone):
                self._add_taken_away(gone)
            else:
                self._unmark(job_id)
                self._remove_folders(job_id)

    def recover(self, record: Record, *, marked: bool = True) -> None:
        """Take up again a job that an earlier process of this agent had.

        Args:
            record: Its manifest.
            marked: Whether there is a marker of it.
        """
        record = trust.checked(self._place, record)
        job = record.job
        if is_taken_away(self._place, job):
            self._add_taken_away(job)
        elif not self._place.has_claimed(job):
            # The claim was not made, or was lost. If the job is free, it is announced once more.
            self._remove_unclaimed(job)
            if not marked:
                return
            self._unmark(job.id)
            if not job.run_system and not job.state.final:
                self._place.bundles.markers.notify(job)
        elif not self._was_begun_here(job):
            if job.id not in self._foreign:
                self._foreign.add(job.id)
                logger.warning("job %s: left to the agent whose work folder is %s", job.id, job.work_dir)
        else:
            self._follow_again(ActiveJob(record, recovered=True, cancel_noticed=True, marked=marked))

    def _was_begun_here(self, job: Job) -> bool:
        work_dir = str(self._place.folders.work_dir(job.id))
        return trust.is_known(self._place, job) and job.work_dir in ("", work_dir)

    def _follow_again(self, active: ActiveJob) -> None:
        if active.job.state.final:
            finish(self._place, active)
            return
        remember_claim(self._place, active.job)
        recall_outcome(self._place, active)
        recall_observations(self._place, active)
        logger.info("job %s: followed again (%s)", active.job.id, active.job.state)
        self._roster.add(active)

    def _add_taken_away(self, job: Job) -> None:
        """See to it that what we still have of a job whose claim was taken away is ended and removed."""
        logger.warning("job %s: its claim was taken away while no agent ran here", job.id)
        # Its native id is another claim's by now: ours is found by the tag.
        record = Record(replace(job, native_id=""), etag="")
        self._roster.add(ActiveJob(record, recovered=True, taken_away=True))

    def _remove_left_overs(self) -> None:
        """Remove the folders of our final jobs: an agent was killed while it cleaned up.

        A folder whose job is not in the bucket stays: it may belong to an agent of another bucket.
        """
        for job_id in self._place.folders.job_ids():
            try:
                record = self._place.bundles.load(job_id)
            except (NoSuchJobError, ManifestError):
                continue
            record = trust.checked(self._place, record)
            if is_taken_away(self._place, record.job):
                self._add_taken_away(record.job)
            elif not self._place.has_claimed(record.job):
                self._remove_unclaimed(record.job)
            elif record.job.state.final:
                logger.info("job %s: removing the folder it left behind", job_id)
                self._remove_folders(job_id)
            elif self._roster.get(job_id) is None:
                self.recover(record, marked=False)  # It was claimed, and not yet marked.

    def _remove_unclaimed(self, job: Job) -> None:
        """Remove the folders of a job that is not ours: without a note of our claim nothing was submitted.

        An agent of another name may have the same folder; what is its own, the manifest says.
        """
        if job.work_dir != str(self._place.folders.work_dir(job.id)):
            self._remove_folders(job.id)

    def _remove_folders(self, job_id: str) -> None:
        try:
            self._place.folders.remove(job_id)
        except OSError as error:
            logger.warning("job %s: its folder could not be removed: %s", job_id, error)

    def _unmark(self, job_id: str) -> None:
        self._place.bundles.markers.unmark_active(self._place.config.name, job_id)
