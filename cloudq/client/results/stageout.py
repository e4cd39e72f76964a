"""Outputs, logs and everything else of a job, fetched into a folder."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Optional

from cloudq.archive import check_plain_name, make_place, shown
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
from cloudq.client.jobs.selection import EVERYTHING, Patterns
from cloudq.client.results.logs import Log, is_log, read_log, select_logs
from cloudq.client.results.outputs import Outputs
from cloudq.errors import ArchiveError, CloudQError, InputError, ManifestError, NoSuchJobError
from cloudq.job import Job
from cloudq.store.files import appearing

_NOT_FETCHED = frozenset(
    {MANIFEST, PROJECT, RESOURCE, INPUT, OUTPUT, CANCEL, JOB_SIGNATURE, CANCEL_SIGNATURE, REQUEUE_SIGNATURE}
)

_NAMES_SHOWN = 5

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
        patterns: Only files of these names; little more than them is fetched.

    Raises:
        ArchiveError: `output.zip` has a member that must not be unpacked.
        CloudQError: There is no file of the patterns; no folder was made.
        InputError: The folder is something else.
        StoreError, OSError: An object could not be fetched or written.
    """
    job = _load(bundles, job_id)
    entries = bundles.entries(job_id)
    logs = [*select_logs(entries, "stdout"), *select_logs(entries, "stderr")]
    others = sorted(filter(_is_further, entries))
    outputs = Outputs(bundles, job_id, entries[OUTPUT].size) if OUTPUT in entries else None
    if patterns:
        members = outputs.packed_sizes if outputs else {}
        names = dict.fromkeys([*members, *others, *(log.name for log in logs)])
        _check_matches(job_id, patterns, list(names))
    _make_folder(folder)
    unpacked: Collection[str] = ()
    if outputs and packed:
        outputs.save(folder / OUTPUT)
    elif outputs:
        unpacked = outputs.unpack(folder, patterns)
    # A 1.2 agent puts early copies of the logs into the archive: those are to be replaced.
    owned = unpacked if job is None or job.claim_token else [n for n in unpacked if not is_log(n)]
    for log in logs:
        if patterns.admits(log.name):
            _save_log(bundles, job_id, log, _log_place(folder, log.name, owned))
    for name in others:
        if patterns.admits(name) and name not in unpacked:
            _fetch_object(bundles, job_id, name, folder)


def _is_further(name: str) -> bool:
    return not (name in _NOT_FETCHED or is_log(name) or name.startswith("live/") or name.endswith("/"))


def _check_matches(job_id: str, patterns: Patterns, names: Sequence[str]) -> None:
    if any(map(patterns.admits, names)):
        return
    known = [shown(name) for name in names[:_NAMES_SHOWN]] + ["…"] * (len(names) > _NAMES_SHOWN)
    raise CloudQError(
        f"job {job_id} has no file that matches {patterns}",
        hint=f"it has {', '.join(known)}" if known else "it has no files yet",
    )


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
        check_plain_name(name)
        place = make_place(folder, name)
    except ArchiveError as error:
        logger.warning("job %s: not fetched: %s", job_id, error)
        return
    bundles.download(job_id, name, place)
