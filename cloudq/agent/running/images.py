"""Container images before a job is submitted: which runtime there is, which image a name means, pulls."""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Optional

from filelock import FileLock

from cloudq.agent.running.registry import pin, registry_of
from cloudq.agentconfig import DETECT, AgentConfig
from cloudq.errors import CommandError, InputError, NotFoundError, StoreRefusedError
from cloudq.metascript import Placement, container_program
from cloudq.process import Runner, run
from cloudq.store import Store, StoreAddress, open_store
from cloudq.system import System

logger = logging.getLogger(__name__)

PULL_TIMEOUT = timedelta(hours=2)
"""Longest time that the agent waits for an image that it pulls itself."""

_PROGRAMS = {
    "apptainer": "apptainer",
    "singularity": "singularity",
    "podman": "podman",
    "docker": "docker",
    "ch-run": "charliecloud",
}
_SCHEMES = ("docker", "oras", "library")


def find_runtime(configured: str, find: Callable[[str], Optional[str]] = shutil.which) -> str:
    """Return the container runtime to use: the one configured, or the first that this host has.

    Args:
        find: Returns the path of a program, None if there is none.
    """
    if configured != DETECT:
        return configured
    return next((runtime for program, runtime in _PROGRAMS.items() if find(program)), "none")


@dataclass(frozen=True)
class ImageFinder:
    """Finds out what a job is to take for the images that its script names.

    Attributes:
        config: The agent's.
        run: Runs a command.
        pin: Gives an image by its digest; None if that is not to be had.
        open_store: Opens the bucket that an image is in.
    """

    config: AgentConfig
    run: Runner = run
    pin: Callable[[str, Optional[Path]], Optional[str]] = pin
    open_store: Callable[[StoreAddress], Store] = open_store

    def find(
        self, urls: Iterable[str], system: System, placement: Placement, minute: int
    ) -> Mapping[str, str]:
        """Return what to take for each image, where that is not what its URL says.

        A tag becomes the digest that it stands for now, so that all tasks get the same image, and one that
        is in the cache already. An image in S3 is fetched. With `container_pull = agent` all are.

        Args:
            minute: A number for the present time: a registry is asked about a tag once for each.

        Raises:
            InputError: An image is not there, or cannot be pulled.
            StoreError: A fault that may pass.
        """
        if system.container_runtime == "none":
            return {}
        found = {url: self._find(url, system, placement, minute) for url in urls}
        return {url: taken for url, taken in found.items() if taken != url}

    def _find(self, url: str, system: System, placement: Placement, minute: int) -> str:
        if url.startswith("s3://"):
            return str(self._fetched(url))
        is_name = "://" not in url and not url.startswith("/") and not url.endswith((".sif", ".tar"))
        reference = f"docker://{url}" if is_name else url
        if reference.partition("://")[0] not in _SCHEMES:
            return reference
        reference = _pinned(self.pin, reference, self._auth_file(reference), minute) or reference
        if self.config.container_pull == "agent":
            return self._pulled(reference, system, placement)
        return reference

    def _auth_file(self, reference: str) -> Optional[Path]:
        files = {registry.host: Path(registry.auth_file) for registry in self.config.registries}
        return files.get(registry_of(reference))

    def _pulled(self, reference: str, system: System, placement: Placement) -> str:
        """Pull an image by the program that jobs use, into the folders where they look; return its path."""
        spool = Path(placement.status_file).parent
        program = spool / "containers.sh"
        templates = [self.config.template_folder]
        program.write_text(container_program(system, placement, templates), encoding="utf-8")
        try:
            done = self.run(["/bin/sh", str(program), "fetch", reference], cwd=spool, timeout=PULL_TIMEOUT)
        except CommandError as error:
            said = " / ".join(error.stderr.strip().splitlines()[-2:])
            raise InputError(f"image pull failed: {reference}: {said}") from error
        return done.stdout.strip()

    def _fetched(self, url: str) -> Path:
        """Copy an image out of a bucket, unless its present version is in the cache; return its path."""
        bucket, _, key = url[len("s3://") :].partition("/")
        if not bucket or not key or key.endswith("/"):
            raise InputError(f"image {url}: expected s3://BUCKET/KEY")
        try:
            store = self.open_store(replace(self.config.store, bucket=bucket))
            version = f"{store.url} {key} {store.stat(key).etag}"
            file = f"s3-{hashlib.sha256(version.encode()).hexdigest()[:32]}-{key.rpartition('/')[2]}"
            target = self.config.image_cache / file
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with FileLock(f"{target}.fetch"):
                if not target.exists():
                    logger.info("fetching image %s", url)
                    store.download(key, target)
            return target
        except (NotFoundError, StoreRefusedError) as error:
            raise InputError(f"image pull failed: {url}: {error}") from error


@lru_cache(maxsize=256)
def _pinned(
    pin: Callable[[str, Optional[Path]], Optional[str]],
    reference: str,
    auth_file: Optional[Path],
    minute: int,  # noqa: ARG001 - what is remembered is good for one minute
) -> Optional[str]:
    pinned = pin(reference, auth_file)
    if pinned is None:
        logger.info("image %s: its registry does not tell its digest: it is pulled for each job", reference)
    return pinned
