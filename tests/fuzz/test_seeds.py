"""Each fuzzed target keeps its contract with what the fuzzer begins with; the fuzzer finds what breaks."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.names import NAMES
from tests.fuzz.targets import TARGETS, Target
from tests.fuzz.with_hypothesis import fuzz


@pytest.mark.parametrize("name", NAMES)
def test_a_target_takes_all_its_seeds(name: str) -> None:
    seeds = TARGETS[name].seeds()
    assert seeds
    for data in seeds:
        TARGETS[name].feed(data)


def test_each_target_has_a_name() -> None:
    assert tuple(TARGETS) == NAMES


def test_a_defect_is_found_and_what_shows_it_is_kept(tmp_path: Path) -> None:
    def feed(data: bytes) -> None:
        raise IndexError(f"a defect, shown by {data!r}")

    with pytest.raises(IndexError, match="a defect"):
        fuzz(Target(feed, lambda: [b"a seed"]), seconds=20, longest=5, keep=tmp_path, name="it")
    assert (tmp_path / "it-found").read_bytes() == b"a seed"


def test_a_sound_target_is_fed_until_the_time_is_over(tmp_path: Path) -> None:
    fed: list[bytes] = []
    assert fuzz(Target(fed.append, lambda: [b"a seed"]), seconds=0.5, longest=5, keep=tmp_path) == len(fed)
    assert len(set(fed)) > 1
