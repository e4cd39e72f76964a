"""Digests of files: of one that is there, and of one that is being made.

SHA-256 is written as 64 hexadecimal digits, BLAKE3 as `blake3-` and as many.
BLAKE3 (https://github.com/BLAKE3-team/BLAKE3-specs) is several times as fast where a processor has no
instructions for SHA-256; its package is not everywhere.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from queue import Queue
from threading import Thread
from types import TracebackType
from typing import Any, Optional, Union

Block = Union[bytes, memoryview]

SHA256 = "sha256"
BLAKE3 = "blake3"

_BLOCK = 1024 * 1024
_BLOCKS_WAITING = 2


@lru_cache(maxsize=1)
def known_algorithms() -> tuple[str, ...]:
    """Return the algorithms that can be computed here, the fastest first."""
    try:
        _begun(BLAKE3)
    except ImportError:
        return (SHA256,)
    return BLAKE3, SHA256


def algorithm_of(digest: str) -> str:
    """Return by which algorithm a digest was made."""
    return BLAKE3 if digest.startswith(f"{BLAKE3}-") else SHA256


def digest_file(path: Path) -> str:
    """Return the SHA-256 of a file."""
    _, found = _begun(SHA256)
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            found.update(block)
    return str(found.hexdigest())


class RunningDigest:
    """The digest of blocks, computed by a thread of its own while they are made or fetched.

    To be used in a `with` block, which ends the thread. While it computes, other threads of Python run.

    Args:
        algorithm: One of `known_algorithms`.
    """

    def __init__(self, algorithm: str) -> None:
        self._prefix, self._sum = _begun(algorithm)
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

    def digest(self) -> str:
        """Return the digest of all bytes, as it is written; no more may come."""
        self._end()
        return f"{self._prefix}{self._sum.hexdigest()}"

    def _end(self) -> None:
        if self._thread.is_alive():
            self._blocks.put(None)
            self._thread.join()

    def _run(self) -> None:
        while (block := self._blocks.get()) is not None:
            self._sum.update(block)


def _begun(algorithm: str) -> tuple[str, Any]:
    """Return what the digest is written behind, and what computes it."""
    if algorithm == BLAKE3:
        from blake3 import blake3

        return f"{BLAKE3}-", blake3()
    import hashlib  # the commands that only ask do without it

    return "", hashlib.sha256()
