"""The end of a system that is not meant to stay: when it has nothing to do, or at its term."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Optional

from cloudq.agent.passes import Agent
from cloudq.agent.workplace import ActiveJob
from cloudq.agentconfig import AgentConfig
from cloudq.errors import StoreError

logger = logging.getLogger(__name__)

LAST_CALL = timedelta(minutes=10)
"""So long before its term a system takes no more jobs."""
GRACE = timedelta(minutes=15)
"""So long after its term it ends even if jobs have not staged out."""


class Phase(Enum):
    """What an agent may still do."""

    WORK = "take jobs"
    DRAIN = "take no more jobs"
    CLOSE = "cancel what still runs"
    END = "end"


@dataclass(frozen=True)
class Term:
    """Until when a system lives (aware; None for ever), and whether it is to take no more jobs."""

    until: Optional[datetime] = None
    drain: bool = False


def parse_term(text: str) -> Term:
    """Read a term file: a time with an offset, and perhaps a line `drain`. What is no time is for ever."""
    first, *others = [*text.splitlines(), ""]
    try:
        until: Optional[datetime] = datetime.fromisoformat(first.strip())
    except ValueError:
        until = None
    if until is not None and until.tzinfo is None:
        until = None
    return Term(until, drain="drain" in (line.strip() for line in others))


def decide(
    term: Term, *, now: datetime, jobs: int, idle_since: datetime, idle_limit: Optional[timedelta]
) -> Phase:
    """Decide what an agent may still do.

    Args:
        jobs: How many it has.
        idle_since: Since when it has none.
        idle_limit: How long it may have none; None for ever.
    """
    until = term.until
    if until is not None and now >= until:
        return Phase.CLOSE if jobs and now < until + GRACE else Phase.END
    if term.drain or (until is not None and now >= until - LAST_CALL):
        return Phase.DRAIN if jobs else Phase.END
    if idle_limit is not None and not jobs and now - idle_since >= idle_limit:
        return Phase.END
    return Phase.WORK


class Ending:
    """Watches the term file and the jobs of an agent."""

    def __init__(self, config: AgentConfig, now: datetime) -> None:
        self._config = config
        self._idle_since = now
        self._phase = Phase.WORK
        self._asked: set[str] = set()

    def look(self, agent: Agent) -> Phase:
        """Say what the agent may still do; ask it to cancel its jobs when it is time. Raises nothing."""
        now, jobs = agent.place.now(), agent.roster.all()
        if jobs:
            self._idle_since = now
        phase = decide(
            self._term(),
            now=now,
            jobs=len(jobs),
            idle_since=self._idle_since,
            idle_limit=self._config.idle_limit,
        )
        if phase is not self._phase:
            self._phase = phase
            logger.info("agent %s: from now on: %s", self._config.name, phase.value)
        if phase is Phase.CLOSE:
            self._cancel(agent, [active for active in jobs if active.job.id not in self._asked])
        return phase

    def _cancel(self, agent: Agent, jobs: Sequence[ActiveJob]) -> None:
        """Ask for these jobs to be cancelled; a bucket that is away now is asked at the next look."""
        for active in jobs:
            job = active.job
            try:
                agent.place.bundles.request_cancel(job)
            except StoreError as error:
                logger.warning("job %s: cannot be cancelled yet: %s", job.id, error)
                return
            self._asked.add(job.id)
            active.cancel_noticed = active.system_ends = True
            logger.info("job %s: cancelled, because the time of the system is over", job.id)

    def tell(self) -> None:
        """Write the end file, by which the host knows that the agent has ended for good."""
        if self._phase is Phase.END and self._config.end_file is not None:
            self._config.end_file.write_text("the agent has ended\n", encoding="ascii")

    def _term(self) -> Term:
        return _read(self._config.term_file) if self._config.term_file is not None else Term()


def _read(file: Path) -> Term:
    try:
        return parse_term(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return Term()
