"""SHA-256 sums of files: of one that is there, and of one that is being made."""

from __future__ import annotations

import hashlib
from pathlib import Path
from queue import Queue
from threading import Thread
from types import TracebackType
from typing import Optional, Union

Block = Union[bytes, memoryview]

_BLOCK = 1024 * 1024
_BLOCKS_WAITING = 2


def digest_file(path: Path) -> str:
    """Return the SHA-256 of a file."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            found.update(block)
    return found.hexdigest()


class RunningDigest:
    """The SHA-256 of blocks, computed by a thread of its own while they are made or fetched.

    To be used in a `with` block, which ends the thread. `hashlib` lets other threads of Python run.
    """

    def __init__(self) -> None:
        self._sum = hashlib.sha256()
        self._blocks: Queue[Optional[Block]] = Queue(_BLOCKS_WAITING)
        self._thread = Thread(target=self._run, name="digest", daemon=True)

    def __enter__(self) -> RunningDigest:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self._end()

    def update(self, block: Block) -> None:
        """Take the next bytes, which must not change any more; wait if there are many already."""
        self._blocks.put(block)

    def hexdigest(self) -> str:
        """Return the sum of all bytes; no more may come."""
        self._end()
        return self._sum.hexdigest()

    def _end(self) -> None:
        if self._thread.is_alive():
            self._blocks.put(None)
            self._thread.join()

    def _run(self) -> None:
        while (block := self._blocks.get()) is not None:
            self._sum.update(block)
