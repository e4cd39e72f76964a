"""The stores that the contract is tested on."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import TYPE_CHECKING, Callable

import pytest

from cloudq.store import Store, StoreAddress
from cloudq.store.choice import Choice
from cloudq.store.credentials import StaticKeys
from cloudq.store.directory import DirectoryStore
from cloudq.store.memory import MemoryStore
from cloudq.store.s3 import S3Store
from cloudq.store.s3_client import ATTEMPTS, make_client

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

KINDS = (
    "memory",
    "directory",
    "moto",
    "moto obstore",
    pytest.param("seaweedfs", marks=pytest.mark.real),
    pytest.param("seaweedfs obstore", marks=pytest.mark.real),
    pytest.param("ceph", marks=pytest.mark.real),
    pytest.param("ceph obstore", marks=pytest.mark.real),
)
_REAL_ENDPOINTS = {"seaweedfs": "CLOUDQ_TEST_SEAWEEDFS", "ceph": "CLOUDQ_TEST_CEPH"}

OpenStore = Callable[[str], Store]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """One kind of store after the other."""
    return str(request.param)


@pytest.fixture
def store(kind: str, moto_endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """An empty store; a bucket of a real server goes with its test, as SeaweedFS has few volumes."""
    with opened(kind, moto_endpoint, tmp_path_factory) as store:
        yield store


@pytest.fixture
def tolerate(kind: str, request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Expects a test to fail on one kind of server, for a reason that CloudQ can live with."""

    def expect_failure(of_kind: str, reason: str) -> None:
        if kind.split()[0] == of_kind:
            request.node.add_marker(pytest.mark.xfail(reason=reason, strict=True))

    return expect_failure


@pytest.fixture(scope="module")
def open_kind(moto_endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenStore]:
    """Opens an empty store of a kind; real servers' buckets are removed in the end."""
    with ExitStack() as stack:
        yield lambda kind: stack.enter_context(opened(kind, moto_endpoint, tmp_path_factory))


@contextmanager
def opened(kind: str, moto_endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Open an empty store of a kind, and remove it if it is a bucket on a real server."""
    if kind == "memory":
        yield MemoryStore()
        return
    if kind == "directory":
        yield DirectoryStore(tmp_path_factory.mktemp("store"), "jobs")
        return
    server, _, library = kind.partition(" ")
    endpoint = moto_endpoint if server == "moto" else _real_endpoint(server)
    store = _new_bucket(endpoint)
    try:
        yield by_obstore(endpoint, store.bucket, other=store) if library else store
    finally:
        if server != "moto":
            _remove_bucket(endpoint, store)


def _real_endpoint(kind: str) -> str:
    variable = _REAL_ENDPOINTS[kind]
    endpoint = os.environ.get(variable)
    if not endpoint:
        pytest.skip(f"{variable} is not set to the URL of a {kind} server")
    return endpoint


def _new_bucket(endpoint: str) -> S3Store:
    address = StoreAddress(endpoint, f"contract-{uuid.uuid4().hex}")
    client = cached_client(endpoint)
    client.create_bucket(Bucket=address.bucket)
    return S3Store(client, address)


def by_obstore(endpoint: str, bucket: str, *, other: Store, attempts: int = ATTEMPTS) -> Store:
    """Open the same bucket by obstore; tests that need it are skipped where it is not installed."""
    pytest.importorskip("obstore")
    from cloudq.store.obstore import ObstoreStore
    from cloudq.store.obstore_client import make_client as make_obstore_client

    address = StoreAddress(endpoint, bucket)
    access_key = os.environ.get("CLOUDQ_TEST_ACCESS_KEY", "testing")
    secret_key = os.environ.get("CLOUDQ_TEST_SECRET_KEY", "testing")
    keys = StaticKeys(access_key, secret_key)
    client, credentials = make_obstore_client(address, Choice("obstore", "", keys), attempts=attempts)
    return ObstoreStore(
        client, address, credentials=credentials, open_other=lambda: other, sleep=lambda _: None
    )


def _remove_bucket(endpoint: str, store: S3Store) -> None:
    store.delete(entry.key for entry in store.list(""))
    cached_client(endpoint).delete_bucket(Bucket=store.bucket)


@cache
def cached_client(endpoint: str, attempts: int = ATTEMPTS) -> S3Client:
    """Make the client of a server once for all tests: that takes a third of a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", os.environ.get("CLOUDQ_TEST_ACCESS_KEY", "testing"))
        patch.setenv("AWS_SECRET_ACCESS_KEY", os.environ.get("CLOUDQ_TEST_SECRET_KEY", "testing"))
        patch.setenv("AWS_CONFIG_FILE", os.devnull)
        patch.delenv("AWS_PROFILE", raising=False)
        return make_client(StoreAddress(endpoint, ""), attempts=attempts)
