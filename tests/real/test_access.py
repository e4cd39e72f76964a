"""Keys that end in the middle of a job, and jobs that copy without any: on real Slurm and SeaweedFS."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from cloudq.builder.policy import Role, policy_for
from cloudq.store import Store, StoreAddress
from tests.real.conftest import AGENT_USER, CLIENT_USER, Account, make_account
from tests.real.test_acceptance import Laptop, wait_until
from tests.real.test_rights import PREFIX, Key, connect, owner, remove_user, works

__all__ = ["owner"]

EVERY_SECONDS = 2
"""So often there is a new key."""

TOLD = timedelta(seconds=30)
"""How long a key is said to be good, lest the next comes too late. In truth it ends after twice the above."""

LIBRARIES = {"slurm": "obstore", "local": "boto3"}
"""Type of the agent -> what it speaks to the bucket with."""

pytestmark = pytest.mark.parametrize("s3_url", ["seaweedfs"], indirect=True)


@dataclass
class Issuer:
    """Hands out keys that soon end, as STS and SSO do: each is deleted when the next but one is out.

    Attributes:
        file: What a `credential_process` prints.
        secrets: All that were handed out.
        ended: Those that were deleted.
    """

    iam: Any
    user: str
    address: StoreAddress
    file: Path
    secrets: list[Key] = field(default_factory=list)
    ended: list[Key] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def issue(self) -> None:
        key: Key = self.iam.create_access_key(UserName=self.user)["AccessKey"]
        s3 = connect("s3", self.address, key)
        wait_until(lambda: works(s3, self.address.bucket), "a new key to work", 120)
        self.secrets.append(key)
        told = {
            "Version": 1,
            "AccessKeyId": key["AccessKeyId"],
            "SecretAccessKey": key["SecretAccessKey"],
            "Expiration": (datetime.now(timezone.utc) + TOLD).isoformat(),
        }
        fresh = self.file.with_suffix(".new")
        fresh.touch(mode=0o600)
        shutil.chown(fresh, AGENT_USER)
        fresh.write_text(json.dumps(told))
        fresh.replace(self.file)

    def run(self) -> None:
        while not self.over.wait(EVERY_SECONDS):
            self.issue()
            if len(self.secrets) - len(self.ended) > 2:
                old = self.secrets[len(self.ended)]
                self.iam.delete_access_key(UserName=self.user, AccessKeyId=old["AccessKeyId"])
                self.ended.append(old)


@pytest.fixture
def issuer(bucket: StoreAddress, owner: Key, open_folder: Path) -> Iterator[Issuer]:
    """Keys of an agent's policy that end after a few seconds."""
    iam, name = connect("iam", bucket, owner), f"{bucket.bucket}-short"
    document = json.dumps(policy_for(Role.AGENT, bucket=bucket.bucket, prefix=PREFIX))
    arn = iam.create_policy(PolicyName=name, PolicyDocument=document)["Policy"]["Arn"]
    try:
        iam.create_user(UserName=name)
        iam.attach_user_policy(UserName=name, PolicyArn=arn)
        issuer = Issuer(iam, name, bucket, open_folder / "keys.json")
        issuer.issue()
        thread = threading.Thread(target=issuer.run)
        thread.start()
        yield issuer
        issuer.over.set()
        thread.join()
    finally:
        remove_user(iam, name, arn)


@pytest.fixture
def agents(
    issuer: Issuer, bucket: StoreAddress, open_folder: Path, programs: Path
) -> Iterator[dict[str, Account]]:
    """An agent with each library, both with those keys and with no others."""
    made = {}
    for kind, library in LIBRARIES.items():
        folder = open_folder / kind
        folder.mkdir()
        account = make_account(AGENT_USER, folder, programs)
        (account.home / ".aws/credentials").unlink()
        account.write(".aws/config", f"[default]\ncredential_process = /bin/cat {issuer.file}\n")
        made[kind] = account = replace(account, settings={"CLOUDQ_STORE": library})
        account.run(
            ["cloudqd", "init", "--name", kind, "--type", kind, "--daemon-interval", "1", *where(bucket)]
        )
        account.run(["cloudqd", "--daemon"])
    yield made
    for account in made.values():
        log = (account.home / ".cloudq/cloudqd.log").read_text()
        print(log[-5000:])
        account.run(["cloudqd", "stop"])
        assert "Traceback" not in log


def where(bucket: StoreAddress) -> tuple[str, ...]:
    return (
        "--endpoint-url", bucket.endpoint_url, "--bucket", bucket.bucket, "--prefix", PREFIX,
        "--profile", "default",
    )  # fmt: skip


def test_keys_end_in_the_middle_of_jobs_that_copy_and_neither_is_lost_or_shows_a_key(
    agents: dict[str, Account],
    issuer: Issuer,
    bucket: StoreAddress,
    real_store: Store,
    open_folder: Path,
    programs: Path,
) -> None:
    real_store.write(f"{PREFIX}/.data/in/a b", b"input\n")
    laptop = Laptop(make_account(CLIENT_USER, open_folder, programs))
    laptop.cloudqcli("init", "--name", "laptop", *where(bucket))
    place = f"s3://{bucket.bucket}/{PREFIX}/.data"
    jobs = {}
    for kind in agents:
        body = f"""set -eu
! command -v aws
env > environment
cq_cs_cp {place}/in in &
while kill -0 $! 2>/dev/null; do ps -ww -e -o args= >> processes; sleep 0.1; done
cat in/*; sleep 7
cq_cs_cp processes {place}/{kind}
"""
        script = laptop.account.write(f"{kind}.sh", f"#!/bin/bash\n#$ run_on: {kind}\n{body}")
        jobs[kind] = laptop.cloudqcli("submit", "--parsable", str(script)).strip()
    ended = len(issuer.ended)
    begun = time.monotonic()
    wait_until(lambda: laptop.open_jobs() == [], "the end of both jobs", 200)
    assert time.monotonic() - begun > 7
    assert len(issuer.ended) >= ended + 2
    assert not works(connect("s3", bucket, issuer.ended[-1]), bucket.bucket)
    for kind, job_id in jobs.items():
        assert laptop.stat(job_id)["state"] == "DONE", laptop.stat(job_id)
        assert laptop.cloudqcli("log", job_id) == "input\n"
        laptop.cloudqcli("stageout", job_id)
        assert (laptop.account.home / job_id / "environment").exists()
        assert real_store.read(f"{PREFIX}/.data/{kind}").data
    _find_no_secret(issuer, real_store, [account.home for account in (*agents.values(), laptop.account)])


def _find_no_secret(issuer: Issuer, store: Store, homes: list[Path]) -> None:
    secrets = [key[name].encode() for key in issuer.secrets for name in ("AccessKeyId", "SecretAccessKey")]
    kept = {entry.key: store.read(entry.key).data for entry in store.list("")}
    for home in homes:
        files = [Path(top, name) for top, _, names in os.walk(home) for name in names]
        kept.update({str(path): path.read_bytes() for path in files if path.is_file()})
    assert len(kept) > 20
    assert [name for name, data in kept.items() if any(secret in data for secret in secrets)] == []
