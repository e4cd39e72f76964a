"""What `cloudqd doctor` finds out about the machine: folders, space, file system."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cloudq.finding import Finding, fail, ok, warn

MEBIBYTE = 1 << 20
SPACE_WARNED = 1024 * MEBIBYTE
TRIAL_BYTES = 16 * MEBIBYTE
"""How much is written for a trial: a quota shows only so."""

INODES_WARNED = 1000

# Types of /proc/mounts that the nodes of a cluster can have in common.
_SHARED = (
    "nfs", "lustre", "gpfs", "beegfs", "ceph", "glusterfs", "afs", "panfs", "pvfs", "wekafs", "smb", "cifs",
    "9p", "virtiofs", "quobyte", "ocfs", "gfs",
)  # fmt: skip


def folder_findings(subject: str, folder: Path) -> Iterator[Finding]:
    """Look whether a folder is there and ours alone, and whether there is room in it."""
    there = _nearest(folder)
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        said = str(folder) if there == folder else f"{folder} will be made"
        mode = stat.S_IMODE(there.stat().st_mode)
        if there == folder and mode & 0o077:
            yield warn(subject, f"{said}, open to others (mode {mode:04o})", f"chmod 700 {folder}")
        else:
            yield ok(subject, said)
        yield space_finding(there)
    else:
        yield fail(
            subject, f"{there}: no folder that may be written", "correct cloudq_directory, or its rights"
        )


def space_finding(folder: Path) -> Finding:
    """Look how much room there is in a folder, and whether it may be used: a quota shows only in a trial."""
    free = shutil.disk_usage(folder).free
    said = f"{free / SPACE_WARNED:.1f} GiB free in {folder}"
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            for _ in range(TRIAL_BYTES // MEBIBYTE):
                file.write(b"\1" * MEBIBYTE)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        seen = f"{said}, but 16 MiB cannot be written: {error.strerror}"
        return fail("space", seen, "make room, or ask for a larger quota")
    if free < SPACE_WARNED:
        return warn("space", said, "make room: outputs are packed here before they are sent")
    inodes = os.statvfs(folder)
    if inodes.f_files and inodes.f_favail < INODES_WARNED:
        return warn(
            "space", f"{inodes.f_favail} files may be made", "remove files: the file system is full of them"
        )
    return ok("space", said)


def sharing_finding(folder: Path, mounts: str, *, needed: bool) -> Finding:
    """Look whether the nodes can see a folder.

    Args:
        mounts: The text of /proc/mounts; empty where there is none.
        needed: Whether jobs run on other machines.
    """
    kind = filesystem_of(_nearest(folder), mounts)
    if not needed:
        return ok("shared folder", f"{kind or 'file system'}; jobs run on this host")
    if not kind:
        return warn(
            "shared folder", "the kind of file system is not known", "make sure that all nodes see it"
        )
    if kind.startswith(_SHARED) or kind.startswith("fuse."):
        return ok("shared folder", f"{folder} is on {kind}")
    return warn(
        "shared folder",
        f"{folder} is on {kind}, which other machines may not see",
        "set cloudq_directory to a folder that all nodes see, unless this machine exports it",
    )


def filesystem_of(path: Path, mounts: str) -> str:
    """Return the type of the file system that a path is on, by the text of /proc/mounts; empty if unknown."""
    best, kind = -1, ""
    for line in mounts.splitlines():
        words = line.split(" ")
        if len(words) < 3:
            continue
        point = Path(words[1].replace("\\040", " "))
        depth = len(point.parts)
        if depth >= best and (point == path or point in path.parents):
            best, kind = depth, words[2]
    return kind


def _nearest(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that is there, without links."""
    folder = Path(os.path.realpath(folder))
    return next(path for path in (folder, *folder.parents) if path.exists())
