"""Signs of life: the agent's presence and its log, published now and then."""

from __future__ import annotations

import logging
import os
import socket
from datetime import datetime
from typing import Optional

import cloudq
from cloudq.agent.passes import Agent
from cloudq.agent.pauses import lasts
from cloudq.digests import known_algorithms
from cloudq.errors import StoreError
from cloudq.metascript import site_templates
from cloudq.presence import Presence

logger = logging.getLogger(__name__)


class Heartbeat:
    """Publishes presence and log of an agent, at most once in `heartbeat_interval`."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._place = agent.place
        self._due: Optional[datetime] = None
        self._log_size = -1
        self._said = self._told = ""

    def beat(self, *, stopped: bool = False, at_once: bool = False) -> None:
        """Publish if it is time, or at once; that renews the lease. A fault is logged and ends nothing.

        Raises:
            AgentRunsError: Another agent of this name has taken over.
        """
        now = self._place.now()
        trouble = self._agent.trouble
        at_once = at_once or bool(trouble) != bool(self._told)
        interval = self._place.config.heartbeat_interval
        if not at_once and self._due is not None and lasts(now, self._due, interval):
            return
        try:
            self._place.lease.renew(self._presence(now, stopped=stopped))
            self._due = now + self._place.config.heartbeat_interval
            self._told = trouble
            self._upload_log()
            self._said = ""
        except (StoreError, OSError) as error:
            if str(error) != self._said:
                self._said = str(error)
                logger.warning("no heartbeat: %s", error)

    def _presence(self, now: datetime, *, stopped: bool) -> Presence:
        config = self._place.config
        return Presence(
            system=config.name,
            version=cloudq.__version__,
            scheduler=self._place.queue.scheduler.name,
            host=socket.gethostname(),
            pid=os.getpid(),
            heartbeat=now,
            interval=config.heartbeat_interval,
            projects=config.projects,
            resources=config.resources,
            container_runtime=config.container_runtime,
            directory=str(config.directory),
            endpoint_url=config.store.endpoint_url,
            counts=self._agent.roster.counts(),
            takes_any=self._agent.takes_any,
            signed_only=self._place.signed_only,
            refusals=dict(self._agent.refusals),
            stopped=stopped,
            token=self._place.lease.token,
            trouble=self._agent.trouble,
            templates=site_templates(config.template_folder),
            shared_inputs=known_algorithms(),
        )

    def _upload_log(self) -> None:
        file = self._place.folders.agent_log
        size = file.stat().st_size
        if size != self._log_size:
            self._place.bundles.agents.upload_log(self._place.config.name, file)
            self._log_size = size
