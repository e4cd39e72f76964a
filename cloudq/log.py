"""The agent's log file: one line per change, rotated, reopened on request, never emptied at start."""

from __future__ import annotations

import logging
import os
import sys
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path

MAX_BYTES = 2 * 1024 * 1024
"""Size at which the log is rotated; also what is uploaded at most."""

BACKUPS = 5
_FORMAT = "%(asctime)s : %(levelname)-8s : %(message)s"


class AgentLogHandler(RotatingFileHandler):
    """A rotating log file that only its owner may read. A full disk loses lines, never the agent."""

    def __init__(self, file: Path) -> None:
        super().__init__(file, maxBytes=MAX_BYTES, backupCount=BACKUPS, encoding="utf-8", errors="replace")
        self.setFormatter(logging.Formatter(_FORMAT))

    def _open(self) -> TextIOWrapper:
        def private(path: str, flags: int) -> int:
            return os.open(path, flags, 0o600)

        return open(  # noqa: SIM115, PTH123 - the handler closes it
            self.baseFilename, "a", encoding="utf-8", errors="replace", opener=private
        )

    def shouldRollover(self, record: logging.LogRecord) -> bool:  # noqa: ARG002, N802 - logging's name
        """Tell whether the file is full; the original looks at the file system at each line for that."""
        return self.stream is not None and self.stream.tell() >= self.maxBytes

    def reopen(self) -> None:
        """Go on in a new file of the same name, after somebody moved the old one away."""
        self.acquire()
        try:
            if self.stream:
                self.stream.close()
            self.stream = self._open()
        finally:
            self.release()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802 - logging's name
        """Go on without this line: what cannot be logged (disk full) must not end the agent."""


def open_agent_log(file: Path, level: str, *, also_stderr: bool) -> AgentLogHandler:
    """Send CloudQ's log to a file, and to stderr as well if asked.

    Args:
        file: The log file; its folder exists.
        level: Name of a level of Python's logging.
        also_stderr: For a foreground agent, whose stderr somebody reads.
    """
    handler = AgentLogHandler(file)
    logger = logging.getLogger("cloudq")
    logger.handlers[:] = [handler]
    if also_stderr:
        stream = logging.StreamHandler(sys.stderr)
        stream.setFormatter(logging.Formatter(_FORMAT))
        logger.addHandler(stream)
    logger.setLevel(level)
    logger.propagate = False
    return handler
