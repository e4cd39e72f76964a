"""Configuration files: read once, checked, and turned into frozen values."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Optional

from cloudq import LOG_LEVELS
from cloudq.errors import ConfigError
from cloudq.ini import Ini
from cloudq.job import is_job_id
from cloudq.notices import Notices, read_notices
from cloudq.policy import KEYS as POLICY_KEYS
from cloudq.policy import Policy, read_copy_places, read_policy
from cloudq.store import StoreAddress
from cloudq.system import ANY, Definitions, Registry, no_definitions, parse_definitions

ENVIRONMENT_VARIABLE = "CLOUDQ_CONFIG"
DETECT = "auto"
CONTAINER_RUNTIMES = (DETECT, "none", "apptainer", "singularity", "podman", "docker", "charliecloud")

# The keys of both sides, as 1.2 had them in one file; None for a section of names that are the user's own.
_KEYS: Mapping[str, Optional[tuple[str, ...]]] = {
    "default": (
        "name", "aws_profile", "cloudq_endpoint_url", "cloudq_bucket", "cloudq_prefix", "log_level",
    ),
    "client": (
        "project_profile", "resource_profile", "notify_command", "notify_url", "signing_key", "expires_after",
    ),
    "agent": (
        "type", "num_procs", "daemon_interval", "idle_interval", "sweep_interval", "heartbeat_interval",
        "cloudq_directory", "any_max_pending", "any_delay", "lost_after", "command_timeout", "slots",
        "container_runtime", "container_cache", "container_pull", "copy_places", "copy_profile",
        "notify_command", "notify_url", "idle_minutes", "term_file", "end_file", "allowed_signers",
    ),
    "policy": POLICY_KEYS,
    "projects": None,
    "resources": None,
    "registry:": ("host", "authfile"),
}  # fmt: skip


@dataclass(frozen=True)
class ClientConfig:
    """What `cloudqcli` is told.

    Attributes:
        file: The file it was read from.
        store: Where the bucket is.
        prefix: Empty, or the key prefix of everything, ending in `/`.
        log_level: Name of a level of Python's logging.
        projects, resources: The definitions of abstract names.
        project_file, resource_file: Their texts, which travel with each meta job; None without one.
        notices: How the user wants to be told of jobs that end while a command waits for them.
        signing_key: The SSH key that jobs and cancel requests are signed with; None for unsigned ones.
        expires_after: How long after its submission a signed job may be started.
    """

    file: Path
    store: StoreAddress
    prefix: str
    log_level: str
    projects: Definitions
    resources: Definitions
    project_file: Optional[Path]
    resource_file: Optional[Path]
    notices: Notices = Notices()
    signing_key: Optional[Path] = None
    expires_after: timedelta = timedelta(days=7)

    @property
    def bucket(self) -> str:
        """The bucket and the prefix, as signatures name them."""
        return f"{self.store.bucket}/{self.prefix}"


@dataclass(frozen=True)
class AgentConfig:
    """What `cloudqd` is told.

    Attributes:
        file: The file it was read from.
        name: The system's name.
        store: Where the bucket is.
        prefix: Empty, or the key prefix of everything, ending in `/`.
        log_level: Name of a level of Python's logging.
        scheduler: The kind of scheduler (`type`).
        workers: Jobs that are worked on at the same time (`num_procs`).
        interval: Pause between passes while there is work (`daemon_interval`).
        idle_interval: Pause between passes after five quiet minutes.
        sweep_interval: Time between looks at the whole bucket for jobs of 1.2 clients.
        heartbeat_interval: Time between publications of presence and log.
        directory: Folder of work folders, logs and locks (`cloudq_directory`).
        any_max_pending: Most `ANY` jobs of its own that may wait in the local queue.
        any_delay: Age that an `ANY` job must have before it is taken.
        lost_after: A job missing from the scheduler for so long is lost.
        command_timeout: Longest time a scheduler command may take.
        slots: Processes at the same time, for type `local`.
        projects, resources: What abstract names mean here; they win over the files of a job.
        container_runtime: One of `CONTAINER_RUNTIMES`.
        container_cache: Folder of the images that all jobs share; None for `images` in `directory`.
        container_pull: Who pulls images: `job`, or `agent`, on its own host before the submission.
        copy_places: What jobs may copy from and to without keys of their own: `s3://BUCKET/PREFIX/`.
        copy_profile: The profile that jobs copy with instead; empty for none.
        registries: Registries that want credentials (sections `registry:NAME`).
        notices: Who is told of jobs that have ended.
        idle_limit: The agent ends after so long without jobs; None for never.
        term_file: File with the time at which this system ends; None for never.
        end_file: File that the agent writes when it has ended for one of these reasons.
        allowed_signers: Whose jobs are run, in OpenSSH's form; None if anybody's are.
        policy: What jobs may be.
    """

    file: Path
    name: str
    store: StoreAddress
    prefix: str
    log_level: str
    scheduler: str
    workers: int
    interval: timedelta
    idle_interval: timedelta
    sweep_interval: timedelta
    heartbeat_interval: timedelta
    directory: Path
    any_max_pending: int
    any_delay: timedelta
    lost_after: timedelta
    command_timeout: timedelta
    slots: int
    projects: Mapping[str, str]
    resources: Mapping[str, str]
    container_runtime: str
    container_cache: Optional[Path] = None
    container_pull: str = "job"
    copy_places: tuple[str, ...] = ()
    copy_profile: str = ""
    registries: tuple[Registry, ...] = ()
    notices: Notices = Notices()
    idle_limit: Optional[timedelta] = None
    term_file: Optional[Path] = None
    end_file: Optional[Path] = None
    allowed_signers: Optional[Path] = None
    policy: Policy = Policy()

    @property
    def bucket(self) -> str:
        """The bucket and the prefix, as signatures name them."""
        return f"{self.store.bucket}/{self.prefix}"

    @property
    def image_cache(self) -> Path:
        """The folder of the images that all jobs share."""
        return self.container_cache or self.directory / "images"


def client_config_file(given: Optional[Path] = None) -> Path:
    """Return the client's configuration file: the one given, `$CLOUDQ_CONFIG`, or the usual one."""
    return _config_file(given, "client")


def agent_config_file(given: Optional[Path] = None) -> Path:
    """Return the agent's configuration file: the one given, `$CLOUDQ_CONFIG`, or the usual one."""
    return _config_file(given, "agent")


def load_client_config(file: Path) -> ClientConfig:
    """Read a client's configuration and its project and resource files.

    Raises:
        ConfigError: With file, section, key, value, and what was expected.
    """
    ini = _load_ini(file, "cloudqcli init")
    project_file = ini.file_beside("client", "project_profile")
    resource_file = ini.file_beside("client", "resource_profile")
    return ClientConfig(
        file=file,
        store=_address(ini),
        prefix=_prefix(ini),
        log_level=ini.choice("default", "log_level", LOG_LEVELS, "INFO"),
        projects=_load_definitions(project_file),
        resources=_load_definitions(resource_file),
        project_file=project_file,
        resource_file=resource_file,
        notices=read_notices(ini, "client"),
        signing_key=ini.file_beside("client", "signing_key"),
        expires_after=ini.seconds("client", "expires_after", 7 * 24 * 3600, minimum=1),
    )


def load_agent_config(file: Path) -> AgentConfig:
    """Read an agent's configuration.

    Raises:
        ConfigError: With file, section, key, value, and what was expected.
    """
    ini = _load_ini(file, "cloudqd init")
    name = ini.text("default", "name")
    if not is_job_id(name) or name.upper() == ANY:
        raise ini.fault("default", "name", "letters, digits, '.', '_' and '-', and not ANY")
    directory = ini.path("agent", "cloudq_directory", "~/.cloudq").absolute()
    policy, allowed_signers = read_policy(ini), ini.file_beside("agent", "allowed_signers")
    if policy.principals is not None and allowed_signers is None:
        raise ini.fault("policy", "principals", "a file allowed_signers in [agent], too")
    return AgentConfig(
        file=file,
        name=name,
        store=_address(ini),
        prefix=_prefix(ini),
        log_level=ini.choice("default", "log_level", LOG_LEVELS, "INFO"),
        scheduler=ini.text("agent", "type").lower(),
        workers=ini.whole("agent", "num_procs", 8, minimum=1),
        interval=ini.seconds("agent", "daemon_interval", 5, minimum=1),
        idle_interval=ini.seconds("agent", "idle_interval", 15, minimum=1),
        sweep_interval=ini.seconds("agent", "sweep_interval", 60, minimum=1),
        heartbeat_interval=ini.seconds("agent", "heartbeat_interval", 60, minimum=1),
        directory=directory,
        any_max_pending=ini.whole("agent", "any_max_pending", 10, minimum=0),
        any_delay=ini.seconds("agent", "any_delay", 0, minimum=0),
        lost_after=ini.seconds("agent", "lost_after", 600, minimum=1),
        command_timeout=ini.seconds("agent", "command_timeout", 60, minimum=1),
        slots=ini.whole("agent", "slots", max(1, (os.cpu_count() or 2) - 1), minimum=1),
        projects=ini.names("projects"),
        resources=ini.names("resources"),
        container_runtime=ini.choice("agent", "container_runtime", CONTAINER_RUNTIMES, DETECT),
        container_cache=ini.beside("agent", "container_cache") or directory / "images",
        container_pull=ini.choice("agent", "container_pull", ("job", "agent"), "job"),
        copy_places=read_copy_places(ini),
        copy_profile=ini.text("agent", "copy_profile", " ").strip(),
        registries=_registries(ini),
        notices=read_notices(ini, "agent"),
        idle_limit=timedelta(minutes=ini.whole("agent", "idle_minutes", 0, minimum=0)) or None,
        term_file=ini.beside("agent", "term_file"),
        end_file=ini.beside("agent", "end_file"),
        allowed_signers=allowed_signers,
        policy=policy,
    )


def _load_ini(file: Path, init_command: str) -> Ini:
    ini = Ini.load(file, init_command)
    ini.check_keys(_KEYS)
    return ini


def _config_file(given: Optional[Path], side: str) -> Path:
    if given is not None:
        return given
    named = os.environ.get(ENVIRONMENT_VARIABLE)
    if named:
        return Path(os.path.expanduser(named))  # noqa: PTH111 - an unknown user stays as it is
    return Path.home() / ".cloudq" / side / "config.ini"


def _address(ini: Ini) -> StoreAddress:
    endpoint_url = ini.text("default", "cloudq_endpoint_url", "")
    if endpoint_url and not endpoint_url.lower().startswith(("https://", "http://", "file:///")):
        raise ini.fault("default", "cloudq_endpoint_url", "https://…, http://…, file:///… or nothing (AWS)")
    bucket = ini.text("default", "cloudq_bucket")
    if "/" in bucket or bucket in (".", ".."):
        raise ini.fault("default", "cloudq_bucket", "the name of a bucket")
    return StoreAddress(endpoint_url, bucket, ini.text("default", "aws_profile", "default"))


def _prefix(ini: Ini) -> str:
    prefix = ini.text("default", "cloudq_prefix", "").strip("/")
    if any(part in ("", ".", "..") for part in prefix.split("/")) and prefix:
        raise ini.fault("default", "cloudq_prefix", "a key prefix such as team/project")
    return f"{prefix}/" if prefix else ""


def _registries(ini: Ini) -> tuple[Registry, ...]:
    """Read the sections `registry:NAME`. The files are looked at only when an image is pulled."""
    registries = []
    for section in (section for section in ini.values if section.startswith("registry:")):
        host, auth_file = ini.text(section, "host").lower(), ini.beside(section, "authfile")
        if "/" in host:
            raise ini.fault(section, "host", "the host of a registry, such as nvcr.io or 127.0.0.1:5000")
        if auth_file is None:
            raise ini.fault(section, "authfile", "a file in the form of Docker's config.json")
        registries.append(Registry(host, str(auth_file)))
    return tuple(registries)


def _load_definitions(file: Optional[Path]) -> Definitions:
    if file is None:
        return no_definitions()
    try:
        return parse_definitions(file.read_text(encoding="utf-8"), str(file))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read as UTF-8 text: {error}") from error
