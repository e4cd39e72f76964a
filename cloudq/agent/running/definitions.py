"""What abstract projects and resources mean for a job on this system."""

from __future__ import annotations

from cloudq.agent.rights.admission import Delivery
from cloudq.agent.running.copying import places
from cloudq.agent.workplace import Workplace
from cloudq.bundle import PROJECT, RESOURCE
from cloudq.metascript import Directives
from cloudq.system import Definitions, System, for_system, no_definitions, parse_definitions


def this_system(place: Workplace, delivery: Delivery, directives: Directives) -> System:
    """Return the agent's system as a translation sees it: its own definitions win over a job's.

    Raises:
        ConfigError: The job's definitions cannot be understood.
    """
    config = place.config
    projects = read_definitions(delivery, PROJECT) if directives.project else no_definitions()
    resources = read_definitions(delivery, RESOURCE) if directives.resource else no_definitions()
    return System(
        name=config.name,
        scheduler=place.queue.scheduler.name,
        projects={**for_system(projects, config.name), **config.projects},
        resources={**for_system(resources, config.name), **config.resources},
        container_runtime=config.container_runtime,
        image_cache=str(config.image_cache),
        registries=config.registries,
        copy_places=() if config.copy_profile else places(config),
        endpoint_url="" if config.store.endpoint_url.startswith("file:") else config.store.endpoint_url,
        # The default chain needs no profile, and a host with a role or keys in its environment has none.
        profile=config.copy_profile or ("" if config.store.profile == "default" else config.store.profile),
    )


def read_definitions(delivery: Delivery, name: str) -> Definitions:
    """Read the project or resource file of a bundle; no definitions if there is none. Raises ConfigError."""
    if name not in delivery:
        return no_definitions()
    return parse_definitions(delivery.read(name).decode("utf-8", "replace"), name)
