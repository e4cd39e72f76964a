"""On PYTHONPATH, appends each call of AWS to the file $CLOUDQ_TEST_CALLS, such as `ec2 DescribeVpcs`.

Python imports a module of this name when it starts, also in the processes that a command starts.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any


def record(file: Path) -> None:
    """Let every client of botocore write down its calls."""
    from botocore.client import BaseClient

    call = BaseClient._make_api_call  # type: ignore[attr-defined]

    def recorded(self: Any, operation: str, arguments: Any) -> Any:
        with file.open("a", encoding="utf-8") as stream:
            bucket = f" {arguments['Bucket']}" if "Bucket" in (arguments or ()) else ""
            stream.write(f"{self.meta.service_model.endpoint_prefix} {operation}{bucket}\n")
        return call(self, operation, arguments)

    BaseClient._make_api_call = recorded  # type: ignore[attr-defined]


if "CLOUDQ_TEST_CALLS" in os.environ:
    with contextlib.suppress(ImportError):
        record(Path(os.environ["CLOUDQ_TEST_CALLS"]))
