"""Inputs that several jobs share: those that are in the bucket already are not sent again."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Sequence
from typing import Optional

from cloudq.bundle import Bundles
from cloudq.client.display.progress import transfer, waiting
from cloudq.client.submission.archives import LARGE, Contents, InputArchive, pack
from cloudq.client.systems.fitness import Demand
from cloudq.config import ClientConfig
from cloudq.digests import RunningDigest, algorithm_of, known_algorithms
from cloudq.errors import ManifestError
from cloudq.job import InputBlob
from cloudq.manifest import MAX_INPUT_BLOBS
from cloudq.system import ANY

_sending = threading.Lock()

logger = logging.getLogger(__name__)


def find_algorithm(bundles: Bundles, config: ClientConfig, demand: Demand, inputs: Iterable[Contents]) -> str:
    """Return by which digest inputs may lie beside the bundle; empty if they must not.

    They are large, and each agent of the job knows that. All agents count that ever told of themselves, also
    those that are silent.

    Raises:
        StoreError: The agents could not be asked.
    """
    if not config.dedup or sum(item.size for item in inputs) < LARGE:
        return ""
    try:
        named = demand.system.upper() != ANY
        presences = [bundles.agents.presence(demand.system)] if named else bundles.agents.presences()
    except ManifestError:
        return ""
    known = [presence.shared_inputs if presence else () for presence in presences]
    common = (algorithm for algorithm in known_algorithms() if all(algorithm in each for each in known))
    return next(common, "") if known else ""


def pack_apart(inputs: Sequence[Contents], algorithm: str) -> tuple[InputArchive, ...]:
    """Pack each large input by itself and all others together. Raises InputError."""
    large = [item for item in inputs if item.size >= LARGE][: MAX_INPUT_BLOBS - 1]
    parts = [[item] for item in large]
    others = [item for item in inputs if item not in large]
    return tuple(pack(part, algorithm) for part in [*parts, others] if part)


def place(bundles: Bundles, job_id: str, wanted: Iterable[InputArchive]) -> tuple[InputBlob, ...]:
    """Send what is not in the bucket, and say what was there; return what the job refers to.

    Some object of the job's bundle must be there: that keeps what it refers to from being removed.

    Raises:
        InputError: Something is neither in the bucket nor here, cannot be packed, or changes meanwhile.
        StoreError: It could not be stored.
    """
    blobs: list[InputBlob] = []
    found: list[tuple[int, int]] = []
    sent: list[tuple[int, int]] = []
    for archive in wanted:
        # One at a time: of several jobs of this process with the same inputs, the first one sends them.
        with _sending:
            bundles.blobs.refer(archive.fingerprint, job_id)
            kept = _find(bundles, archive)
            blob = kept or _send(bundles, job_id, archive)
        (found if kept else sent).append((archive.files, blob.size))
        blobs.append(blob)
    for what, said in ((found, "already in the bucket"), (sent, "sent")):
        if found and what:
            logger.info("inputs: %s, %s", _amount(what), said)
    return tuple(blobs)


def _find(bundles: Bundles, archive: InputArchive) -> Optional[InputBlob]:
    """Return what the bucket has of an archive. Files are read only if it is likely to be there."""
    kept = bundles.blobs.find(archive.fingerprint)
    kept = [blob for blob in kept if algorithm_of(blob.digest) == archive.algorithm]
    if not kept:
        return None
    with waiting("comparing inputs"):
        found = archive.sum_up()
    return next((blob for blob in kept if (blob.digest, blob.size) == found), None)


def _send(bundles: Bundles, job_id: str, archive: InputArchive) -> InputBlob:
    running = RunningDigest(archive.algorithm)
    blocks = archive.blocks(running)
    with transfer("sending inputs", archive.size):
        return bundles.blobs.upload(archive.fingerprint, job_id, blocks, running, expected=archive.size)


def _amount(parts: Sequence[tuple[int, int]]) -> str:
    """Say how many files and bytes there are in all, for a person."""
    files, size = sum(files for files, _ in parts), float(sum(size for _, size in parts))
    unit = "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    amount = f"{size:.0f} bytes" if unit == "bytes" else f"{size:.1f} {unit}"
    return f"{files} file{'s' * (files > 1)}, {amount}" if files else amount
