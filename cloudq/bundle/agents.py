"""The agents of a bucket: what each publishes of itself, and its log."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Optional

from cloudq.bundle.names import key_name
from cloudq.bundle.objects import replace_object
from cloudq.errors import InputError, ManifestError, NotFoundError
from cloudq.job import is_job_id
from cloudq.store import Store

if TYPE_CHECKING:
    from cloudq.presence import Presence

SYSTEMS = "agent/.systems/"
_AGENT = "agent/"


@dataclass(frozen=True)
class SignsOfLife:
    """Who has left something in a bucket, and when, by the store's clock; names are in lower case.

    Attributes:
        presences: Agents that publish their presence.
        logs: Agents that have a log. Those of CloudQ 1.2 have nothing else.
    """

    presences: Mapping[str, datetime]
    logs: Mapping[str, datetime]


@dataclass(frozen=True)
class Agents:
    """What the agents of a bucket leave in it, each under its name.

    Args:
        store: The bucket.
        prefix: Empty, or a key prefix that ends in `/`.
        conditional: Whether the store does conditional writes.
    """

    store: Store
    prefix: str
    conditional: bool

    def log(self, system: str) -> bytes:
        """Return an agent's log. Raises NotFoundError."""
        return self.store.read(self._log_key(system)).data

    def upload_log(self, system: str, path: Path) -> None:
        """Store an agent's log file."""
        self.store.upload(path, self._log_key(system))

    def delete_log(self, system: str) -> None:
        """Delete the log of exactly this agent. Raises NotFoundError."""
        key = self._log_key(system)
        self.store.stat(key)
        self.store.delete([key])

    def delete_presence(self, system: str) -> None:
        """Delete what an agent has published; one that is alive writes it anew."""
        self.store.delete([self._presence_key(system)])

    def seen(self, system: str) -> bool:
        """Tell whether an agent of this name ever left its presence (or, if it is of 1.2, a log) here."""
        for key in (self._presence_key(system), self._log_key(system)):
            with contextlib.suppress(NotFoundError):
                self.store.stat(key)
                return True
        return False

    def signs_of_life(self) -> SignsOfLife:
        """Look, by one listing, who has left something here.

        Raises:
            StoreError: The bucket cannot be reached, is missing, or may not be listed.
        """
        top = self.prefix + _AGENT
        # Markers and blobs come before; behind the presences there is nothing but logs.
        entries = list(self.store.list(top, after=self.prefix + SYSTEMS[:-1]))
        found = {entry.key[len(self.prefix) :].lower(): entry.modified for entry in entries}
        presences = {key: modified for key, modified in found.items() if key.startswith(SYSTEMS)}
        logs = {key[len(_AGENT) :]: modified for key, modified in found.items() if key.count("/") == 1}
        end = -len(".json")
        return SignsOfLife({key[len(SYSTEMS) : end]: when for key, when in presences.items()}, logs)

    def last_sign_of_life(self, system: str) -> Optional[datetime]:
        """Return when the store last got presence or log of an agent, by its own clock; None if never."""
        moments = []
        for key in (self._presence_key(system), self._log_key(system)):
            with contextlib.suppress(NotFoundError):
                moments.append(self.store.stat(key).modified)
        return max(moments, default=None)

    def publish(self, presence: Presence, *, over: str = "") -> str:
        """Write an agent's presence over the one of this ETag, or as the first one; return its ETag.

        Raises:
            ConflictError: Another one is there.
        """
        from cloudq.presence import render_presence

        key, data = self._presence_key(presence.system), render_presence(presence)
        return (
            replace_object(self.store, key, data, etag=over, conditional=self.conditional)
            if over
            else self.store.create(key, data)
        )

    def presence(self, system: str) -> Optional[Presence]:
        """Return what an agent published last, None if it never did."""
        key = self._presence_key(system)
        try:
            return _parse_presence(self.store.read(key).data, key)
        except NotFoundError:
            return None

    def published(self, system: str) -> tuple[Optional[Presence], str]:
        """Return what an agent published last, and its ETag.

        It is None if it cannot be understood, and the ETag is empty if it never published anything.
        """
        key = self._presence_key(system)
        try:
            blob = self.store.read(key)
        except NotFoundError:
            return None, ""
        try:
            return _parse_presence(blob.data, key), blob.etag
        except ManifestError:
            return None, blob.etag

    def presences(self) -> list[Presence]:
        """Return what all agents published last; unreadable ones are left out."""
        found = []
        for entry in self.store.list(self.prefix + SYSTEMS):
            with contextlib.suppress(ManifestError, NotFoundError):
                found.append(_parse_presence(self.store.read(entry.key).data, entry.key))
        return found

    def _log_key(self, system: str) -> str:
        if not is_job_id(system):
            raise InputError(f"agent name {system!r}: expected letters, digits, '.', '_' and '-'")
        return f"{self.prefix}{_AGENT}{system}"

    def _presence_key(self, system: str) -> str:
        return f"{self.prefix}{SYSTEMS}{key_name(system)}.json"


def _parse_presence(data: bytes, key: str) -> Presence:
    from cloudq.presence import parse_presence  # not every command reads one

    return parse_presence(data, key)
