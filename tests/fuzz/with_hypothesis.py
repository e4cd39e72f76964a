"""Fuzz one target with Hypothesis: seeds are cut, spliced and overwritten at random places."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Optional

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS, Target

_BATCH = 50
_PHASES = (Phase.generate, Phase.shrink)
_PIECES = [
    b"",
    b"\0",
    b"\xff",
    b"\n",
    b"0",
    b"9" * 5000,
    b"[" * 5000,
    b"PK\x05\x06",
    b"%",
    b"-1",
    b"NaN",
    b"~x/",
]


def mutations(seeds: list[bytes]) -> st.SearchStrategy[bytes]:
    """Draw a seed in which some stretches are replaced."""
    place = st.floats(0, 1)
    piece = st.one_of(st.sampled_from(_PIECES), st.binary(max_size=8))
    edits = st.lists(st.tuples(place, st.integers(0, 40), piece), max_size=6)
    return st.builds(_edited, st.sampled_from(seeds), edits)


def _edited(data: bytes, edits: list[tuple[float, int, bytes]]) -> bytes:
    for place, length, piece in edits:
        start = int(place * len(data))
        data = data[:start] + piece + data[start + length :]
    return data


def fuzz(target: Target, *, seconds: float, longest: int, keep: Path, name: str = "find") -> int:
    """Feed a target until the time is over; return how many inputs it took. What is found is raised."""
    end, count = time.monotonic() + seconds, 0

    @settings(
        max_examples=_BATCH,
        phases=_PHASES,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(mutations(target.seeds()))
    def feed(data: bytes) -> None:
        nonlocal count
        if time.monotonic() > end:
            return
        count += 1
        signal.alarm(longest)
        try:
            target.feed(data)
        except BaseException:
            (keep / f"{name}-found").write_bytes(data)
            raise
        finally:
            signal.alarm(0)

    while time.monotonic() < end:
        feed()
    return count


def _too_long(number: int, frame: Optional[FrameType]) -> None:
    raise TimeoutError("it took too long")


def main(name: str, seconds: str, corpus: str, longest: str, memory: str, keep: str) -> None:
    """Run until the time is over or something is found."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (int(memory) << 20, int(memory) << 20))
    signal.signal(signal.SIGALRM, _too_long)
    count = fuzz(TARGETS[name], seconds=float(seconds), longest=int(longest), keep=Path(keep), name=name)
    print(f"{count} runs, with {Path(corpus).name}")


if __name__ == "__main__":
    main(*sys.argv[1:])
