"""Where an agent keeps its files: work folders, what the jobs print, locks, its own log."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from cloudq.job import is_job_id

_MOST_OF_A_NOTE = 16 * 1024 * 1024


@dataclass(frozen=True)
class Folders:
    """The folder `cloudq_directory` of one agent.

    The work folder of a job belongs to the job alone: nothing that CloudQ needs later lies in it.
    Logs, exit status and the like are in the job's spool folder.
    """

    root: Path
    system: str

    def prepare(self) -> None:
        """Make the folders, for their owner only."""
        for folder in (self.root, self.cache, self.spools):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    @cached_property
    def cache(self) -> Path:
        """The folder of all work folders, as in CloudQ 1.2."""
        return self.root / "cache"

    @cached_property
    def spools(self) -> Path:
        """The folder of all spool folders."""
        return self.root / "spool"

    def work_dir(self, job_id: str) -> Path:
        """The working directory of a job."""
        return self.cache / job_id

    def has_work_dir(self, job_id: str) -> bool:
        """Tell whether the working directory of a job is there, and not a link that the job put there."""
        return self.work_dir(job_id).is_dir() and not self.work_dir(job_id).is_symlink()

    def spool(self, job_id: str) -> Path:
        """The folder of what CloudQ keeps about a job while it has it."""
        return self.spools / job_id

    def log(self, job_id: str, stream: str) -> Path:
        """The file that `stdout` or `stderr` of a job goes to; `.TASK` is appended for array jobs."""
        return self.spool(job_id) / stream

    def status_file(self, job_id: str) -> Path:
        """The file a translated script writes its exit status to; `.TASK` is appended for array jobs."""
        return self.spool(job_id) / "exit_status"

    def copies(self, job_id: str) -> Path:
        """The folder of what a running job asks for to copy from and to buckets; see `copying`."""
        return self.spool(job_id) / "copies"

    def submitting(self, job_id: str) -> Path:
        """The file that says whose submission was begun, and when, until the native id is recorded."""
        return self.spool(job_id) / "submitting"

    def claim(self, job_id: str) -> Path:
        """The file that keeps the token of our claim on the job."""
        return self.spool(job_id) / "claim.json"

    def outcome(self, job_id: str) -> Path:
        """The file that keeps how a job ended until its manifest says so."""
        return self.spool(job_id) / "outcome.json"

    def job_ids(self) -> Iterator[str]:
        """Yield the ids of all jobs that have a folder here."""
        found = {path.name for path in (*self.cache.glob("*"), *self.spools.glob("*"))}
        return (name for name in sorted(found) if is_job_id(name))

    def remove(self, job_id: str) -> None:
        """Remove all folders of a job.

        Raises:
            OSError: Something could not be removed.
        """
        remove_tree(self.work_dir(job_id))
        remove_tree(self.spool(job_id))

    def remove_unused(self, job_id: str) -> None:
        """Remove the spool folder of a job that was not claimed after all: there is nothing in it."""
        with contextlib.suppress(OSError):
            self.spool(job_id).rmdir()

    def observed(self, job_id: str) -> Path:
        """The file that keeps since when tasks are missing, for an agent that is started for each pass."""
        return self.spool(job_id) / "observed.json"

    @property
    def agent_log(self) -> Path:
        """The agent's log file."""
        return self.root / "cloudqd.log"

    @property
    def lock(self) -> Path:
        """The file that an agent of this name holds locked while it runs."""
        return self.root / f"{self.system.lower()}.lock"

    @property
    def pid_file(self) -> Path:
        """The file with the pid and the host of the agent that runs."""
        return self.root / f"{self.system.lower()}.pid"


def open_of_job(path: Path) -> BinaryIO:
    """Open a file that its job could have replaced: no link is followed, no pipe waited for.

    Raises:
        FileNotFoundError: It is not there, or is something else than a plain file.
        OSError: It cannot be read.
    """
    try:
        stream = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
            raise _no_plain_file(path) from error
        raise
    if stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        return stream
    stream.close()
    raise _no_plain_file(path)


def read_note(path: Path) -> str:
    """Read a short text in ASCII from a file that its job could have replaced.

    Raises:
        FileNotFoundError: As `open_of_job`.
        ValueError: It is not ASCII, or longer than any note.
    """
    with open_of_job(path) as stream:
        data = stream.read(_MOST_OF_A_NOTE + 1)
    if len(data) > _MOST_OF_A_NOTE:
        raise ValueError(f"{path}: expected at most {_MOST_OF_A_NOTE} bytes")
    return data.decode("ascii")


def _no_plain_file(path: Path) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, "no plain file", str(path))


def remove_tree(folder: Path) -> None:
    """Remove a folder with all that is in it, also what its owner may not write; nothing if it is gone.

    Of a link that stands in its place the link is removed, and nothing behind it.

    Raises:
        OSError: Something could not be removed.
    """
    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        make_accessible(folder)
        shutil.rmtree(folder)


def make_accessible(folder: Path) -> None:
    """Let the owner read everything in a folder, and change its folders; a job may have forbidden it.

    Links are not followed. What belongs to somebody else stays as it is.
    """
    _permit(str(folder), 0o700)
    for top, folders, files in os.walk(folder):
        for name in folders:
            _permit(os.path.join(top, name), 0o700)  # noqa: PTH118 - os.walk gives texts
        for name in files:
            _permit(os.path.join(top, name), 0o400)  # noqa: PTH118


def _permit(path: str, needed: int) -> None:
    with contextlib.suppress(OSError):
        mode = os.lstat(path).st_mode
        if not stat.S_ISLNK(mode) and mode & needed != needed:
            os.chmod(path, stat.S_IMODE(mode) | needed)  # noqa: PTH101
