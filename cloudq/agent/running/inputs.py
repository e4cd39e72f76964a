"""Stage in: a job's inputs, from its bundle or from beside it, in its working directory."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

from cloudq import archive
from cloudq.agent.rights.admission import Delivery, by_policy
from cloudq.agent.workplace import Workplace
from cloudq.bundle import INPUT


def stage_in(place: Workplace, delivery: Delivery, script: bytes) -> None:
    """Fetch and unpack what came with a job.

    Raises:
        RefusedError: It is not what was signed or referred to.
        ArchiveError, NotFoundError: It cannot be unpacked, or is not there.
    """
    job, work_dir = delivery.job, place.folders.work_dir(delivery.job.id)
    fetched = place.folders.spool(job.id) / INPUT
    for blob in job.input_blobs:
        if delivery.is_signed:
            place.bundles.blobs.download(blob, fetched)
            _unpack(place, fetched, work_dir)
        else:
            # Whoever can replace an input could have written the job itself: there is nothing to compare.
            file = place.bundles.blobs.open(blob)
            archive.unpack(file, work_dir, max_bytes=_room(place, work_dir), source=file)
    if _brings_archive(delivery, script):
        delivery.download(INPUT, fetched)
        _unpack(place, fetched, work_dir)


def _brings_archive(delivery: Delivery, script: bytes) -> bool:
    """Tell whether inputs are in the bundle: our clients' manifests say so, and a listing may lag behind."""
    job = delivery.job
    if job.submit_token:
        return job.input_size > len(script) and not job.input_blobs
    return INPUT in delivery


def _unpack(place: Workplace, fetched: Path, work_dir: Path) -> None:
    archive.unpack(fetched, work_dir, max_bytes=_room(place, work_dir))
    fetched.unlink()


def _room(place: Workplace, work_dir: Path) -> Optional[int]:
    """Return how many bytes of inputs may come. Raises RefusedError if there are too many already."""
    largest = place.config.policy.largest_input
    if largest is None:
        return None
    room = largest - archive.tree_size(work_dir)
    if room < 0:
        raise by_policy(f"its inputs unpack to more than {largest} bytes")
    return room
