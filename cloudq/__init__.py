"""CloudQ: run jobs on every computer you have an account on, through one object storage bucket."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cloudq.client.api import Client as Client
    from cloudq.client.api import JobHandle as JobHandle
    from cloudq.client.executor import CloudQExecutor as CloudQExecutor

__version__ = "2.0.0.dev0"

_LAZY = {
    "Client": "cloudq.client.api",
    "JobHandle": "cloudq.client.api",
    "CloudQExecutor": "cloudq.client.executor",
}


def __getattr__(name: str) -> object:
    """Import the Python API only when it is asked for: every command imports this package."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LAZY[name]), name)


LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
"""The names of the levels of the log."""
