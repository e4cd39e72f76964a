"""The collector: once a day, inputs that no job has any more go."""

from __future__ import annotations

import logging
from datetime import timedelta

from cloudq.agent.crew import Crew
from cloudq.agent.pauses import lasts
from cloudq.agent.workplace import Workplace

EVERY = timedelta(days=1)

logger = logging.getLogger(__name__)


class Collector:
    """Lets go of input blobs; several agents may do so at the same time.

    Args:
        place: The surroundings.
        crew: Does the work.
    """

    def __init__(self, place: Workplace, crew: Crew) -> None:
        self._place = place
        self._crew = crew
        self._next = place.now()

    def begin_if_due(self) -> None:
        """Have the crew look for what may go, if that was not done today."""
        now = self._place.now()
        if not lasts(now, self._next, EVERY):
            self._next = now + EVERY
            self._crew.give("inputs", self._collect)

    def _collect(self) -> None:
        bundles = self._place.bundles
        for due in bundles.blobs.due(lambda: set(bundles.ids()), self._place.now()):
            if self._crew.stopping:
                return
            logger.info("removing %s", due.said)
            due.act()
