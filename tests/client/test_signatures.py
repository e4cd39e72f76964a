"""Signed jobs and cancel requests, from the laptop's side."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from cloudq import signing
from cloudq.bundle import CANCEL_SIGNATURE, JOB_SIGNATURE
from cloudq.errors import CloudQError, RefusedError
from cloudq.signing import Statement, verify
from tests.client.conftest import Laptop
from tests.signers import Signers, signers

__all__ = ["signers"]


@pytest.fixture
def signing_laptop(laptop: Laptop, signers: Signers) -> Laptop:
    text = laptop.config_file.read_text(encoding="utf-8")
    laptop.config_file.write_text(f"{text}signing_key = {signers.key('alice')}\n", encoding="utf-8")
    return laptop


def test_a_job_and_all_its_files_are_signed(signing_laptop: Laptop, signers: Signers) -> None:
    signing_laptop.write("data.txt", "1 2 3\n")
    job_id = signing_laptop.answer("submit", "job.sh", "--input", "data.txt", "--parsable").strip()
    statement, principals = verify(signing_laptop.bundles.read(job_id, JOB_SIGNATURE), signers.allowed)
    assert principals == ("alice@example.org",)
    assert (statement.kind, statement.bucket, statement.members["uuid"]) == ("job", "bucket/", job_id)
    assert statement.members["run_on"] == "sys1"
    names = ("input.zip", "job.sh", "project", "resource")
    assert statement.files == {
        name: signing.digest(signing_laptop.bundles.read(job_id, name)) for name in names
    }


def test_a_signed_job_expires_after_a_week_unless_told_otherwise(signing_laptop: Laptop) -> None:
    for options, seconds in (((), 7 * 24 * 3600), (("--expires", "90m"), 5400)):
        job_id = signing_laptop.answer("submit", "job.sh", "--parsable", *options).strip()
        job = signing_laptop.bundles.load(job_id).job
        assert job.expires is not None
        assert job.submitted is not None
        assert (job.expires - job.submitted).total_seconds() == seconds


def test_without_a_key_nothing_is_signed_and_nothing_expires(laptop: Laptop) -> None:
    job_id = laptop.answer("submit", "job.sh", "--parsable").strip()
    assert JOB_SIGNATURE not in laptop.bundles.entries(job_id)
    assert laptop.bundles.load(job_id).job.expires is None


def test_a_time_that_is_none_is_refused(laptop: Laptop) -> None:
    assert laptop.error(2, "submit", "job.sh", "--expires", "10").startswith("Error: --expires: '10' means")


def test_a_cancel_request_is_signed_and_stays_empty_for_1_2(signing_laptop: Laptop, signers: Signers) -> None:
    job_id = signing_laptop.answer("submit", "job.sh", "--parsable").strip()
    signing_laptop.answer("cancel", job_id)
    statement, _ = verify(signing_laptop.bundles.read(job_id, CANCEL_SIGNATURE), signers.allowed)
    assert (statement.kind, statement.members) == ("cancel", {"uuid": job_id})
    assert signing_laptop.bundles.read(job_id, "cancel") == b""


def test_a_missing_key_is_named(laptop: Laptop) -> None:
    text = laptop.config_file.read_text(encoding="utf-8")
    laptop.config_file.write_text(f"{text}signing_key = nokey\n", encoding="utf-8")
    assert "[client] signing_key: expected a file that exists" in laptop.error(1, "submit", "job.sh")


def test_a_key_that_cannot_sign_stores_nothing(laptop: Laptop) -> None:
    text = laptop.config_file.read_text(encoding="utf-8")
    laptop.config_file.write_text(f"{text}signing_key = project.ini\n", encoding="utf-8")
    assert "Error: cannot sign with" in laptop.error(1, "submit", "job.sh")
    assert list(laptop.bundles.ids()) == []


def test_a_key_in_ssh_agent_signs_by_its_public_half(
    signers: Signers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    socket = tmp_path / "agent"
    with subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.DEVNULL) as agent:
        try:
            monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
            key = signers.key("alice")
            add = ["ssh-add", "-q", str(key)]
            while subprocess.run(add, capture_output=True, timeout=120, check=False).returncode == 2:
                pass
            key.unlink()
            signed = signing.sign(Statement("job", "b/", {"uuid": "1"}), key.with_suffix(".pub"))
            assert verify(signed, signers.allowed)[1] == ("alice@example.org",)
        finally:
            agent.terminate()


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"\n-----BEGIN SSH SIGNATURE-----\n", b"x" * (signing.MAX_BYTES + 1)],
    ids=["nothing", "no signature", "no statement", "far too long"],
)
def test_what_is_no_signature_is_refused(signers: Signers, data: bytes) -> None:
    with pytest.raises(RefusedError, match="not signed as CloudQ signs|not that of an allowed signer"):
        verify(data, signers.allowed)


def test_a_signed_text_that_is_no_statement_is_refused(signers: Signers) -> None:
    armor = subprocess.run(
        ["ssh-keygen", "-q", "-Y", "sign", "-n", "cloudq", "-f", str(signers.key("alice"))],
        input=b"[[[", capture_output=True, check=True, timeout=120,
    ).stdout  # fmt: skip
    with pytest.raises(RefusedError, match="cannot be understood"):
        verify(b"[[[\n" + armor, signers.allowed)


def test_a_signature_for_another_purpose_does_not_count(signers: Signers) -> None:
    data = signing.render_statement(Statement("job", "b/", {"uuid": "1"}))
    armor = subprocess.run(
        ["ssh-keygen", "-q", "-Y", "sign", "-n", "git", "-f", str(signers.key("alice"))],
        input=data, capture_output=True, check=True, timeout=120,
    ).stdout  # fmt: skip
    with pytest.raises(RefusedError, match="not that of an allowed signer"):
        verify(data + b"\n" + armor, signers.allowed)


def test_an_agent_does_not_start_where_signatures_cannot_be_checked(
    signers: Signers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    signing.check_verifier(signers.allowed)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CloudQError, match="signatures cannot be checked here"):
        signing.check_verifier(signers.allowed)


def test_a_job_is_signed_once_more_only_as_it_was_signed_before(signing_laptop: Laptop) -> None:
    job_id = signing_laptop.answer("submit", "job.sh", "--parsable").strip()
    again = signing_laptop.answer("resubmit", job_id).split("(")[1].split(")")[0]
    assert JOB_SIGNATURE in signing_laptop.bundles.entries(again)
    signing_laptop.bundles.write(job_id, "job.sh", b"#!/bin/sh\n#$ run_on: sys1\nevil\n")
    said = signing_laptop.error(2, "resubmit", job_id)
    assert f"job {job_id}: cannot be signed once more: it is not what was signed" in said
