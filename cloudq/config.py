"""Configuration files: read once, checked, and turned into frozen values; the agent's is in `agentconfig`."""

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
from cloudq.notices import Notices, read_notices
from cloudq.store import StoreAddress
from cloudq.system import Definitions, no_definitions, parse_definitions

ENVIRONMENT_VARIABLE = "CLOUDQ_CONFIG"

# The keys of both sides, as 1.2 had them in one file; None for a section of names that are the user's own.
_KEYS: Mapping[str, Optional[tuple[str, ...]]] = {
    "default": (
        "name", "aws_profile", "cloudq_endpoint_url", "cloudq_bucket", "cloudq_prefix", "log_level",
    ),
    "client": (
        "project_profile", "resource_profile", "notify_command", "notify_url", "signing_key", "expires_after",
        "dedup",
    ),
    "agent": (
        "type", "num_procs", "daemon_interval", "idle_interval", "sweep_interval", "heartbeat_interval",
        "cloudq_directory", "any_max_pending", "any_delay", "lost_after", "command_timeout", "slots",
        "container_runtime", "container_cache", "container_pull", "copy_places", "copy_profile",
        "notify_command", "notify_url", "idle_minutes", "term_file", "end_file", "allowed_signers",
        "events_queue_url",
    ),
    "policy": (
        "principals", "projects", "resources", "longest_walltime", "most_tasks", "local_scripts",
        "scheduler_options", "containers_only", "images", "largest_input",
    ),
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
        dedup: Whether large inputs that are in the bucket already are not sent again.
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
    dedup: bool = True

    @property
    def bucket(self) -> str:
        """The bucket and the prefix, as signatures name them."""
        return f"{self.store.bucket}/{self.prefix}"


def client_config_file(given: Optional[Path] = None) -> Path:
    """Return the client's configuration file: the one given, `$CLOUDQ_CONFIG`, or the usual one."""
    return config_file(given, "client")


def load_client_config(file: Path) -> ClientConfig:
    """Read a client's configuration and its project and resource files.

    Raises:
        ConfigError: With file, section, key, value, and what was expected.
    """
    ini = open_ini(file, "cloudqcli init")
    project_file = ini.file_beside("client", "project_profile")
    resource_file = ini.file_beside("client", "resource_profile")
    return ClientConfig(
        file=file,
        store=store_address(ini),
        prefix=key_prefix(ini),
        log_level=ini.choice("default", "log_level", LOG_LEVELS, "INFO"),
        projects=_load_definitions(project_file),
        resources=_load_definitions(resource_file),
        project_file=project_file,
        resource_file=resource_file,
        notices=read_notices(ini, "client"),
        signing_key=ini.file_beside("client", "signing_key"),
        expires_after=ini.seconds("client", "expires_after", 7 * 24 * 3600, minimum=1),
        dedup=ini.choice("client", "dedup", ("auto", "never"), "auto") == "auto",
    )


def open_ini(file: Path, init_command: str) -> Ini:
    ini = Ini.load(file, init_command)
    ini.check_keys(_KEYS)
    return ini


def config_file(given: Optional[Path], side: str) -> Path:
    if given is not None:
        return given
    named = os.environ.get(ENVIRONMENT_VARIABLE)
    if named:
        return Path(os.path.expanduser(named))  # noqa: PTH111 - an unknown user stays as it is
    return Path.home() / ".cloudq" / side / "config.ini"


def store_address(ini: Ini) -> StoreAddress:
    endpoint_url = ini.text("default", "cloudq_endpoint_url", "")
    if endpoint_url and not endpoint_url.lower().startswith(("https://", "http://", "file:///")):
        raise ini.fault("default", "cloudq_endpoint_url", "https://…, http://…, file:///… or nothing (AWS)")
    bucket = ini.text("default", "cloudq_bucket")
    if "/" in bucket or bucket in (".", ".."):
        raise ini.fault("default", "cloudq_bucket", "the name of a bucket")
    return StoreAddress(endpoint_url, bucket, ini.text("default", "aws_profile", "default"))


def key_prefix(ini: Ini) -> str:
    prefix = ini.text("default", "cloudq_prefix", "").strip("/")
    if any(part in ("", ".", "..") for part in prefix.split("/")) and prefix:
        raise ini.fault("default", "cloudq_prefix", "a key prefix such as team/project")
    return f"{prefix}/" if prefix else ""


def _load_definitions(file: Optional[Path]) -> Definitions:
    if file is None:
        return no_definitions()
    try:
        return parse_definitions(file.read_text(encoding="utf-8"), str(file))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read as UTF-8 text: {error}") from error
