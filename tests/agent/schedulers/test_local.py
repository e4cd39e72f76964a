"""The local queue as a scheduler: its commands, and how its answers are read."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest

from cloudq.agent.localqueue.answer import render_answer
from cloudq.agent.schedulers.base import NativeState, NativeStatus, Snapshot
from cloudq.agent.schedulers.local import Local
from cloudq.errors import SchedulerOutputError
from tests.agent.schedulers.samples import local_sample
from tests.agent.schedulers.test_contract import SUBMISSION

LOCAL = Local(Path("/home/u/.cloudq/local"), slots=3)
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)


def test_a_command_runs_this_python_and_names_the_queue() -> None:
    command = LOCAL.cancel_command("12")
    assert command[0] == sys.executable
    assert (Path(command[1]) / "__main__.py").is_file()
    assert command[2:] == ["--root", "/home/u/.cloudq/local", "--slots", "3", "cancel", "12"]


def test_options_of_the_user_cannot_become_options_of_the_queue() -> None:
    command = LOCAL.submit_command(replace(SUBMISSION, options=("--tag=stolen", "--walltime=5")))
    assert "--tag=stolen" not in command
    assert {"--option=--tag=stolen", "--option=--walltime=5"} <= set(command)


def test_what_the_queue_answers_is_what_the_scheduler_reads() -> None:
    snapshot: Snapshot = {
        "1": {None: NativeStatus(NativeState.FAILED, 3, None, "", NOW, NOW)},
        "2": {
            1: NativeStatus(NativeState.RUNNING, started=NOW),
            100: NativeStatus(NativeState.FAILED, None, 9),
        },
        "3": {},
    }
    assert LOCAL.parse_poll(render_answer(snapshot)) == snapshot


def test_a_captured_answer_is_read() -> None:
    states = {
        native_id: {task_id: (status.state.value, status.exit_code) for task_id, status in tasks.items()}
        for native_id, tasks in LOCAL.parse_poll(local_sample("status.json")).items()
    }
    assert states == {
        "1": {None: ("completed", 0)},
        "2": {1: ("failed", 1), 100: ("failed", 100)},
        "3": {None: ("running", None)},
        "4": {None: ("timed out", None)},
        "5": {None: ("running", None)},
        "6": {None: ("queued", None)},
        "7": {None: ("cancelled", None)},
    }


def test_nothing_is_asked_beyond_the_poll() -> None:
    assert LOCAL.probe_command() is None
    assert LOCAL.probed("") is LOCAL
    assert LOCAL.detail_commands(["1"]) == []


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param("", id="nothing"),
        pytest.param("[]", id="a list"),
        pytest.param('{"1": [{"task": null}]}', id="a task without a state"),
        pytest.param(local_sample("status.json").replace("timed out", "bored"), id="an unknown state"),
    ],
)
def test_another_answer_is_an_error(answer: str) -> None:
    with pytest.raises(SchedulerOutputError, match="local queue: not an answer about jobs"):
        LOCAL.parse_poll(answer)


@pytest.mark.parametrize(("output", "native_id"), [("12\n", "12"), ("", None)])
def test_a_search_tells_an_id_or_nothing(output: str, native_id: object) -> None:
    assert LOCAL.parse_find(output, "t", Path("/w")) == native_id


def test_an_unknown_job_is_recognised_by_the_message() -> None:
    assert LOCAL.is_unknown_job("localqueue: unknown job 12\n")
    assert not LOCAL.is_unknown_job("localqueue: unknown jobs everywhere\n")


def test_a_host_short_of_processes_or_disk_refuses_for_a_while() -> None:
    assert LOCAL.is_temporary("localqueue: [Errno 11] Resource temporarily unavailable\n")
    assert LOCAL.is_temporary("localqueue: [Errno 28] No space left on device\n")
    assert not LOCAL.is_temporary("localqueue: unknown option '--x'\n")
