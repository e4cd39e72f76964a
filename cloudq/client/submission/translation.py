"""Translation without submission: what an agent would make of a meta script."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path
from typing import Optional

from cloudq.bundle import DATA, Bundles
from cloudq.client.display.values import visible
from cloudq.client.recollection import cache_folder, keep
from cloudq.client.submission.scripts import parse_script
from cloudq.config import ClientConfig
from cloudq.errors import CloudQError, ManifestError, StoreError
from cloudq.metascript import Placement, translate
from cloudq.presence import Presence, parse_presence, render_presence
from cloudq.system import System, for_system

_ID = "JOB-ID"

logger = logging.getLogger(__name__)


def translate_for(
    bundles: Bundles, config: ClientConfig, script: Path, system: str, templates: Optional[Path] = None
) -> str:
    """Translate a meta script for a system by what its agent published, or did when last asked.

    Args:
        templates: A folder with the site's own templates. They are not published: whoever can write to the
            bucket could run programs here by them.

    Raises:
        InputError: The script cannot be run there.
        CloudQError: No agent of this name has published anything.
        StoreError: The bucket cannot be reached, and nothing is remembered of this system.
    """
    presence = find_presence(bundles, config, system)
    target = System(
        name=presence.system,
        scheduler=presence.scheduler,
        projects={**for_system(config.projects, system), **presence.projects},
        resources={**for_system(config.resources, system), **presence.resources},
        container_runtime=presence.container_runtime,
        copy_places=(f"s3://{config.store.bucket}/{config.prefix}{DATA}",),
        endpoint_url=presence.endpoint_url,
        image_cache=f"{presence.directory}/images",
    )
    placement = Placement(
        work_dir=f"{presence.directory}/cache/{_ID}",
        status_file=f"{presence.directory}/spool/{_ID}/exit_status",
    )
    if presence.templates and templates is None:
        names = ", ".join(map(visible, presence.templates))
        logger.warning("%s has templates of its own, which are not used here: %s", system, names)
    folders = [] if templates is None else [templates]
    return translate(parse_script(script, script.read_bytes()), target, placement, folders)


def find_presence(bundles: Bundles, config: ClientConfig, system: str) -> Presence:
    """Return what a system published; what is remembered of it, if the bucket cannot be reached."""
    file = cache_folder(config) / f"{system.lower()}.json"
    try:
        presence = bundles.agents.presence(system)
    except StoreError:
        remembered = _remembered(file)
        if remembered is None:
            raise
        return remembered
    if presence is None:
        raise CloudQError(
            f"no agent of the name {system} has been seen in this bucket",
            hint="an agent publishes what its system is like when it starts",
        )
    keep(file, render_presence(presence))
    return presence


def _remembered(file: Path) -> Optional[Presence]:
    with contextlib.suppress(OSError, ManifestError):
        return parse_presence(file.read_bytes(), str(file))
    return None
