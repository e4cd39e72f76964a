"""A program that runs a command for as long as its caller lives.

Who is killed cannot end its children, but the system closes its files: the input of this program is a pipe of
which only the caller has the other end, and when that input ends, the command is ended. `cloudq.process`
starts this file by its path, with a Python that sees no packages, so it imports nothing of CloudQ.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence

PATIENCE = 10.0
"""Seconds that the command has to clean up after it was interrupted."""
_NOT_STARTED = 127
_SIGNALLED = 128


def hold(argv: Sequence[str], caller: int, *, patience: float = PATIENCE) -> int:
    """Run a command until it ends or the caller is gone, and return its status as a shell does.

    Args:
        caller: The descriptor whose input ends with the caller.
    """
    try:
        process = subprocess.Popen(list(argv), stdin=subprocess.DEVNULL, start_new_session=True)
    except OSError as error:
        sys.stderr.write(f"{argv[0]}: {error.strerror}\n")
        return _NOT_STARTED
    alone = threading.Event()
    threading.Thread(target=_end_with, args=(caller, process, alone, patience), daemon=True).start()
    status = process.wait()
    if alone.is_set():
        _signal(process, "SIGKILL")  # what it started may not have heeded the interrupt
    return status if status >= 0 else _SIGNALLED - status


def _end_with(caller: int, process: subprocess.Popen[bytes], alone: threading.Event, patience: float) -> None:
    while os.read(caller, 1):
        pass
    alone.set()
    _signal(process, "SIGINT")
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(patience)
    _signal(process, "SIGKILL")


def _signal(process: subprocess.Popen[bytes], name: str) -> None:
    """Signal the command and what it started; on Windows it is ended at once."""
    if sys.platform == "win32":
        process.kill()
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, getattr(signal, name))


if __name__ == "__main__":
    # Whoever runs in the background of a shell was told to ignore it, and so would the command.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(hold(sys.argv[1:], sys.stdin.fileno()))
