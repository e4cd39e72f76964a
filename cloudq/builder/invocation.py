"""What every command of `cloudqaws` shares: options, the account, the means of one command."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

import click

from cloudq import LOG_LEVELS
from cloudq.cli import Command, config_option, log_to_stderr, remember, remembered
from cloudq.config import client_config_file, load_client_config
from cloudq.errors import ConfigError, InputError

if TYPE_CHECKING:
    from cloudq.builder.aws import Aws
    from cloudq.builder.plan import JobStore
    from cloudq.builder.workshop import Workshop
    from cloudq.bundle import Bundles

INTERVAL_VARIABLE = "CLOUDQ_STACK_CHECK_INTERVAL"
_INTERVAL = 10.0


def account_options(command: Command) -> Command:
    """Add `--profile`, `--region`, `--config` and `--log-level`."""
    profile = click.option(
        "--profile", metavar="PROFILE", expose_value=False, callback=remember,
        help="Profile of the AWS account; the usual default if not given.",
    )  # fmt: skip
    region = click.option(
        "--region", metavar="REGION", expose_value=False, callback=remember,
        help="AWS region; the profile's or the environment's if not given.",
    )  # fmt: skip
    log_level = click.option(
        "--log-level", type=click.Choice(LOG_LEVELS, case_sensitive=False), metavar="LEVEL",
        expose_value=False, callback=remember, help=f"What is told on stderr: {', '.join(LOG_LEVELS)}.",
    )  # fmt: skip
    decorated: Command = profile(region(config_option(log_level(command))))
    return decorated


class Amount(click.FloatRange):
    """A number above nothing; click's own range lets `nan` and `inf` pass."""

    def __init__(self, most: float = 1e9) -> None:
        super().__init__(min=0, min_open=True, max=most)

    def convert(self, value: Any, param: Optional[click.Parameter], ctx: Optional[click.Context]) -> float:
        number = float(super().convert(value, param, ctx))
        if not isfinite(number):
            self.fail(f"{number} is no amount.", param, ctx)
        return number


HOURS = Amount(24 * 365)
name_option = click.option("--name", metavar="NAME", help="The cluster's name.")
name_argument = click.argument("name_argument", metavar="[NAME]", required=False)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


def the_name(option: Optional[str], argument: Optional[str]) -> str:
    """Return the cluster's name, given as `--name` or as an argument. Raises InputError."""
    from cloudq.builder.plan import check_name

    if (option is None) == (argument is None):
        raise InputError("--name: expected one name of a cluster")
    return check_name(option if option is not None else argument or "")


def open_account() -> Aws:
    """Open the account that the options name."""
    from cloudq.builder.aws import open_aws

    log_to_stderr(remembered("log_level"))
    return open_aws(remembered("profile"), remembered("region"))


@contextmanager
def open_workshop(aws: Aws) -> Iterator[Workshop]:
    """Give the means of a command that makes or deletes. Raises ClusterError if there is no pcluster."""
    from cloudq.builder.clusters import Clusters
    from cloudq.builder.pcluster import ParallelCluster, find_pcluster, with_node
    from cloudq.builder.presets import user_folder
    from cloudq.builder.progress import shown_progress
    from cloudq.builder.workshop import Workshop
    from cloudq.process import run_tethered as run

    environment = with_node(aws.environment(), user_folder())
    with signals_interrupt(), tempfile.TemporaryDirectory(prefix="cloudqaws-") as scratch:
        command = find_pcluster(user_folder(), run=run, environment=environment)
        with shown_progress() as progress:
            yield Workshop(
                aws=aws,
                clusters=Clusters(aws),
                pcluster=ParallelCluster(command, aws.region, environment, run),
                progress=progress,
                now=present,
                pause=lambda span: time.sleep(span.total_seconds()),
                interval=_interval(),
                scratch=Path(scratch),
            )


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """Let what ends a program (`kill`, a terminal that closes) interrupt it as Ctrl-C does.

    What is ignored, as by `nohup`, stays so.
    """
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    usual = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]
    for number in usual:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in usual:
            signal.signal(number, signal.SIG_DFL)


def present() -> datetime:
    """Return the time, in UTC."""
    return datetime.now(timezone.utc)


def _interval() -> timedelta:
    """Return the pause between two looks at a stack."""
    text = os.environ.get(INTERVAL_VARIABLE, "")
    try:
        return timedelta(seconds=float(text) if text else _INTERVAL)
    except ValueError as error:
        raise ConfigError(f"{INTERVAL_VARIABLE}: expected seconds, got {text!r}") from error


@dataclass(frozen=True)
class StoreOptions:
    """Where the jobs come from, as the options say; what is None is the client's configuration's."""

    endpoint_url: Optional[str]
    bucket: Optional[str]
    prefix: Optional[str]
    profile: Optional[str]


def client_store(options: StoreOptions) -> StoreOptions:
    """Fill what the options leave out from the client's configuration. Raises InputError, ConfigError."""
    if options.bucket is not None:
        return options
    file = client_config_file(remembered("config_file"))
    if not file.exists():
        raise InputError(
            "--cs-bucket: expected the bucket of the jobs", hint=f"or make {file} with `cloudqcli init`"
        )
    config = load_client_config(file)
    if config.store.endpoint_url.startswith("file:"):
        raise ConfigError(f"{file}: a cluster in AWS cannot reach {config.store.endpoint_url}")
    return StoreOptions(
        endpoint_url=config.store.endpoint_url if options.endpoint_url is None else options.endpoint_url,
        bucket=config.store.bucket,
        prefix=config.prefix if options.prefix is None else options.prefix,
        profile=config.store.profile if options.profile is None else options.profile,
    )


def open_bundles(store: JobStore, profile: Optional[str]) -> Bundles:
    """Open the job bucket of a cluster, with a profile of this computer."""
    from cloudq.bundle import Bundles
    from cloudq.store import StoreAddress, open_store

    if profile is None:
        file = client_config_file(remembered("config_file"))
        profile = load_client_config(file).store.profile if file.exists() else "default"
    return Bundles(open_store(StoreAddress(store.endpoint_url, store.bucket, profile)), store.prefix)


def print_json(value: Mapping[str, Any] | list[Any]) -> None:
    """Print JSON on stdout."""
    import json

    click.echo(json.dumps(value, indent=2, default=str))
