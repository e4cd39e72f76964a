"""The command `cloudqaws`."""

from __future__ import annotations

import click

from cloudq.builder.autoscaling import autoscale
from cloudq.builder.making import create, preset, setup
from cloudq.builder.managing import delete, extend, list_clusters, reap
from cloudq.builder.policy import policy
from cloudq.cli import CONTEXT_SETTINGS, ErrorReportingGroup, version_option


@click.group(cls=ErrorReportingGroup, context_settings=CONTEXT_SETTINGS)
@version_option
def main() -> None:
    """CloudQ in AWS: a Slurm cluster for an afternoon, and no bill after it."""


for command in (create, list_clusters, delete, extend, reap, autoscale, preset, setup, policy):
    main.add_command(command)
