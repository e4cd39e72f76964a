"""Jobs that have ended, in the user's cache folder: their manifests never change, so none is read twice."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from cloudq.client.recollection import cache_folder, keep
from cloudq.config import ClientConfig
from cloudq.errors import ManifestError
from cloudq.job import Job, is_job_id
from cloudq.manifest import manifest_members, parse_manifest

_FILE = "ended"
_STALE_ALLOWED = 1000


class EndedJobs(Mapping[str, Job]):
    """Id -> job, understood only when asked for. A damaged line is as good as none.

    Args:
        file: A line per job: its id, a blank, its manifest.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lines: dict[str, bytes] = {}
        with contextlib.suppress(OSError):
            for line in file.read_bytes().splitlines():
                job_id, _, manifest = line.partition(b" ")
                if manifest.endswith(b"}"):
                    self._lines[job_id.decode("ascii", "replace")] = manifest

    @classmethod
    def of(cls, config: ClientConfig) -> EndedJobs:
        """Read what is kept of a configuration's bucket."""
        return cls(cache_folder(config) / _FILE)

    def __getitem__(self, job_id: str) -> Job:
        line = self._lines[job_id]
        try:
            job = parse_manifest(line, job_id)
        except ManifestError as error:
            raise KeyError(job_id) from error
        if not job.state.final:
            raise KeyError(job_id)
        return job

    def __iter__(self) -> Iterator[str]:
        return iter(self._lines)

    def __len__(self) -> int:
        return len(self._lines)

    def __contains__(self, job_id: object) -> bool:
        return job_id in self._lines

    def note(self, jobs: Iterable[Job], *, present: Iterable[str]) -> None:
        """Keep those of the jobs that have ended, and forget what is no longer in the bucket."""
        new = {job.id: _line(job) for job in jobs if job.state.final and job.id not in self._lines}
        gone = set(self._lines) - set(present)
        if len(gone) > _STALE_ALLOWED:
            rest = {job_id: line for job_id, line in self._lines.items() if job_id not in gone}
            keep(self._file, _rendered({**rest, **new}))
        elif new:
            self._append(_rendered(new))

    def forget(self, job_ids: Iterable[str]) -> None:
        """Forget jobs that were deleted.

        Some stores list the folder of a job for a while after its last object (seen: SeaweedFS 4.48).
        """
        known = self._lines.keys() & set(job_ids)
        if known:
            self._lines = {job_id: line for job_id, line in self._lines.items() if job_id not in known}
            keep(self._file, _rendered(self._lines))

    def _append(self, data: bytes) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        with contextlib.suppress(OSError):
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with os.fdopen(os.open(self._file, flags, 0o600), "ab") as file:
                file.write(data)


def _line(job: Job) -> bytes:
    return json.dumps(manifest_members(job), separators=(",", ":")).encode()


def _rendered(lines: Mapping[str, bytes]) -> bytes:
    return b"".join(f"{i} ".encode() + line + b"\n" for i, line in lines.items() if is_job_id(i))
