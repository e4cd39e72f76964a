"""Inputs that several jobs share: those that are in the bucket already are not sent again."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from cloudq.bundle import Bundles
from cloudq.client.display.progress import transfer
from cloudq.client.submission.inputs import Input, pack_inputs
from cloudq.client.systems.fitness import Demand
from cloudq.config import ClientConfig
from cloudq.digests import RunningDigest, known_algorithms
from cloudq.errors import InputError, ManifestError
from cloudq.job import InputBlob
from cloudq.manifest import MAX_INPUT_BLOBS
from cloudq.system import ANY

WORTH_SHARING = 8 * 1024 * 1024
"""Bytes of inputs from which on they are shared: three requests more cost less time than to send these."""

_sending = threading.Lock()

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shared:
    """An archive of inputs that may be in the bucket already.

    Attributes:
        digest: Of its bytes.
        size: Its bytes.
        files: How many files are in it; 0 if that is not known.
        archive: The archive; None if it is nowhere but in the bucket.
    """

    digest: str
    size: int
    files: int = 0
    archive: Optional[Path] = None


@dataclass(frozen=True)
class Measured:
    """An input, how many files it is, and about how many bytes they have."""

    input: Input
    files: int
    size: int


def measure(inputs: Iterable[Input]) -> tuple[Measured, ...]:
    """Look through inputs, each once: folders may be deep."""
    return tuple(Measured(item, *_measured(item.path)) for item in inputs)


def find_algorithm(bundles: Bundles, config: ClientConfig, demand: Demand, inputs: Iterable[Measured]) -> str:
    """Return by which digest inputs may lie beside the bundle; empty if they must not.

    They are large, and each agent of the job knows that. All agents count that ever told of themselves, also
    those that are silent.

    Raises:
        StoreError: The agents could not be asked.
    """
    if not config.dedup or sum(item.size for item in inputs) < WORTH_SHARING:
        return ""
    try:
        named = demand.system.upper() != ANY
        presences = [bundles.agents.presence(demand.system)] if named else bundles.agents.presences()
    except ManifestError:
        return ""
    known = [presence.known_digests if presence else () for presence in presences]
    common = (algorithm for algorithm in known_algorithms() if all(algorithm in each for each in known))
    return next(common, "") if known else ""


def pack_apart(inputs: Sequence[Measured], folder: Path, algorithm: str) -> tuple[Shared, ...]:
    """Pack each large input by itself and all others together. Raises InputError."""
    large = [item for item in inputs if item.size >= WORTH_SHARING][: MAX_INPUT_BLOBS - 1]
    parts = [[item] for item in large]
    others = [item for item in inputs if item not in large]
    return tuple(
        _packed(part, folder / f"{number}.zip", algorithm)
        for number, part in enumerate([*parts, others])
        if part
    )


def again(blobs: Iterable[InputBlob]) -> tuple[Shared, ...]:
    """Return what a job shares as another one may share it."""
    return tuple(Shared(blob.digest, blob.size) for blob in blobs)


def place(bundles: Bundles, job_id: str, wanted: Iterable[Shared]) -> tuple[InputBlob, ...]:
    """Send what is not in the bucket, and say what was there; return what the job refers to.

    Some object of the job's bundle must be there: that keeps what it refers to from being removed.

    Raises:
        InputError: Something is neither in the bucket nor here.
        StoreError: It could not be stored.
    """
    blobs: list[InputBlob] = []
    found: list[Shared] = []
    sent: list[Shared] = []
    for shared in wanted:
        # One at a time: of several jobs of this process with the same inputs, the first one sends them.
        with _sending:
            bundles.blobs.refer(shared.digest, job_id)
            blob = bundles.blobs.find(shared.digest, shared.size)
            (found if blob else sent).append(shared)
            blobs.append(blob or _send(bundles, job_id, shared))
    for what, said in ((found, "already in the bucket"), (sent, "sent")):
        if found and what:
            logger.info("inputs: %s, %s", _amount(what), said)
    return tuple(blobs)


def _measured(path: Path) -> tuple[int, int]:
    if not path.is_dir():
        return 1, path.stat().st_size
    sizes = [_size(Path(top, name)) for top, _, names in os.walk(path) for name in names]
    return len(sizes), sum(sizes)


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0  # Gone meanwhile, or not to be read: whoever packs it says so.


def _packed(inputs: Sequence[Measured], archive: Path, algorithm: str) -> Shared:
    files = sum(item.files for item in inputs)
    with RunningDigest(algorithm) as digest:
        pack_inputs([item.input for item in inputs], archive, watch=digest.update)
        return Shared(digest.digest(), archive.stat().st_size, files, archive)


def _send(bundles: Bundles, job_id: str, shared: Shared) -> InputBlob:
    if shared.archive is None:
        hint = "submit the files that you have yourself"
        raise InputError(f"inputs {shared.digest:.12}…: no longer in the bucket", hint=hint)
    with transfer("sending inputs", shared.size):
        return bundles.blobs.upload(shared.archive, shared.digest, job_id)


def _amount(inputs: Sequence[Shared]) -> str:
    files, size = sum(shared.files for shared in inputs), float(sum(shared.size for shared in inputs))
    unit = "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    amount = f"{size:.0f} bytes" if unit == "bytes" else f"{size:.1f} {unit}"
    return f"{files} file{'s' * (files > 1)}, {amount}" if files else amount
