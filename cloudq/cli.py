"""What the three commands share: errors as one line, exit statuses, options with `_` or `-`."""

from __future__ import annotations

import errno
import logging
import sys
from pathlib import Path
from typing import Any, Callable, Optional, TypeVar

import click

import cloudq
from cloudq.errors import CloudQError

EXIT_STATUSES = {
    0: "done",
    1: "failed",
    2: "wrong usage, or a script or value that was refused",
    3: "no such job",
    4: "the store cannot be reached, or refuses",
    124: "the time limit was over",
    130: "interrupted by Ctrl-C",
}

CONTEXT_SETTINGS = {
    "help_option_names": ["-h", "--help"],
    # 1.2 writes --submit_to, the field writes --submit-to: both are the same option.
    "token_normalize_func": lambda token: token.replace("_", "-"),
}

INTERRUPTED = 130
"""128 and the number of SIGINT, as of a program that the signal has ended."""

_META = "cloudq."

Command = TypeVar("Command", bound=Callable[..., Any])


class ErrorReportingGroup(click.Group):
    """A command group whose deliberate errors end as `Error: …` and `Hint: …` on stderr."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[Optional[str], Optional[click.Command], list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from difflib import get_close_matches

            close = get_close_matches(args[0], self.list_commands(ctx), n=1)
            if not close or "mean" in error.message:  # later clicks may say it themselves
                raise
            raise click.UsageError(f"{error.message} Did you mean {close[0]!r}?", ctx) from error

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except CloudQError as error:
            report_error(error)
            ctx.exit(error.exit_status)
        except KeyboardInterrupt:
            click.echo("\nInterrupted.", err=True)
            ctx.exit(INTERRUPTED)
        except OSError as error:
            if error.errno == errno.EPIPE:  # the reader of our output went away: click's business
                raise
            place = f"{error.filename}: " if error.filename else ""
            report_error(CloudQError(f"{place}{error.strerror or error}"))
            ctx.exit(CloudQError.exit_status)


def loaded(group: click.Group) -> dict[str, click.Command]:
    """Return all commands of a group by name, also of one that loads them when they are called."""
    context = click.Context(group)
    found = ((name, group.get_command(context, name)) for name in group.list_commands(context))
    return {name: command for name, command in found if command is not None}


def report_error(error: CloudQError) -> None:
    """Say on stderr what went wrong, with a traceback only at level DEBUG."""
    logger = logging.getLogger("cloudq")
    if logger.isEnabledFor(logging.DEBUG):
        logger.debug("the error in full", exc_info=error)
    click.echo(f"Error: {printable(str(error))}", err=True)
    if error.hint:
        click.echo(f"Hint: {printable(error.hint)}", err=True)


def printable(text: str) -> str:
    """Write a text so that it cannot act on a terminal, whatever file or job it quotes; lines stay lines."""
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


def version_option(command: Command) -> Command:
    """Add `--version`."""
    decorated: Command = click.version_option(cloudq.__version__, message="%(prog)s %(version)s")(command)
    return decorated


def remember(ctx: click.Context, param: click.Parameter, value: object) -> None:
    """Keep an option of the group or of a command (a callback); what stands after the command counts."""
    if value is not None:
        ctx.meta[f"{_META}{param.name}"] = value


def remembered(name: str) -> Any:
    """Return the option of this parameter name that counts, None if it was not given."""
    return click.get_current_context().meta.get(f"{_META}{name}")


def bucket_options(command: Command) -> Command:
    """Add what an `init` is told of the bucket: `--endpoint-url`, `--bucket`, `--prefix` and `--profile`."""
    for option in (
        click.option("--profile", metavar="PROFILE", help="Profile of the AWS configuration files."),
        click.option(
            "--prefix", metavar="PREFIX", help="Key prefix of everything; empty for the whole bucket."
        ),
        click.option("--bucket", metavar="BUCKET", help="The bucket, which must exist."),
        click.option("--endpoint-url", metavar="URL", help="URL of the S3 server; empty for Amazon S3."),
    ):
        command = option(command)
    return command


def config_option(command: Command) -> Command:
    """Add `--config FILE`, which may stand before a command's name and after it: `remembered` has it."""
    decorated: Command = click.option(
        "--config",
        "config_file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        expose_value=False,
        callback=remember,
        help="Configuration file; CLOUDQ_CONFIG names it, too.",
    )(command)
    return decorated


class _PrintableFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def log_to_stderr(level: Optional[str]) -> None:
    """Send CloudQ's log to stderr, at this level (a name); warnings only if none is given."""
    logger = logging.getLogger("cloudq")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_PrintableFormatter("%(levelname)s: %(message)s"))
    logger.handlers[:] = [handler]
    logger.setLevel(level or "WARNING")
