"""`cloudqcli doctor`: everything that a client needs, looked at before it is missed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

from cloudq.bundle import Bundles, probe_folder
from cloudq.client.display.values import visible
from cloudq.config import ClientConfig, load_client_config
from cloudq.doctor import ConfigCheck
from cloudq.errors import CloudQError
from cloudq.finding import Finding, Level, ok, refused, warn
from cloudq.presence import Presence
from cloudq.store import open_store
from cloudq.store.checks import store_findings


def examine(file: Path, now: Callable[[], datetime]) -> Iterator[Finding]:
    """Yield a finding for each thing that a client needs, and one for each agent."""
    check = ConfigCheck(file, load_client_config)
    yield from check.findings()
    config = check.config
    if config is None:
        return
    yield _signatures(config)
    listed = True
    for finding in store_findings(config.store, probe_folder(config.prefix), now):
        listed = listed and not (finding.subject in ("store", "list") and finding.level is Level.FAIL)
        yield finding
    if listed:
        yield from _agents(Bundles(open_store(config.store), config.prefix), now())


def _signatures(config: ClientConfig) -> Finding:
    if config.signing_key is None:
        return ok("signatures", "jobs are not signed (see signing_key)")
    return ok("signatures", f"jobs are signed with {config.signing_key}")


def _agents(bundles: Bundles, now: datetime) -> Iterator[Finding]:
    try:
        presences = bundles.agents.presences()
    except CloudQError as error:
        yield refused("agents", error)
        return
    if not presences:
        yield warn("agents", "none has been seen in this bucket", "start `cloudqd` on a cluster")
    for presence in presences:
        yield _agent(presence, now)


def _agent(presence: Presence, now: datetime) -> Finding:
    subject = f"agent {presence.system}"
    heard = f"heard of at {presence.heartbeat:%Y-%m-%d %H:%M:%S} UTC"
    if presence.stopped:
        return warn(subject, f"was stopped, {heard}", f"start `cloudqd` on {presence.host}")
    if not presence.alive(now):
        return warn(
            subject,
            f"is silent, {heard}",
            f"see to it on {presence.host}; `cloudqcli requeue` frees its jobs",
        )
    if not presence.takes_any:
        return warn(
            subject,
            f"is alive, takes no ANY jobs, {heard}",
            "the store does no conditional writes: name the system in run_on or --submit-to",
        )
    if presence.trouble:
        return warn(
            subject, f"is alive, {heard}: {visible(presence.trouble)}", f"see to it on {presence.host}"
        )
    return ok(subject, f"is alive, version {presence.version}, {presence.scheduler}, {heard}")
