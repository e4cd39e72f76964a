"""Fixtures for tests against real daemons: S3 servers, and accounts with an installed CloudQ.

`make test-real` brings the daemons up and sets the variables that are read here.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

import pytest

from cloudq.store import Store, StoreAddress, open_store

ROOT = Path(__file__).resolve().parents[2]
TESTBED = Path(os.environ.get("TESTBED_ROOT", "/var/lib/testbed"))
SERVERS = {"seaweedfs": "CLOUDQ_TEST_SEAWEEDFS", "ceph": "CLOUDQ_TEST_CEPH"}
CLIENT_USER = "cqclient"
AGENT_USER = "cqtest"
"""The account that tests/testbed/slurm-up makes and that Slurm's accounting knows."""


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Mark everything in this folder, so that `make test` never runs it."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.real)


def setting(name: str) -> str:
    """Return a variable that tests/testbed/with-daemons sets."""
    value = os.environ.get(name)
    if not value:
        pytest.fail(f"{name} is not set: these tests are run by `make test-real`", pytrace=False)
    return value


@dataclass(frozen=True)
class Account:
    """A user of this host with a home folder of its own, in which CloudQ is installed for everybody.

    Attributes:
        settings: Further variables of the environment.
        commands: A folder whose commands come before those of the system.
    """

    user: str
    home: Path
    programs: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    commands: Optional[Path] = None

    def run(
        self,
        argv: Sequence[str],
        *,
        cwd: Optional[Path] = None,
        expect: Optional[int] = 0,
        timeout: float = 120,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as this user; its exit status must be `expect`, unless that is None."""
        done = subprocess.run(
            self._command(argv),
            cwd=cwd or self.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            timeout=timeout,
            check=False,
        )
        assert expect is None or done.returncode == expect, f"{argv}: {done}"
        return done

    def start(self, argv: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
        """Start a command as this user, its output in a file. The caller ends it."""
        with log.open("ab") as output:
            return subprocess.Popen(self._command(argv), cwd=self.home, stdout=output, stderr=output)

    def write(self, name: str, text: str) -> Path:
        """Make a file below the home folder that belongs to this user."""
        path = self.home / name
        self.run(["mkdir", "-p", str(path.parent)])
        path.write_text(text, encoding="utf-8")
        shutil.chown(path, self.user, self.user)
        return path

    @property
    def environment(self) -> Mapping[str, str]:
        """Return what this user's commands see: nothing of ours."""
        first = f"{self.commands}:" if self.commands else ""
        path = f"{first}{self.programs}:/usr/local/bin:/usr/bin:/bin"
        return {
            "HOME": str(self.home),
            "USER": self.user,
            "LOGNAME": self.user,
            "PATH": path,
            "LANG": "C.UTF-8",
            **self.settings,
        }

    def _command(self, argv: Sequence[str]) -> list[str]:
        # runuser sets HOME and more by itself: what counts is set after it.
        settings = [f"{name}={value}" for name, value in self.environment.items()]
        return ["/usr/sbin/runuser", "-u", self.user, "--", "/usr/bin/env", "-i", *settings, *argv]


@pytest.fixture(scope="session")
def programs() -> Path:
    """Install CloudQ as a site would, with the Python of the distribution, and return its `bin` folder.

    Other accounts can neither read this working copy nor run this Python if it is in a private home.
    """
    venv = TESTBED / "cloudq-venv"
    if not (venv / "bin" / "pip").exists():
        _quietly(["/usr/bin/python3", "-m", "venv", str(venv)])
    _quietly(
        [
            str(venv / "bin" / "python"),
            "-m",
            "pip",
            "-qq",
            "--disable-pip-version-check",
            "install",
            str(ROOT),
        ]
    )
    return venv / "bin"


@pytest.fixture(params=sorted(SERVERS))
def s3_url(request: pytest.FixtureRequest) -> str:
    """The URL of each real S3 server in turn."""
    return setting(SERVERS[request.param])


@pytest.fixture
def bucket(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[StoreAddress]:
    """A new, empty bucket on that server; it is deleted afterwards."""
    import boto3

    access_key, secret_key = setting("CLOUDQ_TEST_ACCESS_KEY"), setting("CLOUDQ_TEST_SECRET_KEY")
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret_key)
    client = boto3.client("s3", endpoint_url=s3_url, region_name="us-east-1")
    address = StoreAddress(s3_url, f"cloudq-test-{secrets.token_hex(4)}")
    client.create_bucket(Bucket=address.bucket)
    yield address
    store = open_store(address)
    store.delete(entry.key for entry in store.list(""))
    client.delete_bucket(Bucket=address.bucket)


@pytest.fixture
def real_store(bucket: StoreAddress) -> Store:
    """The store of that bucket."""
    return open_store(bucket)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A temporary folder that every account may enter (pytest's own are private)."""
    folder = Path(tempfile.mkdtemp(prefix="cloudq-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def client_account(open_folder: Path, programs: Path, bucket: StoreAddress) -> Account:
    """The person with the laptop."""
    return make_account(CLIENT_USER, open_folder, programs)


@pytest.fixture
def agent_account(open_folder: Path, programs: Path, bucket: StoreAddress) -> Account:
    """The account on the cluster whose jobs Slurm accepts."""
    return make_account(AGENT_USER, open_folder, programs)


def make_account(user: str, folder: Path, programs: Path) -> Account:
    """Give a user (who is made if need be) a new home with credentials for the S3 server."""
    try:
        pwd.getpwnam(user)
    except KeyError:
        _quietly(["useradd", "--create-home", "--shell", "/bin/bash", user])
    home = folder / user
    home.mkdir(mode=0o700)
    shutil.chown(home, user, user)
    account = Account(user, home, programs)
    access_key, secret_key = setting("CLOUDQ_TEST_ACCESS_KEY"), setting("CLOUDQ_TEST_SECRET_KEY")
    account.write(
        ".aws/credentials",
        f"[default]\naws_access_key_id = {access_key}\naws_secret_access_key = {secret_key}\n",
    )
    return account


def _quietly(argv: Sequence[str]) -> None:
    done = subprocess.run(argv, capture_output=True, encoding="utf-8", timeout=600, check=False)
    if done.returncode != 0:
        sys.stderr.write(done.stdout + done.stderr)
        pytest.fail(f"{argv[0]} ended with status {done.returncode}", pytrace=False)
