"""The pace of one kind of command of a scheduler: one that is slow or refuses is left alone for a while."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from cloudq.agent.pauses import lasts

logger = logging.getLogger(__name__)

LONGEST = 60.0
"""The longest pause, in seconds: so long after the scheduler is well again, all goes on at the latest."""

_SLOW = 1.0
_PAUSES_OF_AN_ANSWER = 9
_FIRST_PAUSE = 10.0


class Pace:
    """When a kind of command may be run again.

    After an answer that took more than a second, not before nine times that time: the scheduler works for
    us a tenth of the time at most. After a refusal at once, in case it was the only one, then after 10 s,
    20 s, 40 s and so on. The first good answer ends that.

    Args:
        subject: What is done at this pace, in words such as `the scheduler is asked about jobs`.
        clock: Tells seconds.

    Attributes:
        text: What a person must know of it; empty while there is no pause.
    """

    def __init__(self, subject: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._subject = subject
        self._clock = clock
        self._lock = threading.Lock()
        self._refusals = 0
        self._pause = 0.0
        self._until = clock()
        self.text = ""

    @property
    def permits(self) -> bool:
        """True if the command may be run now."""
        return not lasts(self._clock(), self._until, self._pause)

    def answered(self, seconds: float = 0.0) -> None:
        """Note a good answer, and how long it took."""
        with self._lock:
            self._refusals = 0
            slow = seconds > _SLOW
            self._rest(_PAUSES_OF_AN_ANSWER * seconds * slow, f"its last answer took {seconds:.0f} s")

    def refused(self, seconds: float = 0.0) -> None:
        """Note that there was no good answer, and how long that took."""
        with self._lock:
            if not self.permits:
                return  # one of several at the same time: they count once
            self._refusals += 1
            pause = _FIRST_PAUSE * 2.0 ** min(self._refusals - 2, 10) if self._refusals > 1 else 0.0
            slow = seconds > _SLOW
            times = "once" if self._refusals == 1 else f"{self._refusals} times in a row"
            self._rest(max(pause, _PAUSES_OF_AN_ANSWER * seconds * slow), f"it has refused {times}")

    def hurry(self) -> None:
        """End the pause: something has happened that may change the answer."""
        with self._lock:
            self._until = self._clock()

    def _rest(self, pause: float, why: str) -> None:
        pause, before = min(pause, LONGEST), self._pause
        self._pause, self._until = pause, self._clock() + pause
        self.text = f"{self._subject} only every {pause:.0f} s, because {why}" if pause else ""
        if pause >= 2 * before and pause:
            logger.warning("%s", self.text)
        elif before and not pause:
            logger.info("%s as usual again", self._subject)
