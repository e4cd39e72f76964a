"""Bare scripts to compare with, each run as a process of its own: what a user would write with a library.

    python benchmarks/rivals.py boto3|obstore|cloudq|inputs up|down FOLDER ENDPOINT BUCKET PREFIX
    python benchmarks/rivals.py boto3 read ENDPOINT BUCKET      every manifest.json, with 32 threads

`cloudq` stands for outputs, `inputs` for inputs: what client and agent do with the files of a job.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

THREADS = 16
READERS = 32
_PART = 8 * 1024 * 1024


def boto3_client(endpoint: str) -> Any:
    """Make a client as the documentation does, with room for the threads."""
    import boto3
    from botocore.config import Config

    return boto3.client("s3", endpoint_url=endpoint, config=Config(max_pool_connections=READERS))


def boto3_up(folder: Path, endpoint: str, bucket: str, prefix: str) -> None:
    """Upload each file by the transfer manager, whose threads are shared by the files."""
    client = boto3_client(endpoint)
    with ThreadPoolExecutor(THREADS) as pool:
        for done in [
            pool.submit(client.upload_file, str(path), bucket, f"{prefix}/{path.relative_to(folder)}")
            for path in _files(folder)
        ]:
            done.result()


def boto3_down(folder: Path, endpoint: str, bucket: str, prefix: str) -> None:
    """Download all objects below a prefix."""
    client = boto3_client(endpoint)
    folder.mkdir(parents=True)
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/")
    keys = [entry["Key"] for page in pages for entry in page.get("Contents", ())]
    with ThreadPoolExecutor(THREADS) as pool:
        for done in [
            pool.submit(client.download_file, bucket, key, str(folder / key[len(prefix) + 1 :]))
            for key in keys
        ]:
            done.result()


def boto3_read(endpoint: str, bucket: str) -> None:
    """Read the manifest of each job with 32 threads."""
    client = boto3_client(endpoint)
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Delimiter="/")
    folders = [item["Prefix"] for page in pages for item in page.get("CommonPrefixes", ())]

    def read(folder: str) -> int:
        return len(client.get_object(Bucket=bucket, Key=f"{folder}manifest.json")["Body"].read())

    with ThreadPoolExecutor(READERS) as pool:
        print(sum(size > 0 for size in pool.map(read, (f for f in folders if f != "agent/"))))


def _obstore(endpoint: str, bucket: str) -> Any:
    from obstore.store import S3Store

    return S3Store(bucket, endpoint=endpoint, client_options={"allow_http": endpoint.startswith("http:")})


def obstore_up(folder: Path, endpoint: str, bucket: str, prefix: str) -> None:
    """Upload each file; large ones in parts, side by side."""
    import obstore

    store = _obstore(endpoint, bucket)

    def put(path: Path) -> None:
        obstore.put(
            store, f"{prefix}/{path.relative_to(folder)}", path, chunk_size=_PART, max_concurrency=THREADS
        )

    _each(put, _files(folder))


def obstore_down(folder: Path, endpoint: str, bucket: str, prefix: str) -> None:
    """Download all objects below a prefix; large ones by ranges, side by side."""
    import obstore

    store = _obstore(endpoint, bucket)
    folder.mkdir(parents=True)
    entries = [entry for batch in obstore.list(store, f"{prefix}/") for entry in batch]

    def get(entry: Any) -> None:
        size = int(entry["size"])
        starts = list(range(0, size, _PART)) or [0]
        ends = [min(start + _PART, size) for start in starts]
        with (folder / entry["path"][len(prefix) + 1 :]).open("wb") as file:
            if len(starts) == 1:
                file.write(obstore.get(store, entry["path"]).bytes())
            for at in range(0, len(starts) if len(starts) > 1 else 0, THREADS):
                window = slice(at, at + THREADS)
                for data in obstore.get_ranges(
                    store, entry["path"], starts=starts[window], ends=ends[window], coalesce=0
                ):
                    file.write(data)

    _each(get, entries)


def cloudq_up(folder: Path, endpoint: str, bucket: str, prefix: str) -> None:
    """Store a work folder as the outputs of a job, as the agent does."""
    from cloudq import archive
    from cloudq.bundle import OUTPUT

    left_out: list[str] = []
    blocks = archive.pack_blocks(folder, left_out)
    _bundles(endpoint, bucket).upload_blocks(prefix, OUTPUT, blocks, expected=archive.tree_size(folder))


def cloudq_down(folder: Path, endpoint: str, bucket: str, prefix: str) -> None:
    """Fetch the outputs of a job and unpack them, as `cloudqcli stageout` does."""
    gc.set_threshold(100_000)  # as cloudq.client.program
    from cloudq.client.results.stageout import stage_out

    stage_out(_bundles(endpoint, bucket), prefix, folder)


def inputs_up(folder: Path, endpoint: str, bucket: str, prefix: str) -> None:
    """Send a folder as inputs that jobs may share, as `cloudqcli submit --input` does."""
    from cloudq.client.submission import sharing
    from cloudq.client.submission.archives import look_through
    from cloudq.client.submission.inputs import Input
    from cloudq.digests import known_algorithms

    bundles = _bundles(endpoint, bucket)
    packed = sharing.pack_apart([look_through(Input(folder, "inputs"))], known_algorithms()[0])
    blobs = sharing.place(bundles, prefix, packed)
    bundles.write(prefix, "blobs", " ".join(map(str, blobs)).encode())


def inputs_down(folder: Path, endpoint: str, bucket: str, prefix: str) -> None:
    """Fetch inputs and unpack them into a work folder, as the agent does where nobody must sign."""
    from cloudq import archive
    from cloudq.job import InputBlob

    bundles = _bundles(endpoint, bucket)
    folder.mkdir(parents=True)
    for text in bundles.read(prefix, "blobs").decode().split():
        file = bundles.blobs.open(InputBlob.parse(text))
        archive.unpack(file, folder, source=file)


def _bundles(endpoint: str, bucket: str) -> Any:
    from cloudq.bundle import Bundles
    from cloudq.store import StoreAddress, open_store

    return Bundles(open_store(StoreAddress(endpoint, bucket)))


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _each(work: Any, items: Iterable[Any]) -> None:
    with ThreadPoolExecutor(THREADS) as pool:
        for _ in pool.map(work, items):
            pass


def main() -> None:
    """Do what the arguments say."""
    library, what, *rest = sys.argv[1:]
    if what in ("up", "down"):
        rest[0] = Path(rest[0])  # type: ignore[call-overload]
    globals()[f"{library}_{what}"](*rest)


if __name__ == "__main__":
    main()
