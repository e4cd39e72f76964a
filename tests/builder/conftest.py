"""Plans and orders for tests of the builder."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cloudq.builder.creation import Order
from cloudq.builder.plan import JobStore, Plan
from cloudq.builder.presets import load_preset
from cloudq.builder.prices import Estimate
from tests.builder.fakes import Account


def make_plan(**changes: Any) -> Plan:
    members: dict[str, Any] = {
        "name": "lab",
        "preset": load_preset("default", Path("/nonexistent")),
        "store": JobStore("", "jobs", "team/"),
        "lease": timedelta(hours=8),
        "idle": timedelta(hours=1),
    }
    return Plan(**{**members, **changes})


def make_order(**changes: Any) -> Order:
    return Order(make_plan(**changes), "default", Estimate(0.1, 1.1, (), "test"), lambda: b"agent")


@pytest.fixture
def account() -> Account:
    return Account()
