"""The command `cloudqd`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Optional

import click

from cloudq import LOG_LEVELS
from cloudq.agentconfig import AgentConfig, agent_config_file, load_agent_config
from cloudq.cli import (
    CONTEXT_SETTINGS,
    ErrorReportingGroup,
    bucket_options,
    config_option,
    remembered,
    version_option,
)
from cloudq.errors import InputError


@click.group(
    cls=ErrorReportingGroup,
    context_settings=CONTEXT_SETTINGS,
    invoke_without_command=True,
    epilog="Without a command: one pass over the bucket, then exit.",
)
@click.option("--daemon", is_flag=True, help="Detach and make passes until `cloudqd stop`.")
@click.option(
    "--foreground", is_flag=True, help="Make passes until SIGTERM, without detaching (for systemd)."
)
@click.option(
    "--log-level", type=click.Choice(LOG_LEVELS, case_sensitive=False), help="Instead of log_level."
)
@config_option
@version_option
@click.pass_context
def main(
    ctx: click.Context,
    *,
    daemon: bool,
    foreground: bool,
    log_level: Optional[str],
) -> None:
    """CloudQ's agent: takes jobs from the bucket and runs them on this system's scheduler."""
    if ctx.invoked_subcommand is not None:
        return
    if daemon and foreground:
        raise InputError("--daemon: not allowed with --foreground")
    config = _load(log_level)
    from cloudq.agent.daemon import detaching, service

    if daemon:
        other = detaching.detach(config)
        if other:
            click.echo(f"Standing by: {other}.")
    elif foreground:
        service.run_forever(config, foreground=True)
    else:
        service.run_once(config)
        click.echo("Agent succeeded.")


@main.command()
@click.option(
    "--timeout", type=click.IntRange(min=1), default=60, help="Seconds to wait until it has stopped."
)
@config_option
def stop(*, timeout: int) -> None:
    """Stop the agent on this host; running jobs go on."""

    from cloudq.agent.daemon import solitude

    config = _load()
    pid = solitude.stop_agent(config, timedelta(seconds=timeout))
    click.echo(f"Agent {config.name} (pid {pid}) has stopped.")


@main.command()
@config_option
@click.pass_context
def status(ctx: click.Context) -> None:
    """Say whether the agent runs; exit status 1 if it does not."""
    from cloudq.agent.daemon import solitude
    from cloudq.agent.folders import Folders

    config = _load()
    folders = Folders(config.directory, config.name)
    pid, host = solitude.read_pid(folders)
    if solitude.is_running(folders):
        click.echo(f"Agent {config.name} is running: pid {pid} on {host}, log {folders.agent_log}")
    else:
        click.echo(f"Agent {config.name} is not running, log {folders.agent_log}")
        ctx.exit(1)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@config_option
@click.pass_context
def doctor(ctx: click.Context, *, as_json: bool) -> None:
    """Look at everything that an agent needs; exit status 1 if something does not work."""
    from cloudq.agent.daemon.doctor import Machine, examine
    from cloudq.doctor import tell

    findings = examine(agent_config_file(remembered("config_file")), Machine())
    ctx.exit(0 if tell(findings, as_json=as_json) else 1)


@main.command()
@click.option("--name", metavar="NAME", help="The name of this system.")
@click.option(
    "--type",
    metavar="TYPE",
    help="Its scheduler: slurm, pbs, gridengine, abci, or local for processes of this host.",
)
@bucket_options
@click.option("--daemon-interval", metavar="SECONDS", help="Pause between two looks at the bucket.")
@click.option("--directory", metavar="PATH", help="Folder of work folders and logs, seen by all nodes.")
@click.option("--force", is_flag=True, help="Replace a configuration file that exists.")
@config_option
def init(*, force: bool, **given: Optional[str]) -> None:
    """Write the configuration file; asks for what is not given, unless the first four are."""
    from cloudq.agent.schedulers import open_scheduler
    from cloudq.setup import AGENT_QUESTIONS, answered, refuse_to_replace, write_config

    place = agent_config_file(remembered("config_file"))
    refuse_to_replace(place, force=force)

    def check(file: Path) -> None:
        open_scheduler(load_agent_config(file).scheduler, root=file.parent)

    def write(values: Mapping[str, str]) -> list[Path]:
        return write_config(place, "agent-config.ini", values, force=force, check=check)

    for file in answered(AGENT_QUESTIONS, given, write):
        click.echo(f"Saved as {file}.")


def _load(log_level: Optional[str] = None) -> AgentConfig:
    from dataclasses import replace

    config = load_agent_config(agent_config_file(remembered("config_file")))
    return config if log_level is None else replace(config, log_level=log_level.upper())
