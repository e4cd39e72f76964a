"""`cloudqd doctor`: everything that an agent needs, looked at before it is missed."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Optional

from cloudq.agent.daemon.machine import folder_findings, sharing_finding
from cloudq.agent.daemon.solitude import is_running, read_pid
from cloudq.agent.folders import Folders
from cloudq.agent.queue import Queue
from cloudq.agent.running.images import find_runtime
from cloudq.agent.schedulers import open_scheduler
from cloudq.agentconfig import AgentConfig, load_agent_config
from cloudq.bundle import Bundles, probe_folder
from cloudq.doctor import ConfigCheck
from cloudq.errors import CloudQError, CommandError, ConfigError
from cloudq.finding import Finding, fail, ok, refused, tried, warn
from cloudq.process import Runner, run
from cloudq.signing import check_verifier
from cloudq.store import open_store
from cloudq.store.checks import store_findings, utc_now
from cloudq.store.sqs import EventQueue

UNKNOWN_ID = "1"
"""A native id to ask about: whether the scheduler knows it does not matter."""

SLOW = 10.0
"""Seconds after which an answer of the scheduler is worth a warning."""

_MOUNTS = Path("/proc/mounts")
_USER_NAMESPACES = Path("/proc/sys/user/max_user_namespaces")

# What shows that a runtime works, as far as that can be seen without an image.
_TRIALS: Mapping[str, list[str]] = {
    "apptainer": ["apptainer", "--version"],
    "singularity": ["singularity", "--version"],
    "podman": ["podman", "info", "--format", "podman version {{.Version.Version}}"],
    "docker": ["docker", "info", "--format", "docker version {{.ServerVersion}}"],
    "charliecloud": ["ch-run", "--version"],
}


@dataclass(frozen=True)
class Machine:
    """What the checks ask: commands, time, programs."""

    run: Runner = run
    now: Callable[[], datetime] = utc_now
    find: Callable[[str], Optional[str]] = shutil.which
    seconds: Callable[[], float] = field(default=time.monotonic)


def examine(file: Path, machine: Machine) -> Iterator[Finding]:
    """Yield a finding for each thing that an agent needs."""
    check = ConfigCheck(file, load_agent_config)
    yield from check.findings()
    config = check.config
    if config is None:
        return
    yield from store_findings(config.store, probe_folder(config.prefix), machine.now)
    if config.events_queue_url:
        yield tried("events", lambda: _ask_events(config))
    yield _signatures(config)
    yield _other_agent(config, machine)
    yield from _scheduler(config, machine)
    yield _containers(config, machine)
    yield from folder_findings("cloudq_directory", config.directory)
    if config.image_cache.parent != config.directory:
        yield from folder_findings("container_cache", config.image_cache)
    log = Folders(config.directory, config.name).agent_log.parent
    if log != config.directory:
        yield from folder_findings("log", log)
    mounts = _MOUNTS.read_text(encoding="utf-8", errors="replace") if _MOUNTS.exists() else ""
    yield sharing_finding(config.directory, mounts, needed=config.scheduler != "local")


def _signatures(config: AgentConfig) -> Finding:
    """Tell whose jobs are run; unsigned ones are the default, and not a fault."""
    if config.allowed_signers is None:
        seen = "unsigned mode: whoever can write to the bucket can run commands as this account"
        return ok("signatures", f"{seen} (see allowed_signers)")
    try:
        check_verifier(config.allowed_signers)
    except CloudQError as error:
        return refused("signatures", error)
    return ok("signatures", f"only jobs signed by those in {config.allowed_signers} are run")


def _ask_events(config: AgentConfig) -> str:
    EventQueue(config.events_queue_url, config.store.profile).check()
    return f"{config.events_queue_url} may be asked; that the bucket tells it of jobs is not seen from here"


def _other_agent(config: AgentConfig, machine: Machine) -> Finding:
    folders = Folders(config.directory, config.name)
    pid, host = read_pid(folders)
    try:
        presence = Bundles(open_store(config.store), config.prefix).agents.presence(config.name)
        if is_running(folders):
            said = f"{config.name} runs: pid {pid} on {host}"
            trouble = presence.trouble if presence is not None else ""
            return warn("agent", f"{said}; {trouble}", "see its log") if trouble else ok("agent", said)
    except CloudQError as error:
        return refused("agent", error)
    if presence is None or not presence.alive(machine.now()):
        return ok("agent", f"no agent {config.name} runs")
    return warn(
        "agent",
        f"{config.name} runs elsewhere: pid {presence.pid} on {presence.host}, {presence.directory}",
        "one that is started here stands by; give it another name if both are to work",
    )


def _scheduler(config: AgentConfig, machine: Machine) -> Iterator[Finding]:
    try:
        scheduler = open_scheduler(config.scheduler, root=config.directory / "local", slots=config.slots)
    except ConfigError as error:
        yield refused("scheduler", error)
        return
    queue = Queue(scheduler, machine.run, config.command_timeout)
    command = scheduler.version_command()
    if command is None:
        yield ok("scheduler", f"{scheduler.name}: jobs are processes of this host, {config.slots} at once")
    else:
        yield tried("scheduler", lambda: _first_line(machine, command, config.command_timeout))
    began = machine.seconds()
    try:
        queue.probe()
        faults = queue.poll({UNKNOWN_ID: [None]}).faults
        if faults:
            raise faults[0]
    except CloudQError as error:
        yield fail("queue", str(error), "see that the scheduler's commands work in this shell")
        return
    taken = machine.seconds() - began
    if taken > SLOW:
        yield warn(
            "queue", f"answers, but takes {taken:.0f} s", "the scheduler is overloaded; expect late states"
        )
    else:
        yield ok("queue", f"answers within {taken:.1f} s")
    if queue.scheduler.keeps_accounts:
        yield ok("accounting", "how jobs ended can be asked later")
    else:
        yield warn(
            "accounting",
            "this site keeps no accounts: how a job ended is soon forgotten",
            "keep the agent running; a job that ends while it is away may be told as lost",
        )


def _containers(config: AgentConfig, machine: Machine) -> Finding:
    runtime = find_runtime(config.container_runtime, machine.find)
    if config.container_runtime == "none":
        return ok("containers", "switched off (container_runtime = none)")
    if runtime == "none":
        return warn("containers", "no runtime is on the PATH", "load or install one: apptainer, podman, ...")
    try:
        said = _first_line(machine, _TRIALS[runtime], config.command_timeout)
    except CommandError as error:
        return fail("containers", f"{runtime}: {error}", "mend it, or set container_runtime to another one")
    if runtime in ("apptainer", "charliecloud") and _reads_zero(_USER_NAMESPACES):
        return warn(
            "containers", f"{said}, but user namespaces are switched off", "ask the site's administrators"
        )
    return ok("containers", f"{said} (on this host; the nodes may have another)")


def _first_line(machine: Machine, command: list[str], timeout: timedelta) -> str:
    done = machine.run(command, timeout=timeout)
    lines = (done.stdout.strip() or done.stderr.strip() or "no version told").splitlines()
    return lines[0].strip()


def _reads_zero(file: Path) -> bool:
    return file.exists() and file.read_text(encoding="ascii").strip() == "0"
