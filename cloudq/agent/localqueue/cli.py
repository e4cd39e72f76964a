"""The command line of the local queue: submit, status, find, cancel; and the supervisor."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Optional

from cloudq.agent.localqueue.answer import render_answer
from cloudq.agent.localqueue.liveness import is_alive
from cloudq.agent.localqueue.options import head_options, parse_walltime
from cloudq.agent.localqueue.record import GRACE, Record
from cloudq.agent.localqueue.spool import Spool
from cloudq.agent.localqueue.supervisor import is_supervised, supervise
from cloudq.agent.localqueue.task import run_task
from cloudq.agent.schedulers.base import TaskStatuses
from cloudq.errors import CloudQError, InputError, NoSuchJobError
from cloudq.job import ArrayRange
from cloudq.process import fork, start, without_credentials

_PROGRAM = Path(__file__).parent  # see __main__


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run one command; return its exit status: 1 if it cannot be done, 2 if it was asked wrongly."""
    options = _parser().parse_args(arguments)
    spool = Spool(options.root)
    try:
        spool.prepare(options.slots)
        options.command(spool, options)
    except InputError as error:
        return _refuse(error, 2)
    except (CloudQError, OSError) as error:
        return _refuse(error, 1)
    return 0


def _refuse(error: Exception, status: int) -> int:
    sys.stderr.write(f"localqueue: {error}\n")
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="localqueue", description="A small batch system for one host.")
    parser.add_argument("--root", type=Path, required=True, help="directory of all records")
    parser.add_argument("--slots", type=int, default=1, help="how many tasks run at once")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    submit = commands.add_parser("submit", help="record a job and print its id")
    submit.add_argument("--tag", required=True, help="what the job can be found by")
    submit.add_argument("--chdir", type=Path, required=True, help="where it runs")
    submit.add_argument("--output", type=Path, required=True, help="stdout; `.TASK` is appended")
    submit.add_argument("--error", type=Path, required=True, help="stderr; `.TASK` is appended")
    submit.add_argument("--array", help="the tasks, such as 1-10:2%%4")
    submit.add_argument("--option", action="append", default=[], help="--option=--walltime=SECONDS")
    submit.add_argument(
        "--grace", type=float, default=GRACE.total_seconds(), help="seconds from TERM to KILL"
    )
    submit.add_argument("script", type=Path)
    submit.set_defaults(command=_submit)

    status = commands.add_parser("status", help="print how jobs stand, as JSON")
    status.add_argument("job_ids", type=int, nargs="+")
    status.set_defaults(command=_status)

    find = commands.add_parser("find", help="print the id of the job with a tag")
    find.add_argument("--tag", required=True)
    find.set_defaults(command=_find)

    cancel = commands.add_parser("cancel", help="cancel a job with all its tasks")
    cancel.add_argument("job_id", type=int)
    cancel.set_defaults(command=_cancel)

    commands.add_parser("supervise", help="(inner) start what waits").set_defaults(command=_supervise)
    return parser


def _submit(spool: Spool, options: argparse.Namespace) -> None:
    script = _read_script(options.script)
    spool.forget_old(datetime.now(timezone.utc))
    record = Record(
        script=options.script.absolute(),
        work_dir=options.chdir.absolute(),
        stdout=options.output.absolute(),
        stderr=options.error.absolute(),
        tag=options.tag,
        array_range=ArrayRange.parse(options.array) if options.array else None,
        walltime=parse_walltime([*head_options(script), *options.option]),
        grace=timedelta(seconds=options.grace),
    )
    job_id = spool.add(record, without_credentials(os.environ))
    _ensure_supervisor(spool)
    sys.stdout.write(f"{job_id}\n")


def _read_script(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error


def _status(spool: Spool, options: argparse.Namespace) -> None:
    known = _known(spool, options.job_ids)
    if any(map(spool.is_live, known)):
        _ensure_supervisor(spool)
    sys.stdout.write(render_answer({str(job_id): tasks for job_id, tasks in known.items()}) + "\n")


def _known(spool: Spool, job_ids: Sequence[int]) -> dict[int, TaskStatuses]:
    """Ask for several jobs; unknown ones are left out, but a single one is an error."""
    known: dict[int, TaskStatuses] = {}
    for job_id in job_ids:
        try:
            known[job_id] = spool.statuses(job_id)
        except NoSuchJobError:
            if len(job_ids) == 1:
                raise
    return known


def _find(spool: Spool, options: argparse.Namespace) -> None:
    for job_id in reversed(spool.job_ids()):
        try:
            found = spool.load(job_id).tag == options.tag
        except NoSuchJobError:
            continue
        if found:
            sys.stdout.write(f"{job_id}\n")
            return


def _cancel(spool: Spool, options: argparse.Namespace) -> None:
    """Write the cancel down first: a task that starts now sees that, one that has started is signalled."""
    task_ids = spool.load(options.job_id).task_ids
    if not spool.is_live(options.job_id):
        return
    spool.cancel(options.job_id)
    for task_id in task_ids:
        _stop(spool, options.job_id, task_id)
    _ensure_supervisor(spool)


def _stop(spool: Spool, job_id: int, task_id: Optional[int]) -> None:
    started = spool.start(job_id, task_id)
    if not started or spool.end(job_id, task_id):
        return
    if is_alive(started.pid, started.birth):
        os.kill(started.pid, signal.SIGTERM)
    elif started.script_pid and is_alive(started.script_pid, started.script_birth):
        os.killpg(started.script_pid, signal.SIGKILL)


def _supervise(spool: Spool, _: argparse.Namespace) -> None:
    supervise(spool, lambda job_id, task_id: fork(lambda: run_task(spool, job_id, task_id), log=spool.log))


def _ensure_supervisor(spool: Spool) -> None:
    if is_supervised(spool):
        spool.wake()
    else:
        _start_supervisor(spool)


def _start_supervisor(spool: Spool) -> None:
    argv = [
        sys.executable,
        str(_PROGRAM),
        "--root",
        str(spool.root),
        "--slots",
        str(spool.slots()),
        "supervise",
    ]
    with os.fdopen(os.open(spool.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as log:
        start(argv, cwd=spool.root, stdout=log, stderr=log, environment=without_credentials(os.environ))
