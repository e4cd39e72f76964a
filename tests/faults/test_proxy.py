"""A real S3 client and server with a proxy between them that spoils requests, each number in each way."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudq.store import StoreAddress
from cloudq.store.s3 import S3Store
from tests.faults.life import Life, live_all
from tests.faults.proxy import Fault, Proxy, proxy
from tests.store.conftest import _real_endpoint, cached_client

FAULTS = tuple(Fault)
EVERY = 3
"""One of so many requests is spoilt: that leaves room for the job to go on."""

SPOILT = 120
"""So many requests may be spoilt; a life without faults has half as many."""


def plan(rotation: int) -> dict[int, Fault]:
    """Return what happens in one life; all rotations together spoil each request in each way."""
    offset = rotation % EVERY + 1
    return {
        number: FAULTS[(number // EVERY + rotation // EVERY) % len(FAULTS)]
        for number in range(offset, SPOILT, EVERY)
    }


def live_through(between: Proxy, folder: Path, rotations: range) -> list[str]:
    """Live a life for each rotation with the proxy between agent and server; return what went wrong."""
    direct = cached_client(f"http://{between.upstream}")
    address = StoreAddress(between.url, f"faults-{uuid.uuid4().hex[:12]}")
    direct.create_bucket(Bucket=address.bucket)
    bucket = S3Store(direct, address)
    agents = S3Store(cached_client(between.url, 1), address, sleep=lambda _: None)

    def lives() -> Iterator[tuple[str, Life]]:
        for rotation in rotations:
            faults = plan(rotation)
            life = Life(folder / f"{rotation}", lambda _: agents, False, lambda: between.spoils, bucket)
            between.begin(faults.get, SPOILT)
            yield f"rotation {rotation}", life
            bucket.delete(entry.key for entry in bucket.list(""))

    try:
        return live_all(lives())
    finally:
        bucket.delete(entry.key for entry in bucket.list(""))
        direct.delete_bucket(Bucket=address.bucket)


def test_the_plans_spoil_each_request_in_each_way() -> None:
    met = {pair for rotation in range(EVERY * len(FAULTS)) for pair in plan(rotation).items()}
    assert len(met) == (SPOILT - 1) * len(FAULTS)


@pytest.mark.parametrize("rotation", [0, 13, 26])
def test_a_job_survives_a_faulty_connection_to_the_bucket(
    moto_endpoint: str, tmp_path: Path, rotation: int
) -> None:
    with proxy(moto_endpoint) as between:
        assert live_through(between, tmp_path, range(rotation, rotation + 1)) == []


@pytest.mark.real
def test_a_job_survives_a_faulty_connection_to_seaweedfs(tmp_path: Path) -> None:
    with proxy(_real_endpoint("seaweedfs")) as between:
        assert live_through(between, tmp_path, range(0, EVERY * len(FAULTS), 7)) == []
