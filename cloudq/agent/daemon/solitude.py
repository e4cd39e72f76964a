"""One agent of a name: the lock and the pid file of its folder. The lease is for all others."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Optional

from filelock import FileLock, Timeout

from cloudq.agent.folders import Folders
from cloudq.agentconfig import AgentConfig
from cloudq.errors import AgentRunsError, CloudQError
from cloudq.store.files import appearing

logger = logging.getLogger(__name__)

STAND_BY_SECONDS = 2
"""How often an agent that stands by looks whether the lock of a shared folder is free."""


@contextlib.contextmanager
def sole_agent(
    config: AgentConfig, *, announce: bool = True, on_stand_by: Optional[Callable[[], None]] = None
) -> Iterator[Folders]:
    """Be the one agent of this name that uses this folder.

    Args:
        announce: Whether to write the pid file: not for a mere check.
        on_stand_by: If given, an agent on another host that shares the folder is waited for; this is called
            when the waiting begins.

    Raises:
        AgentRunsError: Another one runs on another host.
        CloudQError: Another one runs here; its pid is named. Or the folder cannot be written.
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
        said = f"agent {config.name} is running already: pid {pid} on {host}"
        if host in ("", socket.gethostname()):
            raise CloudQError(said) from None
        if on_stand_by is None:
            raise AgentRunsError(said) from None
        on_stand_by()
        logger.warning("%s; standing by", said)
        lock.acquire(timeout=-1, poll_interval=STAND_BY_SECONDS)
    try:
        if announce:
            with appearing(folders.pid_file) as file:
                text = json.dumps({"pid": os.getpid(), "host": socket.gethostname()})
                file.write(text.encode("ascii"))
        yield folders
    finally:
        lock.release()


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
