"""Archives of inputs, made while they are sent: no copy of them is on the disk.

The digest must be known before anything is sent. So large inputs are packed twice, and what has changed
in between is noticed before it is sent; small ones are packed once and kept in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Optional

from cloudq.ahead import in_order
from cloudq.archive import Found, Member, pack_blocks, shown, survey
from cloudq.client.submission.inputs import Input
from cloudq.config import ClientConfig
from cloudq.digests import SHA256, RunningDigest, algorithm_of, digest_file, known_algorithms
from cloudq.errors import InputError
from cloudq.store.blocks import file_blocks

LARGE = 8 * 1024 * 1024
"""Bytes of inputs from which on they are packed twice, and shared: three requests more cost less time than to
send these."""

_HANDED_OVER = 2 * 1024 * 1024
"""Bytes that another thread gets at once.

1 GB was packed and summed up by BLAKE3 in 0.3 s so, in 0.4 s by one thread, and in 0.5 s with 8 MiB, which a
processor's cache does not hold.
"""


@dataclass(frozen=True)
class Contents:
    """An input, how many files and links it is, and about how many bytes they have."""

    input: Input
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

    def made(self) -> Iterator[bytes]:
        """Yield its bytes. Raises InputError: it is not here, or what it is made of has changed."""
        if self.blocks is None:
            hint = "submit the files that you have yourself"
            raise InputError(f"inputs {self.digest:.12}…: no longer in the bucket", hint=hint)
        return self.blocks()


def algorithm_for(config: ClientConfig) -> str:
    """Return the algorithm for the digest of an archive in a bundle: signatures have SHA-256."""
    return SHA256 if config.signing_key else known_algorithms()[0]


def look_through(item: Input) -> Contents:
    """Find what there is of an input. Raises InputError: something of it cannot be packed."""
    left_out: list[str] = []
    sizes = [found.size for found in survey([(item.path, item.name)], left_out) if not found.is_folder]
    _check_complete(left_out)
    return Contents(item, len(sizes), sum(sizes))


def pack(contents: Sequence[Contents], algorithm: str) -> InputArchive:
    """Make one archive of all contents.

    Args:
        algorithm: That of its digest, one of `known_algorithms`.

    Raises:
        InputError: Something of them cannot be packed; nothing is left out silently. Later, by its blocks:
            something has changed meanwhile.
    """
    files = sum(part.files for part in contents)
    found: list[Found] = []
    blocks = _first_blocks([(part.input.path, part.input.name) for part in contents], found)
    running = RunningDigest(algorithm)
    digests: list[str] = []
    if sum(part.size for part in contents) < LARGE:
        data = tuple(blocks)
        size = _digest(data, running, digests)
        return InputArchive(digests[-1], size, files, partial(iter, data))
    size = _digest_aside(blocks, running, digests)
    return InputArchive(digests[-1], size, files, partial(_same_blocks, found, digests))


def archive_of(path: Path, config: ClientConfig) -> InputArchive:
    """Return an archive that is a file; its digest only if it is to be signed. Raises OSError."""
    digest = digest_file(path) if config.signing_key else ""
    return InputArchive(digest, path.stat().st_size, blocks=partial(_read, path))


def _first_blocks(members: Iterable[Member], found: list[Found]) -> Iterator[bytes]:
    """Yield the archive of members, and note what is packed as it is found right before."""

    def noted(each: Found) -> Found:
        found.append(each)
        return each

    left_out: list[str] = []
    yield from pack_blocks(map(noted, survey(members, left_out)), left_out)
    _check_complete(left_out)


def _same_blocks(found: Sequence[Found], digests: Sequence[str]) -> Iterator[bytes]:
    """Yield the blocks up to whose ends the digests are these. Raises InputError instead of another block.

    A sum that is quicker will not do: CRC-32 stays the same if a record changes together with its own CRC-32.
    """
    running = RunningDigest(algorithm_of(digests[-1]))
    left_out: list[str] = []
    for block, expected in zip_longest(pack_blocks(found, left_out), digests):
        _check_complete(left_out)
        running.update(block or b"")
        if running.digest() != expected:
            changed = _changed(found)
            raise InputError(
                f"--input: changed while it was being sent{changed and f': {shown(changed)}'}",
                hint="submit again when nobody writes to it, or submit a copy",
            )
        yield block


def _changed(found: Iterable[Found]) -> str:
    """Return the name of what has changed, if that can be seen; rather of one that did not only grow."""
    changed = [each for each in found if not each.is_folder and _now(each) != each]
    shrunk = [each for each in changed if (now := _now(each)) is None or now.size <= each.size]
    return next((each.name for each in [*shrunk, *changed]), "")


def _now(found: Found) -> Optional[Found]:
    return next(survey([(found.path, found.name)], []), None)


def _digest(blocks: Iterable[bytes], running: RunningDigest, digests: list[str]) -> int:
    """Take blocks into a digest, and note what it is at the end of each; return the bytes of all."""
    size = 0
    for block in blocks:
        running.update(block)
        digests.append(running.digest())
        size += len(block)
    return size


def _digest_aside(blocks: Iterable[bytes], running: RunningDigest, digests: list[str]) -> int:
    """Do the same in another thread while the next blocks are made."""
    from concurrent.futures import ThreadPoolExecutor  # small jobs do without

    with ThreadPoolExecutor(1) as pool:
        tasks = (partial(_digest, group, running, digests) for group in _groups(blocks))
        return sum(in_order(pool, tasks, ahead=2))


def _groups(blocks: Iterable[bytes]) -> Iterator[list[bytes]]:
    group: list[bytes] = []
    size = 0
    for block in blocks:
        group.append(block)
        size += len(block)
        if size >= _HANDED_OVER:
            yield group
            group, size = [], 0
    yield group


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from file_blocks(file)


def _check_complete(left_out: Sequence[str]) -> None:
    if left_out:
        more = f" (and {len(left_out) - 1} more)" if len(left_out) > 1 else ""
        raise InputError(f"--input: cannot be sent: {left_out[0]}{more}")
