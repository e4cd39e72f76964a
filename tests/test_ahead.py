"""Work side by side: results in order, few at a time, the first error, and the sum of what passes by."""

from __future__ import annotations

import hashlib
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from cloudq.ahead import in_order
from cloudq.digests import SHA256, RunningDigest, algorithm_of, known_algorithms


def test_results_come_in_order_and_only_so_many_tasks_are_begun() -> None:
    begun: list[int] = []
    second_is_done = threading.Event()

    def work(number: int) -> int:
        if number == 0:
            assert second_is_done.wait(60)
        if number == 1:
            second_is_done.set()
        return number

    def tasks() -> Iterator[partial[int]]:
        for number in range(20):
            begun.append(number)
            yield partial(work, number)

    with ThreadPoolExecutor(4) as pool:
        for number, result in enumerate(in_order(pool, tasks(), ahead=4)):
            assert result == number
            assert len(begun) <= number + 5
    assert len(begun) == 20


def test_the_first_error_ends_it_and_what_was_not_begun_is_left() -> None:
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        if number == 2:
            raise ValueError(number)
        return number

    with ThreadPoolExecutor(1) as pool, pytest.raises(ValueError, match="2"):
        list(in_order(pool, (partial(work, number) for number in range(100)), ahead=3))
    assert len(begun) <= 6


@pytest.mark.parametrize("algorithm", known_algorithms())
@pytest.mark.parametrize("blocks", [[], [b"a"], [b"x" * 100_000, memoryview(b"yy")] * 30])
def test_the_sum_of_blocks_is_that_of_all_bytes(blocks: list[bytes], algorithm: str) -> None:
    running = RunningDigest(algorithm)
    for block in blocks:
        running.update(block)
    digest = running.digest()
    if algorithm == SHA256:
        assert digest == hashlib.sha256(b"".join(blocks)).hexdigest()
    else:
        from blake3 import blake3

        assert digest == f"blake3-{blake3(b''.join(blocks)).hexdigest()}"
    assert algorithm_of(digest) == algorithm


def test_without_the_package_there_is_no_blake3(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "blake3", None)
    assert known_algorithms.__wrapped__() == (SHA256,)
