"""The warnings below `list` and `stat`: whose word may be old."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest

from cloudq.bundle import Bundles
from cloudq.client.commands.warnings import warnings
from cloudq.presence import Presence
from cloudq.store.memory import MemoryStore

NOW = datetime(2026, 1, 31, 12, 4, tzinfo=timezone.utc)
WELL = Presence("Sys1", "1", "slurm", "login1", 1, NOW, timedelta(minutes=1))


@pytest.mark.parametrize(
    ("presence", "words"),
    [
        pytest.param(WELL, [], id="well"),
        pytest.param(
            replace(WELL, trouble="the scheduler has not answered since 12:01"),
            ["Sys1: the scheduler has not answered since 12:01"],
            id="trouble",
        ),
        pytest.param(
            replace(WELL, heartbeat=NOW - timedelta(hours=1)),
            [
                "Sys1: its agent has been silent since 2026-01-31 11:04 UTC; "
                "the states of its jobs are as of then"
            ],
            id="silent",
        ),
        pytest.param(
            replace(WELL, stopped=True),
            ["Sys1: its agent was stopped; the states of its jobs are as of 2026-01-31 12:04 UTC"],
            id="stopped",
        ),
    ],
)
def test_a_system_whose_word_may_be_old_is_named(presence: Presence, words: list[str]) -> None:
    bundles = Bundles(MemoryStore())
    bundles.agents.publish(presence)
    assert list(warnings(bundles, ["sys1", "sys1", "", "unknown"], now=NOW)) == words
