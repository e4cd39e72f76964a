"""The policy of a site: what its agent lets jobs be, whoever sends them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import Optional, TypeVar

from cloudq.ini import Ini

_SECTION = "policy"
_PLACE = re.compile(r"s3://[A-Za-z0-9._-]+(/(?!\.{0,2}(/|\Z))[^/\s]+)*/?\Z")
_T = TypeVar("_T")


@dataclass(frozen=True)
class Policy:
    """What jobs may be; None and False stand for no limit.

    Attributes:
        principals: Signers (patterns), as the file of allowed signers names them.
        projects, resources: Abstract names whose meaning is the agent's own, or meanings (patterns).
        longest_walltime: Each job must say a walltime, and none longer.
        most_tasks: Most tasks of an array job.
        local_scripts: Whether scripts of the scheduler's own are run; None: if nothing limits projects,
            resources, walltime or containers, which cannot be seen in them.
        scheduler_options: Whether meta scripts may give options to the scheduler; None: likewise.
        containers_only: Every command of a script runs in a container.
        images: Images (patterns of their URLs, or digests `sha256:…`).
        largest_input: Most bytes of what a job brings, packed and unpacked.
    """

    principals: Optional[tuple[str, ...]] = None
    projects: Optional[tuple[str, ...]] = None
    resources: Optional[tuple[str, ...]] = None
    longest_walltime: Optional[timedelta] = None
    most_tasks: Optional[int] = None
    local_scripts: Optional[bool] = None
    scheduler_options: Optional[bool] = None
    containers_only: bool = False
    images: Optional[tuple[str, ...]] = None
    largest_input: Optional[int] = None

    @property
    def limits_schedulers(self) -> bool:
        """True if it limits what a scheduler's own options could say otherwise."""
        return not (self.projects is None and self.resources is None and self.longest_walltime is None)

    @property
    def takes_local_scripts(self) -> bool:
        """Whether local scripts are run."""
        if self.local_scripts is not None:
            return self.local_scripts
        return not (self.limits_schedulers or self.containers_only or self.images is not None)

    @property
    def takes_options(self) -> bool:
        """Whether meta scripts may give options to the scheduler."""
        return not self.limits_schedulers if self.scheduler_options is None else self.scheduler_options


def matches(text: str, patterns: tuple[str, ...]) -> bool:
    """Tell whether a text is one of some patterns (`*`, `?`, `[abc]`), case and all."""
    return any(fnmatchcase(text, pattern) for pattern in patterns)


def read_policy(ini: Ini) -> Policy:
    """Read the section `[policy]`; without it everything is allowed. Raises ConfigError."""
    # Not every agent has a policy.
    from cloudq.metascript.values import parse_memory, parse_walltime, parse_yes_or_no

    return Policy(
        principals=_patterns(ini, "principals"),
        projects=_patterns(ini, "projects"),
        resources=_patterns(ini, "resources"),
        longest_walltime=_value(ini, "longest_walltime", parse_walltime, "a time such as 24:00:00 or 2d"),
        most_tasks=ini.whole(_SECTION, "most_tasks", 1, minimum=1) if _given(ini, "most_tasks") else None,
        local_scripts=_value(ini, "local_scripts", parse_yes_or_no, "yes or no"),
        scheduler_options=_value(ini, "scheduler_options", parse_yes_or_no, "yes or no"),
        containers_only=bool(_value(ini, "containers_only", parse_yes_or_no, "yes or no")),
        images=_patterns(ini, "images"),
        largest_input=_value(ini, "largest_input", parse_memory, "a size with its unit such as 10G"),
    )


def read_copy_places(ini: Ini) -> tuple[str, ...]:
    """Read what jobs may copy from and to through their agent, each with a slash at its end.

    Raises:
        ConfigError: A place is no `s3://BUCKET/PREFIX/`.
    """
    words = re.split(r"[,\s]+", ini.text("agent", "copy_places", " ").strip(", \t\n"))
    places = [word for word in words if word]
    if not all(map(_PLACE.match, places)):
        raise ini.fault("agent", "copy_places", "s3://BUCKET/PREFIX/, or several")
    return tuple(f"{place.rstrip('/')}/" for place in places)


def _given(ini: Ini, key: str) -> str:
    return ini.text(_SECTION, key, " ").strip()


def _patterns(ini: Ini, key: str) -> Optional[tuple[str, ...]]:
    text = _given(ini, key)
    return tuple(re.split(r"[,\s]+", text.strip(", \t\n"))) if text else None


def _value(ini: Ini, key: str, parse: Callable[[str], _T], expected: str) -> Optional[_T]:
    text = _given(ini, key)
    try:
        return parse(text) if text else None
    except ValueError as error:
        raise ini.fault(_SECTION, key, expected) from error
