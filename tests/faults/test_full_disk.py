"""A disk that is really full: the agent's folder is a small file system, filled to the last block."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.agent.conftest import Clock
from tests.faults.life import Life, live_all

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(os.getuid() != 0, reason="only root can mount"),
]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 512 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@dataclass
class FillingClock(Clock):
    """Fills a disk after a pass, and makes room again some passes later.

    Attributes:
        disk: The file system.
        at: After which passes it is full.
        moves: Passes so far.
    """

    disk: Path = Path()
    at: range = range(0)
    moves: int = 0

    @property
    def filler(self) -> Path:
        return self.disk / "filler"

    def move(self, **delta: float) -> None:
        super().move(**delta)
        self.moves += 1
        self.fill() if self.moves in self.at else self.make_room()

    def fill(self) -> None:
        """Use up all blocks."""
        with contextlib.suppress(OSError), self.filler.open("ab", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)

    def make_room(self) -> None:
        """Free them again."""
        self.filler.unlink(missing_ok=True)


def life_on(disk: Path, at: range, *, cancelled: bool) -> Life:
    """Make a life on a disk that is full after some of its passes."""
    clock = FillingClock(disk=disk, at=at)
    life = Life(disk / "agent", cancelled=cancelled, trouble=lambda: clock.moves < at.stop)
    life.site.clock = clock
    life.site.folders.prepare()
    write = life.write

    def write_with_room(path: Path, text: str) -> None:
        # What the job itself cannot write is the job's loss.
        clock.make_room()
        write(path, text)
        if clock.moves in at:
            clock.fill()

    life.write = write_with_room  # type: ignore[method-assign]
    if 0 in at:
        clock.fill()
    return life


@pytest.mark.parametrize("cancelled", [False, True], ids=["done", "cancelled"])
@pytest.mark.parametrize("length", [1, 3, 12])
def test_a_full_disk_delays_a_job_and_loses_nothing(
    small_disk: Path, caplog: pytest.LogCaptureFixture, length: int, cancelled: bool
) -> None:
    def lives() -> Iterator[tuple[str, Life]]:
        for first in range(6):
            yield (
                f"full after pass {first}",
                life_on(small_disk, range(first, first + length), cancelled=cancelled),
            )

    assert live_all(lives()) == []
    assert "No space left on device" in caplog.text
