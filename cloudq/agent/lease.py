"""The lease: the right to be the agent of a name, held by writing its presence again in time."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Optional

from cloudq.agentconfig import AgentConfig
from cloudq.bundle import Bundles
from cloudq.errors import AgentRunsError, ConflictError
from cloudq.presence import Presence


class Lease:
    """Held by at most one agent of a name, on whatever host and in whatever folder.

    The presence is written only over the one that was read, so that one of several agents wins, and whoever
    finds another's there knows that the lease is lost. It lasts three heartbeats. Who has not renewed it for
    so long touches no job before it is renewed: another agent may have taken over meanwhile.

    Args:
        bundles: Where the presence is.
        config: Name, folder and heartbeat of the agent.
        now: Tells the time.

    Attributes:
        token: Tells this process from all others.
        fault: Who has it, while somebody else has; empty otherwise.
        rival: The folder of that agent.
    """

    def __init__(self, bundles: Bundles, config: AgentConfig, now: Callable[[], datetime]) -> None:
        self.token = secrets.token_hex(8)
        self.fault = self.rival = ""
        self._bundles = bundles
        self._config = config
        self._now = now
        self._etag: Optional[str] = None
        self._renewed: Optional[datetime] = None

    @property
    def held(self) -> bool:
        """True if it was renewed within three heartbeats; a clock that was set back is no proof."""
        if self._renewed is None:
            return False
        return timedelta(0) <= self._now() - self._renewed < 3 * self._config.heartbeat_interval

    @property
    def permits_work(self) -> bool:
        """True if no other agent can have our jobs in hand: it is held, or the holder has another folder.

        A job belongs to the folder that its claim names. So an agent that stands by ends what it began.
        """
        return self.held or self.rival not in ("", str(self._config.directory))

    def check(self) -> None:
        """Make sure that this agent may work, before what must not be done twice. Raises AgentRunsError."""
        if not self.permits_work:
            raise AgentRunsError(
                f"agent {self._config.name}: no heartbeat could be written for too long; "
                "another agent of this name may have taken over"
            )

    def renew(self, presence: Presence) -> None:
        """Write the presence; the first time, that takes the lease.

        Raises:
            AgentRunsError: Another agent of this name has it.
            StoreError: It could not be written.
        """
        began = self._now()
        if self._etag is None:
            self._etag = self._free_etag()
        try:
            self._etag = self._bundles.agents.publish(presence, over=self._etag)
        except ConflictError:
            # Another agent's; or somebody deleted it; or our own, of which the answer was lost.
            self._etag, self._renewed = None, None
            self._etag = self._bundles.agents.publish(presence, over=self._free_etag())
        self._renewed, self.fault, self.rival = began, "", ""

    def _free_etag(self) -> str:
        """Return the ETag to write over, empty if there is no presence yet. Raises AgentRunsError."""
        other, etag = self._bundles.agents.published(self._config.name)
        if other is not None and other.token != self.token:
            try:
                check_gone(other, self._config, self._now())
            except AgentRunsError as error:
                self.fault, self.rival = str(error), other.directory
                raise
        return etag


def check_gone(other: Presence, config: AgentConfig, now: datetime) -> None:
    """Make sure that the agent that published this does not run any more.

    Whoever holds the lock of this folder on this host is alone in it. Elsewhere only the presence tells:
    an agent that has not been heard of for three heartbeats is gone.

    Raises:
        AgentRunsError: It is alive, on another host or with another folder.
    """
    here = (other.host, other.directory) == (socket.gethostname(), str(config.directory))
    if other.alive(now) and not here:
        raise AgentRunsError(
            f"agent {config.name} is running already: pid {other.pid} on {other.host}, "
            f"cloudq_directory {other.directory}, heard of at {other.heartbeat:%H:%M:%S} UTC"
        )
