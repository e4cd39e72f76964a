"""Listings that lag behind: they lack what is there already, or still have what is gone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cloudq.store import Entry
from cloudq.store.memory import MemoryStore
from tests.faults.faulty_store import FaultyStore
from tests.faults.life import Life, live_all


@dataclass
class StaleStore(FaultyStore):
    """A store that lists what there was some requests ago.

    Attributes:
        lag: So many requests.
        about: What is listed late: `markers`, `bundles` or `both`.
    """

    lag: int = 0
    about: str = ""
    _past: list[tuple[int, dict[str, Entry]]] = field(default_factory=list)

    def list(self, prefix: str, *, after: str = "") -> Iterator[Entry]:
        now = list(super().list(prefix, after=after))
        if self.about == "markers" and not prefix.startswith("agent/"):
            return iter(now)
        if self.about == "bundles" and prefix.startswith("agent/"):
            return iter(now)
        seen = self._seen()
        return (seen[key] for key in sorted(seen) if key.startswith(prefix) and key > after)

    def _seen(self) -> dict[str, Entry]:
        """Note what there is, and return what there was `lag` requests ago."""
        number = len(self.requests)
        self._past.append((number, {entry.key: entry for entry in self.store.list("")}))
        old = [entries for asked, entries in self._past if asked <= number - self.lag]
        return old[-1] if old else {}


@pytest.mark.parametrize("cancelled", [False, True], ids=["done", "cancelled"])
@pytest.mark.parametrize("about", ["markers", "bundles", "both"])
def test_a_listing_that_lags_behind_delays_a_job_and_does_no_harm(
    tmp_path: Path, about: str, cancelled: bool
) -> None:
    def late(store: StaleStore, folder: Path) -> Life:
        return Life(folder, lambda _: store, cancelled, bucket=store.store, submit_token="t")

    def lives() -> Iterator[tuple[str, Life]]:
        for lag in (1, 3, 8, 15):
            store = StaleStore(MemoryStore(), lag=lag, about=about)
            yield f"{lag} requests late", late(store, tmp_path / f"{lag}")

    assert live_all(lives()) == []
