"""The agent's configuration file, read once, checked, and turned into a frozen value."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Optional

from cloudq import LOG_LEVELS
from cloudq.config import config_file, key_prefix, open_ini, store_address
from cloudq.ini import Ini
from cloudq.job import is_job_id
from cloudq.notices import Notices, read_notices
from cloudq.policy import Policy, read_copy_places, read_policy
from cloudq.store import StoreAddress
from cloudq.system import ANY, Registry

DETECT = "auto"
CONTAINER_RUNTIMES = (DETECT, "none", "apptainer", "singularity", "podman", "docker", "charliecloud")

_QUEUE_URL = re.compile(r"https?://[^/\s]+/[^\s?#]+\Z", re.IGNORECASE)


@dataclass(frozen=True)
class AgentConfig:
    """What `cloudqd` is told.

    Attributes:
        file: The file it was read from, absolute.
        name: The system's name.
        store: Where the bucket is.
        prefix: Empty, or the key prefix of everything, ending in `/`.
        log_level: Name of a level of Python's logging.
        scheduler: The kind of scheduler (`type`).
        transfers: Jobs whose files are staged at the same time, and as many that are submitted (`num_procs`).
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
        events_queue_url: The SQS queue that the bucket tells of new objects; empty for none.
    """

    file: Path
    name: str
    store: StoreAddress
    prefix: str
    log_level: str
    scheduler: str
    transfers: int
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
    events_queue_url: str = ""

    @property
    def bucket(self) -> str:
        """The bucket and the prefix, as signatures name them."""
        return f"{self.store.bucket}/{self.prefix}"

    @property
    def template_folder(self) -> Path:
        """The site's own templates: `templates` beside the file; it need not be there."""
        return self.file.parent / "templates"

    @property
    def image_cache(self) -> Path:
        """The folder of the images that all jobs share."""
        return self.container_cache or self.directory / "images"


def agent_config_file(given: Optional[Path] = None) -> Path:
    """Return the agent's configuration file: the one given, `$CLOUDQ_CONFIG`, or the usual one."""
    return config_file(given, "agent")


def load_agent_config(file: Path) -> AgentConfig:
    """Read an agent's configuration.

    Raises:
        ConfigError: With file, section, key, value, and what was expected.
    """
    ini = open_ini(file, "cloudqd init")
    name = ini.text("default", "name")
    if not is_job_id(name) or name.upper() == ANY:
        raise ini.fault("default", "name", "letters, digits, '.', '_' and '-', and not ANY")
    directory = ini.path("agent", "cloudq_directory", "~/.cloudq").absolute()
    policy, allowed_signers = read_policy(ini), ini.file_beside("agent", "allowed_signers")
    if policy.principals is not None and allowed_signers is None:
        raise ini.fault("policy", "principals", "a file allowed_signers in [agent], too")
    return AgentConfig(
        # The daemon leaves the directory that a relative path counts from.
        file=file.absolute(),
        name=name,
        store=store_address(ini),
        prefix=key_prefix(ini),
        log_level=ini.choice("default", "log_level", LOG_LEVELS, "INFO"),
        scheduler=ini.text("agent", "type").lower(),
        transfers=ini.whole("agent", "num_procs", 8, minimum=1),
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
        events_queue_url=_queue_url(ini),
    )


def _queue_url(ini: Ini) -> str:
    url = ini.text("agent", "events_queue_url", " ").strip()
    if url and not _QUEUE_URL.match(url):
        raise ini.fault("agent", "events_queue_url", "the URL of an SQS queue, https://HOST/ACCOUNT/NAME")
    return url


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
