"""The command `cloudqcli`."""

from __future__ import annotations

import click

from cloudq.cli import CONTEXT_SETTINGS, EXIT_STATUSES, ErrorReportingGroup, version_option
from cloudq.client.changes import cancel, delete, init, submit
from cloudq.client.invocation import common_options
from cloudq.client.maintenance import requeue
from cloudq.client.queries import history, list_jobs, log, stageout, stat, translate_script

_EPILOG = (
    "Exit status: " + "; ".join(f"{status} {meaning}" for status, meaning in EXIT_STATUSES.items()) + "."
)


@click.group(cls=ErrorReportingGroup, context_settings=CONTEXT_SETTINGS, epilog=_EPILOG)
@common_options
@version_option
def main() -> None:
    """CloudQ: submit jobs to agents on clusters, through a bucket.

    Ids may be shortened as long as they are unique.
    """


for command in (
    submit,
    translate_script,
    stat,
    log,
    cancel,
    stageout,
    delete,
    list_jobs,
    history,
    requeue,
    init,
):
    main.add_command(command)
