"""What running jobs copy from and to buckets: they ask for URLs, so that no job needs keys of its own.

The copy function of a translated script (`templates/parts/copying.sh`) puts a request into the job's folder
`copies`, in lines: GET or PUT, an `s3://` URL, and names of files below it. For a folder to GET the only
name is the one to go on after. The answer, in lines too: `file`, `folder`, or why not; then a URL and a name
for each file.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import chain, islice
from pathlib import Path
from typing import get_args

from cloudq.agent.folders import open_of_job
from cloudq.agent.workplace import Workplace
from cloudq.agentconfig import AgentConfig
from cloudq.archive.names import check_name, shown
from cloudq.bundle import DATA
from cloudq.errors import ArchiveError, InputError, NotFoundError, StoreRefusedError
from cloudq.job import Job
from cloudq.store import Method, Store, open_store
from cloudq.store.files import appearing

logger = logging.getLogger(__name__)

LIFETIME = timedelta(hours=1)
"""How long after the answer the copying of a file may begin."""

FILES_PER_ANSWER = 1000
ANSWERS_PER_PASS = 100
_MOST_BYTES = 4 * 1024 * 1024
_REQUEST = ".request"
_ANSWER = ".answer"


@dataclass(frozen=True)
class Request:
    """What a job wants to copy.

    Attributes:
        method: GET or PUT.
        url: The object or, with a slash at the end or names, the folder.
        names: Files below it; for a folder to GET, the one to go on after.
    """

    method: Method
    url: str
    names: tuple[str, ...]


def places(config: AgentConfig) -> tuple[str, ...]:
    """Return what jobs may copy from and to by URLs of their agent, each with a slash at its end."""
    return (f"s3://{config.store.bucket}/{config.prefix}{DATA}", *config.copy_places)


def answer_requests(place: Workplace, job: Job) -> None:
    """Answer what a job has asked for since the last pass.

    Raises:
        StoreUnreachableError: The bucket does not answer; the requests stay.
        OSError: An answer could not be written.
    """
    given = 0
    for file in list(islice(_requests(place.folders.copies(job.id)), ANSWERS_PER_PASS)):
        try:
            answer = _answer(place, _parse(_read(file)))
            given += answer.count("\n") // 2
        except (InputError, StoreRefusedError, NotFoundError) as error:
            answer = f"{' '.join(str(error).split())}\n"
            logger.info("job %s: copies nothing: %s", job.id, error)
        except OSError:
            # The job has just taken it back, or has forbidden us to read it.
            continue
        with appearing(file.with_suffix(_ANSWER)) as stream:
            stream.write(answer.encode("utf-8", "replace"))
        file.unlink(missing_ok=True)
    if given:
        logger.info("job %s: copies %d files", job.id, given)


def _requests(folder: Path) -> Iterator[Path]:
    """Yield the requests; what else a job may have put there is left alone."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(_REQUEST) and entry.is_file(follow_symlinks=False):
                yield Path(entry.path)


def _read(file: Path) -> bytes:
    """Read a request as if an enemy had written it: no link is followed, no pipe waited for."""
    with open_of_job(file) as stream:
        data = stream.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise InputError(f"expected a request to copy of at most {_MOST_BYTES} bytes")
    return data


def _parse(data: bytes) -> Request:
    """Parse a request. Raises InputError."""
    try:
        method, url, *names = data.decode("utf-8").removesuffix("\n").split("\n")
    except ValueError as error:
        raise InputError("expected a request to copy: lines of UTF-8") from error
    if method not in get_args(Method):
        raise InputError(f"expected GET or PUT, got {method[:20]!r}")
    if len(names) > FILES_PER_ANSWER:
        raise InputError(f"expected at most {FILES_PER_ANSWER} files at a time, got {len(names)}")
    return Request("PUT" if method == "PUT" else "GET", url, tuple(names))


def _answer(place: Workplace, request: Request) -> str:
    """Return the answer.

    Raises:
        InputError, NotFoundError, StoreRefusedError: It is not to be had.
        StoreUnreachableError: A fault that may pass.
    """
    bucket, key = _address(place.config, request.url)
    is_place = f"{request.url.rstrip('/')}/" in places(place.config)
    store = place.bundles.store
    if bucket != place.config.store.bucket:
        store = open_store(replace(place.config.store, bucket=bucket))
    if request.method == "GET":
        names = _find(store, key, request.names, is_place=is_place)
    elif is_place and not request.names:
        raise InputError(f"{shown(request.url)}: expected the name of an object")
    else:
        names = request.names or ("",)
    for name in filter(None, names):
        _check(name)
    keys = [f"{key}/{name}".lstrip("/") if name else key for name in names]
    urls = [store.presign(request.method, each, LIFETIME) for each in keys]
    kind = "file" if names == ("",) else "folder"
    return "".join(f"{line}\n" for line in (kind, *chain.from_iterable(zip(urls, names))))


def _address(config: AgentConfig, url: str) -> tuple[str, str]:
    """Return bucket and key, without a slash at the end, of what a job may copy. Raises InputError."""
    key = url.rstrip("/")
    _check(key.partition("://")[2])
    if not f"{key}/".startswith(places(config)):
        raise InputError(f"{shown(url)}: expected an object below {' or '.join(places(config))}")
    bucket, _, key = key[len("s3://") :].partition("/")
    return bucket, key


def _find(store: Store, key: str, after: tuple[str, ...], *, is_place: bool) -> tuple[str, ...]:
    """Return the names of the next files of a folder, an empty one for an object. Raises NotFoundError."""
    if not after and not is_place:
        with contextlib.suppress(NotFoundError):
            store.stat(key)
            return ("",)
    folder = f"{key}/".lstrip("/")
    entries = store.list(folder, after=f"{folder}{after[0]}" if after else "")
    names = (entry.key[len(folder) :] for entry in entries if not entry.key.endswith("/"))
    found = tuple(islice(names, FILES_PER_ANSWER))
    if not found and not after:
        raise NotFoundError(key)
    return found


def _check(name: str) -> None:
    """Refuse a name that could lead out of a folder, or that is more than a line. Raises InputError."""
    try:
        check_name(name)
    except ArchiveError as error:
        raise InputError(str(error)) from error
    if not name.isprintable():
        raise InputError(f"{shown(name)}: expected a name of printable characters")
