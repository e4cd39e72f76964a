"""The agent on a fake cluster, for demonstrations."""

from __future__ import annotations

from tests.agent.conftest import site

__all__ = ["site"]
