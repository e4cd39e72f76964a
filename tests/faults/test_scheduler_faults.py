"""Each command of the scheduler in a job's life fails, hangs, or says half or nothing, in turn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Optional

import pytest

from cloudq.errors import CommandError, CommandTimeoutError
from cloudq.process import DEFAULT_TIMEOUT, NOT_STARTED, Completed
from tests.agent.cluster import FakeCluster
from tests.faults.life import Life, live_all


class Fault(Enum):
    """What happens to a command."""

    BUSY = "fails for a time"
    SAYS_NOTHING_AND_FAILS = "fails without a word"
    FAILS_AFTER = "takes effect and fails"
    HANGS = "hangs"
    HANGS_AFTER = "takes effect and hangs"
    SILENT = "does nothing and says nothing"
    SILENT_AFTER = "takes effect and says nothing"
    HALF = "takes effect and says half"
    KILLED_AFTER = "takes effect and is killed"
    NOT_STARTED = "cannot be started"


@dataclass
class FaultyCluster(FakeCluster):
    """A cluster whose commands of these numbers, counted from 1, are spoilt."""

    at: range = range(0)
    fault: Fault = Fault.HANGS
    asked: list[str] = field(default_factory=list)

    @property
    def spoils(self) -> bool:
        """Whether commands are still to be spoilt."""
        return len(self.asked) + 1 < self.at.stop

    def run(
        self, argv: Sequence[str], *, cwd: Optional[Path] = None, timeout: timedelta = DEFAULT_TIMEOUT
    ) -> Completed:
        self.asked.append(argv[1])
        if len(self.asked) not in self.at:
            return super().run(argv, cwd=cwd, timeout=timeout)
        return self._spoilt(argv)

    def _spoilt(self, argv: Sequence[str]) -> Completed:
        fault = self.fault
        if fault is Fault.NOT_STARTED:
            raise CommandError(argv, NOT_STARTED, "", "fake: Permission denied")
        if fault is Fault.BUSY:
            raise CommandError(argv, 1, "", "fake: busy")
        if fault is Fault.SAYS_NOTHING_AND_FAILS:
            raise CommandError(argv, 1, "", "")
        if fault is Fault.HANGS:
            raise CommandTimeoutError(argv, 10)
        if fault is Fault.SILENT:
            return Completed("")
        done = super().run(argv)
        if fault is Fault.FAILS_AFTER:
            raise CommandError(argv, 1, "", "fake: connection lost")
        if fault is Fault.HANGS_AFTER:
            raise CommandTimeoutError(argv, 10)
        if fault is Fault.KILLED_AFTER:
            raise CommandError(argv, 137, "", "Killed")
        return Completed(done.stdout[: len(done.stdout) // 2] if fault is Fault.HALF else "")


def life_with(folder: Path, cluster: FaultyCluster, *, cancelled: bool) -> Life:
    """Make a life on a faulty cluster."""
    life = Life(folder, cancelled=cancelled, trouble=lambda: cluster.spoils)
    life.site.cluster = cluster
    return life


@pytest.mark.parametrize(
    ("length", "cancelled"),
    [
        pytest.param(1, False, id="once"),
        pytest.param(1, True, id="once, of a cancelled job"),
        pytest.param(8, True, id="for long"),
    ],
)
@pytest.mark.parametrize("fault", Fault, ids=lambda fault: fault.value)
def test_whichever_command_is_spoilt_the_job_runs_once_and_ends_right(
    tmp_path: Path, fault: Fault, length: int, cancelled: bool
) -> None:
    calm = FaultyCluster()
    assert live_all([("no fault", life_with(tmp_path / "calm", calm, cancelled=cancelled))]) == []
    assert {"submit", "poll", "detail"} | ({"cancel"} if cancelled else set()) == set(calm.asked)

    def lives() -> Iterator[tuple[str, Life]]:
        for at in range(1, len(calm.asked) + 1):
            cluster = FaultyCluster(at=range(at, at + length), fault=fault)
            life = life_with(tmp_path / f"{at}", cluster, cancelled=cancelled)
            yield f"command {at}, {calm.asked[at - 1]}, {fault.value}", life

    assert live_all(lives()) == []
