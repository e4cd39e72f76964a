"""Pauses that end with an event; and what becomes of them when the queue does not work."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Optional

import pytest

from cloudq.agent.daemon import events
from cloudq.agent.daemon.events import Events
from cloudq.errors import StoreRefusedError

URL = "https://sqs.eu-west-1.amazonaws.com/123456789012/cloudq"
LONG = timedelta(seconds=60)
SHORT = timedelta(seconds=0.3)


class FakeQueue:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.event = threading.Event()
        self.fault: Optional[Exception] = None
        self.hangs = False

    def wait(self, seconds: int) -> bool:
        self.asked.append(seconds)
        if self.fault is not None:
            raise self.fault
        told = self.event.wait(120 if self.hangs else seconds)
        self.event.clear()
        return told


@pytest.fixture
def queue() -> FakeQueue:
    return FakeQueue()


@pytest.fixture
def waiting(queue: FakeQueue, monkeypatch: pytest.MonkeyPatch) -> Events:
    monkeypatch.setattr(events, "REST", timedelta(0))
    monkeypatch.setattr(events, "_LEAST", 0.001)
    return Events(URL, "", lambda url, profile: queue)


class Stop(threading.Event):
    """A stop for which nobody has to wait: it notes how long one would have."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def wait(self, timeout: Optional[float] = None) -> bool:
        self.waits.append(timeout or 0.0)
        return self.is_set()


def seconds(act: Callable[[], object]) -> float:
    began = time.monotonic()
    act()
    return time.monotonic() - began


def test_an_event_ends_the_pause(waiting: Events, queue: FakeQueue) -> None:
    queue.event.set()
    assert seconds(lambda: waiting.wait(LONG, threading.Event())) < 40
    (asked,) = queue.asked
    assert 40 < asked < 60


def test_without_an_event_the_pause_has_its_length(waiting: Events, queue: FakeQueue) -> None:
    assert 0.25 < seconds(lambda: waiting.wait(SHORT, threading.Event())) < 40
    # A thread that began late may not have asked yet.
    assert set(queue.asked) <= {0}


def test_a_signal_ends_the_pause_while_the_queue_is_asked(waiting: Events) -> None:
    stop = threading.Event()
    threading.Timer(0.1, stop.set).start()
    assert seconds(lambda: waiting.wait(LONG, stop)) < 40


def test_a_queue_that_hangs_delays_nothing_and_is_not_asked_twice(waiting: Events, queue: FakeQueue) -> None:
    queue.hangs = True
    for _ in range(2):
        assert seconds(lambda: waiting.wait(SHORT, threading.Event())) < 40
    queue.event.set()
    assert seconds(lambda: waiting.wait(LONG, threading.Event())) < 40
    assert queue.asked == [0]


@pytest.mark.parametrize("fault", [StoreRefusedError("denied"), ValueError("odd")], ids=["refused", "odd"])
def test_a_queue_that_fails_is_told_of_once_and_polling_goes_on(
    waiting: Events, queue: FakeQueue, fault: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "cloudq")
    queue.fault, stop = fault, Stop()
    for _ in range(3):
        waiting._not_before = 0
        waiting.wait(LONG, stop)
        assert 20 < stop.waits[-1] < 60
    (record,) = caplog.records
    assert record.getMessage().startswith("jobs are looked for every 60 s only: ")
    assert str(fault.args[0]) in record.getMessage()
    assert len(queue.asked) == 3
    waiting.wait(LONG, stop)
    assert (len(queue.asked), len(stop.waits)) == (3, 4)
    queue.fault, waiting._not_before = None, 0
    queue.event.set()
    waiting.wait(LONG, threading.Event())
    assert caplog.records[-1].getMessage() == "the events queue answers again"


def test_a_flood_of_events_leaves_a_rest_between_passes(
    waiting: Events, queue: FakeQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "REST", timedelta(seconds=0.2))
    queue.event.wait = lambda timeout=None: True  # type: ignore[method-assign]
    began = time.monotonic()
    for _ in range(4):
        waiting.wait(LONG, threading.Event())
    assert time.monotonic() - began >= 0.6


def test_without_a_queue_only_the_time_counts() -> None:
    opened: list[str] = []
    waiting = Events("", "", lambda url, profile: opened.append(url))  # type: ignore[arg-type,return-value]
    assert seconds(lambda: waiting.wait(timedelta(seconds=0.05), threading.Event())) < 40
    assert opened == []


def test_boto3_is_not_imported_for_an_agent_without_a_queue() -> None:
    code = "import sys; from cloudq.agent.daemon import events, service; print('botocore' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == "False\n"
