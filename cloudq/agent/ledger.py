"""The ledger: what an agent itself knows of the signed jobs it has run, so that nobody can tell it otherwise.

A bucket's writer can put an old manifest back, or write another scheduler's job into one. So for each
signed job a small file stays in the agent's folder until the job's signature has expired; what the
bucket says of claim and native id counts only as far as this file says the same.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Optional

from cloudq.errors import RefusedError
from cloudq.job import Job
from cloudq.store.files import appearing

NEVER_RUN = "-"
"""Stands for a native id: the job has ended without having run."""

_LATE = datetime(2100, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True)
class Page:
    """What is known of one job.

    Attributes:
        claim_token: The claim under which it was begun.
        native_id: What it became; empty until that is known.
        principals: Who signed it.
        attempt: Which attempt this was.
    """

    claim_token: str
    native_id: str = ""
    principals: tuple[str, ...] = ()
    attempt: int = 0


@dataclass(frozen=True)
class Ledger:
    """The files of all signed jobs whose signatures may still be valid."""

    folder: Path

    def find(self, job_id: str) -> Optional[Page]:
        """Return what is known of a job, None if it was never begun here.

        Raises:
            RefusedError: Its file is damaged: nothing is begun on that ground.
        """
        try:
            values = json.loads((self.folder / job_id).read_text(encoding="ascii"))
            principals = tuple(values["principals"])
            return Page(values["claim_token"], values["native_id"], principals, values["attempt"])
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise RefusedError(f"the file {self.folder / job_id} is damaged: {error}") from error

    def check(self, job: Job, given_up: Optional[int]) -> None:
        """Refuse a job that has been submitted, or was begun under another claim.

        Args:
            job: The job.
            given_up: The attempt that its signer has given up by requeueing it.

        Raises:
            RefusedError: It has been run here.
        """
        page = self.find(job.id)
        if page is None or page.attempt == given_up:
            return
        if page.native_id or page.claim_token != job.claim_token:
            raise RefusedError("refused: this signed job has been run here before")

    def begin(self, job: Job, principals: tuple[str, ...]) -> None:
        """Note that a job, which has been checked, is about to be submitted."""
        self._write(job, Page(job.claim_token, "", principals, job.attempt))

    def record(self, job: Job, native_id: str) -> None:
        """Note what a job became."""
        page = self.find(job.id)
        principals = page.principals if page else ()
        self._write(job, Page(job.claim_token, native_id, principals, job.attempt))

    def close(self, job: Job) -> None:
        """Note that a job has ended, so that it is never begun."""
        page = self.find(job.id)
        if page is None or not page.native_id:
            # When its signature expires nobody has checked; so this stays.
            unchecked = replace(job, expires=None)
            principals = page.principals if page else ()
            self._write(unchecked, Page(job.claim_token, NEVER_RUN, principals, attempt=-1))

    def prune(self, now: datetime) -> None:
        """Forget jobs whose signatures have expired: they could not be begun again anyway."""
        if not self.folder.is_dir():
            return
        for file in self.folder.iterdir():
            with contextlib.suppress(OSError):
                if file.stat().st_mtime < now.timestamp():
                    file.unlink()

    def _write(self, job: Job, page: Page) -> None:
        self.folder.mkdir(mode=0o700, exist_ok=True)
        file = self.folder / job.id
        with appearing(file) as stream:
            stream.write(json.dumps(asdict(page)).encode("ascii"))
            stream.flush()
            os.fsync(stream.fileno())
        keep_until = (job.expires or _LATE).timestamp()
        os.utime(file, (keep_until, keep_until))
