"""The agent as a daemon: detached from its terminal only when what can be checked there was checked."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import datetime, timezone

from cloudq.agent.daemon.service import open_queue, run_forever
from cloudq.agent.daemon.solitude import sole_agent
from cloudq.agent.lease import check_gone
from cloudq.agentconfig import AgentConfig
from cloudq.bundle import Bundles
from cloudq.errors import AgentRunsError, CloudQError
from cloudq.store import open_store


def detach(config: AgentConfig) -> str:
    """Start a daemon; return when it has begun, with the agent for which it stands by, if it does.

    What can be checked is checked before, while there is a terminal to say it on.

    Raises:
        CloudQError: Another agent of this name runs here, or store or scheduler cannot be used.
    """
    other = ""
    try:
        open_queue(config).probe()
        with sole_agent(config, announce=False):
            _in_another_process(lambda: _check_gone(config))
    except AgentRunsError as error:
        other = str(error)
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.close(reader)
        _be_a_daemon(config, writer)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as started:
        if not started.read():
            raise CloudQError(f"agent {config.name} ended at once", hint=f"see its log in {config.directory}")
    return other


def _check_gone(config: AgentConfig) -> None:
    presence, _ = Bundles(open_store(config.store), config.prefix).agents.published(config.name)
    if presence is not None:
        check_gone(presence, config, datetime.now(timezone.utc))


def _in_another_process(check: Callable[[], None]) -> None:
    """Make a check that may start threads (of the S3 library), which a fork afterwards would not survive.

    Raises:
        AgentRunsError: The check raised it.
        CloudQError: The check raised another one; with its words and its exit status.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            check()
        except CloudQError as error:
            kind = isinstance(error, AgentRunsError)
            os.write(writer, json.dumps([kind, str(error), error.hint, error.exit_status]).encode())
        except BaseException as error:  # noqa: BLE001 - told by the parent
            os.write(writer, json.dumps([False, f"unexpected fault: {error!r}", "", 1]).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        said = answer.read()
    os.waitpid(child, 0)
    if said:
        runs, message, hint, exit_status = json.loads(said)
        fault = (AgentRunsError if runs else CloudQError)(message, hint)
        fault.exit_status = exit_status
        raise fault


def _be_a_daemon(config: AgentConfig, started: int) -> None:
    """Leave the terminal and run for ever; a byte in the pipe says that this has begun."""
    from daemon import DaemonContext

    def tell() -> None:
        os.write(started, b"1")
        os.close(started)

    with DaemonContext(working_directory="/", umask=0o077, files_preserve=[started]):
        run_forever(config, foreground=False, on_start=tell)
