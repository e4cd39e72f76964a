"""What `doctor` says of a store."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from cloudq.finding import Finding, Level
from cloudq.store import StoreAddress, open_store
from cloudq.store.checks import store_findings, utc_now
from cloudq.store.s3_client import make_client
from tests.store.careless_proxy import careless_proxy
from tests.store.faulty_server import Fault, FaultyServer, faulty_server

FOLDER = "team/agent/.probe/"
ALL = ["credentials", "store", "clock", "put", "get", "list", "delete", "paging", "conditional writes"]


def found(address: StoreAddress, *, ahead: timedelta = timedelta(0)) -> dict[str, Finding]:
    """Return the findings by subject, as a computer whose clock is ahead gets them."""
    return {one.subject: one for one in store_findings(address, FOLDER, lambda: utc_now() + ahead)}


def faults(findings: dict[str, Finding]) -> list[str]:
    return [subject for subject, one in findings.items() if one.level is Level.FAIL]


@pytest.fixture
def bucket(moto_endpoint: str, s3_environment: None) -> StoreAddress:
    address = StoreAddress(moto_endpoint, f"checks-{uuid.uuid4().hex}")
    make_client(address).create_bucket(Bucket=address.bucket)
    return address


@pytest.fixture
def server(s3_environment: None) -> Iterator[FaultyServer]:
    with faulty_server() as server:
        server.objects[""] = b""  # The bucket itself.
        yield server


def test_a_good_store_is_right_in_all_points_and_stays_empty(bucket: StoreAddress) -> None:
    findings = found(bucket)
    assert list(findings) == ALL
    assert {one.level for one in findings.values()} == {Level.OK}
    assert findings["credentials"].seen == "access key …ting from env, do not expire"
    assert list(open_store(bucket).list("")) == []


def test_nothing_is_left_when_the_reader_of_the_findings_goes_away(bucket: StoreAddress) -> None:
    """`cloudqcli doctor | head -5` left an object behind."""
    findings = store_findings(bucket, FOLDER, utc_now)
    assert next(one for one in findings if one.subject == "put").level is Level.OK
    del findings
    assert list(open_store(bucket).list("")) == []


def test_a_folder_is_looked_at_without_questions_for_s3_servers(tmp_path: Path) -> None:
    (tmp_path / "bucket").mkdir()
    address = StoreAddress(tmp_path.as_uri(), "bucket")
    findings = found(address)
    assert list(findings) == [subject for subject in ALL if subject not in ("credentials", "paging")]
    assert faults(findings) == []
    assert list(open_store(address).list("")) == []


def test_a_server_that_ignores_the_conditions_is_told_of(bucket: StoreAddress) -> None:
    with careless_proxy(bucket.endpoint_url) as url:
        findings = found(StoreAddress(url, bucket.bucket))
    assert list(findings) == ALL
    assert faults(findings) == ["conditional writes"]
    assert "several win" in findings["conditional writes"].seen
    assert "take no ANY jobs" in findings["conditional writes"].remedy
    assert list(open_store(bucket).list("")) == []


@pytest.mark.parametrize(
    ("ahead", "level", "seen"),
    [
        (timedelta(minutes=20), Level.FAIL, "s ahead of the store's"),
        (timedelta(minutes=-20), Level.FAIL, "s behind the store's"),
        (timedelta(minutes=2), Level.WARN, "s ahead of the store's"),
        (timedelta(0), Level.OK, "agrees with the store's"),
    ],
    ids=["far ahead", "far behind", "ahead", "right"],
)
def test_the_clock_is_compared_with_the_date_of_the_server(
    bucket: StoreAddress, ahead: timedelta, level: Level, seen: str
) -> None:
    finding = found(bucket, ahead=ahead)["clock"]
    assert (finding.level, seen in finding.seen) == (level, True)


@pytest.mark.parametrize(
    ("method", "subject", "said"),
    [
        ("PUT", "put", "cannot write"),
        ("DELETE", "delete", "cannot delete"),
    ],
)
def test_each_right_that_is_refused_is_told_with_the_refusal(
    server: FaultyServer, method: str, subject: str, said: str
) -> None:
    server.fail(method, *[Fault(403, "AccessDenied")] * 20)
    finding = found(StoreAddress(server.url, "bucket"))[subject]
    assert finding.level is Level.FAIL
    assert f"{said} '{FOLDER}" in finding.seen
    assert "(AccessDenied 403)" in finding.seen
    assert "ask the owner of the bucket" in finding.remedy


def test_after_a_refusal_nothing_is_raced(server: FaultyServer) -> None:
    server.fail("PUT", *[Fault(403, "AccessDenied")] * 20)
    found(StoreAddress(server.url, "bucket"))
    assert server.requests["PUT"] == 1


def test_a_server_that_does_not_answer_is_one_fault(s3_environment: None) -> None:
    findings = found(StoreAddress("http://127.0.0.1:1", "bucket"))
    assert list(findings) == ["credentials", "store"]
    assert "Connection refused" in findings["store"].seen


def test_a_missing_bucket_is_told_and_not_made(moto_endpoint: str, s3_environment: None) -> None:
    address = StoreAddress(moto_endpoint, f"missing-{uuid.uuid4().hex}")
    assert faults(found(address)) == ["store"]
    assert list(found(address)) == ["credentials", "store"]


def test_without_credentials_nothing_else_is_tried(
    s3_environment: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    findings = found(StoreAddress("http://127.0.0.1:1", "bucket"))
    assert list(findings) == ["store"]
    assert "no credentials" in findings["store"].seen


@pytest.mark.parametrize(
    ("left", "level", "seen"),
    [
        (timedelta(minutes=20), Level.WARN, ", expire at "),
        (timedelta(hours=9), Level.OK, ", expire at "),
    ],
    ids=["soon", "later"],
)
def test_the_end_of_credentials_is_told(
    bucket: StoreAddress, monkeypatch: pytest.MonkeyPatch, left: timedelta, level: Level, seen: str
) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    monkeypatch.setenv("AWS_CREDENTIAL_EXPIRATION", (datetime.now(timezone.utc) + left).isoformat())
    finding = found(bucket)["credentials"]
    assert (finding.level, seen in finding.seen) == (level, True)
