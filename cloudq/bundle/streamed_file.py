"""An object of a bundle that is read from its beginning to its end, and fetched ahead of the reader."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Optional

from cloudq.bundle.bundles import Bundles
from cloudq.bundle.remote_file import RemoteFile
from cloudq.store.moved import current_watcher

PART = 4 * 1024 * 1024
"""Bytes that are fetched by one request."""

_AHEAD = 8


class StreamedFile(RemoteFile):
    """An object of a bundle, read by parts that are fetched side by side before they are asked for.

    No copy of it is on any disk, and a few parts are in memory: those ahead of the reader and, as a zip
    archive is read from its end first, the last one.

    Args:
        size: Of the object, in bytes.

    Raises:
        StoreError: By whatever reads.
    """

    def __init__(self, bundles: Bundles, job_id: str, name: str, *, size: int, part: int = PART) -> None:
        super().__init__(bundles, job_id, name, size=size)
        self._part = part
        self._last = max(0, size - 1) // part
        self._watcher: Callable[[int], None] = current_watcher()
        self._pool = ThreadPoolExecutor(_AHEAD)
        self._parts: dict[int, Future[bytes]] = {}

    def __enter__(self) -> StreamedFile:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.close()

    def close(self) -> None:
        """Fetch no more, and forget what was fetched."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._parts.clear()
        super().close()

    def _fetched(self, start: int, stop: int) -> bytes:
        first, last = start // self._part, (stop - 1) // self._part
        pieces = []
        for number in range(first, last + 1):
            data, begin = self._data(number), number * self._part
            pieces.append(data[max(0, start - begin) : stop - begin])
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _data(self, number: int) -> bytes:
        """Return a part; order those behind it, behind the last one the first, and forget those before it."""
        begin = 0 if number == self._last and not self._parts else number + 1
        for wanted in (number, *range(begin, min(begin + _AHEAD, self._last + 1))):
            if wanted not in self._parts:
                self._parts[wanted] = self._pool.submit(self._fetch, wanted)
        for passed in [n for n in self._parts if n < number < self._last]:
            self._parts.pop(passed).cancel()
        return self._parts[number].result()

    def _fetch(self, number: int) -> bytes:
        begin = number * self._part
        end = min(begin + self._part, self._size)
        data = self._bundles.read_range(self._job_id, self.name, begin, end)
        self._watcher(len(data))
        return data
