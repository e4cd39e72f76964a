"""How an agent's process is killed just before its n-th effect: on a file, on the bucket, or on the queue."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Callable, Optional, TypeVar

from cloudq.process import DEFAULT_TIMEOUT, Completed, Runner
from cloudq.store import Store
from tests.faults.faulty_store import WRITES, FaultyStore

T = TypeVar("T")

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_CHANGES = frozenset(
    {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.chmod", "os.truncate"}
)
"""Audit events of Python that come before a change of the file system:
https://docs.python.org/3/library/audit_events.html"""


@dataclass
class Doom:
    """Counts the effects of this process, and kills it with SIGKILL just before one of them.

    To be killed after an effect is the same as to be killed before the next one.

    Attributes:
        at: Number of the effect, counted from 1; 0 for never.
        effects: What has happened so far.
    """

    at: int = 0
    effects: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def effect(self, what: str) -> None:
        """Note an effect that is about to happen."""
        with self._lock:
            self.effects.append(what)
            if len(self.effects) == self.at:
                os.kill(os.getpid(), signal.SIGKILL)

    def watch_files(self, folder: Path) -> None:
        """Count every change of a file or folder below `folder`, whoever makes it."""
        top = os.fspath(folder)

        def hook(event: str, args: tuple[object, ...]) -> None:
            if event == "open":
                path, _, flags = args
                changes = isinstance(flags, int) and bool(flags & _WRITING)
            elif event in _CHANGES:
                path, changes = args[0], True
            else:
                return
            # Relative names come from the removal of a tree, which works with open folders.
            if changes and isinstance(path, (str, bytes)):
                name = os.fsdecode(path)
                if name.startswith(top) or (event != "open" and not name.startswith("/")):
                    self.effect(f"{event} {name.replace(top, '')}")

        sys.addaudithook(hook)


@dataclass
class DoomedStore(FaultyStore):
    """A store whose writes are effects."""

    doom: Doom = field(default_factory=Doom)

    def _ask(self, verb: str, key: str, act: Callable[[], T]) -> T:
        if verb in WRITES:
            self.doom.effect(f"{verb} {key}")
        return act()


def doomed_store(store: Store, doom: Doom) -> DoomedStore:
    """Put a doom before a store."""
    return DoomedStore(store, doom=doom)


def doomed_runner(run: Runner, doom: Doom, verbs: Sequence[str]) -> Runner:
    """Put a doom before a runner of commands: those that have one of these words are effects."""

    def run_doomed(
        argv: Sequence[str], *, cwd: Optional[Path] = None, timeout: timedelta = DEFAULT_TIMEOUT
    ) -> Completed:
        if set(verbs) & set(argv[:8]):
            doom.effect(" ".join(argv[:4]))
        return run(argv, cwd=cwd, timeout=timeout)

    return run_doomed
