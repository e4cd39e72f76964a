"""The names of a bundle's objects, below the job's id: which CloudQ uses, and which a script may have."""

from __future__ import annotations

import os
import re
from typing import Optional

from cloudq.errors import InputError
from cloudq.job import is_job_id
from cloudq.system import ANY

MANIFEST = "manifest.json"
CANCEL = "cancel"
PROJECT = "project"
RESOURCE = "resource"
INPUT = "input.zip"
OUTPUT = "output.zip"
LIVE = "live"
DATA = ".data/"
"""Beside the bundles, and never a job id: what jobs may read and write with a key of their own."""
JOB_SIGNATURE = "signature.job"
CANCEL_SIGNATURE = "signature.cancel"
REQUEUE_SIGNATURE = "signature.requeue"
_RESERVED_NAMES = frozenset({MANIFEST, PROJECT, RESOURCE, INPUT, OUTPUT, LIVE})
_RESERVED_BEGINNINGS = ("cancel", "signature.", "stdout", "stderr")
_OFFSET_DIGITS = 15
_SEGMENT = re.compile(r"live/(?P<log>(?:stdout|stderr)(?:\.[^/]+)?)/(?P<offset>[0-9]{1,18})\Z")


def check_script_name(name: str) -> None:
    """Refuse a script name that would collide with an object that CloudQ itself writes.

    Raises:
        InputError: With the reason.
    """
    if name in _RESERVED_NAMES or name.startswith(_RESERVED_BEGINNINGS):
        raise InputError(
            f"script name {name!r}: CloudQ uses this name in the bucket for its own objects",
            hint="rename the script; manifest.json, project, resource, input.zip, output.zip, live "
            "and names beginning with cancel, signature., stdout or stderr are taken",
        )
    if (
        name in ("", ".", "..")
        or "/" in name
        or "\\" in name
        or any(ord(c) < 32 or ord(c) == 127 for c in name)
    ):
        raise InputError(f"script name {name!r}: expected a plain file name")
    if len(name.encode("utf-8", "surrogatepass")) > 200 or not name.isprintable():
        raise InputError(f"script name {name!r}: expected at most 200 bytes of printable characters")


def native_script_name(name: str) -> str:
    """Name the translation of a meta script as CloudQ 1.2 does: `job.sh` gives `job_local.sh`."""
    root, extension = os.path.splitext(name)  # noqa: PTH122 - exactly what 1.2 does, also for "job."
    return f"{root}_local{extension}"


def is_product(name: str, script: str) -> bool:
    """Tell whether an object of a bundle was made by an agent, of a job whose script has this name."""
    if name in (OUTPUT, native_script_name(script)) or name.startswith(f"{LIVE}/"):
        return True
    return name.partition(".")[0] in ("stdout", "stderr")


def segment_name(log: str, offset: int) -> str:
    """Name a live segment: the bytes of a running job's log from an offset on."""
    return f"{LIVE}/{log}/{offset:0{_OFFSET_DIGITS}d}"


def parse_segment_name(name: str) -> Optional[tuple[str, int]]:
    """Return log and offset of a live segment, None if the object is none."""
    match = _SEGMENT.match(name)
    return (match["log"], int(match["offset"])) if match else None


def key_name(system: str) -> str:
    """Systems are compared without case, as `run_system` is written in lower case; `ANY` stays as it is."""
    if not is_job_id(system):
        raise InputError(f"system name {system!r}: expected letters, digits, '.', '_' and '-'")
    return ANY if system.upper() == ANY else system.lower()
