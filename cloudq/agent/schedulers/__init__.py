"""The table of schedulers: the word of the configuration, and what it stands for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Callable

from cloudq.agent.schedulers.base import Scheduler
from cloudq.agent.schedulers.gridengine import GridEngine
from cloudq.agent.schedulers.local import Local
from cloudq.agent.schedulers.pbs import Pbs
from cloudq.agent.schedulers.slurm import Slurm
from cloudq.errors import ConfigError

SchedulerFactory = Callable[[Path, int], Scheduler]
"""Makes a scheduler from a directory of its own, and how many tasks it may run on this host."""

SCHEDULERS: Mapping[str, SchedulerFactory] = MappingProxyType(
    {
        "abci": lambda *_: GridEngine("abci", group_option=True),
        "gridengine": lambda *_: GridEngine(),
        "local": Local,
        "pbs": lambda *_: Pbs(),
        "slurm": lambda *_: Slurm(),
    }
)


def open_scheduler(name: str, *, root: Path, slots: int = 1) -> Scheduler:
    """Return the scheduler of a name, not probed yet.

    Args:
        root: Where it may keep records; only schedulers that come with the agent do.
        slots: How many tasks such a scheduler runs at once on this host.

    Raises:
        ConfigError: There is no scheduler of this name.
    """
    factory = SCHEDULERS.get(name)
    if factory is None:
        expected = ", ".join(sorted(SCHEDULERS))
        raise ConfigError(f"type: expected one of {expected}, got {name!r}")
    return factory(root, slots)
