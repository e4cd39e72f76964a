"""A finding of `doctor`: one thing that was looked at, how it is, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from cloudq.errors import CloudQError


class Level(str, Enum):
    """How serious a finding is."""

    OK = "OK"
    WARN = "WARN"
    """It works, but not all of it, or not for long."""

    FAIL = "FAIL"
    """Something that CloudQ needs does not work."""


@dataclass(frozen=True)
class Finding:
    """What was found out about one thing.

    Attributes:
        level: How serious it is.
        subject: What was looked at, in one to three words.
        seen: What was seen.
        remedy: What to do; empty if nothing is to be done.
    """

    level: Level
    subject: str
    seen: str
    remedy: str = ""


def ok(subject: str, seen: str) -> Finding:
    """Say that something is as it should be."""
    return Finding(Level.OK, subject, seen)


def warn(subject: str, seen: str, remedy: str) -> Finding:
    """Say that something is not quite as it should be."""
    return Finding(Level.WARN, subject, seen, remedy)


def fail(subject: str, seen: str, remedy: str) -> Finding:
    """Say that something does not work."""
    return Finding(Level.FAIL, subject, seen, remedy)


def refused(subject: str, error: CloudQError) -> Finding:
    """Make a finding of an error, with its own words and its hint."""
    return fail(subject, str(error), error.hint)


def tried(subject: str, attempt: Callable[[], str]) -> Finding:
    """Try something that returns what was seen; what it raises deliberately is the finding."""
    try:
        return ok(subject, attempt())
    except CloudQError as error:
        return refused(subject, error)


def render_finding(finding: Finding) -> str:
    """Write a finding as one line: level, subject, what was seen, remedy."""
    line = f"{finding.level.value:<4}  {finding.subject:<18}  {finding.seen}"
    line = f"{line}; {finding.remedy}" if finding.remedy else line
    return " ".join(line.split("\n"))
