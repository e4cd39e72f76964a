"""Each fuzzed target keeps its contract with what the fuzzer begins with; the fuzzer finds what breaks."""

from __future__ import annotations

import pytest

from tests.fuzz.names import NAMES
from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("name", NAMES)
def test_a_target_takes_all_its_seeds(name: str) -> None:
    seeds = TARGETS[name].seeds()
    assert seeds
    for data in seeds:
        TARGETS[name].feed(data)


def test_each_target_has_a_name() -> None:
    assert tuple(TARGETS) == NAMES
