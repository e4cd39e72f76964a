"""Inputs that several jobs share: those that are in the bucket already are not sent again."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Sequence

from cloudq.bundle import Bundles
from cloudq.client.display.progress import transfer
from cloudq.client.submission.archives import LARGE, Contents, InputArchive, pack
from cloudq.client.systems.fitness import Demand
from cloudq.config import ClientConfig
from cloudq.digests import known_algorithms
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
    known = [presence.known_digests if presence else () for presence in presences]
    common = (algorithm for algorithm in known_algorithms() if all(algorithm in each for each in known))
    return next(common, "") if known else ""


def pack_apart(inputs: Sequence[Contents], algorithm: str) -> tuple[InputArchive, ...]:
    """Pack each large input by itself and all others together. Raises InputError."""
    large = [item for item in inputs if item.size >= LARGE][: MAX_INPUT_BLOBS - 1]
    parts = [[item] for item in large]
    others = [item for item in inputs if item not in large]
    return tuple(pack(part, algorithm) for part in [*parts, others] if part)


def again(blobs: Iterable[InputBlob]) -> tuple[InputArchive, ...]:
    """Return what a job shares as another one may share it."""
    return tuple(InputArchive(blob.digest, blob.size) for blob in blobs)


def place(bundles: Bundles, job_id: str, wanted: Iterable[InputArchive]) -> tuple[InputBlob, ...]:
    """Send what is not in the bucket, and say what was there; return what the job refers to.

    Some object of the job's bundle must be there: that keeps what it refers to from being removed.

    Raises:
        InputError: Something is neither in the bucket nor here, or has changed since it was packed.
        StoreError: It could not be stored.
    """
    blobs: list[InputBlob] = []
    found: list[InputArchive] = []
    sent: list[InputArchive] = []
    for archive in wanted:
        # One at a time: of several jobs of this process with the same inputs, the first one sends them.
        with _sending:
            bundles.blobs.refer(archive.digest, job_id)
            blob = bundles.blobs.find(archive.digest, archive.size)
            (found if blob else sent).append(archive)
            blobs.append(blob or _send(bundles, job_id, archive))
    for what, said in ((found, "already in the bucket"), (sent, "sent")):
        if found and what:
            logger.info("inputs: %s, %s", _amount(what), said)
    return tuple(blobs)


def _send(bundles: Bundles, job_id: str, archive: InputArchive) -> InputBlob:
    blocks = archive.made()
    with transfer("sending inputs", archive.size):
        return bundles.blobs.upload(archive.digest, job_id, blocks, size=archive.size)


def _amount(inputs: Sequence[InputArchive]) -> str:
    files, size = sum(archive.files for archive in inputs), float(sum(archive.size for archive in inputs))
    unit = "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    amount = f"{size:.0f} bytes" if unit == "bytes" else f"{size:.1f} {unit}"
    return f"{files} file{'s' * (files > 1)}, {amount}" if files else amount
