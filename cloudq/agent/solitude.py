"""One agent of a name: the lock and the pid file on this host, the presence for all others."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from collections.abc import Iterator
from datetime import datetime, timedelta

from filelock import FileLock, Timeout

from cloudq.agent.folders import Folders
from cloudq.bundle import Bundles
from cloudq.config import AgentConfig
from cloudq.errors import AgentRunsError, CloudQError
from cloudq.store.files import appearing


@contextlib.contextmanager
def sole_agent(config: AgentConfig, *, announce: bool = True) -> Iterator[Folders]:
    """Be the one agent of this name that uses this folder.

    Args:
        announce: Whether to write the pid file: not for a mere check.

    Raises:
        CloudQError: Another one runs; its pid is named. Or the folder cannot be written.
    """
    folders = Folders(config.directory, config.name)
    try:
        folders.prepare()
    except OSError as error:
        raise CloudQError(f"cloudq_directory {config.directory}: {error.strerror}") from error
    # A little patience: somebody may hold the lock for a moment, only to see whether an agent runs.
    lock = FileLock(folders.lock, timeout=1, mode=0o600)
    try:
        lock.acquire()
    except Timeout:
        pid, host = read_pid(folders)
        raise CloudQError(f"agent {config.name} is running already: pid {pid} on {host}") from None
    try:
        if announce:
            with appearing(folders.pid_file) as file:
                text = json.dumps({"pid": os.getpid(), "host": socket.gethostname()})
                file.write(text.encode("ascii"))
        yield folders
    finally:
        lock.release()


def check_alone(config: AgentConfig, bundles: Bundles, now: datetime) -> None:
    """Refuse to be a second agent of this name, on another host or with another folder.

    Whoever holds the lock of this folder on this host is alone in it. Elsewhere only the presence tells:
    an agent that has not been heard of for three heartbeats is gone.

    Raises:
        AgentRunsError: Another agent of this name is alive.
    """
    other = bundles.presence(config.name)
    if other is None or not other.alive(now):
        return
    if (other.host, other.directory) != (socket.gethostname(), str(config.directory)):
        raise AgentRunsError(
            f"agent {config.name} is running already: pid {other.pid} on {other.host}, "
            f"cloudq_directory {other.directory}, heard of at {other.heartbeat:%H:%M:%S} UTC"
        )


def stop_agent(config: AgentConfig, timeout: timedelta) -> int:
    """Ask the agent on this host to stop, wait until it has, and return its pid.

    Raises:
        CloudQError: None runs here, or it did not stop in time.
    """
    folders = Folders(config.directory, config.name)
    pid, host = read_pid(folders)
    if not is_running(folders):
        raise CloudQError(f"no agent {config.name} is running")
    if host != socket.gethostname():
        raise CloudQError(f"agent {config.name} runs on another host: {host} (pid {pid})")
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    try:
        with FileLock(folders.lock, timeout=timeout.total_seconds()):
            return pid
    except Timeout:
        raise CloudQError(f"agent {config.name} (pid {pid}) has not stopped yet") from None


def is_running(folders: Folders) -> bool:
    """Tell whether an agent of this name holds its lock."""
    if not folders.lock.exists():
        return False
    try:
        with FileLock(folders.lock, timeout=0):
            return False
    except Timeout:
        return True


def read_pid(folders: Folders) -> tuple[int, str]:
    """Return pid and host of the agent that started last; `(0, "")` if none ever did."""
    try:
        values = json.loads(folders.pid_file.read_text(encoding="ascii"))
        return int(values["pid"]), str(values["host"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return 0, ""
