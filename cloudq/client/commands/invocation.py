"""What every command of `cloudqcli` shares: its options, the configuration, the bucket, the ids given."""

from __future__ import annotations

import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

import click

from cloudq import LOG_LEVELS
from cloudq.cli import Command, config_option, log_to_stderr, remember, remembered
from cloudq.errors import InputError

if TYPE_CHECKING:
    from cloudq.bundle import Bundles
    from cloudq.config import ClientConfig


def common_options(command: Command) -> Command:
    """Add `--config` and `--log-level`, which may stand before the command's name and after it."""
    log_level = click.option(
        "--log-level",
        type=click.Choice(LOG_LEVELS, case_sensitive=False),
        metavar="LEVEL",
        expose_value=False,
        callback=remember,
        help=f"What is told on stderr: {', '.join(LOG_LEVELS)}; instead of log_level in the configuration.",
    )
    decorated: Command = config_option(log_level(command))
    return decorated


def id_options(command: Command) -> Command:
    """Add the id of one job, as an argument or as `--id`."""
    argument = click.argument("job_id", metavar="[ID]", required=False)
    option = click.option("--id", "id_option", metavar="ID", help="The job, if not given as an argument.")
    decorated: Command = argument(option(command))
    return decorated


def ids_options(command: Command) -> Command:
    """Add the ids of any number of jobs, as arguments or as `--id`."""
    argument = click.argument("job_ids", metavar="[ID]...", nargs=-1)
    option = click.option("--id", "id_options", metavar="ID", multiple=True, help="A job; repeatable.")
    decorated: Command = argument(option(command))
    return decorated


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


def config_file() -> Path:
    """Return the configuration file that counts."""
    from cloudq.config import client_config_file

    return client_config_file(remembered("config_file"))


def load_config() -> ClientConfig:
    """Read the configuration, and send the log to stderr at the level that counts."""
    from cloudq.config import load_client_config

    log_to_stderr(remembered("log_level"))
    config = load_client_config(config_file())
    log_to_stderr(remembered("log_level") or config.log_level)
    return config


def open_bundles(config: ClientConfig) -> Bundles:
    """Open the bucket of a configuration."""
    from cloudq.bundle import Bundles
    from cloudq.store import open_store

    return Bundles(open_store(config.store), config.prefix)


def open_configured() -> Bundles:
    """Read the configuration and open its bucket."""
    return open_bundles(load_config())


def the_one(argument: Any, option: Any, missing: str, name: str) -> Any:
    """Return what was given, as an argument or as the option of this name, and not as both."""
    if argument and option:
        raise InputError(f"expected {name} or an argument, got both: {option} and {argument}")
    if not (argument or option):
        raise InputError(missing)
    return argument or option


def one_id(argument: Optional[str], option: Optional[str]) -> str:
    """Return the one id that was given."""
    job_id: str = the_one(argument, option, "Job ID is not specified.", "--id")
    return job_id


def all_ids(arguments: tuple[str, ...], options: tuple[str, ...]) -> tuple[str, ...]:
    """Return the ids that were given, at least one; `-` stands for those on stdin."""
    given = arguments + options
    if not given:
        raise InputError("Job ID is not specified.")
    if "-" not in given:
        return given
    if given.count("-") > 1:
        raise InputError("-: expected once, as stdin can be read once")
    place = given.index("-")
    found = tuple(sys.stdin.read().split())
    return (*given[:place], *found, *given[place + 1 :])


def find_id(bundles: Bundles, config: ClientConfig, text: str) -> str:
    """Return the id that a text stands for: the beginning of one, or `@last`.

    Raises:
        NoSuchJobError: There is none.
        InputError: There are several.
    """
    from cloudq.client import recollection

    return recollection.find_id(bundles, config, text)


def present() -> datetime:
    """Return the time it is."""
    return datetime.now(timezone.utc)
