"""A system, as data: what its site calls projects and resources, and how containers run there."""

from __future__ import annotations

from collections.abc import Mapping
from configparser import ConfigParser
from configparser import Error as IniError
from dataclasses import dataclass, field
from types import MappingProxyType

from cloudq.errors import ConfigError

ANY = "ANY"
"""The word that `run_on` uses for "the first system that can take the job"."""

Definitions = Mapping[str, Mapping[str, str]]
"""Abstract name -> system name (lower case) -> what the site calls it: a project or resource file."""


def no_definitions() -> Definitions:
    """Return a table without any name."""
    return MappingProxyType({})


@dataclass(frozen=True)
class Registry:
    """Where the credentials for a registry of images are; never what they are.

    Attributes:
        host: The registry, as images name it: `nvcr.io`, `docker.io`, `127.0.0.1:5000`.
        auth_file: A file in the form of Docker's `config.json`, absolute.
    """

    host: str
    auth_file: str


@dataclass(frozen=True)
class System:
    """A machine with an agent, as the translation of a meta script sees it.

    Attributes:
        name: The name of the agent, in the spelling of its configuration.
        scheduler: The kind of scheduler, which is the name of its template (`slurm`, `local`).
        projects: Abstract project -> the account or group to charge.
        resources: Abstract resource -> the site's resource type, or options of the scheduler.
        container_runtime: The name of a template of container functions (`apptainer`, `docker`, `none`).
        image_cache: Folder of the images that all jobs share, absolute; without one each job has its own.
        registries: Registries that want credentials.
        copy_places: What the copy function asks the agent for, instead of using keys: `s3://BUCKET/PREFIX/`.
        endpoint_url: Endpoint that the copy function uses unless it is given another; empty for AWS.
        profile: Credentials profile that the copy function uses unless it is given another.
    """

    name: str
    scheduler: str
    projects: Mapping[str, str] = field(default_factory=dict)
    resources: Mapping[str, str] = field(default_factory=dict)
    container_runtime: str = "none"
    image_cache: str = ""
    registries: tuple[Registry, ...] = ()
    copy_places: tuple[str, ...] = ()
    endpoint_url: str = ""
    profile: str = ""


def parse_definitions(text: str, source: str) -> Definitions:
    """Parse a project or resource file (INI: a section per abstract name, a line per system).

    Values are taken as they stand (no `%` interpolation); system names are compared in lower case.

    Raises:
        ConfigError: The text is not INI, with the place.
    """
    parser = ConfigParser(interpolation=None, default_section="\0none")
    try:
        parser.read_string(text, source)
    except IniError as error:
        raise ConfigError(f"{source}: not an INI file: {' '.join(str(error).split())}") from error
    return MappingProxyType({name: MappingProxyType(dict(parser[name])) for name in parser.sections()})


def for_system(definitions: Definitions, system: str) -> dict[str, str]:
    """Return what the abstract names mean on one system, names without a line for it left out.

    An empty meaning is one: the name is known there and needs no option, as in CloudQ 1.2.
    """
    key = system.lower()
    return {name: values[key].strip() for name, values in definitions.items() if key in values}


def with_system(definitions: Definitions, system: str, meanings: Mapping[str, str]) -> Definitions:
    """Return definitions in which abstract names mean this on one system, whatever they meant before."""
    merged = {name: dict(values) for name, values in definitions.items()}
    for name, meaning in meanings.items():
        merged.setdefault(name, {})[system.lower()] = meaning
    return MappingProxyType({name: MappingProxyType(values) for name, values in merged.items()})
