"""What becomes of a job, as far as the bucket tells before it is stored: whose agents will look at it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from cloudq.bundle import Bundles, SignsOfLife
from cloudq.client.recollection import recall_signs, remember_signs
from cloudq.client.systems import fitness
from cloudq.client.systems.fitness import Demand
from cloudq.config import ClientConfig
from cloudq.system import ANY

BELIEVED_FOR = timedelta(minutes=1)
"""How long this computer goes by what it has seen, if that was good."""

HEARTBEAT = timedelta(seconds=90)
"""An agent that has published something since lives: by default it does so once a minute."""


@dataclass(frozen=True)
class Outlook:
    """What is known of the agents that may take a job.

    Attributes:
        demand: What the job asks of them.
        signs: Who has left something in the bucket.
        recent: Whether that is how it is now; if not, nothing is said of who lives.
    """

    demand: Demand
    signs: SignsOfLife
    recent: bool = True

    @property
    def is_new(self) -> bool:
        """True if those that are to take the job are agents of this version, as far as can be seen."""
        return bool(self._concerned())

    @property
    def is_old(self) -> bool:
        """True if the one agent that will look at the job seems to be of CloudQ 1.2."""
        return not self._concerned() and self.demand.system.lower() in self.signs.logs

    def is_good(self, now: datetime) -> bool:
        """Tell whether a living agent surely takes the job, without asking any."""
        return self.demand.is_plain and any(
            abs(now - self.signs.presences[system]) < HEARTBEAT for system in self._concerned()
        )

    def warnings(self, bundles: Bundles, *, now: datetime) -> list[str]:
        """Return what to tell the user at once if no living agent can take the job. Raises StoreError."""
        if not self.recent or self.is_good(now):
            return []
        system = self.demand.system
        if system.upper() == ANY:
            return fitness.warnings(self.demand, bundles.agents.presences(), now=now)
        presence = bundles.agents.presence(system) if self._concerned() else None
        if presence is None and system.lower() in self.signs.logs:
            return []  # An agent of 1.2, which leaves only its log.
        return fitness.warnings(self.demand, [presence] if presence else [], now=now)

    def _concerned(self) -> list[str]:
        named = self.demand.system.lower()
        return [system for system in self.signs.presences if named in (ANY.lower(), system)]


def look_out(
    bundles: Bundles, config: ClientConfig, demand: Demand, *, now: datetime, sparing: bool
) -> Outlook:
    """Look by one request who is there, unless this computer has seen it just now, and it was good.

    Args:
        sparing: Be content with what was seen at any time: the submission has its requests for other things.

    Raises:
        StoreError: The bucket cannot be reached, is missing, or may not be listed.
    """
    recalled = recall_signs(config)
    if recalled is not None:
        signs, seen = recalled
        known = Outlook(demand, signs, recent=timedelta(0) <= now - seen < BELIEVED_FOR)
        if sparing or (known.recent and known.is_good(now)):
            return known
    signs = bundles.agents.signs_of_life()
    remember_signs(config, signs, now)
    return Outlook(demand, signs)
