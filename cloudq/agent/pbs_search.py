"""A program that looks for the PBS job that was submitted in a directory: `-m cloudq.agent.pbs_search DIR`.

qselect can choose the jobs of a user, but tells only their ids; qstat tells everything, but of all users.
"""

from __future__ import annotations

import getpass
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from cloudq.agent.schedulers.pbs import IDS_PER_COMMAND, QSTAT, Pbs
from cloudq.agent.schedulers.pbs_parse import find_by_directory, load_jobs
from cloudq.errors import CloudQError, CommandError
from cloudq.process import Runner, run


def search(work_dir: Path, user: str, run: Runner) -> Optional[str]:
    """Return the native id of the user's job of a directory, None if the server knows none.

    What is in the queue is looked through first, then the history, if the server keeps one.

    Raises:
        CommandError, SchedulerOutputError: The server cannot be asked.
    """
    for history in ([], ["-x"]):
        native_ids = run(["qselect", *history, "-u", user]).stdout.split()
        for start in range(0, len(native_ids), IDS_PER_COMMAND):
            command = [*QSTAT, *history, *native_ids[start : start + IDS_PER_COMMAND]]
            found = find_by_directory(load_jobs(_output(command, run)), work_dir)
            if found is not None:
                return found
    return None


def _output(command: Sequence[str], run: Runner) -> str:
    try:
        return run(command).stdout
    except CommandError as error:
        # All of them may have ended since they were selected.
        if Pbs().is_unknown_job(error.stderr):
            return error.stdout
        raise


def main() -> None:
    """Print the id, or nothing."""
    try:
        native_id = search(Path(sys.argv[1]), getpass.getuser(), run)
    except CloudQError as error:
        sys.exit(f"pbs_search: {error}")
    sys.stdout.write(f"{native_id}\n" if native_id else "")


if __name__ == "__main__":
    main()
