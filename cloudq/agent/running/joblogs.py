"""What jobs print, on its way to the bucket: new bytes while they run, whole logs at the end."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cloudq.agent.decisions.progress import parse_progress
from cloudq.agent.folders import open_of_job
from cloudq.agent.workplace import ActiveJob, Workplace
from cloudq.bundle import LIVE, parse_segment_name, segment_name

SEGMENT_BYTES = 4 * 1024 * 1024
"""Most bytes of a log that are uploaded in one pass while a job runs."""

END_BYTES = 256
_STREAMS = ("stdout", "stderr")
_UPLOADERS = 8

Look = tuple[int, int]
"""Size and time of a file."""


def upload_new(place: Workplace, active: ActiveJob) -> None:
    """Upload what the logs of a running job have gained since the last time.

    Jobs of a 1.2 client (no submit token) get whole logs, which is all that such a client reads.
    """
    if active.recovered:
        _recall(place, active)
    for path, looked in _log_files(place, active.job.id, active.looked_at):
        size, done = looked[0], active.uploaded.get(path.name, 0)
        anew = size < done or _end(path, done) != active.ends.setdefault(path.name, _end(path, done))
        if size == done and not anew:
            active.looked_at[path.name] = looked
            continue
        if not active.job.submit_token:
            place.bundles.upload(active.job.id, path.name, path)
            active.uploaded[path.name] = size
        else:
            _upload_segment(place, active, path, 0 if anew else done)
        _note_progress(active, path, 0 if anew else done)
        active.ends[path.name] = _end(path, active.uploaded[path.name])


def upload_whole(place: Workplace, active: ActiveJob) -> None:
    """Upload all logs of a job that has ended; those of many tasks several at a time."""

    def upload(path: Path) -> None:
        place.bundles.upload(active.job.id, path.name, path)

    paths = [path for path, _ in _log_files(place, active.job.id, {})]
    if len(paths) <= len(_STREAMS):
        for path in paths:
            upload(path)
        return
    with ThreadPoolExecutor(_UPLOADERS) as pool:
        for _ in pool.map(upload, paths):
            pass


def discard_segments(place: Workplace, active: ActiveJob) -> None:
    """Delete the live segments of a job whose whole logs are in the bucket."""
    if active.recovered:
        _recall(place, active)
    if active.segments:
        place.bundles.discard(active.job.id, active.segments)
        active.segments.clear()


def _upload_segment(place: Workplace, active: ActiveJob, path: Path, offset: int) -> None:
    if offset == 0:
        # The log is new, or was begun anew when the scheduler started the job again.
        old = [name for name in active.segments if name.startswith(f"{LIVE}/{path.name}/")]
        place.bundles.discard(active.job.id, old)
        active.segments = [name for name in active.segments if name not in old]
    with open_of_job(path) as file:
        file.seek(offset)
        data = file.read(SEGMENT_BYTES)
    name = segment_name(path.name, offset)
    # Noted first: a write that gave no answer may have taken effect, and must be deleted in the end, too.
    if name not in active.segments:
        active.segments.append(name)
    place.bundles.write(active.job.id, name, data)
    active.uploaded[path.name] = offset + len(data)


def _note_progress(active: ActiveJob, path: Path, start: int) -> None:
    """Look for what the job says of its progress in the bytes that were just uploaded."""
    # A line may have begun in the bytes before.
    begun = active.ends.get(path.name, b"").rpartition(b"\n")[2] if start else b""
    with open_of_job(path) as file:
        file.seek(start)
        told = parse_progress(begun + file.read(min(active.uploaded[path.name] - start, SEGMENT_BYTES)))
    if told is not None:
        active.progress.pop(path.name, None)
        active.progress[path.name] = told


def _end(path: Path, size: int) -> bytes:
    """Return the last bytes of the first `size` of a log: other ones mean that it was begun anew."""
    with open_of_job(path) as file:
        file.seek(max(0, size - END_BYTES))
        return file.read(min(size, END_BYTES))


def _recall(place: Workplace, active: ActiveJob) -> None:
    """Learn from the bucket what an earlier agent process uploaded."""
    active.recovered = False
    for name, entry in place.bundles.entries(active.job.id, f"{LIVE}/").items():
        active.segments.append(name)
        segment = parse_segment_name(name)
        if segment is not None:
            log, offset = segment
            active.uploaded[log] = max(active.uploaded.get(log, 0), offset + entry.size)


def _log_files(place: Workplace, job_id: str, known: Mapping[str, Look]) -> list[tuple[Path, Look]]:
    """Return the logs that are not as they are known: stdout first, tasks in the order of their names.

    Without a path for each file: this is done at each pass for each job that runs.
    """
    found = []
    with contextlib.suppress(FileNotFoundError), os.scandir(place.folders.spool(job_id)) as entries:
        for entry in entries:
            stream = entry.name.partition(".")[0]
            # What a job has put in the place of its log (a link, a pipe) is none.
            if stream in _STREAMS and entry.is_file(follow_symlinks=False):
                status = entry.stat(follow_symlinks=False)
                look = (status.st_size, status.st_mtime_ns)
                if known.get(entry.name) != look:
                    found.append((_STREAMS.index(stream), entry.name, Path(entry.path), look))
    return [(path, look) for _, _, path, look in sorted(found)]
