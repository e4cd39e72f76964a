"""Each request of a job's life is spoilt in turn, and in each way: nothing is lost or run twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudq.store.memory import MemoryStore
from tests.faults.faulty_store import Fault, FaultyStore
from tests.faults.life import Life, live_all


def life_with(
    folder: Path, *, at: range, fault: Fault = Fault.LOST, cancelled: bool
) -> tuple[Life, FaultyStore]:
    """Make a life in which some requests are spoilt."""
    bucket = MemoryStore()
    store = FaultyStore(bucket, at, fault)
    return Life(folder, lambda _: store, cancelled, lambda: store.spoils, bucket), store


@pytest.mark.parametrize(
    ("length", "cancelled"),
    [
        pytest.param(1, False, id="once"),
        pytest.param(1, True, id="once, of a cancelled job"),
        pytest.param(3, False, id="three times"),
        pytest.param(40, True, id="for long"),
    ],
)
@pytest.mark.parametrize("fault", Fault, ids=lambda fault: fault.value)
def test_whichever_request_is_spoilt_the_job_runs_once_and_ends_right(
    tmp_path: Path, fault: Fault, length: int, cancelled: bool
) -> None:
    life, store = life_with(tmp_path / "count", at=range(0), cancelled=cancelled)
    assert live_all([("no fault", life)]) == []
    total = len(store.requests)
    assert total > 40

    def lives() -> Iterator[tuple[str, Life]]:
        for at in range(1, total + 1, max(1, length - 1)):
            life, _ = life_with(
                tmp_path / f"{at}", at=range(at, at + length), fault=fault, cancelled=cancelled
            )
            yield f"{fault.value} from request {at} {store.requests[at - 1]}", life

    assert live_all(lives()) == []
