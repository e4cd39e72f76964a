"""What a person must know who reads the states of open jobs: an agent that is silent, or in trouble."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING

import click

from cloudq.bundle import Bundles
from cloudq.client.commands.invocation import present
from cloudq.client.display.values import visible
from cloudq.errors import CloudQError

if TYPE_CHECKING:
    from cloudq.presence import Presence


def warnings(bundles: Bundles, systems: Iterable[str], *, now: datetime) -> Iterator[str]:
    """Yield a line about each of the systems whose word on its open jobs may be old.

    Agents of CloudQ 1.2 tell nothing of themselves; of a presence that cannot be read nothing is said.
    """
    for system in sorted(set(filter(None, systems))):
        with contextlib.suppress(CloudQError):
            presence = bundles.agents.presence(system)
            if presence is not None:
                yield from _about(presence, now)


def print_warnings(bundles: Bundles, systems: Iterable[str]) -> None:
    """Print these lines on stderr."""
    for warning in warnings(bundles, systems, now=present()):
        click.echo(f"Warning: {warning}", err=True)


def _about(presence: Presence, now: datetime) -> Iterator[str]:
    name, heard = visible(presence.system), f"{presence.heartbeat:%Y-%m-%d %H:%M} UTC"
    if presence.stopped:
        yield f"{name}: its agent was stopped; the states of its jobs are as of {heard}"
    elif not presence.alive(now):
        yield f"{name}: its agent has been silent since {heard}; the states of its jobs are as of then"
    elif presence.trouble:
        yield f"{name}: {visible(presence.trouble)}"
