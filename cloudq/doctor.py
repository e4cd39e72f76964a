"""What `cloudqcli doctor` and `cloudqd doctor` share: the configuration looked at, the findings told."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Generic, Optional, TypeVar

import click

from cloudq.errors import CloudQError
from cloudq.finding import Finding, Level, fail, ok, refused, render_finding, warn

Config = TypeVar("Config")


class ConfigCheck(Generic[Config]):
    """Reads a configuration file; `config` is None while it could not be read.

    Args:
        file: The file.
        load: Reads it.
    """

    def __init__(self, file: Path, load: Callable[[Path], Config]) -> None:
        self.file = file
        self.config: Optional[Config] = None
        self._load = load

    def findings(self) -> Iterator[Finding]:
        """Look at the file: there, understood, and nobody else's to change."""
        try:
            self.config = self._load(self.file)
            yield ok("configuration", str(self.file))
        except CloudQError as error:
            yield refused("configuration", error)
        except OSError as error:
            yield fail("configuration", f"{self.file}: {error.strerror}", "make it readable for yourself")
        for path in (self.file, self.file.absolute().parent):
            if os.name == "posix" and path.exists():
                yield from _exposure(path)


def _exposure(path: Path) -> Iterator[Finding]:
    mode = path.stat().st_mode
    if path.stat().st_uid not in (os.getuid(), 0):
        yield warn("configuration", f"{path} belongs to somebody else", "use a file of your own")
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        seen = f"{path} may be written by others (mode {stat.S_IMODE(mode):04o})"
        yield warn("configuration", seen, f"chmod go-w {path}")


def tell(findings: Iterable[Finding], *, as_json: bool) -> bool:
    """Print findings, as lines at once or as JSON in the end; return whether none is a fault."""
    told = []
    for finding in findings:
        told.append(finding)
        if not as_json:
            click.echo(render_finding(finding))
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in told], indent=4))
    return all(finding.level is not Level.FAIL for finding in told)
