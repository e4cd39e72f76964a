"""What is in a job's bundle, asked of the store only if somebody wants to know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from cloudq.bundle import Bundles
from cloudq.store import Entry


@dataclass(frozen=True)
class Contents:
    """The objects of a bundle, listed once, when they are first needed.

    Most small jobs do without: what came with a job of our clients is told by its manifest and script.
    """

    bundles: Bundles
    job_id: str

    @cached_property
    def entries(self) -> Mapping[str, Entry]:
        """Name -> entry. Raises StoreError."""
        return self.bundles.entries(self.job_id)

    def __contains__(self, name: str) -> bool:
        return name in self.entries
