"""`cloudqcli doctor --repair`: shows what crashes have left in the bucket, and removes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from cloudq.bundle import Bundles
from cloudq.bundle.leftovers import UPLOAD_AGE, find_leftovers
from cloudq.store import StoreAddress
from cloudq.store.s3_checks import inspector


@dataclass(frozen=True)
class Removal:
    """Something that may be removed: what it is, for a person, and how."""

    said: str
    remove: Callable[[], object]


def find_removals(bundles: Bundles, address: StoreAddress, now: datetime) -> Iterator[Removal]:
    """Yield everything that may be removed.

    Args:
        bundles: Where to look.
        address: The same place.
        now: The time by the store's clock: all ages are by that.

    Raises:
        StoreError: The bucket could not be read.
    """
    for leftover in find_leftovers(bundles, now):
        yield Removal(leftover.said, lambda keys=leftover.keys: bundles.store.delete(keys))  # type: ignore[misc]
    for due in bundles.blobs.due(lambda: set(bundles.ids()), now):
        yield Removal(due.said, due.act)
    server = inspector(address)
    if server is None:
        return
    for upload in server.unfinished_uploads(bundles.prefix):
        if now - upload.begun >= UPLOAD_AGE:
            said = f"{upload.key}: an upload that was never ended, begun {upload.begun:%Y-%m-%d %H:%M} UTC"
            yield Removal(said, lambda upload=upload: server.abort(upload))  # type: ignore[misc]
