"""The options of a job of the local queue."""

from __future__ import annotations

from datetime import timedelta
from typing import Optional

import pytest

from cloudq.agent.localqueue.options import format_walltime, head_options, parse_walltime
from cloudq.errors import InputError


@pytest.mark.parametrize(
    ("words", "walltime"),
    [
        pytest.param([], None, id="none"),
        pytest.param(["--walltime=3600"], timedelta(hours=1), id="seconds"),
        pytest.param(["--walltime=1:00:01"], timedelta(hours=1, seconds=1), id="clock"),
        pytest.param(["--walltime=90:00"], timedelta(minutes=90), id="minutes"),
        pytest.param(["--walltime=1", "--walltime=2"], timedelta(seconds=2), id="the last one counts"),
    ],
)
def test_a_walltime_is_read(words: list[str], walltime: Optional[timedelta]) -> None:
    assert parse_walltime(words) == walltime


@pytest.mark.parametrize(
    "word", ["--nice=3", "--walltime", "--walltime=", "--walltime=-1", "--walltime=1h", "x"]
)
def test_another_option_is_refused(word: str) -> None:
    with pytest.raises(InputError, match=f"unknown option '{word}': .* knows only --walltime=SECONDS"):
        parse_walltime([word])


def test_a_walltime_of_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="expected a walltime above 0"):
        parse_walltime(["--walltime=0:00:00"])


@pytest.mark.parametrize(
    ("script", "words"),
    [
        pytest.param("#!/bin/sh\n#CLOUDQ --walltime=5\n", ("--walltime=5",), id="after the first line"),
        pytest.param("#!/bin/sh\n# text\n\n#CLOUDQ --a --b\n", ("--a", "--b"), id="after comments"),
        pytest.param("#!/bin/sh\ndate\n#CLOUDQ --walltime=5\n", (), id="after a command"),
        pytest.param("#!/bin/sh\n#CLOUDQUERY --walltime=5\n", (), id="another word"),
        pytest.param("#!/bin/sh\n  #CLOUDQ --walltime=5\n", (), id="indented"),
    ],
)
def test_the_head_of_a_script_has_options(script: str, words: tuple[str, ...]) -> None:
    assert head_options(script) == words


@pytest.mark.parametrize(("seconds", "text"), [(1, "0:00:01"), (3600, "1:00:00"), (90061, "25:01:01")])
def test_a_walltime_is_written_in_hours(seconds: int, text: str) -> None:
    assert format_walltime(timedelta(seconds=seconds)) == text
