"""What abstract projects and resources mean for a job on this system."""

from __future__ import annotations

from cloudq.agent.workplace import Workplace
from cloudq.system import Definitions, System, for_system, parse_definitions


def this_system(place: Workplace, *, projects: Definitions, resources: Definitions) -> System:
    """Return the agent's system as a translation sees it: its own definitions win over a job's."""
    config = place.config
    return System(
        name=config.name,
        scheduler=place.queue.scheduler.name,
        projects={**for_system(projects, config.name), **config.projects},
        resources={**for_system(resources, config.name), **config.resources},
        container_runtime=config.container_runtime,
        image_cache=str(config.image_cache),
        registries=config.registries,
        endpoint_url="" if config.store.endpoint_url.startswith("file:") else config.store.endpoint_url,
        # The default chain needs no profile, and a host with a role or keys in its environment has none.
        profile="" if config.store.profile == "default" else config.store.profile,
    )


def read_definitions(place: Workplace, job_id: str, name: str) -> Definitions:
    """Read the project or resource file of a bundle. Raises ConfigError, NotFoundError."""
    text = place.bundles.read(job_id, name).decode("utf-8", "replace")
    return parse_definitions(text, name)
