"""The real agent, killed before each of its effects: `python -m tests.faults.doomed_agent CONFIG NOTES`.

A supervisor without threads forks the agent, so that no Python has to start, and starts it again whenever it
was killed, as a service manager does. It ends with the first agent that ends by itself.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Callable, Optional, TypeVar

import boto3  # noqa: F401 - loaded before the forks
import obstore  # noqa: F401

import cloudq
from cloudq.agent import passes
from cloudq.agent.daemon import service
from cloudq.agent.rights import claims
from cloudq.agentconfig import load_agent_config
from cloudq.process import DEFAULT_TIMEOUT, Completed, run
from cloudq.store import Entry, Store, StoreAddress, open_store, probe
from tests.faults.doom import Doom, DoomedStore

T = TypeVar("T")

NOTED, DIED = "noted", "died"
"""Files of the notes: every effect about to happen, and those before which an agent was killed."""

MIDDLE = 18 * 1024 * 1024
"""Bytes of an upload after which some parts of it, of 8 MiB each, have arrived."""

DOOM = "doom"
"""While this file is among the notes, agents are killed."""

_SHORT = {
    claims: {"UNCLEAR_FOR": timedelta(seconds=4)},
    probe: {"TRIAL_AGE": timedelta(seconds=2)},
    passes: {"RETRY_AFTER": timedelta(seconds=0.5)},
}
"""Times that would make a hundred starts last for long. What real Slurm has taken, squeue shows at once."""

_CHANGING = frozenset({"sbatch", "scancel"})
_NAMES = (
    (re.compile(r"\b[0-9a-f]{12}\b"), "JOB"),
    (re.compile(r"\b[0-9a-f]{16}\b"), "TRIAL"),
    (re.compile(r"\.cloudq-\w+"), "temporary"),
    # How many segments there are depends on when the agent looks.
    (re.compile(r"(?:JOB/live/\S+,?)+"), "JOB/live"),
)
_STATE = re.compile(rb'"state": *"(\w+)"')


def named(effect: str) -> str:
    """Call effects on different jobs the same."""
    for pattern, word in _NAMES:
        effect = pattern.sub(word, effect)
    return effect


@dataclass
class NamedDoom(Doom):
    """Kills this process before each effect before which no earlier one was killed.

    Args:
        notes: A folder that outlives the process.
    """

    notes: Path = field(default_factory=Path)

    def __post_init__(self) -> None:
        append = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        self._noted = os.open(self.notes / NOTED, append)
        self._died = os.open(self.notes / DIED, append)
        self._known = set((self.notes / DIED).read_text().splitlines())
        self.kills = (self.notes / DOOM).exists()

    def effect(self, what: str) -> None:
        name = named(what)
        with self._lock:
            os.write(self._noted, f"{name}\n".encode())
            if self.kills and name not in self._known:
                self.die(name)

    def die(self, name: str) -> None:
        """Note this and be killed."""
        os.write(self._died, f"{name}\n".encode())
        os.kill(os.getpid(), signal.SIGKILL)

    def has_died(self, beginning: str) -> bool:
        """Tell whether an agent was killed before a trial's effect that begins so."""
        return any(name.startswith(beginning) and name.endswith("TRIAL") for name in self._known)

    def dies_in(self, what: str) -> bool:
        """Tell whether this process is to be killed while a command runs."""
        with self._lock:
            os.write(self._noted, f"{named(what)}\n".encode())
            return self.kills and named(what) not in self._known


@dataclass
class NamedStore(DoomedStore):
    """A store whose writes are effects, those of a manifest by the state that it says."""

    def replace(self, key: str, data: bytes, *, etag: str) -> str:
        state = _STATE.search(data)
        if state and key.endswith("/manifest.json"):
            self.doom.effect(f"manifest says {state[1].decode()}")
            return self.store.replace(key, data, etag=etag)
        return super().replace(key, data, etag=etag)

    def upload(self, path: Path, key: str) -> Entry:
        self.doom.effect(f"upload {key}")
        return self.store.upload(path, key)

    def upload_blocks(self, blocks: Iterable[bytes], key: str, *, expected: int = 0) -> Entry:
        self.doom.effect(f"upload {key}")
        return self.store.upload_blocks(self._counted(blocks, key), key, expected=expected)

    def _counted(self, blocks: Iterable[bytes], key: str) -> Iterator[bytes]:
        sent = 0
        for block in blocks:
            yield block
            sent += len(block)
            if sent > MIDDLE:
                self.doom.effect(f"middle of upload {key}")
                sent = 0
        self.doom.effect(f"end of upload {key}")


def be_an_agent(config: Path, notes: Path) -> None:
    """Run cloudqd in the foreground, with a doom before its folder, its bucket and its scheduler."""
    doom = NamedDoom(notes=notes)
    doom.watch_files(load_agent_config(config).directory)

    def open_doomed(address: StoreAddress) -> Store:
        return NamedStore(open_store(address), doom=doom)

    def run_doomed(
        argv: Sequence[str], *, cwd: Optional[Path] = None, timeout: timedelta = DEFAULT_TIMEOUT
    ) -> Completed:
        if argv[0] in _CHANGING and "--version" not in argv:
            doom.effect(argv[0])
            if doom.dies_in(f"end of {argv[0]}"):
                subprocess.Popen(argv, cwd=cwd, stdout=subprocess.PIPE, start_new_session=True)
                doom.die(f"end of {argv[0]}")
        return run(argv, cwd=cwd, timeout=timeout)

    def has_conditional_writes(store: Store, folder: str) -> bool:
        # The trial is the dearest part of a start: only until an agent was killed in each part of it.
        return (doom.kills and doom.has_died("delete agent/")) or probe.has_conditional_writes(store, folder)

    service.open_store, service.run = open_doomed, run_doomed  # type: ignore[attr-defined,assignment]
    service.has_conditional_writes = has_conditional_writes  # type: ignore[attr-defined]
    for module, values in _SHORT.items():
        for name, value in values.items():
            setattr(module, name, value)
    service.run_forever(load_agent_config(config), foreground=False)


def in_a_fork(function: Callable[[], None]) -> int:
    """Call a function in a child process and return its wait status."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            function()
            status = 0
        finally:
            os._exit(status)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(pid, signal.SIGTERM))
    # The test's way to have the agent killed at once.
    signal.signal(signal.SIGUSR1, lambda *_: os.kill(pid, signal.SIGKILL))
    return os.waitpid(pid, 0)[1]


def supervise(config: Path, notes: Path) -> int:
    """Start agents until one ends by itself; return its exit status."""
    for module in pkgutil.walk_packages(cloudq.__path__, "cloudq."):
        chosen = module.name.startswith(("cloudq.agent", "cloudq.store", "cloudq.bundle"))
        if chosen and not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    while True:
        status = in_a_fork(lambda: be_an_agent(config, notes))
        if not os.WIFSIGNALED(status):
            return os.WEXITSTATUS(status)


if __name__ == "__main__":
    sys.exit(supervise(Path(sys.argv[1]), Path(sys.argv[2])))
