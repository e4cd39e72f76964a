"""Fixtures for all tests."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.servers import moto_server

# How fast a machine is decides nothing. What a fixture gives to all examples of a test is made to be shared.
settings.register_profile(
    "cloudq",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("cloudq")

_AWS_VARIABLES = (
    *("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_REGION"),
    *("AWS_CA_BUNDLE", "CLOUDQ_STORE"),
)

_PROXIES = tuple(
    variable for name in ("http_proxy", "https_proxy", "all_proxy") for variable in (name, name.upper())
)
_OF_THE_PERSON = (
    *_AWS_VARIABLES,
    *("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"),
    *("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES"),
)


@pytest.fixture(scope="session", autouse=True)
def _nothing_of_the_person() -> None:
    """Leave out what would change answers, and let no proxy come between the tests and their own servers."""
    for name in _OF_THE_PERSON:
        os.environ.pop(name, None)
    if any(os.environ.get(name) for name in _PROXIES):
        for name in ("no_proxy", "NO_PROXY"):
            os.environ[name] = ",".join(filter(None, (os.environ.get(name), "127.0.0.1", "localhost")))


@pytest.fixture(scope="session", autouse=True)
def _signals_of_a_terminal() -> None:
    """What the tests start must not inherit what `nohup` or a shell's background has ignored."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)


@pytest.fixture
def unmeasured_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start processes without the counting of lines.

    It takes each a tenth of a second. A process that a signal is to interrupt needs this: raised while
    coverage.py holds its lock (`Collector.lock_data`), a `KeyboardInterrupt` leaves it locked, and all hangs.
    """
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)


@pytest.fixture(scope="session")
def moto_endpoint() -> Iterator[str]:
    """URL of an S3 server that takes any keys; the whole session shares it, so make a bucket of your own."""
    with moto_server() as url:
        yield url


@pytest.fixture
def s3_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Give AWS libraries keys by the environment, and nothing of the person who runs the tests."""
    for name in (*_AWS_VARIABLES, *_PROXIES):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "aws-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "aws-credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
