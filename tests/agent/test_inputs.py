"""Inputs that lie beside the bundles: fetched, checked, refused; and let go of when no job has them."""

from __future__ import annotations

import hashlib
import logging
import os
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from cloudq.agent.daemon.heartbeat import Heartbeat
from cloudq.digests import SHA256, RunningDigest, known_algorithms
from cloudq.job import InputBlob, Job, JobState
from cloudq.policy import Policy
from cloudq.presence import parse_presence
from tests.agent.conftest import META, Site, run_passes
from tests.agent.test_budgets import requests
from tests.agent.test_signed import SignedSite, signed, signers
from tests.archives import pack

__all__ = ["signed", "signers"]


def keep(
    site: Site, tmp_path: Path, name: str = "data", text: str = "1 2 3\n", algorithm: str = SHA256
) -> InputBlob:
    """Put an archive of one file beside the bundles, as a client does."""
    tmp_path.joinpath(name).write_text(text, encoding="ascii")
    file = tmp_path / f"{name}.zip"
    pack([(tmp_path / name, name)], file)
    running = RunningDigest(algorithm)
    running.update(file.read_bytes())
    fingerprint = hashlib.sha256(f"{name} {len(text)}".encode()).hexdigest()
    site.bundles.blobs.refer(fingerprint, "holder")
    blocks = [file.read_bytes()]
    return site.bundles.blobs.upload(fingerprint, "holder", blocks, running, expected=len(blocks[0]))


def failed(site: Site, job: Job) -> str:
    """Run a job's agent, and return why the job could not be run."""
    run_passes(site.new_agent(), 2)
    found = site.job(job.id)
    assert (found.state, site.cluster.jobs) == (JobState.ERROR, {})
    return found.error


def test_shared_inputs_are_in_the_working_directory(site: Site, tmp_path: Path) -> None:
    blobs = (keep(site, tmp_path, "a", "one"), keep(site, tmp_path, "b", "two"))
    agent = site.new_agent()
    run_passes(agent)
    job = site.submit(input_blobs=blobs, input_size=1000)
    requests(site).clear()
    run_passes(agent)
    made = Counter(requests(site))
    assert site.job(job.id).state is JobState.READY
    assert {name: (site.folders.work_dir(job.id) / name).read_text() for name in "ab"} == {
        "a": "one",
        "b": "two",
    }
    # A look and the bytes for each, beside manifest and script.
    assert (made["HEAD"], made["GET"]) == (2, 4)


def test_inputs_that_are_gone_end_the_job(site: Site) -> None:
    job = site.submit(input_blobs=(InputBlob("0" * 64, "1" * 64, 5, "holder"),))
    assert failed(site, job) == (
        f"the bundle is not complete: no such object: agent/.blobs/{'0' * 64}/kept/holder/input.zip"
    )


def replace_inputs(site: Site, blob: InputBlob, data: bytes) -> None:
    """Put other bytes in the place of a blob."""
    site.store.write(f"agent/.blobs/{blob.fingerprint}/kept/holder/input.zip", data)


@pytest.mark.parametrize("algorithm", known_algorithms())
def test_inputs_with_other_bytes_than_were_signed_are_refused(
    signed: SignedSite, tmp_path: Path, algorithm: str
) -> None:
    blob = keep(signed.site, tmp_path, "data", "1 2 3", algorithm)
    other = keep(signed.site, tmp_path, "data", "4 5 6", algorithm)  # in its place
    assert (blob.size, blob.fingerprint) == (other.size, other.fingerprint)
    job = signed.submit(input_blobs=(blob,))
    assert signed.refusal(job) == f"refused: input {blob.digest} has other bytes than that"


def test_inputs_of_another_size_are_refused(site: Site, tmp_path: Path) -> None:
    blob = keep(site, tmp_path)
    replace_inputs(site, blob, b"x")
    job = site.submit(input_blobs=(blob,))
    assert failed(site, job) == f"refused: input {blob.digest} has 1 bytes, not {blob.size}"


@pytest.mark.parametrize(
    ("mark", "distance"),
    [pytest.param(b"PK\3\4", 60, id="in a file"), pytest.param(b"PK\1\2", 0, id="in the directory")],
)
def test_inputs_that_were_damaged_end_the_job(site: Site, tmp_path: Path, mark: bytes, distance: int) -> None:
    blob = keep(site, tmp_path, text=os.urandom(100).hex())
    data = bytearray(site.store.read(f"agent/.blobs/{blob.fingerprint}/kept/holder/input.zip").data)
    data[data.index(mark) + distance] ^= 1
    replace_inputs(site, blob, bytes(data))
    said = failed(site, site.submit(input_blobs=(blob,)))
    assert said.startswith("input.zip: damaged, or of a kind that is not known: ")


def test_a_reference_that_was_altered_is_not_what_was_signed(signed: SignedSite, tmp_path: Path) -> None:
    good, bad = keep(signed.site, tmp_path, "good"), keep(signed.site, tmp_path, "bad")
    job = signed.submit(input_blobs=(good,))
    record = signed.site.bundles.load(job.id)
    signed.site.bundles.save(record, replace(record.job, input_blobs=(bad,)))
    assert signed.refusal(job) == "refused: input_blobs is not what was signed"


def test_a_digest_that_cannot_be_computed_here_is_refused_where_jobs_are_signed(
    signed: SignedSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = replace(keep(signed.site, tmp_path), digest=f"blake3-{'0' * 64}")
    monkeypatch.setattr("cloudq.bundle.blobs.known_algorithms", lambda: (SHA256,))
    complaint = signed.refusal(signed.submit(input_blobs=(blob,)))
    assert complaint == f"refused: input blake3-{'0' * 64}: the Python package blake3 is missing"


@pytest.mark.parametrize("algorithm", known_algorithms())
def test_what_was_signed_is_run_with_its_inputs(signed: SignedSite, tmp_path: Path, algorithm: str) -> None:
    job = signed.submit(input_blobs=(keep(signed.site, tmp_path, algorithm=algorithm),))
    run_passes(signed.site.new_agent())
    assert (signed.site.folders.work_dir(job.id) / "data").read_text() == "1 2 3\n"


@pytest.mark.parametrize(
    ("largest", "complaint"),
    [
        pytest.param(100, "bytes of input, at most 100 are taken", id="as they come"),
        pytest.param(900, "the archive unpacks to 600 bytes, at most 300 are allowed", id="unpacked"),
    ],
)
def test_the_policy_limits_shared_inputs_together(
    site: Site, tmp_path: Path, largest: int, complaint: str
) -> None:
    site.settings["policy"] = Policy(largest_input=largest)
    blobs = tuple(keep(site, tmp_path, name, name * 600) for name in "ab")
    assert complaint in failed(site, site.submit(input_blobs=blobs))


def test_a_full_measure_of_inputs_leaves_no_room_for_more(site: Site, tmp_path: Path) -> None:
    """What an archive says of its sizes is checked by `unpack`; here the folder is too full already."""
    site.settings["policy"] = Policy(largest_input=700)
    blobs = (keep(site, tmp_path, "a", "a" * 600), keep(site, tmp_path, "b", "b" * 101))
    assert "at most 100 are allowed" in failed(site, site.submit(input_blobs=blobs))


def test_a_hostile_reference_is_told_in_one_line_and_nothing_is_fetched(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    agent = site.new_agent()
    run_passes(agent)
    job = site.submit()
    manifest = site.bundles.read(job.id, "manifest.json")
    hostile = b', "input_blobs": "../../secret:5:x"}'
    site.bundles.write(job.id, "manifest.json", manifest.rstrip()[:-1] + hostile)
    run_passes(agent)
    (record,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert record.getMessage() == (
        f"job {job.id}: left alone: job {job.id}: manifest.json: input_blobs: "
        "expected FINGERPRINT:DIGEST:SIZE:JOB, got '../../secret:5:x'"
    )
    assert site.cluster.jobs == {}


def test_an_agent_lets_go_of_inputs_that_no_job_has(site: Site, tmp_path: Path) -> None:
    site.clock.moment = datetime.now(timezone.utc)
    blob = keep(site, tmp_path)
    job = site.submit(META, input_blobs=(blob,))
    site.bundles.blobs.refer(blob.fingerprint, job.id)
    agent = site.new_agent()
    run_passes(agent)
    for days in range(20):
        site.clock.move(days=1)
        run_passes(agent)
        names = [key.rpartition(f"{blob.fingerprint}/")[2] for key in site.keys("agent/.blobs/")]
        assert "kept/holder/input.zip" in names, days
    assert "refs/holder" not in names
    site.bundles.delete(job.id)
    run_passes(agent)
    for _ in range(4):
        site.clock.move(days=1)
        run_passes(agent)
    assert site.keys("agent/.blobs/") == []


def test_an_agent_looks_for_such_inputs_once_a_day(site: Site) -> None:
    agent = site.new_agent()
    run_passes(agent)
    lists = []
    for hours in (1, 22, 1, 1):
        site.clock.move(hours=hours)
        requests(site).clear()
        run_passes(agent)
        lists.append(requests(site)["LIST"])
    ordinary, one_more = min(lists), max(lists)
    assert lists == [ordinary, ordinary, one_more, ordinary]
    assert one_more == ordinary + 1


def test_an_agent_that_stops_lets_go_of_nothing_more(site: Site, tmp_path: Path) -> None:
    keep(site, tmp_path)
    site.clock.moment = datetime.now(timezone.utc) + timedelta(days=30)
    agent = site.new_agent()
    agent.crew.stopping = True
    agent._collector._collect()
    assert len(site.keys("agent/.blobs/")) == 3


def test_presence_says_that_shared_inputs_are_known(site: Site) -> None:
    Heartbeat(site.new_agent()).beat()
    presence = site.bundles.agents.presence("here")
    assert presence is not None
    assert presence.shared_inputs == known_algorithms()
    older = site.store.read("agent/.systems/here.json").data.replace(b'"shared_inputs"', b'"x"')
    assert parse_presence(older, "here").shared_inputs == ()
