"""Outputs, logs and everything else of a job, fetched into a folder."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Optional

from cloudq.archive import check_name, make_place, unpack
from cloudq.bundle import (
    CANCEL,
    CANCEL_SIGNATURE,
    INPUT,
    JOB_SIGNATURE,
    MANIFEST,
    OUTPUT,
    PROJECT,
    REQUEUE_SIGNATURE,
    RESOURCE,
    Bundles,
)
from cloudq.client.logs import Log, find_logs, is_log, read_log
from cloudq.client.progress import transfer
from cloudq.client.selection import EVERYTHING, Patterns
from cloudq.errors import ArchiveError, InputError, ManifestError, NoSuchJobError
from cloudq.job import Job
from cloudq.store.files import appearing

_NOT_FETCHED = frozenset(
    {MANIFEST, PROJECT, RESOURCE, INPUT, OUTPUT, CANCEL, JOB_SIGNATURE, CANCEL_SIGNATURE, REQUEUE_SIGNATURE}
)

logger = logging.getLogger(__name__)


def stage_out(
    bundles: Bundles, job_id: str, folder: Path, *, packed: bool = False, patterns: Patterns = EVERYTHING
) -> None:
    """Fetch what a job made into a folder, which may be there; files of the same names are replaced.

    In any state: the contents of `output.zip`, the logs as `stdout[.TASK]` and `stderr[.TASK]`, and
    further objects of the bundle, each whole or not at all. If the job itself made a file of the name
    of a log, that file keeps it, and the log becomes `stdout.log[.TASK]`.

    Args:
        packed: Leave `output.zip` as it is, as CloudQ 1.2 does.
        patterns: Only files of these names.

    Raises:
        ArchiveError: `output.zip` has a member that must not be unpacked.
        InputError: The folder is something else.
        StoreError, OSError: An object could not be fetched or written.
    """
    job = _load(bundles, job_id)
    entries = bundles.entries(job_id)
    names = {name for name in entries if name == OUTPUT or patterns.admits(name)}
    _make_folder(folder)
    unpacked: Collection[str] = ()
    if OUTPUT in names:
        with transfer("fetching outputs", entries[OUTPUT].size):
            unpacked = _fetch_output(bundles, job_id, folder, packed=packed, patterns=patterns)
    # A 1.2 agent puts early copies of the logs into the archive: those are to be replaced.
    owned = unpacked if job is None or job.claim_token else [n for n in unpacked if not is_log(n)]
    for log in (*find_logs(bundles, job_id, "stdout"), *find_logs(bundles, job_id, "stderr")):
        if patterns.admits(log.name):
            _save_log(bundles, job_id, log, _log_place(folder, log.name, owned))
    for name in sorted(names - _NOT_FETCHED - set(unpacked)):
        if not (is_log(name) or name.startswith("live/") or name.endswith("/")):
            _fetch_object(bundles, job_id, name, folder)


def _load(bundles: Bundles, job_id: str) -> Optional[Job]:
    try:
        job = bundles.load(job_id).job
    except (NoSuchJobError, ManifestError) as error:
        logger.warning("job %s: no readable manifest (%s); fetching what is there", job_id, error)
        return None
    if not job.state.final:
        logger.warning("job %s: %s, not ended; fetching what is there so far", job_id, job.state)
    return job


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except FileExistsError as error:
        raise InputError(f"{folder}: exists, and is not a folder") from error


def _fetch_output(
    bundles: Bundles, job_id: str, folder: Path, *, packed: bool, patterns: Patterns
) -> Collection[str]:
    if packed:
        bundles.download(job_id, OUTPUT, folder / OUTPUT)
        return ()
    # In the folder, as there is no other place that surely has room for it.
    with tempfile.TemporaryDirectory(prefix=".cloudq-", dir=folder) as temporary:
        archive = Path(temporary) / OUTPUT
        bundles.download(job_id, OUTPUT, archive)
        try:
            return frozenset(unpack(archive, folder, wanted=patterns.admits))
        except ArchiveError as error:
            error.hint = "`cloudqcli stageout --zip` leaves output.zip packed"
            raise


def _log_place(folder: Path, name: str, owned: Collection[str]) -> Path:
    if name not in owned and not (folder / name).is_dir():
        return folder / name
    stream, dot, task = name.partition(".")
    return folder / f"{stream}.log{dot}{task}"


def _save_log(bundles: Bundles, job_id: str, log: Log, path: Path) -> None:
    with appearing(path) as file:
        for block in read_log(bundles, job_id, log):
            file.write(block)


def _fetch_object(bundles: Bundles, job_id: str, name: str, folder: Path) -> None:
    try:
        check_name(name)
        place = make_place(folder, name)
    except ArchiveError as error:
        logger.warning("job %s: not fetched: %s", job_id, error)
        return
    bundles.download(job_id, name, place)
