"""Archives of inputs, made while they are sent: no copy of them is on the disk, and they are read once.

What there is is found before, and files may change meanwhile. One that only grows is taken as it is. If any
was touched after it was packed, all are read once more, and other bytes than those that were sent end the
submission.
"""

from __future__ import annotations

import hashlib
import logging
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Optional

from cloudq.archive import Found, pack_blocks, shown, survey
from cloudq.client.submission.inputs import Input
from cloudq.config import ClientConfig
from cloudq.digests import SHA256, RunningDigest, algorithm_of, digest_file, known_algorithms
from cloudq.errors import InputError
from cloudq.job import InputBlob
from cloudq.store.blocks import file_blocks

LARGE = 8 * 1024 * 1024
"""Bytes of inputs from which on they are made while they are sent, and shared: four requests more cost less
time than to send these. What is smaller is made before, in memory."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Contents:
    """What there is of an input.

    Attributes:
        found: Itself, and all that is below it.
        files: How many files and links these are.
        size: About how many bytes these have.
        fingerprint: Digest of what can be told of it without reading files: names, kinds, permissions, sizes
            and times. The same input has the same; others might.
    """

    found: tuple[Found, ...]
    files: int
    size: int
    fingerprint: str


@dataclass(frozen=True)
class InputArchive:
    """An archive of inputs.

    Attributes:
        blocks: Makes or reads its bytes, as often as it is called, and takes them into a digest.
        size: How many there are; about, if it has no digest yet.
        algorithm: That of its digest, one of `known_algorithms`.
        digest: Of its bytes; empty if that is not known before they are made.
        fingerprint: That of its contents, if others may share it.
        files: How many files are in it; 0 if that is not known.
    """

    blocks: Callable[[RunningDigest], Iterator[bytes]]
    size: int
    algorithm: str
    digest: str = ""
    fingerprint: str = ""
    files: int = 0

    def sum_up(self) -> tuple[str, int]:
        """Return its digest and size. Raises InputError, as the blocks do."""
        if self.digest:
            return self.digest, self.size
        running = RunningDigest(self.algorithm)
        size = sum(map(len, self.blocks(running)))
        return running.digest(), size


def algorithm_for(config: ClientConfig) -> str:
    """Return the algorithm for the digest of an archive in a bundle: signatures have SHA-256."""
    return SHA256 if config.signing_key else known_algorithms()[0]


def look_through(item: Input) -> Contents:
    """Find what there is of an input. Raises InputError: something of it cannot be packed."""
    left_out: list[str] = []
    fingerprint = hashlib.sha256()
    files = size = 0
    found = tuple(survey([(item.path, item.name)], left_out))
    for each in found:
        # What a folder has itself depends on the file system.
        length = 0 if each.is_folder else each.size
        facts = f"{each.name}\0{each.mode:o} {length} {each.modified}\n"
        fingerprint.update(facts.encode("utf-8", "backslashreplace"))
        files, size = files + (not each.is_folder), size + length
        if stat.S_ISREG(each.mode) and not os.access(each.path, os.R_OK):
            left_out.append(f"{shown(each.name)}: Permission denied")
    _check_complete(left_out)
    return Contents(found, files, size, fingerprint.hexdigest())


def pack(contents: Sequence[Contents], algorithm: str) -> InputArchive:
    """Make one archive of all contents.

    Args:
        algorithm: That of its digest, one of `known_algorithms`.

    Raises:
        InputError: Something of them cannot be packed; nothing is left out silently. What is large may also
            raise that by its blocks, or that something has changed meanwhile.
    """
    files, size = sum(part.files for part in contents), sum(part.size for part in contents)
    found = tuple(chain.from_iterable(part.found for part in contents))
    fingerprint = hashlib.sha256("".join(part.fingerprint for part in contents).encode()).hexdigest()
    if size >= LARGE:
        large = partial(_packed, found)
        return InputArchive(large, size, algorithm, fingerprint=fingerprint, files=files)
    running = RunningDigest(algorithm)
    data = tuple(_packed(found, running))
    size = sum(map(len, data))
    return InputArchive(partial(_summed, data), size, algorithm, running.digest(), fingerprint, files)


def archive_of(path: Path, config: ClientConfig) -> InputArchive:
    """Return an archive that is a file; its digest only if it is to be signed. Raises OSError."""
    digest = digest_file(path) if config.signing_key else ""
    return InputArchive(partial(_read, path), path.stat().st_size, algorithm_for(config), digest)


def archive_in(blob: InputBlob) -> InputArchive:
    """Return an archive that is nowhere but in the bucket; its blocks only raise InputError."""
    algorithm = algorithm_of(blob.digest)
    return InputArchive(partial(_gone, blob), blob.size, algorithm, blob.digest, blob.fingerprint)


def _packed(found: Iterable[Found], running: RunningDigest) -> Iterator[bytes]:
    """Yield the archive of what was found while it is made. Raises InputError."""
    left_out: list[str] = []
    packed: list[Found] = []
    for block in _summed(pack_blocks(_in_turn(found, packed), left_out), running):
        _check_complete(left_out)
        yield block
    # Of those that were touched since, the archive may still be the same.
    files = [each for each in packed if not each.is_folder]
    touched = [(each, now) for each in files if (now := _now(each)) != each]
    for each, now in touched:
        if now is None or (now.size != each.size and not _has_grown(each, now)):
            raise _has_changed(each)
    if touched and not _makes(packed, running.digest()):
        others = [each for each, now in touched if now and now.size == each.size]
        raise _has_changed([*others, touched[0][0]][0])


def _in_turn(found: Iterable[Found], packed: list[Found]) -> Iterator[Found]:
    """Yield what was found, a file as it is when its turn comes, and note that. Raises InputError.

    It may only have grown: what else has happened to a file that was not read yet cannot be told.
    """
    for each in found:
        now = each if each.is_folder else _now(each)
        if now is None or not (_looks_the_same(each, now) or _has_grown(each, now)):
            raise _has_changed(each)
        packed.append(now)
        yield now


def _looks_the_same(before: Found, now: Found) -> bool:
    return (before.size, before.modified_ns) == (now.size, now.modified_ns)


def _has_grown(before: Found, now: Found) -> bool:
    return before.size < now.size and before.inode == now.inode


def _has_changed(found: Found) -> InputError:
    return InputError(
        f"--input: changed while it was being read: {shown(found.name)}",
        hint="submit again when nobody writes to it, or submit a copy",
    )


def _makes(found: Sequence[Found], digest: str) -> bool:
    """Tell whether what was found makes the archive of a digest once more."""
    logger.info("inputs: some were touched meanwhile, so all are read once more")
    left_out: list[str] = []
    running = RunningDigest(algorithm_of(digest))
    for block in pack_blocks(found, left_out):
        running.update(block)
    return not left_out and running.digest() == digest


def _now(found: Found) -> Optional[Found]:
    return next(survey([(found.path, found.name)], []), None)


def _read(path: Path, running: RunningDigest) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from _summed(file_blocks(file), running)


def _gone(blob: InputBlob, _: RunningDigest) -> Iterator[bytes]:
    hint = "submit the files that you have yourself"
    raise InputError(f"inputs {blob.digest:.12}…: no longer in the bucket", hint=hint)


def _summed(blocks: Iterable[bytes], running: RunningDigest) -> Iterator[bytes]:
    for block in blocks:
        running.update(block)
        yield block


def _check_complete(left_out: Sequence[str]) -> None:
    if left_out:
        more = f" (and {len(left_out) - 1} more)" if len(left_out) > 1 else ""
        raise InputError(f"--input: cannot be sent: {left_out[0]}{more}")
