"""The agent as a process: one of a name, detached or not, stopped by signals, found by its pid file."""

from __future__ import annotations

import contextlib
import getpass
import logging
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Optional

import cloudq
from cloudq.agent.daemon.ending import Ending, Phase
from cloudq.agent.daemon.events import Events
from cloudq.agent.daemon.heartbeat import Heartbeat
from cloudq.agent.daemon.signals import Signals
from cloudq.agent.daemon.solitude import sole_agent
from cloudq.agent.folders import Folders
from cloudq.agent.lease import Lease
from cloudq.agent.passes import Agent
from cloudq.agent.queue import Queue
from cloudq.agent.running.images import find_runtime
from cloudq.agent.schedulers import open_scheduler
from cloudq.agent.trouble import Trouble
from cloudq.agent.workplace import Workplace
from cloudq.agentconfig import AgentConfig
from cloudq.bundle import Bundles
from cloudq.errors import (
    AgentRunsError,
    CloudQError,
    CommandError,
    ConfigError,
    StoreError,
    StoreRefusedError,
)
from cloudq.log import open_agent_log
from cloudq.process import run
from cloudq.signing import check_verifier
from cloudq.store import open_store
from cloudq.store.probe import has_conditional_writes

logger = logging.getLogger(__name__)

GRACE = timedelta(seconds=8)
"""How long a stopping agent waits for the steps it has begun; what is cut off, the next start takes up."""

RETRY_START_AFTER = timedelta(seconds=15)


def run_once(config: AgentConfig) -> None:
    """Make one pass, wait until all its work is done, and return.

    Raises:
        CloudQError: Another agent of this name runs, or the store or scheduler cannot be used.
    """
    with sole_agent(config) as folders:
        open_agent_log(folders.agent_log, config.log_level, also_stderr=False)
        agent = open_agent(config)
        heartbeat = Heartbeat(agent)
        heartbeat.beat()
        agent.place.lease.check()
        try:
            agent.recover()
            agent.run_pass()
            agent.crew.wait()
            # Jobs that were just submitted are asked about, too, as 1.2 does in the same poll.
            agent.run_pass()
            agent.crew.wait()
        finally:
            agent.crew.stop()
            agent.crew.wait()
        heartbeat.beat(stopped=True, at_once=True)


def run_forever(
    config: AgentConfig, *, foreground: bool, on_start: Callable[[], None] = lambda: None
) -> None:
    """Make passes until SIGTERM or SIGINT; SIGHUP reopens the log.

    The work is done in other threads, so that a signal is obeyed at once even while the network hangs.

    Args:
        foreground: Whether somebody reads stderr.
        on_start: Called when this is the one agent of its folder, or stands by for one on another host.

    Raises:
        CloudQError: Another agent of this name runs, or this one cannot go on.
    """
    begun = _Once(on_start)
    with sole_agent(config, on_stand_by=begun) as folders:
        log = open_agent_log(folders.agent_log, config.log_level, also_stderr=foreground)
        signals, stop = Signals(), threading.Event()
        begun()
        logger.info("agent %s, version %s, pid %d", config.name, cloudq.__version__, os.getpid())
        service = _Service(config, stop, at_end=signals.stop)
        thread = threading.Thread(target=service.run, name="passes", daemon=True)
        thread.start()
        while signals.wait() == signal.SIGHUP:
            log.reopen()
        stop.set()
        thread.join(GRACE.total_seconds())
        logger.info("agent %s: stopped%s", config.name, " in the middle of a step" * thread.is_alive())
        logging.shutdown()
        if thread.is_alive():
            # Python would wait for the thread. Every step can be cut off; the next start takes it up.
            os._exit(0)
        if service.fault is not None:
            raise service.fault


def open_agent(config: AgentConfig) -> Agent:
    """Open store and scheduler and make an agent of them.

    Raises:
        StoreError: The store cannot be used.
        CommandError: The scheduler's commands do not work here.
        ConfigError: The type of scheduler is unknown.
    """
    config = replace(config, container_runtime=find_runtime(config.container_runtime))
    store = open_store(config.store)
    bundles = Bundles(store, config.prefix)
    bundles.check_reachable()
    conditional = has_conditional_writes(store, bundles.probe_folder)
    if not conditional:
        logger.warning(
            "%s does not do conditional writes: only jobs for %s are taken", store.url, config.name
        )
    _check_signatures(config)
    queue = open_queue(config)
    queue.probe()
    bundles = Bundles(store, config.prefix, conditional=conditional)
    place = Workplace(
        config=config,
        bundles=bundles,
        folders=Folders(config.directory, config.name),
        queue=queue,
        account=getpass.getuser(),
        now=_utc_now,
        lease=Lease(bundles, config, _utc_now),
    )
    return Agent(place, takes_any=conditional)


def _refusal(error: CloudQError) -> str:
    """Say what a store does that gave this error."""
    if not isinstance(error, StoreRefusedError):
        return "has not answered"
    about_keys = ("key", "credentials", "denied", "token")
    return "refuses the agent" + "'s key" * any(word in str(error).lower() for word in about_keys)


def _utc_now() -> datetime:
    return datetime.now(timezone.utc)


class _Once:
    """Calls a function, but only the first time."""

    def __init__(self, function: Callable[[], None]) -> None:
        self._function: Optional[Callable[[], None]] = function

    def __call__(self) -> None:
        function, self._function = self._function, None
        if function is not None:
            function()


def _check_signatures(config: AgentConfig) -> None:
    """Make sure that signatures can be checked, or say that nobody must sign. Raises CloudQError."""
    if config.allowed_signers is not None:
        check_verifier(config.allowed_signers)
    else:
        logger.info(
            "unsigned mode: whoever can write to the bucket can run commands as %s", getpass.getuser()
        )


def open_queue(config: AgentConfig) -> Queue:
    """Make the queue of an agent's scheduler. Raises ConfigError if there is no such type."""
    try:
        scheduler = open_scheduler(config.scheduler, root=config.directory / "local", slots=config.slots)
    except ConfigError as error:
        raise ConfigError(f"{config.file}: [agent] {error}") from error
    return Queue(scheduler, run, config.command_timeout, at_once=config.transfers)


class _Service:
    """What an agent does until it is told to stop.

    Attributes:
        fault: Why it ended by itself, if it did.
    """

    def __init__(self, config: AgentConfig, stop: threading.Event, at_end: Callable[[], None]) -> None:
        self._config = config
        self._stop = stop
        self._at_end = at_end
        self.fault: Optional[CloudQError] = None

    def run(self) -> None:
        """Open the agent and make passes; anew, if another one of its name took over meanwhile."""
        try:
            while not self._stop.is_set():
                agent = self._open_until_it_works()
                if agent is not None and self._make_passes(agent) is Phase.END:
                    break
        except CloudQError as error:
            logger.error("%s", error)
            self.fault = error
        except Exception as error:
            logger.exception("unexpected fault")
            self.fault = CloudQError(f"unexpected fault, see the log: {error}")
        finally:
            self._at_end()

    def _open_until_it_works(self) -> Optional[Agent]:
        """Open the agent; while store or scheduler are away, try again until told to stop."""
        said = ""
        while not self._stop.is_set():
            try:
                return open_agent(self._config)
            except (StoreError, CommandError, OSError) as error:
                if str(error) != said:
                    said = str(error)
                    logger.warning("cannot start yet, trying again: %s", error)
                self._stop.wait(RETRY_START_AFTER.total_seconds())
        return None

    def _make_passes(self, agent: Agent) -> Phase:
        """Make passes until told to stop, until the system ends, or another agent has taken over."""
        heartbeat, lease = Heartbeat(agent), agent.place.lease
        ending, phase = Ending(self._config, agent.place.now()), Phase.WORK
        recovered, trouble = False, Trouble("storage")
        events = Events(self._config.events_queue_url, self._config.store.profile)
        while not self._stop.is_set() and phase is not Phase.END:
            phase = ending.look(agent)
            try:
                self._renew(heartbeat, lease)
                if lease.permits_work:
                    if not recovered:
                        agent.recover()
                        recovered = True
                    agent.run_pass(takes_jobs=lease.held and phase is Phase.WORK)
                elif recovered and lease.fault:
                    break
                trouble.over(_utc_now())
            except CloudQError as error:
                jobs = sum(bool(active.job.native_id) for active in agent.roster.all())
                trouble.met(_refusal(error), str(error), _utc_now(), jobs=jobs)
            except Exception:  # noqa: BLE001 - a defect in one pass must not end the agent
                logger.exception("unexpected fault in a pass")
            if phase is not Phase.END:
                pause = self._config.interval if agent.busy else self._config.idle_interval
                if lease.held:
                    events.wait(pause, self._stop)
                else:
                    self._stop.wait(pause.total_seconds())  # The events are for who has the lease.
        agent.crew.stop()
        if lease.held:
            with contextlib.suppress(AgentRunsError):
                heartbeat.beat(stopped=True, at_once=True)
        agent.crew.wait()
        ending.tell()
        return phase

    def _renew(self, heartbeat: Heartbeat, lease: Lease) -> None:
        """Give a sign of life; say it once when another agent has the lease, and when it is ours again."""
        before = lease.fault
        try:
            heartbeat.beat(at_once=not lease.held)
        except AgentRunsError as error:
            if not before:
                logger.warning("standing by: %s", error)
            return
        if before and not lease.fault:
            logger.info("agent %s: taking over; the other one is gone", self._config.name)
