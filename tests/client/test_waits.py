"""Waiting for jobs: as they end, until a time limit, and through times without a network."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from cloudq.bundle import Bundles
from cloudq.client.display.durations import parse_duration, render_duration
from cloudq.client.display.progress import waiting
from cloudq.client.jobs.waits import Pace, ended_jobs, exit_status_of
from cloudq.errors import NoSuchJobError, StoreUnreachableError, TimeLimitError
from cloudq.job import Job, JobKind, JobState
from cloudq.store import Blob
from cloudq.store.memory import MemoryStore
from tests.client.conftest import Laptop, put_done_job, put_job


@dataclass
class Sleeper:
    """Moves a clock instead of sleeping, and does one thing in each pause."""

    events: list[Callable[[], object]] = field(default_factory=list)
    now: float = 0.0
    pauses: int = 0

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.pauses += 1
        if self.events:
            self.events.pop(0)()

    def pace(self, limit: float = 60) -> Pace:
        return Pace(timedelta(seconds=limit), sleep=self.sleep, clock=lambda: self.now)


def test_jobs_are_told_as_they_end(bundles: Bundles) -> None:
    put_job(bundles, "a1")
    put_job(bundles, "b1")
    ends = [lambda: put_done_job(bundles, "b1"), lambda: None, lambda: put_done_job(bundles, "a1")]
    sleeper = Sleeper(list(ends))
    assert [job.id for job in ended_jobs(bundles, ["a1", "b1", "a1"], sleeper.pace())] == ["b1", "a1"]
    assert sleeper.pauses == 3


def test_a_time_limit_is_kept_to_the_second(bundles: Bundles) -> None:
    put_job(bundles)
    sleeper = Sleeper()
    with pytest.raises(TimeLimitError, match=r"^not ended within 1 min 3 s$"):
        list(ended_jobs(bundles, ["a1"], sleeper.pace(63)))
    assert sleeper.now == 63


def test_a_store_that_is_away_is_asked_again_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    class BrittleStore(MemoryStore):
        answers = 0

        def read(self, key: str) -> Blob:
            self.answers += 1
            if self.answers < 4:
                raise StoreUnreachableError("no answer")
            return super().read(key)

    bundles = Bundles(BrittleStore())
    put_done_job(bundles)
    assert [job.id for job in ended_jobs(bundles, ["a1"], Sleeper().pace())] == ["a1"]
    assert caplog.messages == ["trying again: no answer", "the store answers again"]


def test_a_job_that_is_deleted_meanwhile_ends_the_wait(bundles: Bundles) -> None:
    put_job(bundles)
    with pytest.raises(NoSuchJobError, match="^Invalid job ID: a1$"):
        list(ended_jobs(bundles, ["a1"], Sleeper([lambda: bundles.delete("a1")]).pace()))


@pytest.mark.parametrize(
    ("state", "code", "status"),
    [
        (JobState.DONE, 0, 0),
        (JobState.ERROR, 7, 7),
        (JobState.ERROR, None, 1),
        (JobState.ERROR, 0, 1),
        (JobState.TIMEOUT, 271, 1),
        (JobState.DELETED, None, 1),
    ],
    ids=str,
)
def test_the_exit_status_is_the_jobs(state: JobState, code: int, status: int) -> None:
    assert exit_status_of(Job("a1", "job.sh", JobKind.META, state, exit_code=code)) == status


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("5m", 300), ("2H", 7200), ("1d", 86400), ("1:30:00", 5400)],
)
def test_durations_are_read(text: str, seconds: int) -> None:
    assert parse_duration(text).total_seconds() == seconds


@pytest.mark.parametrize("text", ["", "-1", "1:30", "5x", "1.5h", "m"])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a time such as 90s, 5m, 2h, 1d or 1:30:00, got"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["36501d", "999999999d", "999999:00:00"])
def test_durations_that_no_calendar_has_are_refused(laptop: Laptop, text: str) -> None:
    with pytest.raises(ValueError, match="expected at most 36500d, got"):
        parse_duration(text)
    put_job(laptop.bundles)
    assert f"'--since': expected at most 36500d, got {text!r}" in laptop.error(
        2, "log", "a1", "--since", text
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59, "59 s"), (3600, "1 h"), (7290, "2 h 1 min"), (86400 * 3 + 5, "3 d")],
)
def test_durations_are_shown_in_their_largest_units(seconds: int, text: str) -> None:
    assert render_duration(timedelta(seconds=seconds)) == text


def test_wait_tells_how_jobs_ended_and_fails_if_one_failed(laptop: Laptop) -> None:
    put_done_job(laptop.bundles, "a1")
    put_done_job(laptop.bundles, "b1", state=JobState.ERROR, error="exit 7", exit_code=7)
    assert laptop.answer("wait", "a1") == "Job (a1) job.sh: DONE\n"
    assert laptop.run("wait", "a1", "b1", status=1).stdout.splitlines() == [
        "Job (a1) job.sh: DONE",
        "Job (b1) job.sh: ERROR: exit 7",
    ]
    assert [job["uuid"] for job in laptop.json("wait", "a1", "--json")] == ["a1"]


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_what_is_shown_while_waiting_is_gone_when_an_answer_is_printed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    terminal = _Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with waiting("the job has not ended") as shown:
        shown.say("1 of 2 jobs have ended")
        with shown.aside():
            before = terminal.getvalue()
    assert "1 of 2 jobs have ended" in before
    assert before.endswith("\x1b[1A\x1b[2K")


def test_without_a_terminal_nothing_is_shown_while_waiting(capsys: pytest.CaptureFixture[str]) -> None:
    with waiting("the job has not ended") as shown:
        shown.say("still")
        with shown.aside():
            pass
    assert capsys.readouterr().err == ""


def test_wait_for_any_returns_with_the_first(laptop: Laptop) -> None:
    put_job(laptop.bundles, "a1")
    put_done_job(laptop.bundles, "b1")
    assert laptop.answer("wait", "--any", "a1", "b1") == "Job (b1) job.sh: DONE\n"


def test_wait_gives_up_with_status_124(laptop: Laptop) -> None:
    put_job(laptop.bundles, "a1")
    assert laptop.error(124, "wait", "a1", "--timeout", "0") == "Error: not ended within 0 s\n"
    assert "expected a time such as" in laptop.error(2, "wait", "a1", "--timeout", "soon")
