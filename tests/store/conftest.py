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
from cloudq.store.directory import DirectoryStore
from cloudq.store.memory import MemoryStore
from cloudq.store.s3 import S3Store
from cloudq.store.s3_client import make_client

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

KINDS = (
    "memory",
    "directory",
    "moto",
    pytest.param("seaweedfs", marks=pytest.mark.real),
    pytest.param("ceph", marks=pytest.mark.real),
)
_REAL_ENDPOINTS = {"seaweedfs": "CLOUDQ_TEST_SEAWEEDFS", "ceph": "CLOUDQ_TEST_CEPH"}

OpenStore = Callable[[str], Store]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """One kind of store after the other."""
    return str(request.param)


@pytest.fixture
def store(kind: str, open_kind: OpenStore) -> Store:
    """An empty store."""
    return open_kind(kind)


@pytest.fixture(scope="module")
def open_kind(moto_endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenStore]:
    """Opens an empty store of a kind; the real servers' buckets are deleted in the end."""
    with ExitStack() as stack:

        def open_one(kind: str) -> Store:
            if kind == "memory":
                return MemoryStore()
            if kind == "directory":
                return DirectoryStore(tmp_path_factory.mktemp("store"), "jobs")
            endpoint = moto_endpoint if kind == "moto" else _real_endpoint(kind)
            return stack.enter_context(_bucket(endpoint))

        yield open_one


def _real_endpoint(kind: str) -> str:
    variable = _REAL_ENDPOINTS[kind]
    endpoint = os.environ.get(variable)
    if not endpoint:
        pytest.skip(f"{variable} is not set to the URL of a {kind} server")
    return endpoint


@contextmanager
def _bucket(endpoint: str) -> Iterator[S3Store]:
    address = StoreAddress(endpoint, f"contract-{uuid.uuid4().hex}")
    client = _client(endpoint)
    client.create_bucket(Bucket=address.bucket)
    store = S3Store(client, address)
    yield store
    store.delete(entry.key for entry in store.list(""))
    client.delete_bucket(Bucket=address.bucket)


@cache
def _client(endpoint: str) -> S3Client:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", os.environ.get("CLOUDQ_TEST_ACCESS_KEY", "testing"))
        patch.setenv("AWS_SECRET_ACCESS_KEY", os.environ.get("CLOUDQ_TEST_SECRET_KEY", "testing"))
        patch.setenv("AWS_CONFIG_FILE", os.devnull)
        patch.delenv("AWS_PROFILE", raising=False)
        return make_client(StoreAddress(endpoint, ""))
