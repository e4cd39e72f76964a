"""Which credentials, region and settings the S3 client takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cloudq.errors import ConfigError, StoreRefusedError
from cloudq.store import StoreAddress, open_store
from cloudq.store.s3 import S3Store
from cloudq.store.s3_client import make_client

ENDPOINT = "http://127.0.0.1:9"
pytestmark = pytest.mark.usefixtures("s3_environment")


@pytest.fixture
def credentials(tmp_path: Path) -> Path:
    """The credentials file of the environment, with one profile."""
    file = tmp_path / "aws-credentials"
    file.write_text("[site]\naws_access_key_id = of-site\naws_secret_access_key = secret\n")
    return file


def access_key(profile: str) -> str:
    client = make_client(StoreAddress(ENDPOINT, "jobs", profile))
    return str(client._request_signer._credentials.access_key)  # type: ignore[attr-defined]


def forget_environment_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")


def test_the_named_profile_is_used(credentials: Path) -> None:
    assert access_key("site") == "of-site"


@pytest.mark.parametrize("profile", ["", "default"])
def test_without_a_profile_of_that_name_the_default_chain_is_used(credentials: Path, profile: str) -> None:
    assert access_key(profile) == "testing"


def test_a_default_profile_is_used_if_there_is_one(credentials: Path) -> None:
    credentials.write_text("[default]\naws_access_key_id = of-default\naws_secret_access_key = secret\n")
    assert access_key("default") == "of-default"


def test_an_unknown_profile_is_refused(credentials: Path) -> None:
    with pytest.raises(
        StoreRefusedError, match="unknown profile 'abci': it is neither in .*aws-credentials"
    ) as caught:
        open_store(StoreAddress(ENDPOINT, "jobs", "abci"))
    assert "aws configure --profile abci" in caught.value.hint


def test_an_unknown_profile_of_the_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "elsewhere")
    with pytest.raises(StoreRefusedError, match="unknown profile 'elsewhere'"):
        open_store(StoreAddress(ENDPOINT, "jobs"))


def test_missing_credentials_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    forget_environment_keys(monkeypatch)
    with pytest.raises(StoreRefusedError, match="no credentials for the object store") as caught:
        open_store(StoreAddress(ENDPOINT, "jobs", "default"))
    assert caught.value.hint.startswith("run `aws configure`, or set AWS_ACCESS_KEY_ID")


def test_half_credentials_are_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(StoreRefusedError, match="Partial credentials found in env") as caught:
        open_store(StoreAddress(ENDPOINT, "jobs"))
    assert "\n" not in str(caught.value)


def test_a_failing_credential_process_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "aws-config").write_text("[profile tool]\ncredential_process = false\n")
    with pytest.raises(StoreRefusedError, match="custom-process") as caught:
        open_store(StoreAddress(ENDPOINT, "jobs", "tool"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("endpoint", ["http://", "https://a b"])
def test_an_endpoint_that_is_no_url_is_a_fault_of_the_configuration(endpoint: str) -> None:
    with pytest.raises(ConfigError, match="cloudq_endpoint_url: expected https://HOST"):
        open_store(StoreAddress(endpoint, "jobs"))


def test_an_own_server_is_addressed_by_path_and_spared_checksums() -> None:
    config = make_client(StoreAddress(ENDPOINT, "jobs")).meta.config
    assert config.s3 == {"addressing_style": "path"}  # type: ignore[attr-defined]
    assert config.request_checksum_calculation == "when_required"  # type: ignore[attr-defined]
    assert config.response_checksum_validation == "when_required"  # type: ignore[attr-defined]


def test_without_a_region_there_is_one_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    assert make_client(StoreAddress(ENDPOINT, "jobs")).meta.region_name == "us-east-1"


def test_the_configured_region_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "ap-northeast-1")
    assert make_client(StoreAddress("", "jobs")).meta.region_name == "ap-northeast-1"


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [("", "s3://jobs"), (ENDPOINT, f"s3://jobs at {ENDPOINT}")],
    ids=["AWS", "own server"],
)
def test_the_url_names_bucket_and_server(endpoint: str, url: str) -> None:
    assert S3Store.at(StoreAddress(endpoint, "jobs")).url == url


def test_the_protocol_can_be_imported_without_the_s3_library() -> None:
    program = "import sys, cloudq.store; sys.exit('botocore' in sys.modules or 'boto3' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
