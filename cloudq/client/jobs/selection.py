"""Which of many are meant: jobs by state, system, name and age; files by patterns."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Optional

from cloudq.job import Job, JobState

_WILDCARDS = {"*": "[^/]*", "?": "[^/]"}


@dataclass(frozen=True)
class Selection:
    """What jobs must be to be shown.

    Attributes:
        states: One of these; any if empty.
        system: On this system, or for it; any if empty.
        name: A pattern as in a shell; any if empty.
        newer, older: Submitted at most, or at least, so long ago.
    """

    states: Collection[JobState] = ()
    system: str = ""
    name: str = ""
    newer: Optional[timedelta] = None
    older: Optional[timedelta] = None

    def admits(self, job: Job, *, now: datetime) -> bool:
        """Tell whether a job is meant."""
        system = (job.run_system or job.submit_to or job.run_on).lower()
        return (
            (not self.states or job.state in self.states)
            and (not self.system or system == self.system.lower())
            and (not self.name or fnmatch.fnmatchcase(job.name, self.name))
            and self._admits_age(job.submitted, now)
        )

    def _admits_age(self, submitted: Optional[datetime], now: datetime) -> bool:
        if self.newer is None and self.older is None:
            return True
        if submitted is None:
            return False
        age = now - submitted
        return (self.newer is None or age <= self.newer) and (self.older is None or age >= self.older)


class Patterns:
    """Names of files as a shell writes them: `*` within a folder, `**` across, a folder for all below it.

    Args:
        texts: The patterns; without one, every name is meant.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = tuple(texts)
        self._expressions = [re.compile(_expression(text)) for text in texts]

    def admits(self, name: str) -> bool:
        """Tell whether a name (parts separated by `/`) is meant."""
        return not self._expressions or any(found.fullmatch(name) for found in self._expressions)

    def __str__(self) -> str:
        return " ".join(map(repr, self._texts))

    def __bool__(self) -> bool:
        return bool(self._expressions)


EVERYTHING = Patterns(())


def _expression(text: str) -> str:
    parts = [part for part in text.split("/") if part not in ("", ".")]
    if parts[-1:] == ["**"]:
        return "".join(map(_folder_expression, parts[:-1])) + ".+"
    # The name of a folder stands for all that is below it.
    return "".join(map(_folder_expression, parts[:-1])) + "".join(map(_token, parts[-1:])) + "(?:/.*)?"


def _folder_expression(part: str) -> str:
    return "(?:[^/]+/)*" if part == "**" else f"{_token(part)}/"


def _token(part: str) -> str:
    """Write one part of a pattern as a regular expression that crosses no slash."""
    expression = ""
    for token in re.findall(r"\[!?[^]]+\]|.", part):
        if token in _WILDCARDS:
            expression += _WILDCARDS[token]
        elif len(token) > 1:
            negated = token[1] == "!"
            characters = re.escape(token[1 + negated : -1]).replace(r"\-", "-")
            expression += f"[{'^/' * negated}{characters}]"
        else:
            expression += re.escape(token)
    return expression
