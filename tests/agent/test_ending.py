"""The end of a system that is not meant to stay."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from cloudq.agent.daemon.ending import GRACE, LAST_CALL, Phase, Term, decide, parse_term

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=timezone.utc)
MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("term", "jobs", "idle", "phase"),
    [
        pytest.param(Term(), 0, 100 * MINUTE, Phase.WORK, id="for ever"),
        pytest.param(Term(NOON + LAST_CALL + MINUTE), 0, MINUTE, Phase.WORK, id="long before the term"),
        pytest.param(Term(NOON + LAST_CALL), 3, MINUTE, Phase.DRAIN, id="last call"),
        pytest.param(Term(NOON + LAST_CALL), 0, MINUTE, Phase.END, id="last call without jobs"),
        pytest.param(Term(NOON), 3, MINUTE, Phase.CLOSE, id="the term"),
        pytest.param(Term(NOON), 0, MINUTE, Phase.END, id="the term without jobs"),
        pytest.param(Term(NOON - GRACE), 3, MINUTE, Phase.END, id="after all patience"),
        pytest.param(Term(drain=True), 3, MINUTE, Phase.DRAIN, id="asked to drain"),
        pytest.param(Term(drain=True), 0, MINUTE, Phase.END, id="drained"),
    ],
)
def test_what_an_agent_may_do_until_its_term(term: Term, jobs: int, idle: timedelta, phase: Phase) -> None:
    assert decide(term, now=NOON, jobs=jobs, idle_since=NOON - idle, idle_limit=None) is phase


@pytest.mark.parametrize(
    ("jobs", "idle", "phase"), [(0, 30, Phase.END), (0, 29, Phase.WORK), (1, 99, Phase.WORK)], ids=str
)
def test_an_agent_without_jobs_ends_after_a_while(jobs: int, idle: int, phase: Phase) -> None:
    limit = timedelta(minutes=30)
    since = NOON - timedelta(minutes=idle)
    assert decide(Term(), now=NOON, jobs=jobs, idle_since=since, idle_limit=limit) is phase


@pytest.mark.parametrize(
    ("text", "term"),
    [
        ("2026-11-22T12:00:00+00:00\n", Term(NOON)),
        ("2026-11-22T12:00:00+00:00\ndrain\n", Term(NOON, drain=True)),
        ("2026-11-22T12:00:00\n", Term()),
        ("soon", Term()),
        ("", Term()),
    ],
)
def test_a_term_file_tells_a_time_and_whether_to_drain(text: str, term: Term) -> None:
    assert parse_term(text) == term
