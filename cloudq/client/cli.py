"""The command `cloudqcli`."""

from __future__ import annotations

import click

from cloudq.cli import CONTEXT_SETTINGS, EXIT_STATUSES, ErrorReportingGroup, version_option
from cloudq.client.changes import cancel, delete, init
from cloudq.client.completing import completion
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
    history, systems, requeue, doctor, completion, init,
)  # fmt: skip
# One for each command; the help and the manual page show it.
EXAMPLES = {
    "submit": "cloudqcli submit job.sh --input data -D walltime=2:00:00 -- --epochs 10",
    "run": "cloudqcli run --input data job.sh --epochs 10",
    "resubmit": "cloudqcli resubmit 3f7e --failed -D walltime=4:00:00",
    "translate": "cloudqcli translate --to abci job.sh",
    "stat": "cloudqcli stat --events @last",
    "why": "cloudqcli why @last",
    "log": "cloudqcli log -f --tail 20 @last",
    "wait": "cloudqcli wait 3f7e 91ab --timeout 2h",
    "cancel": "cloudqcli list --name 'sweep*' --ids | cloudqcli cancel -y -",
    "stageout": "cloudqcli stageout 3f7e 'results/*.csv'",
    "delete": "cloudqcli history --older 30d --ids | cloudqcli delete -y -",
    "list": "cloudqcli list --state RUN --system abci --watch",
    "history": "cloudqcli history --newer 1d --json",
    "systems": "cloudqcli systems --json",
    "requeue": "cloudqcli requeue 3f7e --to ANY",
    "doctor": "cloudqcli doctor",
    "completion": 'eval "$(cloudqcli completion bash)"',
    "init": "cloudqcli init --endpoint-url https://s3.example.org --bucket cloudq",
}

for command in COMMANDS:
    command.epilog = f"\b\nExample:\n  {EXAMPLES[command.name or '']}"
    main.add_command(command)
