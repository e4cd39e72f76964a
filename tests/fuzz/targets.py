"""What is fuzzed: for each parser a function that takes bytes, and what it may begin with.

The contract of each: it returns, or raises the errors that its parser documents; it ends soon, takes little
memory, and writes nothing outside its folder. Anything else is a find. Who can write these bytes: whoever may
write to the bucket (manifests, scripts, definitions, archives, presences, statements), the scheduler (its
answers), the user (configurations), and a crash in the middle of a write (claims, outcomes, the ledger).
"""

from __future__ import annotations

import contextlib
import io
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from cloudq.agent.daemon.ending import parse_term
from cloudq.agent.decisions.progress import parse_progress
from cloudq.agent.folders import Folders
from cloudq.agent.ledger import Ledger
from cloudq.agent.rights.claims import is_taken_away
from cloudq.agent.running.finishing import recall_outcome
from cloudq.agent.running.observations import recall_observations
from cloudq.agent.schedulers import SCHEDULERS
from cloudq.agent.schedulers.base import KillExplainer, Scheduler
from cloudq.agent.schedulers.slurm import Slurm
from cloudq.agent.workplace import ActiveJob, Workplace
from cloudq.agentconfig import load_agent_config
from cloudq.archive import list_members, unpack
from cloudq.bundle import Record
from cloudq.client.display.values import visible_text
from cloudq.config import load_client_config
from cloudq.errors import (
    ArchiveError,
    ConfigError,
    ManifestError,
    MetaScriptError,
    RefusedError,
    SchedulerOutputError,
)
from cloudq.job import Job, JobKind
from cloudq.manifest import parse_manifest, program_members, render_manifest, signed_members
from cloudq.metascript import MetaScript, Placement, parse_meta_script, peek_run_on, translate
from cloudq.presence import parse_presence, render_presence
from cloudq.signing import parse_statement, render_statement
from cloudq.system import System, for_system, parse_definitions
from tests.fuzz import seeds

LARGEST = 1 << 20
NOW = datetime(2026, 1, 31, 8, tzinfo=timezone.utc)
JOB = Job("a1", "job.sh", JobKind.META, claim_token="c", attempt=1)


@dataclass(frozen=True)
class Target:
    """Something that reads bytes.

    Attributes:
        feed: Gives it the bytes; raises what is a find.
        seeds: What is mutated.
    """

    feed: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]


def feed_manifest(data: bytes) -> None:
    with contextlib.suppress(ManifestError):
        job = parse_manifest(data, "a1")
        rendered = render_manifest(job)
        assert parse_manifest(rendered, "a1") == job
        signed_members(job), program_members(job)


def feed_presence(data: bytes) -> None:
    with contextlib.suppress(ManifestError):
        presence = parse_presence(data, "x")
        presence.alive(NOW)
        assert parse_presence(render_presence(presence), "x") == presence
        # What `sites`, `why` and the agents make of it.
        sum(presence.counts.values())
        presence.system.lower() in presence.projects, presence.refusals.get("a1", "").strip()


def feed_statement(data: bytes) -> None:
    with contextlib.suppress(RefusedError):
        statement = parse_statement(data)
        assert parse_statement(render_statement(statement)) == statement


def feed_meta_script(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    peek_run_on(text)
    with contextlib.suppress(MetaScriptError):
        script = parse_meta_script(text, "job.sh")
        for name in SCHEDULERS:
            _translate(script, name)


def _translate(script: MetaScript, scheduler: str) -> None:
    names = script.directives.project, script.directives.resource
    system = System("here", scheduler, {names[0]: "p"}, {names[1]: "r"}, container_runtime="apptainer")
    with contextlib.suppress(MetaScriptError):
        translate(script, system, Placement("/w", "/s"))


def feed_definitions(data: bytes) -> None:
    with contextlib.suppress(ConfigError):
        for_system(parse_definitions(data.decode("utf-8", "replace"), "project"), "here")


def feed_configuration(data: bytes) -> None:
    with _folder() as folder:
        file = folder / "config.ini"
        file.write_bytes(data)
        for load in (load_client_config, load_agent_config):
            with contextlib.suppress(ConfigError):
                load(file)


def scheduler_feed(scheduler: Scheduler) -> Callable[[bytes], None]:
    """Give an answer to all parsers of a scheduler, whichever it is for."""
    parsers: list[Callable[[str], object]] = [
        scheduler.parse_submit,
        scheduler.parse_poll,
        scheduler.parse_detail,
        scheduler.probed,
        scheduler.is_unknown_job,
        scheduler.is_temporary,
        lambda text: scheduler.parse_find(text, "cq-a1-1", Path("/w")),
    ]
    if isinstance(scheduler, KillExplainer):
        parsers += [scheduler.parse_kill, scheduler.kill_in_log]

    def feed(data: bytes) -> None:
        # As `process.run` decodes.
        text = data.decode("utf-8", "replace")
        for parse in parsers:
            with contextlib.suppress(SchedulerOutputError):
                parse(text)

    return feed


def feed_archive(data: bytes) -> None:
    with _folder() as top:
        archive, folder, other = top / "a.zip", top / "in", top / "other"
        archive.write_bytes(data)
        other.mkdir()
        (folder / "there").mkdir(parents=True)
        (folder / "link").symlink_to(other)
        for _ in range(2):  # the second time upon what the first has left
            with contextlib.suppress(ArchiveError):
                unpack(archive, folder, max_bytes=LARGEST, max_members=100)
        with contextlib.suppress(ArchiveError):
            list_members(cast("io.BufferedReader", _Named(data)), max_members=100)
        assert sorted(path.name for path in top.iterdir()) == ["a.zip", "in", "other"]
        assert list(other.iterdir()) == []
        sizes = (path.lstat().st_size for path in folder.rglob("*") if path.is_file())
        assert sum(sizes) <= 2 * LARGEST


class _Named(io.BytesIO):
    name = "output.zip"


def feed_agent_files(data: bytes) -> None:
    """Give the bytes to all that reads a file which a crash may have cut."""
    with _folder() as root:
        folders = Folders(root, "here")
        folders.prepare()
        folders.spool(JOB.id).mkdir()
        for file in (folders.claim(JOB.id), folders.outcome(JOB.id), folders.observed(JOB.id)):
            file.write_bytes(data)
        place = cast("Workplace", SimpleNamespace(folders=folders))
        active = ActiveJob(Record(JOB, ""))
        for recall in (recall_outcome, recall_observations):
            recall(place, active)
        is_taken_away(place, JOB)
        (root / "ledger").mkdir()
        (root / "ledger" / JOB.id).write_bytes(data)
        with contextlib.suppress(RefusedError):
            Ledger(root / "ledger").check(JOB, None)
    parse_term(data.decode("utf-8", "replace"))


def feed_log(data: bytes) -> None:
    parse_progress(data)
    text = visible_text(data.decode("utf-8", "backslashreplace"))
    assert not set(text) & {"\x1b", "\x07", "\x08", "\x7f", "\x9b"}


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """Make a folder, in memory where there is such a file system."""
    memory = Path("/dev/shm")
    top = tempfile.mkdtemp(prefix="cloudq-fuzz-", dir=memory if memory.is_dir() else None)
    try:
        yield Path(top)
    finally:
        shutil.rmtree(top)


TARGETS = {
    "manifest": Target(feed_manifest, seeds.manifests),
    "presence": Target(feed_presence, seeds.presences),
    "statement": Target(feed_statement, seeds.statements),
    "metascript": Target(feed_meta_script, seeds.meta_scripts),
    "definitions": Target(feed_definitions, seeds.definitions),
    "configuration": Target(feed_configuration, seeds.configurations),
    "slurm": Target(scheduler_feed(Slurm(accounting=True, cluster="c")), lambda: seeds.captured("slurm")),
    "gridengine": Target(
        scheduler_feed(SCHEDULERS["gridengine"](Path(), 1)), lambda: seeds.captured("gridengine")
    ),
    "pbs": Target(scheduler_feed(SCHEDULERS["pbs"](Path(), 1)), lambda: seeds.captured("pbs")),
    "localqueue": Target(scheduler_feed(SCHEDULERS["local"](Path(), 1)), lambda: seeds.captured("local")),
    "archive": Target(feed_archive, seeds.archives),
    "agentfiles": Target(feed_agent_files, seeds.agent_files),
    "log": Target(feed_log, seeds.logs),
}
