"""Objects read by obstore: whole, by ranges, and in parts side by side."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, BinaryIO, Optional, Protocol

import obstore

from cloudq.ahead import in_order
from cloudq.errors import StoreError
from cloudq.store import PART, Entry, check_size
from cloudq.store.interruptible import interruptible
from cloudq.store.moved import current_watcher
from cloudq.store.obstore_errors import LIBRARY_ERRORS, find_answer, is_broken_body, is_range_ignored
from cloudq.store.plain_http import PlainHttp, UnexpectedAnswerError

_READ_ATTEMPTS = 3
_FETCHERS = 8
_BLOCK = 64 * 1024
"""Bytes that go on as they come: a processor has them at hand still when they are written to a file."""

logger = logging.getLogger(__name__)


class Asking(Protocol):
    """Makes a block whose errors of obstore become ours; `key` is the object that should be there."""

    def __call__(self, action: str, key: Optional[str] = None) -> AbstractContextManager[None]:
        """Name what the block does, to be read after "cannot"."""
        ...


class ObstoreReading:
    """The reading verbs of a store, of keys that obstore can name.

    Args:
        client: The client.
        asking: Turns errors.
        stat: Tells size and time of an object.
        url: Names the store for a person.
        direct: Reads large ranges where there is no TLS.
    """

    def __init__(
        self,
        client: Any,
        asking: Asking,
        *,
        stat: Callable[[str], Entry],
        url: str,
        direct: Optional[PlainHttp] = None,
    ) -> None:
        self._client = client
        self._asking = asking
        self._stat = stat
        self._url = url
        self._direct = direct

    def whole(self, key: str) -> tuple[bytes, str]:
        """Return a small object and its ETag as the server writes it."""
        with self._asking(f"read {key!r}", key):
            data, meta = self._get(key)
            return bytes(data), meta["e_tag"]

    def range(self, key: str, start: int, end: int) -> memoryview:
        """Return bytes of an object, fewer if it is shorter; it must not be empty."""
        with self._asking(f"read {key!r}", key):
            found = self._get_range(key, start, end)
            return memoryview(b"") if found is None else found[0]

    def blocks(self, key: str, start: int, end: int) -> Iterator[memoryview]:
        """Yield the same as they come; what did not come is asked for once more."""
        etag = None
        for tag, block in self._tagged_blocks(key, start, end):
            if etag not in (None, tag):
                raise self._changed(key)
            etag = tag
            yield block

    def _tagged_blocks(self, key: str, start: int, end: int) -> Iterator[tuple[str, memoryview]]:
        direct = self._direct
        if direct is not None:
            try:
                for tag, block in direct.blocks(key, start, end):
                    start += len(block)
                    yield tag, block
                return
            except UnexpectedAnswerError as error:
                logger.info("%s: large ranges are read by obstore from now on: %s", self._url, error)
                self._direct = None
            except OSError as error:
                logger.debug("%s: %r: %s; it is read on by obstore", self._url, key, error)
        while start < end:
            stop = min(start + PART, end)
            for tag, block in self._part(key, start, stop):
                start += len(block)
                yield tag, block
            if start < stop:
                return

    def _part(self, key: str, start: int, end: int) -> Iterator[tuple[str, memoryview]]:
        with self._asking(f"read {key!r}", key):
            try:
                found = interruptible(obstore.get, self._client, key, options={"range": (start, end)})
                stream = iter(found.stream(min_chunk_size=_BLOCK))
                while (block := interruptible(next, stream, None)) is not None:
                    start += len(block)
                    yield found.meta["e_tag"], memoryview(block)
                return
            except LIBRARY_ERRORS as error:
                answer = find_answer(error)
                is_behind = answer is not None and answer.status == 416
                if not (is_behind or is_range_ignored(error) or is_broken_body(error)):
                    raise
            rest = self._get_range(key, start, end) if start < end else None
        if rest is not None:
            yield rest[1]["e_tag"], rest[0]

    def fetch(self, key: str, file: BinaryIO) -> None:
        """Fetch an object: its first part tells how many more there are, and these come side by side."""
        with self._asking(f"read {key!r}", key):
            first = self._get_range(key, 0, PART)
        if first is None:
            size = self._stat(key).size
            if size:
                raise StoreError(f"{self._url}: only 0 of {size} bytes of {key!r} came")
            return
        from concurrent.futures import ThreadPoolExecutor

        data, meta = first
        watcher = current_watcher()
        file.write(data)
        watcher(len(data))
        size, etag = int(meta["size"]), meta["e_tag"]

        def fetch(start: int) -> memoryview:
            with self._asking(f"read {key!r}", key):
                found = self._get_range(key, start, min(start + PART, size))
            if found is None or found[1]["e_tag"] != etag:
                raise self._changed(key)
            return found[0]

        with ThreadPoolExecutor(_FETCHERS) as pool:
            starts = range(len(data), size, PART)
            for part in in_order(pool, (partial(fetch, start) for start in starts), ahead=2 * _FETCHERS):
                file.write(part)
                watcher(len(part))
        if file.tell() != size:
            raise StoreError(f"{self._url}: only {file.tell()} of {size} bytes of {key!r} came")

    def _changed(self, key: str) -> StoreError:
        return StoreError(f"{self._url}: {key!r} was changed while it was read")

    def _get(self, key: str, **options: Any) -> tuple[memoryview, Any]:
        for attempt in range(1, _READ_ATTEMPTS + 1):
            try:
                return interruptible(self._get_once, key, options)
            except LIBRARY_ERRORS as error:
                if attempt == _READ_ATTEMPTS or not is_broken_body(error):
                    raise
        raise AssertionError("unreachable")

    def _get_once(self, key: str, options: Any) -> tuple[memoryview, Any]:
        found = obstore.get(self._client, key, options=options or None)
        check_size(0 if options else found.meta["size"], key)
        return memoryview(found.bytes()), found.meta

    def _get_range(self, key: str, start: int, end: int) -> Optional[tuple[memoryview, Any]]:
        """Return bytes of an object and what is said of it; None if it has no byte at `start`."""
        try:
            return self._get(key, range=(start, end))
        except LIBRARY_ERRORS as error:
            answer = find_answer(error)
            if answer is not None and answer.status == 416:
                return None
            if not is_range_ignored(error):
                raise
        data, meta = self._get(key, head=False)
        return data[start:end], meta
