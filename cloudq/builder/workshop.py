"""What creating and deleting need: the account, pcluster, a clock, and somebody to tell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from cloudq.builder.aws import Aws
from cloudq.builder.clusters import Clusters
from cloudq.builder.pcluster import ParallelCluster
from cloudq.builder.stacks import Event, Stack


class Progress(Protocol):
    """Who is told what happens."""

    def step(self, text: str) -> None:
        """Say what is done now."""
        ...

    def event(self, event: Event) -> None:
        """Say what CloudFormation did."""
        ...


@dataclass(frozen=True)
class Workshop:
    """The means of one command.

    Attributes:
        interval: Between two looks at a stack.
        pause: Sleeps.
        scratch: An empty folder for files that pcluster reads.
    """

    aws: Aws
    clusters: Clusters
    pcluster: ParallelCluster
    progress: Progress
    now: Callable[[], datetime]
    pause: Callable[[timedelta], None]
    interval: timedelta
    scratch: Path

    def wait(self, arn: str) -> Stack:
        """Wait until a stack is no longer busy, and tell its events."""
        return self.clusters.stacks.wait(
            arn, pause=self.pause, interval=self.interval, on_event=self.progress.event
        )
