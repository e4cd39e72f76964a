"""S3 servers for tests."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MOTO = Path(__file__).parent / "testbed" / "moto_locked.py"
_SWITCH_SECONDS = 1e-5


@contextmanager
def moto_server() -> Iterator[str]:
    """Run moto's S3 server in a process of its own and give its URL; its threads switch often, to race."""
    argv = [sys.executable, str(_MOTO), "--switch-interval", str(_SWITCH_SECONDS)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            assert url, f"moto did not start: status {process.wait()}"
            yield url
        finally:
            process.terminate()
