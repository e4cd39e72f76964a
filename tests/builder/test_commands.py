"""`cloudqaws` in this process, with boto3, a simulated AWS, and recorded answers of pcluster."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from cloudq.bundle import Bundles
from cloudq.job import Job, JobKind
from cloudq.presence import Presence, render_presence
from cloudq.store import StoreAddress, open_store
from tests.builder.simulated import REGION, Desk, make_desk, moto_here

AT_ONCE = "[[1,0]]"


class Interrupted:
    """A clock at which the person presses Ctrl-C instead of waiting."""

    @staticmethod
    def sleep(seconds: float) -> None:
        raise KeyboardInterrupt


class Signalled:
    """A clock at which this process gets a signal instead of waiting."""

    def __init__(self, number: int) -> None:
        self._number = number

    def sleep(self, seconds: float) -> None:
        signal.raise_signal(self._number)


def job_bucket() -> Bundles:
    return Bundles(open_store(StoreAddress("", "jobs", "default")))


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with moto_here() as address:
        yield address


@pytest.fixture
def desk(url: str, s3_environment: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """A desk in an account with an empty job bucket; what a test makes there is its own business."""
    desk = make_desk(tmp_path, url, monkeypatch)
    made = {"LocationConstraint": REGION}
    desk.client("s3").create_bucket(Bucket="jobs", CreateBucketConfiguration=made)
    yield desk
    desk.clear()


def publish(bundles: Bundles, system: str, *, stopped: bool = False, **counts: int) -> None:
    now = datetime.now(timezone.utc) + timedelta(seconds=1)
    presence = Presence(
        system, "2.0", "slurm", "head", 1, now, timedelta(minutes=1), counts=counts, stopped=stopped
    )
    bundles.store.write(f"agent/.systems/{system}.json", render_presence(presence))


def test_a_cluster_is_made_listed_extended_and_deleted(desk: Desk) -> None:
    asked = desk.run("create", "--name", "lab", "--cs_bucket", "jobs", "--lease", "2", typed="y\n")
    assert asked.exit_code == 0, asked.stderr
    assert asked.stdout.endswith("AWS compute cluster (lab) has been created.\n")
    assert asked.stderr.startswith("Make it? [y/N]:")
    assert "cluster ...\n" in asked.stderr
    row = desk.run("list").stdout.splitlines()[2].split()
    assert row[:2] == ["lab", "COMPLETED"]
    assert (row[-3], row[-2]) == ("1:59", "1")
    (found,) = json.loads(desk.run("list", "--json").stdout)
    assert (found["name"], found["nodes"], found["bucket"]) == ("lab", 1, "jobs")
    assert 7100 < found["lease_left_seconds"] <= 7200
    extended = desk.run("extend", "lab", "--lease", "5")
    assert (extended.exit_code, "for " in extended.stdout) == (0, True), extended.stderr
    (found,) = json.loads(desk.run("list", "--json").stdout)
    assert found["lease_left_seconds"] > 17900
    deleted = desk.run("delete", "lab")
    assert (deleted.exit_code, deleted.stdout) == (0, "AWS compute cluster (lab) has been deleted.\n")
    assert json.loads(desk.run("list", "--json").stdout) == []
    unknown = desk.run("delete", "lab")
    assert (unknown.exit_code, "no cluster lab in eu-west-1" in unknown.stderr) == (1, True)


def test_nothing_is_made_before_the_person_agrees(desk: Desk) -> None:
    refused = desk.run("create", "lab", "--cs-bucket", "jobs", typed="n\n")
    assert (refused.exit_code, desk.stacks()) == (1, set())


def test_the_real_reason_of_a_failed_start_is_told_and_nothing_is_left(desk: Desk) -> None:
    desk.play(boot_error="cloudq: Slurm does not answer")
    made = desk.create("broken")
    assert made.exit_code == 1
    assert "  CREATE_FAILED  HeadNodeWait  cloudq: Slurm does not answer\n" in made.stderr
    assert "cloudq: Slurm does not answer; everything that was made is gone again" in made.stderr
    assert desk.stacks() == set()


def test_what_pcluster_refuses_is_told_and_nothing_is_left(desk: Desk) -> None:
    desk.refuse("missing-script.json")
    made = desk.create("refused")
    assert "Invalid cluster configuration.; AsyncTimedUrlValidator: Failed when accessing" in made.stderr
    desk.refuse("")
    assert desk.stacks() == set()


def test_what_is_left_is_told_with_its_reason_also_later(desk: Desk) -> None:
    desk.create("stays")
    desk.play(delete_error="a resource is in use")
    deleted = desk.run("delete", "stays", "--force")
    assert deleted.exit_code == 1
    assert "stack stays could not be deleted: stays (AWS::CloudFormation::Stack): a res" in deleted.stderr
    assert desk.run("list").stdout.splitlines()[2].split()[:2] == ["stays", "FAILED"]
    refused = desk.run("extend", "stays", "--lease", "1")
    assert "stays is FAILED: its lease cannot be changed" in refused.stderr
    desk.play()
    ec2 = desk.client("ec2")
    tags = [{"Key": "parallelcluster:cluster-name", "Value": "stays"}]
    spec = [{"ResourceType": "volume", "Tags": tags}]
    volume = ec2.create_volume(AvailabilityZone=f"{REGION}a", Size=1, TagSpecifications=spec)["VolumeId"]
    for problem in ("stays is deleted, but this is left", "stays has no stacks any more, but this is left"):
        deleted = desk.run("delete", "stays", "--force")
        assert deleted.exit_code == 1
        assert f"{problem}: volume {volume}\n" in deleted.stderr


def test_reap_deletes_only_what_has_outlived_its_lease(desk: Desk) -> None:
    assert desk.run("reap").stdout == ""
    desk.create("short", "--lease", "0.00001")
    desk.create("long")
    seen = desk.run("reap", "--dry-run").stdout
    assert seen.startswith("short: the lease ended at ")
    desk.play(delete_error="a resource is in use")
    stays = desk.run("reap")
    assert stays.exit_code == 1
    assert "Error: short: stack short could not be deleted: " in stays.stderr
    desk.play()
    reaped = desk.run("reap")
    assert reaped.stdout == f"{seen}AWS compute cluster (short) has been deleted.\n", reaped.stderr
    assert desk.stacks() == {"long", "long-vpc"}


def test_a_cluster_comes_and_goes_by_demand(desk: Desk) -> None:
    words = ("autoscale", "auto", "--cs-bucket", "jobs", "--zone", f"{REGION}a", "--threshold", AT_ONCE)
    bundles = job_bucket()
    assert desk.run(*words).stdout == "auto: nothing: 0 jobs waiting: no rule of the threshold is met\n"
    bundles.markers.notify(Job("a1", "job.sh", JobKind.META, run_on="ANY"))
    planned = desk.run(*words, "--dry-run", "--explain").stdout.splitlines()
    assert planned[0].startswith("jobs waiting: 1, the oldest for ")
    assert planned[1:] == [
        "cluster: none", "rule: 1 for 0 minutes: 1 of 1", "auto: create: 1 job or more waiting for 0 minutes",
    ]  # fmt: skip
    assert desk.stacks() == set()
    made = desk.run(*words)
    assert (made.exit_code, desk.stacks()) == (0, {"auto", "auto-vpc"}), made.stderr
    publish(bundles, "auto", RUN=1)
    assert desk.run(*words).stdout == "auto: nothing: the cluster has 1 job\n"
    publish(bundles, "auto", stopped=True)
    assert desk.run(*words).stdout == "auto: delete: the agent has ended: there was nothing to do\n"
    assert desk.stacks() == set()


def test_autoscale_in_the_foreground_outlives_a_fault(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloudq.builder.autoscaling.time", Interrupted())
    words = ("autoscale", "auto", "--cs-bucket", "nowhere", "--foreground")
    ended = desk.run(*words)
    assert ended.exit_code == 130
    assert ended.stderr.startswith("Error: ")
    assert "; trying again\n" in ended.stderr
    assert "trying again" not in desk.run(*words[:-1]).stderr


def test_a_job_bucket_that_cannot_be_read_keeps_a_cluster_from_being_deleted(desk: Desk) -> None:
    desk.run("create", "blind", "--cs-bucket", "nowhere", "--zone", f"{REGION}a", "--yes")
    deleted = desk.run("delete", "blind")
    assert deleted.exit_code == 1
    assert "whether jobs run on blind cannot be seen" in deleted.stderr
    assert "Hint: name the right profile with --cs-profile, or delete it without" in deleted.stderr


def test_ctrl_c_tells_how_to_go_on(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.play(boot_s=60)
    with monkeypatch.context() as patched:
        patched.setattr("cloudq.builder.invocation.time", Interrupted())
        left = desk.create("later")
    assert "The same command goes on, `cloudqaws delete later` takes it back." in left.stderr
    desk.play()
    assert desk.create("later").exit_code == 0


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_what_ends_a_program_interrupts_it_as_ctrl_c_does(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    number = getattr(signal, name)
    before = signal.signal(number, signal.SIG_DFL)  # who runs the tests may ignore it
    desk.play(boot_s=60)
    monkeypatch.setattr("cloudq.builder.invocation.time", Signalled(number))
    monkeypatch.setattr("tempfile.tempdir", str(desk.home))
    ended = desk.create("later")
    assert ended.exit_code == 130
    assert "The same command goes on, `cloudqaws delete later` takes it back." in ended.stderr
    assert list(desk.home.glob("cloudqaws-*")) == []
    assert signal.signal(number, before) is signal.SIG_DFL


def test_a_signal_that_is_ignored_stays_so(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    monkeypatch.setattr("cloudq.builder.invocation.time", Signalled(signal.SIGHUP))
    made = desk.create("lab")
    assert made.exit_code == 0, made.stderr
    assert signal.signal(signal.SIGHUP, before) is signal.SIG_IGN


def test_the_clients_configuration_names_the_job_bucket(desk: Desk) -> None:
    file = desk.home / ".cloudq" / "client" / "config.ini"
    file.parent.mkdir(parents=True)
    text = "[default]\naws_profile = default\ncloudq_endpoint_url = {}\ncloudq_bucket = mine\n"
    file.write_text(text.format(""), encoding="utf-8")
    shown = desk.run("create", "lab", "--dry-run")
    assert "bucket mine in S3" in shown.stdout, shown.stderr
    file.write_text(text.format("file:///tmp/bucket"), encoding="utf-8")
    refused = desk.run("create", "lab", "--dry-run")
    assert "a cluster in AWS cannot reach file:///tmp/bucket" in refused.stderr


def test_the_interval_must_be_a_number(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDQ_STACK_CHECK_INTERVAL", "soon")
    refused = desk.run("reap")
    assert refused.exit_code == 0
    made = desk.create("lab")
    assert "CLOUDQ_STACK_CHECK_INTERVAL: expected seconds, got 'soon'" in made.stderr


def test_setup_finds_pcluster_or_says_how_to_get_it(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    assert desk.run("setup").stdout == f"pcluster is {desk.home / 'bin' / 'pcluster'}\n"
    monkeypatch.setenv("PATH", os.pathsep.join(["/usr/bin", "/bin"]))
    missing = desk.run("setup", "--check")
    assert missing.exit_code == 1
    assert "no pcluster of version 3.16.1 or later" in missing.stderr
    assert "Hint: install it in an environment of its own with `cloudqaws setup`" in missing.stderr
