"""Files and folders of the user that travel with a job into its working directory."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from cloudq.errors import ArchiveError, InputError

_DRIVE = re.compile(r"[A-Za-z]:[\\/]")


@dataclass(frozen=True)
class Input:
    """A file or folder, and its name in the working directory (parts separated by `/`)."""

    path: Path
    name: str


def parse_input(text: str) -> Input:
    """Parse `PATH[:NAME]`; a NAME that ends in `/` is the folder that PATH is put into.

    A text that is a path as a whole has no NAME, and the colon of a Windows drive is none that counts.

    Raises:
        InputError: There is no such file or folder, or the NAME leads out of the working directory.
    """
    drive = text[:2] if _DRIVE.match(text) else ""
    path_text, colon, name = text[len(drive) :].rpartition(":")
    if not colon or os.path.lexists(text):
        path_text, name = text[len(drive) :], ""
    path = Path(os.path.expanduser(drive + path_text))  # noqa: PTH111 - an unknown user stays as it is
    if not (path.is_file() or path.is_dir()) or not drive + path_text:
        raise InputError(f"--input {text}: no such file or folder: {path}")
    if not name or name.endswith("/"):
        name += path.resolve().name
    return Input(path.resolve(), _checked_name(name, text))


def check_inputs(inputs: Sequence[Input], taken: Collection[str]) -> None:
    """Refuse inputs that would overwrite one another, or a name that is taken.

    Raises:
        InputError: With both names.
    """
    names = [*taken, *(item.name for item in inputs)]
    for number, item in enumerate(inputs, start=len(taken)):
        for other in names[:number]:
            if item.name == other or _within(item.name, other) or _within(other, item.name):
                raise InputError(
                    f"--input {item.path}: {item.name!r} in the job's folder collides with {other!r}",
                    hint="give it another: --input PATH:NAME",
                )


def _checked_name(name: str, text: str) -> str:
    from cloudq.archive import check_name

    name = name.replace("\\", "/") if os.name == "nt" else name
    while name.startswith("./"):
        name = name[2:]
    try:
        check_name(name)
    except ArchiveError as error:
        raise InputError(
            f"--input {text}: expected a relative name without '..' after the colon, got {name!r}"
        ) from error
    return name


def _within(name: str, folder: str) -> bool:
    return name.startswith(f"{folder}/")
