"""The agent as one file: CloudQ and what it needs, out of the packages that this Python has installed.

A head node then needs no package index, no pip and no compiler. Only plain Python travels: compiled
parts are left out, and the packages that have them (markupsafe) do without. Of botocore's descriptions
of every service of AWS only the few are taken that an agent talks to.
"""

from __future__ import annotations

import io
import re
import sys
import zipfile
from collections.abc import Iterator
from importlib import metadata
from importlib.resources import files
from pathlib import Path, PurePosixPath

from cloudq.errors import CloudQError

ROOTS = ("boto3", "click", "filelock", "jinja2", "python-daemon")
_DAEMON = "python-daemon"
_EPOCH = (1980, 1, 1, 0, 0, 0)
_REQUIREMENT = re.compile(r"[A-Za-z0-9._-]+")
_BOTOCORE_SERVICES = ("s3", "sts", "sso", "sso-oidc", "signin")
_LEFT_OUT = (".pyc", ".so", ".pyd", ".dylib", ".c", ".exe", ".pyi")


def agent_archive() -> bytes:
    """Make a ZIP file with CloudQ and its runtime dependencies, the same bytes each time.

    Raises:
        CloudQError: A package is missing, or its files are not known.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in sorted(_members().items()):
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), data, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _members() -> dict[str, bytes]:
    members = dict(_own_files())
    for package in _closure():
        members.update(_package_files(package))
    return members


def _own_files() -> Iterator[tuple[str, bytes]]:
    top = Path(str(files("cloudq")))
    for file in sorted(top.rglob("*")):
        if file.is_file() and _is_wanted(PurePosixPath("cloudq", file.relative_to(top).as_posix())):
            yield f"cloudq/{file.relative_to(top).as_posix()}", file.read_bytes()


def _closure() -> list[str]:
    """Return the distributions that the agent needs, as the installed ones require them."""
    found: dict[str, None] = {}
    waiting = list(ROOTS)
    while waiting:
        name = waiting.pop()
        if _normal(name) in found:
            continue
        # On Windows python-daemon is not installed; an agent that systemd runs can do without.
        if _normal(name) == _DAEMON and sys.platform == "win32":
            continue
        found[_normal(name)] = None
        waiting += _requirements(name)
    return sorted(found)


def _requirements(name: str) -> list[str]:
    """Return what a distribution needs always: what only some platform or extra needs, an agent does not."""
    needed = []
    for line in _distribution(name).requires or ():
        requirement, _, marker = line.partition(";")
        match = _REQUIREMENT.match(requirement.strip())
        if match and not re.search(r"extra|platform|sys_|implementation", marker) and _is_installed(match[0]):
            needed.append(match[0])
    return needed


def _package_files(name: str) -> Iterator[tuple[str, bytes]]:
    distribution = _distribution(name)
    if distribution.files is None:
        raise CloudQError(f"{name} is installed in a way that does not tell its files; install it with pip")
    for path in distribution.files:
        member = PurePosixPath(path.as_posix())
        if ".." not in member.parts and _is_wanted(member):
            file = Path(str(distribution.locate_file(path)))
            if file.is_file():
                yield str(member), file.read_bytes()


def _is_wanted(member: PurePosixPath) -> bool:
    if member.suffix in _LEFT_OUT or "__pycache__" in member.parts or member.is_absolute():
        return False
    if member.parts[:2] == ("botocore", "data") and len(member.parts) > 3:
        return member.parts[2] in _BOTOCORE_SERVICES
    return not (member.parts[0] == "boto3" and "examples" in member.parts)


def _distribution(name: str) -> metadata.Distribution:
    try:
        return metadata.distribution(name)
    except metadata.PackageNotFoundError as error:
        raise CloudQError(
            f"{name} is not installed, but an agent needs it", hint="reinstall CloudQ"
        ) from error


def _is_installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
