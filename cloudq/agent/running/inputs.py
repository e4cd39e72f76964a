"""Stage in: a job's inputs, from its bundle or from beside it, in its working directory."""

from __future__ import annotations

from pathlib import Path

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
    job, fetched = delivery.job, place.folders.spool(delivery.job.id) / INPUT
    for blob in job.input_blobs:
        place.bundles.blobs.download(blob, fetched)
        _unpack(place, delivery, fetched)
    # A listing may lag behind: the manifest, too, tells whether there are inputs.
    told = job.submit_token and job.input_size > len(script) and not job.input_blobs
    if INPUT in delivery or told:
        delivery.download(INPUT, fetched)
        _unpack(place, delivery, fetched)


def _unpack(place: Workplace, delivery: Delivery, fetched: Path) -> None:
    work_dir, room = place.folders.work_dir(delivery.job.id), place.config.policy.largest_input
    if room is not None:
        room -= archive.tree_size(work_dir)
        if room < 0:
            raise by_policy(f"its inputs unpack to more than {place.config.policy.largest_input} bytes")
    archive.unpack(fetched, work_dir, max_bytes=room)
    fetched.unlink()
