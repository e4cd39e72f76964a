"""Lives by the thousand are not slowed down by counting lines, which shorter tests cover."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: Iterable[pytest.Item]) -> None:
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.no_cover)
            item.add_marker(pytest.mark.usefixtures("unmeasured_processes"))
