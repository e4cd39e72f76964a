"""An agent that runs nothing but what allowed signers have signed, in a bucket that others can write to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from cloudq import signing
from cloudq.agent.daemon.heartbeat import Heartbeat
from cloudq.agent.folders import Folders
from cloudq.agent.schedulers.base import NativeState
from cloudq.bundle import CANCEL, CANCEL_SIGNATURE, INPUT, JOB_SIGNATURE, MANIFEST, PROJECT
from cloudq.job import Job, JobKind, JobState, new_job_id
from cloudq.manifest import render_manifest, signed_members
from cloudq.signing import Statement
from cloudq.store import Blob
from cloudq.store.memory import MemoryStore
from tests.agent.conftest import META, Site, run_passes
from tests.signers import Signers, signers

__all__ = ["signers"]


@dataclass
class SignedSite:
    """A site whose agent wants signatures, and the people who submit to it."""

    site: Site
    signers: Signers
    bucket: str = "bucket/"

    def signed(self, signer: str = "alice", script: bytes = META, **values: object) -> Job:
        """Return a job that was put into the bucket with its signature, not announced yet."""
        kind = JobKind.LOCAL if "submit_to" in values else JobKind.META
        job = Job(new_job_id(), "job.sh", kind, submitted=self.site.clock(), run_on="here")
        job = replace(job, expires=self.site.clock() + timedelta(hours=1))
        job = replace(job, **values)  # type: ignore[arg-type]
        statement = Statement(
            signing.JOB, self.bucket, signed_members(job), {job.name: signing.digest(script)}
        )
        self.site.bundles.write(job.id, job.name, script)
        self.site.bundles.write(job.id, JOB_SIGNATURE, self.signers.sign(signer, statement))
        return self.site.bundles.create(job).job

    def submit(self, signer: str = "alice", script: bytes = META, **values: object) -> Job:
        """Put a signed job into the bucket and announce it."""
        job = self.signed(signer, script, **values)
        self.site.bundles.markers.notify(job)
        return job

    def cancel(self, job: Job, signer: str = "alice", signed_id: str = "") -> None:
        """Ask for a job to be cancelled, signed."""
        statement = Statement(signing.CANCEL, self.bucket, {"uuid": signed_id or job.id})
        self.site.bundles.write(job.id, CANCEL_SIGNATURE, self.signers.sign(signer, statement))
        self.site.bundles.request_cancel(job)

    def refusal(self, job: Job) -> str:
        """Run the job's agent, and return why it refused the job; it submitted nothing."""
        run_passes(self.site.new_agent(), 2)
        found = self.site.job(job.id)
        assert (found.state, self.site.cluster.jobs) == (JobState.ERROR, {})
        assert not (self.site.folders.work_dir(job.id)).exists()
        return found.error


@pytest.fixture
def signed(site: Site, signers: Signers) -> SignedSite:
    site.settings["allowed_signers"] = signers.allowed
    return SignedSite(site, signers)


def test_a_signed_job_runs(signed: SignedSite, caplog: pytest.LogCaptureFixture) -> None:
    job = signed.submit()
    with caplog.at_level("INFO"):
        run_passes(signed.site.new_agent(), 2)
    assert signed.site.job(job.id).state is JobState.READY
    assert f"job {job.id}: signed by alice@example.org" in caplog.text


def test_an_unsigned_job_is_refused_in_words(signed: SignedSite) -> None:
    assert signed.refusal(signed.site.submit()) == "refused: not signed, and here takes only what is signed"


def test_a_signature_of_somebody_else_does_not_count(signed: SignedSite) -> None:
    assert "not that of an allowed signer" in signed.refusal(signed.submit("mallory"))


Attack = Callable[[SignedSite, Job], None]


def write(name: str, data: bytes) -> Attack:
    return lambda signed, job: signed.site.bundles.write(job.id, name, data)


def rewrite(**values: object) -> Attack:
    def attack(signed: SignedSite, job: Job) -> None:
        changed = replace(job, **values)  # type: ignore[arg-type]
        signed.site.bundles.write(job.id, MANIFEST, render_manifest(changed))

    return attack


ALTERED: dict[str, tuple[Attack, str]] = {
    "another script": (write("job.sh", b"#!/bin/sh\nid\n"), "job.sh is not what was signed"),
    "inputs added": (write(INPUT, b"PK"), "input.zip was not signed"),
    "definitions added": (write(PROJECT, b"[p]\nhere = other\n"), "project was not signed"),
    "another script name": (rewrite(name="other.sh"), "name is not what was signed"),
    "tasks added": (rewrite(array_range=None, hold_ids=("x",)), "hold_jid is not what was signed"),
    "a later end": (
        rewrite(expires=datetime(2030, 1, 1, tzinfo=timezone.utc)),
        "expires is not what was signed",
    ),
    "another kind": (rewrite(kind=JobKind.LOCAL, submit_to="here"), "jobscript_type is not what was signed"),
    "options": (rewrite(submit_options="-A other"), "submit_opt is not what was signed"),
    "no signature": (write(JOB_SIGNATURE, b"nothing"), "expected a statement and an SSH signature"),
    "damaged signature": (
        lambda signed, job: signed.site.bundles.write(
            job.id, JOB_SIGNATURE, signed.site.bundles.read(job.id, JOB_SIGNATURE).replace(b"here", b"hera")
        ),
        "not that of an allowed signer",
    ),
}


@pytest.mark.parametrize("attack", ALTERED)
def test_an_altered_job_is_refused(signed: SignedSite, attack: str) -> None:
    job = signed.submit()
    act, words = ALTERED[attack]
    act(signed, job)
    assert words in signed.refusal(job)


class Swapping(MemoryStore):
    """A bucket in which somebody puts another script as soon as the first has been read."""

    swapped = 0

    def read(self, key: str) -> Blob:
        found = super().read(key)
        if key.endswith("/job.sh"):
            self.write(key, b"#!/bin/sh\n#$ run_on: here\nid\n")
            self.swapped += 1
        return found


def test_a_script_that_is_replaced_between_two_looks_at_it_is_not_run(signed: SignedSite) -> None:
    signed.site.store = store = Swapping()
    job = signed.submit(run_on="")
    assert "job.sh is not what was signed" in signed.refusal(job)
    assert store.swapped == 2


def test_a_script_that_is_replaced_after_the_check_is_run_as_it_was(signed: SignedSite) -> None:
    signed.site.store = Swapping()
    job = signed.submit()
    run_passes(signed.site.new_agent(), 2)
    assert signed.site.job(job.id).state is JobState.READY
    assert (signed.site.folders.work_dir(job.id) / "job.sh").read_bytes() == META


def test_a_forged_number_of_attempts_does_not_keep_the_agent_busy(signed: SignedSite) -> None:
    job = signed.submit()
    rewrite(attempt=10**9)(signed, job)
    run_passes(signed.site.new_agent(), 1)
    assert signed.site.cluster.count("find") <= 101
    assert signed.site.job(job.id).state is JobState.READY


def test_a_job_is_refused_under_another_id(signed: SignedSite) -> None:
    job = signed.signed()
    copy = replace(job, id="0123456789ab")
    for name in ("job.sh", JOB_SIGNATURE):
        signed.site.bundles.write(copy.id, name, signed.site.bundles.read(job.id, name))
    signed.site.bundles.discard(job.id, [MANIFEST])
    signed.site.bundles.markers.notify(signed.site.bundles.create(copy).job)
    assert f"the signature is for job '{job.id}'" in signed.refusal(copy)


def test_a_job_for_another_system_is_refused_however_it_is_claimed(signed: SignedSite) -> None:
    job = signed.signed(run_on="there")
    long_ago = signed.site.clock() - timedelta(hours=1)
    rewrite(run_system="here", claim_token="c", received=long_ago)(signed, job)
    signed.site.bundles.markers.mark_active("here", job.id)
    assert signed.refusal(job) == "refused: it is for system there, this is here"


def test_a_job_that_was_signed_for_another_bucket_is_refused(signed: SignedSite) -> None:
    signed.bucket = "elsewhere/team/"
    assert "signed for the bucket 'elsewhere/team/', this is 'bucket/'" in signed.refusal(signed.submit())


def test_a_signed_job_without_an_end_is_refused(signed: SignedSite) -> None:
    assert "signed without a time at which it expires" in signed.refusal(signed.submit(expires=None))


def test_an_expired_job_is_not_started(signed: SignedSite) -> None:
    job = signed.submit()
    signed.site.clock.move(hours=2)
    assert "expired" in signed.refusal(job)


def test_an_unsigned_job_expires_too(site: Site) -> None:
    job = site.submit(expires=site.clock())
    run_passes(site.new_agent(), 2)
    assert (site.job(job.id).state, site.cluster.jobs) == (JobState.ERROR, {})


@pytest.mark.parametrize(
    "options", ['valid-before="20200101"', 'valid-after="20990101"', 'namespaces="git"'], ids=str
)
def test_dates_and_namespaces_of_allowed_signers_count(signed: SignedSite, options: str) -> None:
    signed.signers.allow("carol", "carol@example.org", options)
    assert "not that of an allowed signer, whose key is valid now" in signed.refusal(signed.submit("carol"))


def test_a_job_that_was_run_is_never_run_again(signed: SignedSite) -> None:
    job = signed.submit()
    agent = signed.site.new_agent()
    run_passes(agent, 2)
    signed.site.cluster.move("1", NativeState.COMPLETED)
    run_passes(agent, 2)
    assert signed.site.job(job.id).state is JobState.DONE
    signed.site.cluster.jobs.clear()
    rewrite()(signed, job)
    signed.site.bundles.markers.notify(job)
    assert signed.refusal(job) == "refused: this signed job has been run here before"


def test_a_running_job_put_back_to_its_beginning_goes_on(signed: SignedSite, tmp_path: Path) -> None:
    job = signed.submit()
    run_passes(signed.site.new_agent(), 2)
    signed.site.cluster.move("1", NativeState.RUNNING)
    (signed.site.folders.work_dir(job.id) / "result").write_text("kept", encoding="ascii")
    rewrite()(signed, job)
    agent = signed.site.new_agent()
    run_passes(agent, 2)
    assert list(signed.site.cluster.jobs) == ["1"]
    assert (signed.site.job(job.id).state, signed.site.job(job.id).native_id) == (JobState.RUN, "1")
    assert (signed.site.folders.work_dir(job.id) / "result").exists()


@pytest.mark.parametrize(
    "values",
    [
        {"native_id": "999"},
        {"state": JobState.DELETING},
        {"state": JobState.DONE},
        {"run_system": "there"},
        {"claim_token": "stolen"},
    ],
    ids=str,
)
@pytest.mark.parametrize("restart", [False, True], ids=["running agent", "new agent"])
def test_what_others_write_into_a_manifest_neither_stops_nor_moves_a_job(
    signed: SignedSite, values: dict[str, object], restart: bool
) -> None:
    job = signed.submit()
    agent = signed.site.new_agent()
    run_passes(agent, 2)
    rewrite(**{**vars(signed.site.job(job.id)), **values})(signed, job)
    agent = signed.site.new_agent() if restart else agent
    signed.site.cluster.move("1", NativeState.RUNNING)
    run_passes(agent, 3)
    found = signed.site.job(job.id)
    assert (found.state, found.native_id, found.run_system) == (JobState.RUN, "1", "here")
    assert signed.site.cluster.count("cancel") == 0


def test_a_removed_manifest_cancels_nothing(signed: SignedSite) -> None:
    job = signed.submit()
    agent = signed.site.new_agent()
    run_passes(agent, 2)
    signed.site.bundles.discard(job.id, [MANIFEST])
    signed.site.cluster.move("1", NativeState.RUNNING)
    run_passes(agent, 2)
    assert (signed.site.job(job.id).state, signed.site.cluster.count("cancel")) == (JobState.RUN, 0)


def test_a_job_that_this_agent_never_signed_for_is_left_alone(signed: SignedSite) -> None:
    job = signed.signed()
    rewrite(run_system="here", native_id="77", state=JobState.RUN, claim_token="c")(signed, job)
    signed.site.bundles.markers.mark_active("here", job.id)
    signed.site.bundles.request_cancel(job)
    run_passes(signed.site.new_agent(), 2)
    assert signed.site.cluster.count("cancel") == 0


def test_a_signed_cancel_request_is_obeyed(signed: SignedSite) -> None:
    job = signed.submit()
    agent = signed.site.new_agent()
    run_passes(agent, 2)
    signed.cancel(job)
    run_passes(agent, 3)
    assert signed.site.job(job.id).state is JobState.DELETED


def reuse_signature(signed: SignedSite, job: Job) -> None:
    data = signed.site.bundles.read(job.id, JOB_SIGNATURE)
    signed.site.bundles.write(job.id, CANCEL_SIGNATURE, data)
    signed.site.bundles.request_cancel(job)


CANCELS: dict[str, tuple[Attack, str]] = {
    "unsigned": (lambda signed, job: signed.site.bundles.request_cancel(job), "not signed"),
    "by Mallory": (lambda signed, job: signed.cancel(job, "mallory"), "not that of an allowed signer"),
    "by Bob": (lambda signed, job: signed.cancel(job, "bob"), "signed by somebody else than the job"),
    "for another job": (lambda signed, job: signed.cancel(job, signed_id="x"), "signed for another job"),
    "the job's own signature": (reuse_signature, "for a job, not for a cancel"),
}


@pytest.mark.parametrize("attack", CANCELS)
@pytest.mark.parametrize("moment", ["held", "running"])
def test_any_other_cancel_request_is_ignored(
    signed: SignedSite, attack: str, moment: str, caplog: pytest.LogCaptureFixture
) -> None:
    other = signed.signed()
    job = signed.submit(hold_ids=(other.id,) if moment == "held" else ())
    agent = signed.site.new_agent()
    run_passes(agent, 2)
    act, words = CANCELS[attack]
    act(signed, job)
    signed.site.clock.move(seconds=70)
    run_passes(agent, 2)
    assert signed.site.job(job.id).state is (JobState.INIT if moment == "held" else JobState.READY)
    assert f"job {job.id}: the request to cancel it is ignored: refused: " in caplog.text
    assert words in caplog.text


def test_a_job_that_was_cancelled_before_it_ran_cannot_be_put_back(signed: SignedSite) -> None:
    job = signed.signed()
    signed.cancel(job)
    agent = signed.site.new_agent()
    signed.site.bundles.markers.notify(job)
    run_passes(agent, 2)
    assert signed.site.job(job.id).state is JobState.DELETED
    signed.site.bundles.discard(job.id, [CANCEL, CANCEL_SIGNATURE])
    rewrite()(signed, job)
    signed.site.bundles.markers.notify(job)
    assert "has been run here before" in signed.refusal(job)


def test_an_unsigned_job_for_any_system_is_left_to_those_that_take_it(
    signed: SignedSite, tmp_path: Path
) -> None:
    site = signed.site
    other = Site(tmp_path / "other", site.store, name="there", clock=site.clock)
    here, there = site.new_agent(), other.new_agent()
    Folders(tmp_path / "other", "there").agent_log.touch()
    Heartbeat(there).beat()
    job = site.submit(b"#!/bin/sh\necho\n", run_on="ANY")
    run_passes(here, 2)
    assert site.job(job.id).state is JobState.INIT
    assert "not signed" in here.refusals[job.id]
    run_passes(there, 2)
    assert site.job(job.id).run_system == "there"
    for agent in other.agents:
        agent.crew.stop()


def test_a_job_for_any_system_ends_when_all_that_are_alive_refuse_it(signed: SignedSite) -> None:
    job = signed.site.submit(b"#!/bin/sh\necho\n", run_on="ANY")
    assert signed.refusal(job).startswith("no system takes it: here: refused: not signed")


def requeue(signed: SignedSite, job: Job, signer: str, to: str = "here") -> Job:
    """Give a job that an agent has to others, as the client does."""
    from cloudq.client.jobs.requeue import Requeue
    from cloudq.client.jobs.requeue import requeue as requeue_job

    def sign(moved: Job) -> bytes:
        members = {"uuid": job.id, "attempt": moved.attempt, "run_on": moved.run_on, "submit_to": ""}
        return signed.signers.sign(signer, Statement(signing.REQUEUE, signed.bucket, members))

    return requeue_job(signed.site.bundles, job.id, Requeue(to=to, force=True), sign)


def test_a_signed_job_is_run_once_more_when_its_signer_says_so(signed: SignedSite) -> None:
    job = signed.submit()
    agent = signed.site.new_agent()
    run_passes(agent, 2)
    requeue(signed, job, "alice")
    for _ in range(8):
        signed.site.clock.move(seconds=30)
        run_passes(agent)
    assert list(signed.site.cluster.jobs) == ["1", "2"]
    assert signed.site.job(job.id).native_id == "2"


@pytest.mark.parametrize("signer", ["bob", "mallory"])
def test_nobody_else_takes_a_signed_job_away(signed: SignedSite, signer: str) -> None:
    job = signed.submit()
    agent = signed.site.new_agent()
    run_passes(agent, 2)
    requeue(signed, job, signer)
    for _ in range(8):
        signed.site.clock.move(seconds=30)
        run_passes(agent)
    assert list(signed.site.cluster.jobs) == ["1"]
    assert (signed.site.job(job.id).native_id, signed.site.cluster.count("cancel")) == ("1", 0)


def test_a_signed_job_may_be_sent_elsewhere_by_its_signer_only(signed: SignedSite) -> None:
    moved = {name: signed.signed(run_on="there") for name in ("alice", "mallory")}
    for name, job in moved.items():
        requeue(signed, job, name, to="here")
    run_passes(signed.site.new_agent(), 2)
    assert signed.site.job(moved["alice"].id).state is JobState.READY
    assert "run_on is not what was signed" in signed.site.job(moved["mallory"].id).error


class OvertakenStore(MemoryStore):
    """Answers once with what a manifest was before: that answer was long on its way."""

    def __init__(self) -> None:
        super().__init__()
        self.earlier: list[Blob] = []
        self.overtaken: list[Blob] = []

    def replace(self, key: str, data: bytes, *, etag: str) -> str:
        self.earlier.append(super().read(key))
        return super().replace(key, data, etag=etag)

    def read(self, key: str) -> Blob:
        overtaken = key.endswith(MANIFEST) and self.overtaken
        return overtaken.pop() if overtaken else super().read(key)


def test_a_manifest_that_was_overtaken_begins_nothing_anew(signed: SignedSite) -> None:
    """The sweep reads a job as open, and before it says so the job has ended."""
    signed.site.store = store = OvertakenStore()
    job, agent = signed.submit(), signed.site.new_agent()
    run_passes(agent)
    signed.site.cluster.move("1", NativeState.COMPLETED)
    run_passes(agent, 2)
    done, keys, earlier = signed.site.job(job.id), signed.site.keys(), list(store.earlier)
    assert done.state is JobState.DONE
    for version in earlier[1:]:  # The first one was claimed by nobody.
        store.overtaken.append(version)
        run_passes(signed.site.new_agent())
        assert store.overtaken == []
        assert (signed.site.job(job.id), signed.site.keys()) == (done, keys)
        assert list(signed.site.folders.job_ids()) == []
