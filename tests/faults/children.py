"""What is done in a child process: what cannot be undone, or may kill."""

from __future__ import annotations

import os
from collections.abc import Callable


def in_child(act: Callable[[], object]) -> int:
    """Do something in a forked process and return its wait status, 0 if all went well."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            act()
            status = 0
        finally:
            os._exit(status)
    return os.waitpid(pid, 0)[1]
