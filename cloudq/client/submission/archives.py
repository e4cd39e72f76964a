"""Archives of inputs, made while they are sent: no copy of them is on the disk.

The digest must be known before anything is sent. So large inputs are packed twice, and what has changed
in between is noticed; small ones are packed once and kept in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Optional

from cloudq.archive import Found, pack_blocks, shown, survey
from cloudq.client.submission.inputs import Input
from cloudq.config import ClientConfig
from cloudq.digests import SHA256, RunningDigest, algorithm_of, known_algorithms
from cloudq.errors import InputError

LARGE = 8 * 1024 * 1024
"""Bytes of inputs from which on they are packed twice, and shared: three requests more cost less time than to
send these."""

_BLOCK = 1024 * 1024


@dataclass(frozen=True)
class Contents:
    """What there is of one input or several.

    Attributes:
        found: Files, folders and links.
        files: How many are no folders.
        size: About how many bytes they have.
    """

    found: tuple[Found, ...]
    files: int
    size: int


@dataclass(frozen=True)
class InputArchive:
    """An archive of inputs.

    Attributes:
        digest: Of its bytes.
        size: Its bytes.
        files: How many files are in it; 0 if that is not known.
        blocks: Makes or reads its bytes, as often as it is called; None if it is nowhere but in the bucket.
    """

    digest: str
    size: int
    files: int = 0
    blocks: Optional[Callable[[], Iterator[bytes]]] = None


def algorithm_for(config: ClientConfig) -> str:
    """Return the algorithm for the digest of an archive in a bundle: signatures have SHA-256."""
    return SHA256 if config.signing_key else known_algorithms()[0]


def look_through(item: Input) -> Contents:
    """Find what there is of an input. Raises InputError: something of it cannot be packed."""
    left_out: list[str] = []
    found = tuple(survey([(item.path, item.name)], left_out))
    _check_complete(left_out)
    files = [each for each in found if not each.is_folder]
    return Contents(found, len(files), sum(each.size for each in files))


def pack(contents: Sequence[Contents], algorithm: str) -> InputArchive:
    """Make one archive of all contents.

    Args:
        algorithm: That of its digest, one of `known_algorithms`.

    Raises:
        InputError: Something of them cannot be packed; nothing is left out silently. Later, by its blocks:
            something has changed meanwhile.
    """
    found = [each for part in contents for each in part.found]
    files = sum(part.files for part in contents)
    blocks = _all_blocks(found)
    if sum(part.size for part in contents) < LARGE:
        data = tuple(blocks)
        return InputArchive(*_measured(data, algorithm), files, partial(iter, data))
    digest, size = _measured(blocks, algorithm)
    return InputArchive(digest, size, files, partial(_same_blocks, found, digest))


def archive_of(path: Path, algorithm: str) -> InputArchive:
    """Return an archive that is a file. Raises OSError."""
    return InputArchive(*_measured(_read(path), algorithm), blocks=partial(_read, path))


def _all_blocks(found: Iterable[Found]) -> Iterator[bytes]:
    left_out: list[str] = []
    for block in pack_blocks(found, left_out):
        _check_complete(left_out)
        yield block
    _check_complete(left_out)


def _same_blocks(found: Sequence[Found], digest: str) -> Iterator[bytes]:
    """Yield the archive of this digest. Raises InputError at the end: it is another one now."""
    running = RunningDigest(algorithm_of(digest))
    for block in _all_blocks(found):
        running.update(block)
        yield block
    if running.digest() != digest:
        changed = next((each.name for each in found if not each.is_folder and _again(each) != each), "")
        raise InputError(
            f"--input: changed while it was being sent{changed and f': {shown(changed)}'}",
            hint="submit again when nobody writes to it, or submit a copy",
        )


def _again(found: Found) -> Optional[Found]:
    return next(survey([(found.path, found.name)], []), None)


def _measured(blocks: Iterable[bytes], algorithm: str) -> tuple[str, int]:
    """Return digest and size of blocks."""
    running, size = RunningDigest(algorithm), 0
    for block in blocks:
        running.update(block)
        size += len(block)
    return running.digest(), size


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            yield block


def _check_complete(left_out: Sequence[str]) -> None:
    if left_out:
        more = f" (and {len(left_out) - 1} more)" if len(left_out) > 1 else ""
        raise InputError(f"--input: cannot be sent: {left_out[0]}{more}")
