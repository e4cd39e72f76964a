"""What is said while storage or scheduler are away: what, since when, and what is known meanwhile."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from cloudq.agent.daemon.heartbeat import Heartbeat
from cloudq.agent.daemon.service import _refusal
from cloudq.agent.trouble import Trouble
from cloudq.errors import StoreRefusedError, StoreUnreachableError
from tests.agent.cluster import time_out
from tests.agent.conftest import Site, run_passes

NOON = datetime(2026, 1, 31, 12, 3, tzinfo=timezone.utc)
MINUTE = timedelta(minutes=1)


def test_a_trouble_is_told_with_its_beginning_and_the_last_good_moment(
    caplog: pytest.LogCaptureFixture,
) -> None:
    trouble = Trouble("storage")
    trouble.over(NOON)
    for minute in (1, 2, 3):
        trouble.met("refuses the agent's key", "AccessDenied", NOON + minute * MINUTE, jobs=3)
    assert caplog.messages == [
        "storage refuses the agent's key since 2026-01-31 12:04 UTC (AccessDenied); 3 jobs keep running, "
        "their states are as of 2026-01-31 12:03 UTC"
    ]


def test_a_trouble_that_lasts_is_told_again_and_its_end_too(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    trouble = Trouble("the scheduler")
    for minute in range(25):
        trouble.met("has not answered", "squeue: no answer", NOON + minute * MINUTE, jobs=1)
    trouble.over(NOON + 25 * MINUTE)
    assert len(caplog.messages) == 4
    assert "1 job keeps running, its state is as last recorded" in caplog.messages[0]
    assert caplog.messages[-1] == "the scheduler answers again, after 25 minutes"
    assert trouble.text == ""


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (StoreRefusedError("access denied (AccessDenied 403)"), "refuses the agent's key"),
        (StoreRefusedError("no such bucket (NoSuchBucket 404)"), "refuses the agent"),
        (StoreUnreachableError("Connection refused"), "has not answered"),
    ],
    ids=["key", "bucket", "network"],
)
def test_what_the_storage_does_is_told_apart(error: StoreRefusedError, words: str) -> None:
    assert _refusal(error) == words


def test_clients_read_that_the_scheduler_does_not_answer(site: Site) -> None:
    agent, _ = site.new_agent(), site.submit()
    heartbeat = Heartbeat(agent)
    run_passes(agent, 2)
    heartbeat.beat()
    site.cluster.faults["poll"] = [time_out()]
    run_passes(agent)
    heartbeat.beat()
    presence = site.bundles.agents.presence("here")
    assert presence is not None
    assert presence.trouble.startswith(
        "the scheduler has not answered since 2026-01-31 08:00 UTC (fake failed"
    )
    assert presence.trouble.endswith("1 job keeps running, its state is as of 2026-01-31 08:00 UTC")
    run_passes(agent)
    heartbeat.beat()
    presence = site.bundles.agents.presence("here")
    assert presence is not None
    assert presence.trouble == ""
