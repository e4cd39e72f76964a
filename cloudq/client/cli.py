"""The command `cloudqcli`: its commands by name, each loaded when it is called."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Optional

import click

from cloudq.cli import CONTEXT_SETTINGS, EXIT_STATUSES, ErrorReportingGroup, version_option
from cloudq.client.commands.invocation import common_options

_EPILOG = (
    "Exit status: " + "; ".join(f"{status} {meaning}" for status, meaning in EXIT_STATUSES.items()) + "."
)

# Name -> module, name in it, and the first sentence of its help, so that the list of all loads none of them.
COMMANDS: Mapping[str, tuple[str, str, str]] = {
    "submit": (
        "submitting",
        "submit",
        "Submit a script: a meta script, or with --submit-to one of a system's own.",
    ),
    "run": (
        "submitting",
        "run",
        "Submit a script, show what it prints, fetch its outputs, and end with its exit status.",
    ),
    "resubmit": (
        "submitting",
        "resubmit",
        "Submit jobs once more, as new jobs, with the same script, inputs and options.",
    ),
    "translate": (
        "queries",
        "translate_script",
        "Print what SYSTEM's agent would submit for a meta script, without submitting it.",
    ),
    "stat": ("queries", "stat", "Show everything that is recorded of a job."),
    "why": ("queries", "why", "Say in words why a job waits, or how it ended and whose fault that was."),
    "log": ("reading", "log", "Show what a job has printed, also while it runs."),
    "wait": ("waiting", "wait", "Wait until jobs have ended; exit status 0 if all that ended are DONE."),
    "cancel": ("changes", "cancel", "Ask for jobs to be cancelled."),
    "stageout": (
        "queries",
        "stageout",
        "Fetch a job's outputs and logs into a folder named as the job; only some of them: 'results/*.csv'.",
    ),
    "delete": ("changes", "delete", "Delete jobs that have ended."),
    "list": ("listings", "list_jobs", "List the jobs that have not ended."),
    "history": ("listings", "history", "List the jobs that have ended."),
    "systems": (
        "queries",
        "systems",
        "Show the systems: their agents, what they accept, how much they have to do.",
    ),
    "requeue": ("maintenance", "requeue", "Run jobs once more whose agent is gone for good."),
    "doctor": (
        "maintenance",
        "doctor",
        "Look at everything that a client needs; exit status 1 if something does not work.",
    ),
    "completion": (
        "completing",
        "completion",
        "Print a script that completes commands, options, ids and systems in a shell.",
    ),
    "init": (
        "changes",
        "init",
        "Write the configuration file; asks for what is not given, unless URL and bucket are.",
    ),
}

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


class _Commands(ErrorReportingGroup):
    """A group that loads a command when it is called: only then its modules are read."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return all names, in order."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> Optional[click.Command]:  # noqa: ARG002
        """Load one."""
        if cmd_name not in COMMANDS:
            return None
        module, name, _ = COMMANDS[cmd_name]
        command: click.Command = getattr(import_module(f"cloudq.client.commands.{module}"), name)
        command.epilog = f"\b\nExample:\n  {EXAMPLES[cmd_name]}"
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][2]) for name in self.list_commands(ctx)])


@click.group(cls=_Commands, context_settings=CONTEXT_SETTINGS, epilog=_EPILOG)
@common_options
@version_option
def main() -> None:
    """CloudQ: submit jobs to agents on clusters, through a bucket.

    Ids may be shortened as long as they are unique.
    """
