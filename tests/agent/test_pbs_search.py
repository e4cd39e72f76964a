"""The search for a PBS job by the directory of its submission."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Optional, Union

import pytest

from cloudq.agent.pbs_search import search
from cloudq.errors import CommandError
from cloudq.process import DEFAULT_TIMEOUT, Completed

WORK_DIR = Path("/w/0123456789ab")
UNKNOWN = CommandError(["qstat"], 153, '{"timestamp": 1}', "qstat: Unknown Job Id 7.s\n")
DOWN = CommandError(["qstat"], 255, "", "qstat: cannot connect to server s (errno=15010)\n")


def answer(**directories: str) -> str:
    jobs = {f"{name[1:]}.s": {"Variable_List": {"PBS_O_WORKDIR": path}} for name, path in directories.items()}
    return json.dumps({"timestamp": 1, "Jobs": jobs})


class Commands:
    """Answers from a table; keeps what was run."""

    def __init__(self, answers: Mapping[str, Union[str, CommandError]]) -> None:
        self._answers = answers
        self.calls: list[str] = []

    def __call__(
        self, argv: Sequence[str], *, cwd: Optional[Path] = None, timeout: timedelta = DEFAULT_TIMEOUT
    ) -> Completed:
        self.calls.append(" ".join(argv))
        found = self._answers[self.calls[-1]]
        if isinstance(found, CommandError):
            raise found
        return Completed(found)


QSTAT = "qstat -E -f -F json"


def test_what_is_in_the_queue_is_looked_through_first() -> None:
    run = Commands({"qselect -u me": "7.s\n8.s\n", f"{QSTAT} 7.s 8.s": answer(_7="/w/x", _8=str(WORK_DIR))})
    assert search(WORK_DIR, "me", run) == "8.s"
    assert len(run.calls) == 2


def test_the_history_is_looked_through_next() -> None:
    run = Commands(
        {
            "qselect -u me": "",
            "qselect -x -u me": "7.s\n",
            f"{QSTAT} -x 7.s": answer(_7=str(WORK_DIR)),
        }
    )
    assert search(WORK_DIR, "me", run) == "7.s"


def test_a_job_that_ended_meanwhile_is_looked_for_in_the_history() -> None:
    run = Commands(
        {
            "qselect -u me": "7.s\n",
            f"{QSTAT} 7.s": UNKNOWN,
            "qselect -x -u me": "7.s\n",
            f"{QSTAT} -x 7.s": answer(_7=str(WORK_DIR)),
        }
    )
    assert search(WORK_DIR, "me", run) == "7.s"


def test_a_job_that_the_server_never_took_is_not_found() -> None:
    run = Commands({"qselect -u me": "", "qselect -x -u me": "7.s", f"{QSTAT} -x 7.s": answer(_7="/w/x")})
    assert search(WORK_DIR, "me", run) is None


def test_a_server_that_is_down_is_no_proof_of_anything() -> None:
    with pytest.raises(CommandError, match="cannot connect to server"):
        search(WORK_DIR, "me", Commands({"qselect -u me": "7.s", f"{QSTAT} 7.s": DOWN}))
