"""The signals that end an agent or make it reopen its log."""

from __future__ import annotations

import os
import signal


class Signals:
    """Signals as bytes of a pipe.

    The interpreter itself writes them (`signal.set_wakeup_fd`), at the moment of the signal. A handler in
    Python runs later, and not at all while the main thread waits for something else; it may also
    interrupt the holder of a lock that it needs.
    """

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        signal.set_wakeup_fd(self._writer)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: None)

    def stop(self) -> None:
        """Make `wait` return as if the process had been told to end."""
        os.write(self._writer, bytes([signal.SIGTERM]))

    def wait(self) -> int:
        """Return the number of the next signal."""
        return os.read(self._reader, 1)[0]
