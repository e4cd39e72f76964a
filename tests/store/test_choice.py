"""Which library speaks to an S3 server, and with whose keys."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cloudq.errors import ConfigError
from cloudq.store import StoreAddress, open_store
from cloudq.store.choice import Choice, choose_library
from cloudq.store.credentials import StaticKeys, read_aws_settings
from cloudq.store.interruptible import interruptible
from cloudq.store.s3 import S3Store

ENDPOINT = "http://127.0.0.1:9"
KEYS = "aws_access_key_id = of-{0}\naws_secret_access_key = secret\n"
pytestmark = pytest.mark.usefixtures("s3_environment")
needs_obstore = pytest.mark.skipif(
    subprocess.run([sys.executable, "-c", "import obstore"], capture_output=True, check=False).returncode
    != 0,
    reason="obstore is not installed",
)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the two configuration files; there are no keys in the environment."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    return tmp_path


@needs_obstore
def test_keys_of_the_environment_go_to_obstore() -> None:
    choice = choose_library(StoreAddress(ENDPOINT, "jobs"))
    assert (choice.library, choice.reason) == ("obstore", "with the keys of the environment")
    assert choice.keys == StaticKeys("testing", "testing")


@needs_obstore
def test_keys_of_a_profile_go_to_obstore(files: Path) -> None:
    (files / "aws-credentials").write_text("[site]\n" + KEYS.format("site") + "aws_session_token = t\n")
    (files / "aws-config").write_text("[profile site]\nregion = eu-west-1\noutput = json\n")
    choice = choose_library(StoreAddress("", "jobs", "site"))
    assert (choice.library, choice.reason, choice.region) == (
        "obstore",
        "with the keys of profile 'site'",
        "eu-west-1",
    )
    assert choice.keys == StaticKeys("of-site", "secret", "t")


@needs_obstore
@pytest.mark.parametrize(
    "setting",
    ["sso_session = s", "credential_process = tool", "role_arn = arn\nsource_profile = other", "x = y"],
    ids=["SSO", "program", "role", "nothing"],
)
def test_other_credentials_come_from_the_chain_of_boto3(files: Path, setting: str) -> None:
    (files / "aws-config").write_text(f"[profile site]\n{setting}\n")
    settings = read_aws_settings("site")
    assert settings.keys is None


@pytest.mark.parametrize(
    ("config", "variable", "reason"),
    [
        pytest.param("s3 =\n  addressing_style = path", "", "the profile sets s3", id="S3 settings"),
        pytest.param("endpoint_url = http://x", "", "the profile sets endpoint_url", id="endpoint"),
        pytest.param("", "AWS_CA_BUNDLE", "AWS_CA_BUNDLE is set", id="own authority"),
        pytest.param(
            "", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL_S3 is set", id="endpoint of the environment"
        ),
        pytest.param(
            "region = cn-north-1", "", "obstore knows no bucket jobs in region cn-north-1", id="region"
        ),
    ],
)
@needs_obstore
def test_what_only_boto3_can_do_is_left_to_it(
    files: Path, monkeypatch: pytest.MonkeyPatch, config: str, variable: str, reason: str
) -> None:
    (files / "aws-credentials").write_text("[site]\n" + KEYS.format("site"))
    (files / "aws-config").write_text(f"[profile site]\n{config}\n")
    if variable:
        monkeypatch.setenv(variable, "1")
    choice = choose_library(StoreAddress("", "jobs", "site"))
    assert (choice.library, choice.reason) == ("boto3", f"because {reason}")


def test_the_library_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDQ_STORE", "boto3")
    assert isinstance(open_store(StoreAddress(ENDPOINT, "jobs")), S3Store)
    monkeypatch.setenv("CLOUDQ_STORE", "minio")
    with pytest.raises(ConfigError, match="CLOUDQ_STORE: expected auto, obstore, boto3, got 'minio'"):
        open_store(StoreAddress(ENDPOINT, "jobs"))


def test_without_obstore_boto3_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloudq.store.choice.find_spec", lambda _: None)
    choice = choose_library(StoreAddress(ENDPOINT, "jobs"))
    assert (choice.library, choice.reason) == ("boto3", "because obstore is not installed")


@pytest.mark.parametrize(
    ("profile", "environment", "source"),
    [
        pytest.param("", "", "profile 'default'", id="nothing said"),
        pytest.param("default", "", "profile 'default'", id="default"),
        pytest.param("", "site", "profile 'site'", id="profile of the environment"),
        pytest.param("site", "default", "profile 'site'", id="both"),
    ],
)
def test_the_profile_that_counts_is_read(files: Path, profile: str, environment: str, source: str) -> None:
    (files / "aws-credentials").write_text(
        f"[default]\n{KEYS.format('default')}[site]\n{KEYS.format('site')}"
    )
    names = {"AWS_CONFIG_FILE": str(files / "aws-config"), "AWS_PROFILE": environment}
    names["AWS_SHARED_CREDENTIALS_FILE"] = str(files / "aws-credentials")
    settings = read_aws_settings(profile, names)
    assert settings.source == source
    assert settings.keys is not None
    assert settings.keys.access_key in source.replace("profile '", "of-")


def test_keys_that_a_tool_renews_in_the_file_are_read_again(files: Path) -> None:
    pytest.importorskip("obstore")
    from cloudq.store.obstore_client import make_client

    file = files / "aws-credentials"
    file.write_text("[site]\n" + KEYS.format("yesterday"))
    address = StoreAddress(ENDPOINT, "jobs", "site")
    _, credentials = make_client(address, choose_library(address))
    file.write_text("[site]\n" + KEYS.format("today"))
    assert credentials()["access_key_id"] == "of-today"


def test_a_broken_file_is_left_to_boto3_to_explain(files: Path) -> None:
    (files / "aws-config").write_text("no section\n")
    assert read_aws_settings("site").keys is None


def test_nothing_loads_boto3_for_static_keys() -> None:
    """It takes ten times as long as a whole command."""
    pytest.importorskip("obstore")
    program = (
        "import sys\nfrom cloudq.store import StoreAddress, open_store\n"
        f"store = open_store(StoreAddress({ENDPOINT!r}, 'jobs'))\n"
        "assert type(store).__name__ == 'ObstoreStore'\n"
        "sys.exit('botocore' in sys.modules or 'boto3' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.usefixtures("unmeasured_processes")
def test_an_interrupt_ends_a_request_that_nobody_answers() -> None:
    pytest.importorskip("obstore")
    program = (
        "import sys\nfrom cloudq.store import StoreAddress, open_store\n"
        "store = open_store(StoreAddress(sys.argv[1], 'jobs'))\n"
        "try:\n    store.read('a')\nexcept KeyboardInterrupt:\n    sys.exit(7)\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        process = subprocess.Popen([sys.executable, "-c", program, url], env=dict(os.environ))
        silent.settimeout(120)
        connection, _ = silent.accept()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 7
        connection.close()


def test_an_interrupt_that_does_not_end_the_wait_is_obeyed_all_the_same() -> None:
    """A wait goes on if the signal comes to another thread, or in the moment before it."""
    over, ended = threading.Event(), threading.Event()

    def hang() -> None:
        over.wait(0.2)  # until the main thread waits
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        over.wait(60)
        ended.set()

    with pytest.raises(KeyboardInterrupt):
        interruptible(hang)
    assert not ended.is_set()
    over.set()


@pytest.mark.parametrize(
    ("endpoint", "unsigned"),
    [
        ("https://s3.example", True),
        ("", True),
        ("http://s3.example", False),
        ("http://127.0.0.1.example:1", False),
        ("http://127.0.0.1:1", True),
        ("http://[::1]:1", True),
        ("http://LocalHost:1", True),
    ],
    ids=["https", "AWS", "http", "a name like an address", "this host", "this host, IPv6", "its name"],
)
def test_what_is_sent_is_hashed_only_where_nothing_else_guards_it(endpoint: str, unsigned: bool) -> None:
    pytest.importorskip("obstore")
    from cloudq.store.obstore_client import make_client

    choice = Choice("obstore", "", StaticKeys("a", "b"))
    client, _ = make_client(StoreAddress(endpoint, "bucket"), choice)
    assert client.config.get("unsigned_payload", "false") == str(unsigned).lower()
