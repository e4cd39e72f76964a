"""`cloudqcli doctor --repair` on a real S3 server, weeks after everybody has crashed."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest

from cloudq.bundle import Bundles
from cloudq.client.commands.repair import find_removals
from cloudq.job import Job, JobKind, JobState
from cloudq.presence import Presence
from cloudq.store import StoreAddress, open_store
from cloudq.store.s3_client import make_client

NOW = datetime.now(timezone.utc)
LATER = NOW + timedelta(days=40)


def test_what_crashes_have_left_is_found_and_removed_and_nothing_else(bucket: StoreAddress) -> None:
    bundles = Bundles(open_store(bucket))
    done = bundles.create(Job("aaaaaaaaaaaa", "job.sh", JobKind.META, JobState.DONE)).job
    waiting = bundles.create(replace(done, id="bbbbbbbbbbbb", state=JobState.INIT, run_on="here")).job
    bundles.write(done.id, "output.zip", b"kept")
    bundles.markers.notify(waiting)
    kept = {entry.key for entry in bundles.store.list("")}
    bundles.write("cccccccccccc", "job.sh", b"a submission that broke off")
    bundles.markers.notify(replace(done, run_on="here"))
    bundles.markers.mark_active("gone", done.id)
    bundles.agents.publish(Presence("gone", "2.0", "local", "h", 1, NOW, timedelta(seconds=60)))
    bundles.store.write(f"{bundles.probe_folder}x", b"")
    client = make_client(bucket)
    client.create_multipart_upload(Bucket=bucket.bucket, Key="dddddddddddd/output.zip")

    assert list(find_removals(bundles, bucket, NOW)) == []
    removals = list(find_removals(bundles, bucket, LATER))
    said = "\n".join(removal.said for removal in removals)
    assert len(removals) == 6, said
    for words in (
        "broke off",
        "a request to here",
        "a claim of gone",
        "agent gone",
        "a trial",
        "never ended",
    ):
        assert words in said
    for removal in removals:
        removal.remove()
    assert list(find_removals(bundles, bucket, LATER)) == []
    assert {entry.key for entry in bundles.store.list("")} == kept
    assert "Uploads" not in client.list_multipart_uploads(Bucket=bucket.bucket)


pytestmark = pytest.mark.parametrize("s3_url", ["seaweedfs"], indirect=True)
