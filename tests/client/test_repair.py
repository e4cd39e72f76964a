"""`cloudqcli doctor --repair`: what crashes have left is found and removed, and nothing else."""

from __future__ import annotations

import os
import time
import uuid
from datetime import datetime, timedelta, timezone

import pytest

from cloudq.bundle import Bundles
from cloudq.bundle.agents import Agents
from cloudq.bundle.leftovers import find_leftovers
from cloudq.client.commands.repair import find_removals
from cloudq.job import JobState
from cloudq.presence import Presence
from cloudq.store import StoreAddress, open_store
from cloudq.store.s3_client import make_client
from tests.client.conftest import Laptop, put_done_job, put_job

ID = "0123456789ab"
OTHER = "ba9876543210"


def after(**age: float) -> datetime:
    """Return the time it is when everything in the bucket has this age."""
    return datetime.now(timezone.utc) + timedelta(**age)


def said(bundles: Bundles, now: datetime) -> list[str]:
    return [leftover.said for leftover in find_leftovers(bundles, now)]


def repaired(bundles: Bundles, now: datetime) -> list[str]:
    """Remove all that is found, and return the keys that stay."""
    for leftover in list(find_leftovers(bundles, now)):
        bundles.store.delete(leftover.keys)
    return [entry.key for entry in bundles.store.list("")]


def publish(bundles: Bundles, system: str = "sys1") -> None:
    now = datetime.now(timezone.utc)
    bundles.agents.publish(Presence(system, "0", "local", "host", 1, now, timedelta(minutes=1)))


def test_a_bucket_in_good_order_has_no_leftovers(bundles: Bundles) -> None:
    put_done_job(bundles, ID)
    bundles.write(ID, "stdout", b"")
    job = put_job(bundles, OTHER, run_system="sys1", claim_token="c", state=JobState.RUN)
    bundles.markers.notify(job)
    bundles.markers.mark_active("sys1", OTHER)
    publish(bundles)
    bundles.store.write("agent/sys1", b"log")
    assert said(bundles, after(days=400)) == []


@pytest.mark.parametrize(
    ("names", "what"),
    [
        (["input.zip", "job.sh"], "a submission that broke off"),
        (["live/stdout/0", "output.zip"], "logs and outputs without a job"),
        (["stderr.3"], "logs and outputs without a job"),
    ],
    ids=["submission", "outputs", "log"],
)
def test_objects_without_a_manifest_go_when_nothing_of_them_is_young(
    bundles: Bundles, names: list[str], what: str
) -> None:
    for name in names:
        bundles.write(ID, name, b"")
    assert said(bundles, after(hours=23)) == []
    [line] = said(bundles, after(hours=25))
    assert line.startswith(f"{ID}: {what}, objects: {len(names)}, the last of 2")
    assert repaired(bundles, after(hours=25)) == []


def test_what_is_not_ours_or_cannot_be_read_stays(bundles: Bundles) -> None:
    bundles.store.write("photos/cat.jpg", b"")
    bundles.write(ID, "manifest.json", b"no JSON")
    bundles.store.write(f"agent/.active/sys1/{ID}", b"")
    assert said(bundles, after(days=400)) == []


def test_requests_about_jobs_that_are_gone_or_have_ended_go(bundles: Bundles) -> None:
    bundles.markers.notify(put_done_job(bundles, ID))
    bundles.store.write(f"agent/.inbox/ANY/{OTHER}", b"")
    assert said(bundles, after(hours=23)) == []
    assert said(bundles, after(hours=25)) == [
        f"agent/.inbox/ANY/{OTHER}: a request to ANY about a job that is gone",
        f"agent/.inbox/sys1/{ID}: a request to sys1 about a job that is DONE",
    ]
    assert repaired(bundles, after(hours=25)) == [f"{ID}/manifest.json"]


def test_markers_of_claims_that_are_void_go_when_their_agent_is_silent(bundles: Bundles) -> None:
    put_done_job(bundles, ID)
    put_job(bundles, OTHER, run_system="sys2", state=JobState.RUN)
    for job_id in (ID, OTHER, "gone1"):
        bundles.markers.mark_active("sys1", job_id)
    assert said(bundles, after(hours=23)) == []
    assert len(said(bundles, after(hours=25))) == 3
    keys = repaired(bundles, after(hours=25))
    assert keys == [f"{ID}/manifest.json", f"{OTHER}/manifest.json"]


def test_no_marker_of_an_agent_that_lives_is_touched(bundles: Bundles) -> None:
    bundles.markers.mark_active("sys1", "gone1")
    assert said(bundles, after(hours=25)) != []
    assert said(Lively(bundles), after(hours=25)) == []


class LivelyAgents(Agents):
    """Agents of which each was heard an hour ago."""

    def last_sign_of_life(self, system: str) -> datetime:  # noqa: ARG002
        return after(hours=24)


class Lively(Bundles):
    """The same bucket with such agents."""

    def __init__(self, bundles: Bundles) -> None:
        super().__init__(bundles.store)

    @property
    def agents(self) -> LivelyAgents:
        return LivelyAgents(self.store, self.prefix, self.conditional)


def test_trials_of_the_store_go_after_an_hour(bundles: Bundles) -> None:
    bundles.store.write(f"{bundles.probe_folder}x", b"")
    assert said(bundles, after(minutes=59)) == []
    assert repaired(bundles, after(minutes=61)) == []


def test_agents_long_gone_are_forgotten_unless_they_have_jobs(bundles: Bundles) -> None:
    publish(bundles, "old")
    publish(bundles, "busy")
    put_job(bundles, ID, run_system="busy", state=JobState.RUN)
    assert said(bundles, after(days=29)) == []
    assert repaired(bundles, after(days=31)) == [f"{ID}/manifest.json", "agent/.systems/busy.json"]


def test_nothing_outside_of_the_prefix_is_looked_at(bundles: Bundles) -> None:
    bundles.write(ID, "job.sh", b"")
    assert said(Bundles(bundles.store, "team/"), after(days=400)) == []


def test_uploads_that_were_never_ended_are_given_up_after_a_week(
    moto_endpoint: str, s3_environment: None
) -> None:
    address = StoreAddress(moto_endpoint, f"uploads-{uuid.uuid4().hex}")
    client = make_client(address)
    client.create_bucket(Bucket=address.bucket)
    for key in ("team/x/input.zip", "y/input.zip"):
        client.create_multipart_upload(Bucket=address.bucket, Key=key)
    bundles = Bundles(open_store(address), "team/")
    begun = datetime(2010, 11, 10, 20, 48, 33, tzinfo=timezone.utc)  # What moto says of all uploads.
    assert list(find_removals(bundles, address, begun + timedelta(days=6))) == []
    [removal] = find_removals(bundles, address, begun + timedelta(days=8))
    assert removal.said.startswith("team/x/input.zip: an upload that was never ended, begun 2010-")
    removal.remove()
    left = client.list_multipart_uploads(Bucket=address.bucket)["Uploads"]
    assert [upload["Key"] for upload in left] == ["y/input.zip"]


@pytest.fixture
def broken(laptop: Laptop) -> Laptop:
    """A submission that broke off two days ago."""
    laptop.bundles.write(ID, "job.sh", b"")
    two_days_ago = time.time() - 2 * 86400
    for path in (laptop.home.parent / "bucket").rglob("*"):
        os.utime(path, (two_days_ago, two_days_ago))
    return laptop


def test_without_a_terminal_leftovers_are_shown_and_stay(broken: Laptop) -> None:
    result = broken.run("doctor", "--repair")
    assert result.stdout.startswith(f"{ID}: a submission that broke off, objects: 1, the last of ")
    assert result.stdout.endswith("0 of 1 left-overs removed.\n")
    assert result.stderr == "Hint: --yes removes them\n"
    assert list(broken.bundles.ids()) == [ID]


def test_with_yes_leftovers_are_removed(broken: Laptop) -> None:
    assert broken.answer("doctor", "--repair", "-y").endswith("1 of 1 left-overs removed.\n")
    assert list(broken.bundles.store.list("")) == []
    assert broken.answer("doctor", "--repair", "-y") == "Nothing is left over.\n"


@pytest.mark.parametrize("options", [("--yes",), ("--repair", "--json")], ids=["yes", "json"])
def test_options_that_do_not_fit_are_refused(laptop: Laptop, options: tuple[str, ...]) -> None:
    laptop.error(2, "doctor", *options)
