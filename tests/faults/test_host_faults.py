"""The agent's host is at fault: no room on the disk, a clock that jumps, another host after a reboot."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.agent.conftest import Clock
from tests.faults.children import in_child
from tests.faults.life import Life, live_all

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_NEEDS_ROOM = frozenset({"os.mkdir", "os.rename"})


@dataclass
class Disk:
    """A folder in which nothing can be made at some moments.

    Attributes:
        top: The folder; empty for none.
        full: Numbers of the changes, counted from 1, for which there is no room.
        changes: What was made so far.
    """

    top: str = ""
    full: range = range(0)
    changes: list[str] = field(default_factory=list)

    @property
    def spoils(self) -> bool:
        """Whether there will be no room yet."""
        return len(self.changes) + 1 < self.full.stop

    def hook(self, event: str, args: tuple[object, ...]) -> None:
        """Refuse what needs room: Python calls this before it opens a file or makes a folder."""
        if not self.top or not (event == "open" or event in _NEEDS_ROOM):
            return
        path = args[0]
        if event == "open" and not (isinstance(args[2], int) and args[2] & _WRITING):
            return
        if isinstance(path, (str, bytes)) and os.fsdecode(path).startswith(self.top):
            self.changes.append(f"{event} {os.fsdecode(path)}")
            if len(self.changes) in self.full:
                raise OSError(errno.ENOSPC, "No space left on device")


def life_on(disk: Disk, folder: Path, full: range) -> Life:
    """Make a life whose agent has no room for some of its files."""
    life = Life(folder, trouble=lambda: disk.spoils)
    write = life.write

    def write_uncounted(path: Path, text: str) -> None:
        top, disk.top = disk.top, ""
        write(path, text)
        disk.top = top

    life.write = write_uncounted  # type: ignore[method-assign]
    life.site.folders.prepare()
    disk.top, disk.full, disk.changes = os.fspath(folder), full, []
    return life


def live_without_room(folder: Path, length: int) -> list[str]:
    """Live a life for each change that finds no room, and so many after it; return what went wrong."""
    disk = Disk()
    sys.addaudithook(disk.hook)
    wrong = live_all([("with room", life_on(disk, folder / "calm", range(0)))])
    total = len(disk.changes)
    assert total > 10

    def lives() -> Iterator[tuple[str, Life]]:
        for at in range(1, total + 1):
            yield f"no room for change {at}", life_on(disk, folder / f"{at}", range(at, at + length))

    return wrong + live_all(lives())


@pytest.mark.parametrize("length", [1, 4])
def test_a_full_disk_delays_a_job_and_does_no_harm(tmp_path: Path, length: int) -> None:
    """In a child: no audit hook can be removed, and under one a traced thread may fail to start."""
    told = tmp_path / "told"
    status = in_child(lambda: told.write_text(json.dumps(live_without_room(tmp_path / "lives", length))))
    assert status == 0
    assert json.loads(told.read_text()) == []


@dataclass
class JumpingClock(Clock):
    """A clock that jumps at one of its moves."""

    at: int = 0
    hours: int = 0
    moves: int = 0

    def move(self, **delta: float) -> None:
        self.moves += 1
        super().move(**delta)
        if self.moves == self.at:
            super().move(hours=self.hours)


@pytest.mark.parametrize("hours", [-26, -1, 1, 26], ids=lambda hours: f"{hours:+} h")
def test_a_clock_that_jumps_between_passes_changes_no_outcome(tmp_path: Path, hours: int) -> None:
    def lives() -> Iterator[tuple[str, Life]]:
        for at in range(1, 14):
            life = Life(tmp_path / f"{at}")
            life.site.clock = JumpingClock(at=at, hours=hours)
            yield f"{hours:+} h after pass {at}", life

    assert live_all(lives()) == []


def test_a_lock_of_an_agent_before_the_reboot_holds_up_nobody(tmp_path: Path) -> None:
    """Its pid may be another program's by now: the lock counts, not the pid file."""
    from cloudq.agent.daemon.solitude import is_running
    from cloudq.agent.folders import Folders

    folders = Folders(tmp_path, "here")
    folders.prepare()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        folders.pid_file.write_text(f'{{"pid": {other.pid}, "host": "login1"}}')
        folders.lock.write_text("")
        assert not is_running(folders)
        other.communicate(b"\n")
