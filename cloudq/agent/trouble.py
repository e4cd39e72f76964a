"""What the agent needs and may lose for a time: since when it is away, and what is known meanwhile."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Optional

logger = logging.getLogger(__name__)

REMIND_AFTER = timedelta(minutes=10)
"""How often the log says that something is still wrong."""


class Trouble:
    """Whether one thing answers.

    Args:
        name: What it is, such as `the scheduler`.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._good: Optional[datetime] = None
        self._since: Optional[datetime] = None
        self._told: Optional[datetime] = None
        self._fault = ""
        self.text = ""

    def over(self, now: datetime) -> None:
        """Note that it answers."""
        if self._since is not None:
            logger.info("%s answers again, after %s", self._name, _minutes(now - self._since))
        self._good, self._since, self._fault, self.text = now, None, "", ""

    def met(self, what: str, fault: str, now: datetime, *, jobs: int) -> None:
        """Note that it does not; the log says so once, and now and then while that lasts.

        Args:
            what: What it does instead of answering, such as `refuses the agent's key`.
            fault: In its own words.
            jobs: How many jobs the agent has that go on without it.
        """
        if self._since is None:
            self._since = now
        self.text = f"{self._name} {what} since {_clock(self._since)} ({fault}); {self._jobs(jobs)}"
        if fault != self._fault or self._told is None or now - self._told >= REMIND_AFTER:
            self._fault, self._told = fault, now
            logger.warning("%s", self.text)

    def _jobs(self, jobs: int) -> str:
        if not jobs:
            return "no job is held"
        many = f"{jobs} jobs keep running, their states are"
        subject = "1 job keeps running, its state is" if jobs == 1 else many
        return f"{subject} as of {_clock(self._good)}" if self._good else f"{subject} as last recorded"


def _clock(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _minutes(duration: timedelta) -> str:
    minutes = max(1, round(duration.total_seconds() / 60))
    return f"{minutes} minute{'s' * (minutes > 1)}"
