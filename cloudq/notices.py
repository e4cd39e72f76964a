"""Notices when a job has ended: a command, or a POST to a web address. They never fail what sends them."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Optional

from cloudq.errors import CloudQError
from cloudq.job import Job, is_job_id
from cloudq.manifest import program_members

if TYPE_CHECKING:
    from cloudq.ini import Ini
    from cloudq.process import Runner

TIMEOUT = timedelta(seconds=10)
"""The longest time that a notice may take."""

Post = Callable[[str, bytes], None]
"""Sends JSON to an address; raises OSError or ValueError."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Notices:
    """How somebody wants to be told.

    Attributes:
        command: Words of a command; `{id}`, `{state}`, `{system}` and `{text}` in them stand for what ended.
            Without any of these, the text is one word more. Empty for none.
        url: An address of http or https. Empty for none.
    """

    command: tuple[str, ...] = ()
    url: str = ""


def parse_command(text: str) -> tuple[str, ...]:
    """Split a command as a shell does. Raises ValueError."""
    if not text:
        return ()
    import shlex

    return tuple(shlex.split(text))


def read_notices(ini: Ini, section: str) -> Notices:
    """Read the keys of a side's notices. Raises ConfigError."""
    url = ini.text(section, "notify_url", "")
    if url and not url.lower().startswith(("https://", "http://")):
        raise ini.fault(section, "notify_url", "https://… or http://…")
    try:
        return Notices(parse_command(ini.text(section, "notify_command", "")), url)
    except ValueError as error:
        raise ini.fault(section, "notify_command", f"a command ({error})") from error


def notice_text(job: Job) -> str:
    """Say in a line of printable characters that a job has ended."""
    place = f" on {job.run_system}" if job.run_system else ""
    why = " ".join(job.error.split())
    text = f"Job ({job.id}) {job.name}: {job.state}{place}{f': {why}' if why else ''}"
    return "".join(c if c.isprintable() else "?" for c in text)


def send_notices(
    notices: Notices, job: Job, *, runner: Optional[Runner] = None, post: Optional[Post] = None
) -> None:
    """Tell of a job that has ended; what goes wrong is logged."""
    if notices.command:
        # Needed only here: the configuration, and so every command, imports this module.
        from cloudq.process import run

        try:
            # The owner's own command, not a job's: it may have the owner's keys.
            (runner or partial(run, environment=os.environ))(_filled(notices.command, job), timeout=TIMEOUT)
        except CloudQError as error:
            logger.warning("job %s: no notice by command: %s", job.id, error)
    if notices.url:
        body = {"text": notice_text(job), "job": program_members(job)}
        try:
            (post or _post)(notices.url, json.dumps(body).encode("ascii"))
        except (OSError, ValueError) as error:
            logger.warning("job %s: no notice to %s: %s", job.id, notices.url, error)


def _filled(words: tuple[str, ...], job: Job) -> list[str]:
    values = {
        "{id}": job.id,
        "{state}": job.state.value,
        # Whoever may write to the bucket could name it `--option`.
        "{system}": job.run_system if is_job_id(job.run_system) else "?",
        "{text}": notice_text(job),
    }
    filled = []
    for word in words:
        for name, value in values.items():
            word = word.replace(name, value)  # noqa: PLW2901
        filled.append(word)
    return filled if tuple(filled) != words else [*words, values["{text}"]]


def _post(url: str, data: bytes) -> None:
    import urllib.request

    request = urllib.request.Request(  # noqa: S310 - http and https only: the configuration is checked
        url, data, {"Content-Type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT.total_seconds()) as answer:  # noqa: S310
        answer.read(1024)
