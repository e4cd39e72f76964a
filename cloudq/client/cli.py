"""The command `cloudqcli`."""

from __future__ import annotations

import click

from cloudq.cli import CONTEXT_SETTINGS, EXIT_STATUSES, ErrorReportingGroup, version_option
from cloudq.client.changes import cancel, delete, init
from cloudq.client.invocation import common_options
from cloudq.client.listings import history, list_jobs
from cloudq.client.maintenance import doctor, requeue
from cloudq.client.queries import stageout, stat, systems, translate_script, why
from cloudq.client.reading import log
from cloudq.client.submitting import resubmit, run, submit
from cloudq.client.waiting import wait

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


COMMANDS = (
    submit, run, resubmit, translate_script, stat, why, log, wait, cancel, stageout, delete, list_jobs,
    history, systems, requeue, doctor, init,
)  # fmt: skip
for command in COMMANDS:
    main.add_command(command)
