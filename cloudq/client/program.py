"""The program `cloudqcli`: a process for one command, which ends as soon as its answer is out."""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Callable
from typing import Optional

_GARBAGE = 100_000
"""New objects before Python looks for garbage: a command makes fewer, and hardly any of them is garbage."""


def main(
    command: Optional[Callable[[], object]] = None,
    *,
    end: Callable[[int], object] = os._exit,
    threads: Callable[[], int] = threading.active_count,
) -> None:
    """Run the command that the process was started with.

    To take the interpreter, its modules and obstore's threads apart would take a quarter of the time of a
    command, for memory that the system frees at once. So the process ends without, if nothing is left to do.
    """
    gc.set_threshold(_GARBAGE)
    try:
        (command or _command())()
    except SystemExit as ended:
        status = 0 if ended.code is None else ended.code
        if isinstance(status, int) and _all_is_out() and threads() == 1:
            end(status)
        raise


def _command() -> Callable[[], object]:
    # Imported only now: the most garbage is looked for while modules are imported.
    from cloudq.client.cli import main as command

    return command


def _all_is_out() -> bool:
    """Tell whether all that was printed has been written."""
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except (OSError, ValueError):  # Python says what is wrong, and ends with status 120.
        return False
    return True
