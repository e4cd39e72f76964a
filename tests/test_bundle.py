"""Bundles: keys, ids, conditional writes and markers, on a store in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Optional

import pytest

from cloudq.bundle import Bundles, check_script_name, native_script_name
from cloudq.bundle.markers import INBOX, Markers
from cloudq.errors import (
    ConflictError,
    InputError,
    ManifestError,
    NoSuchJobError,
    NotFoundError,
    StoreRefusedError,
    StoreUnreachableError,
)
from cloudq.job import Job, JobKind, JobState
from cloudq.presence import Presence
from cloudq.store import Blob, Entry, Store
from cloudq.store.memory import MemoryStore

NOW = datetime(2026, 11, 21, 22, 8, 1, tzinfo=timezone.utc)


@pytest.fixture(params=["", "team/x/"], ids=["no prefix", "prefix"])
def bundles(request: pytest.FixtureRequest) -> Bundles:
    return Bundles(MemoryStore(page_size=3), request.param)


def job(job_id: str = "a1", **values: str) -> Job:
    new = Job(job_id, "job.sh", JobKind.META, submitted=NOW)
    return replace(new, **{"run_on": "sys1", **values})  # type: ignore[arg-type]


def keys(bundles: Bundles) -> list[str]:
    return [entry.key[len(bundles.prefix) :] for entry in bundles.store.list(bundles.prefix)]


class DeafStore(MemoryStore):
    """Loses the answer to one conditional write, then tells what the server would tell the repetition."""

    def create(self, key: str, data: bytes) -> str:
        super().create(key, data)
        raise ConflictError(key)


@pytest.mark.parametrize(
    "name", ["manifest.json", "project", "resource", "input.zip", "output.zip", "live", "cancel", "stdout"]
)
def test_names_of_our_own_objects_are_refused_for_scripts(name: str) -> None:
    """Defect 38: a script of such a name was overwritten."""
    with pytest.raises(InputError, match=f"script name '{name}': CloudQ uses this name") as refused:
        check_script_name(name)
    assert refused.value.hint.startswith("rename the script")


@pytest.mark.parametrize("name", ["cancel_orders.sh", "stdout.sh", "stderr2"])
def test_names_that_1_2_takes_for_its_own_are_refused_for_scripts(name: str) -> None:
    """Defect 37: a script `cancel_orders.sh` was cancelled at once."""
    with pytest.raises(InputError, match="CloudQ uses this name"):
        check_script_name(name)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "a\\b", "a\nb", "a\x7f", "\ud800", "x" * 201], ids=repr
)
def test_what_is_no_plain_file_name_is_refused_for_scripts(name: str) -> None:
    with pytest.raises(InputError, match="script name"):
        check_script_name(name)


@pytest.mark.parametrize("name", ["job.sh", "ジョブ.sh", "my job", "projects", "-x"])
def test_other_names_are_fine_for_scripts(name: str) -> None:
    check_script_name(name)


@pytest.mark.parametrize(
    ("name", "native"),
    [("job.sh", "job_local.sh"), ("job", "job_local"), ("a.b.sh", "a.b_local.sh"), (".x", ".x_local")],
)
def test_the_translation_is_named_as_1_2_does(name: str, native: str) -> None:
    assert native_script_name(name) == native


def test_what_was_created_is_loaded(bundles: Bundles) -> None:
    record = bundles.create(job())
    assert bundles.load("a1") == record
    assert record.job.submit_token
    assert keys(bundles) == ["a1/manifest.json"]


def test_a_manifest_is_created_only_once(bundles: Bundles) -> None:
    """Defect 61: a collision of ids overwrote a job."""
    bundles.create(job())
    with pytest.raises(ConflictError):
        bundles.create(job())


def test_ones_own_manifest_is_known_again_after_a_lost_answer() -> None:
    bundles = Bundles(DeafStore())
    record = bundles.create(job())
    assert bundles.load("a1").job == record.job


@pytest.mark.parametrize("job_id", ["a1", "..", "agent", "x/y", ""], ids=repr)
def test_an_unknown_job_is_named(bundles: Bundles, job_id: str) -> None:
    with pytest.raises(NoSuchJobError, match=f"^Invalid job ID: {job_id}$"):
        bundles.load(job_id)


def test_a_store_fault_is_not_an_unknown_job() -> None:
    """Defect 30: a fault read as "no such job"."""

    class BrokenStore(MemoryStore):
        def read(self, key: str) -> Blob:
            raise StoreUnreachableError("no answer")

    with pytest.raises(StoreUnreachableError):
        Bundles(BrokenStore()).load("a1")


@pytest.mark.parametrize(
    ("beginning", "found"),
    [
        ("3f", "3f"),
        ("3f7", "3f7e"),
        ("3f7e", "3f7e"),
        ("3f-", "3f-x"),
        ("b", "b1"),
        ("c", None),
        ("ag", None),
    ],
)
def test_a_beginning_finds_the_one_job(bundles: Bundles, beginning: str, found: Optional[str]) -> None:
    for name in (
        "3f-x/a",
        "3f-y/a",
        "3f-z/a",
        "3f/a",
        "3f7e/a",
        "3f7e/b",
        "3f7e/c",
        "3f7e/d",
        "b1/x",
        "c.txt",
    ):
        if found != "3f-x" or not name.startswith(("3f-y", "3f-z")):
            bundles.store.write(bundles.prefix + name, b"")
    bundles.store.write(bundles.prefix + "agent/sys1", b"")
    if found is None:
        with pytest.raises(NoSuchJobError, match=f"^Invalid job ID: {beginning}$"):
            bundles.find(beginning)
    else:
        assert bundles.find(beginning) == found


def test_a_beginning_of_several_jobs_is_refused(bundles: Bundles) -> None:
    for name in ("ab1/x", "ab2/x", "ab3/x"):
        bundles.store.write(bundles.prefix + name, b"")
    with pytest.raises(InputError, match="^job id ab is not unique: ab1, ab2, …$"):
        bundles.find("ab")
    bundles.store.delete([bundles.prefix + "ab3/x"])
    with pytest.raises(InputError, match="^job id ab is not unique: ab1, ab2$"):
        bundles.find("ab")


def test_ids_are_all_folders_that_may_be_jobs(bundles: Bundles) -> None:
    for key in ("a1/x", "b2/manifest.json", "agent/sys1", "stray", ".git/x", "c 3/x"):
        bundles.store.write(bundles.prefix + key, b"")
    assert list(bundles.ids()) == ["a1", "b2"]


def test_what_is_saved_has_the_next_revision(bundles: Bundles) -> None:
    record = bundles.create(job())
    saved = bundles.save(record, replace(record.job, state=JobState.READY))
    assert saved.job.revision == 1
    assert bundles.load("a1") == saved


@pytest.mark.parametrize("conditional", [True, False], ids=["conditional", "plain"])
def test_only_what_was_read_is_replaced(conditional: bool) -> None:
    bundles = Bundles(MemoryStore(), conditional=conditional)
    record = bundles.create(job())
    bundles.save(record, record.job)
    with pytest.raises(ConflictError, match="changed by somebody else: a1/manifest.json"):
        bundles.save(record, replace(record.job, state=JobState.READY))


def test_of_two_claims_one_wins(bundles: Bundles) -> None:
    record = bundles.create(job())
    won = bundles.claim(record, "Sys1", now=NOW)
    with pytest.raises(ConflictError):
        bundles.claim(record, "sys2", now=NOW)
    assert (won.job.run_system, won.job.attempt, won.job.received) == ("sys1", 1, NOW)
    assert bundles.load("a1").job.claim_token == won.job.claim_token != ""


def test_objects_of_a_bundle_come_and_go(bundles: Bundles, tmp_path: Path) -> None:
    bundles.add("a1", "job.sh", b"#!/bin/sh")
    with pytest.raises(ConflictError):
        bundles.add("a1", "job.sh", b"other")
    bundles.write("a1", "stdout", b"0123456789")
    (tmp_path / "up").write_bytes(b"zip")
    assert bundles.upload("a1", "output.zip", tmp_path / "up").size == 3
    bundles.download("a1", "output.zip", tmp_path / "down")
    assert (tmp_path / "down").read_bytes() == b"zip"
    assert bundles.read("a1", "job.sh") == b"#!/bin/sh"
    assert bytes(bundles.read_range("a1", "stdout", 2, 5)) == b"234"
    assert list(bundles.entries("a1")) == ["job.sh", "output.zip", "stdout"]
    assert bundles.entries("a1", "std")["stdout"].size == 10
    bundles.discard("a1", ["stdout", "job.sh"])
    assert list(bundles.entries("a1")) == ["output.zip"]
    with pytest.raises(NotFoundError):
        bundles.read("a1", "stdout")


def test_a_bundle_is_deleted_whole_and_no_other_with_it(bundles: Bundles) -> None:
    for name in ("a", "b", "c/d", "e", "manifest.json", "z"):
        bundles.write("3f", name, b"")
    bundles.write("3f7e", "x", b"")
    bundles.delete("3f")
    assert keys(bundles) == ["3f7e/x"]


def test_the_manifest_is_deleted_last() -> None:
    class BrittleStore(MemoryStore):
        def delete(self, keys: Iterable[str]) -> None:
            names = list(keys)
            if names and names != ["a1/manifest.json"]:
                raise StoreUnreachableError("no answer")
            super().delete(names)

    bundles = Bundles(BrittleStore())
    bundles.create(job())
    bundles.write("a1", "x", b"")
    with pytest.raises(StoreUnreachableError):
        bundles.delete("a1")
    assert bundles.load("a1").job.id == "a1"


def test_only_the_exact_name_is_a_cancel_request(bundles: Bundles) -> None:
    """Defect 37."""
    bundles.write("a1", "cancel_orders.sh", b"")
    assert not bundles.cancel_requested("a1")
    bundles.request_cancel(bundles.create(job()).job)
    assert bundles.cancel_requested("a1")
    assert list(bundles.markers.mail("sys1")) == ["a1"]


@pytest.mark.parametrize(
    ("values", "addressee"),
    [
        ({"run_on": "Sys1"}, "Sys1"),
        ({"run_on": "ANY"}, "ANY"),
        ({"run_on": "ANY", "run_system": "sys2"}, "sys2"),
        ({"run_on": "", "submit_to": "sys3"}, "sys3"),
        ({"run_on": ""}, "ANY"),
    ],
    ids=str,
)
def test_a_job_is_announced_to_whom_it_concerns(
    bundles: Bundles, values: dict[str, str], addressee: str
) -> None:
    announced = job(**values)
    assert Markers.addressee(announced) == addressee
    bundles.markers.notify(announced)
    assert list(bundles.markers.inbox(addressee)) == ["a1"]
    assert list(bundles.markers.inbox(addressee.swapcase())) == ["a1"]
    bundles.markers.remove_notice(addressee, "a1")
    assert keys(bundles) == []


def test_notices_and_requests_go_separately(bundles: Bundles) -> None:
    """Whoever has taken a job may remove its notice late: what was asked meanwhile stays."""
    markers = bundles.markers
    for _ in range(2):
        markers.notify(job())
        markers.request(job())
        assert list(markers.mail("sys1")) == list(markers.inbox("sys1")) == ["a1"]
        assert (
            sorted((system, job_id) for system, job_id, _ in markers.of_kind(INBOX)) == [("sys1", "a1")] * 2
        )
        markers.remove_notice("sys1", "a1")
        assert (list(markers.mail("sys1")), markers.inbox("sys1")) == (["a1"], {})
        markers.remove_mail("sys1", "a1", markers.mail("sys1")["a1"])
        assert keys(bundles) == []


@pytest.mark.parametrize("everywhere", [False, True])
def test_all_mail_about_a_job_can_be_removed(bundles: Bundles, everywhere: bool) -> None:
    markers = bundles.markers
    for job_id in ("a1", "b1"):
        markers.notify(job(job_id))
        markers.request(job(job_id))
    if everywhere:
        markers.remove_all_mail(["a1"])
    else:
        markers.remove_mail("sys1", "a1", markers.mail("sys1")["a1"])
    assert list(markers.mail("sys1")) == ["b1"]
    assert len(keys(bundles)) == 2


def test_active_markers_come_and_go(bundles: Bundles) -> None:
    bundles.markers.mark_active("Sys1", "a1")
    bundles.markers.mark_active("sys10", "b1")
    assert bundles.markers.active("sys1") == ["a1"]
    bundles.markers.unmark_active("sys1", "a1")
    assert bundles.markers.active("sys1") == []


@pytest.mark.parametrize("system", ["", "a/b", "../x", "a b", "x\n"], ids=repr)
def test_what_is_no_system_name_makes_no_key(bundles: Bundles, system: str) -> None:
    with pytest.raises(InputError, match="expected letters, digits"):
        bundles.markers.mark_active(system, "a1")
    with pytest.raises(InputError, match="expected letters, digits"):
        bundles.agents.log(system)
    assert keys(bundles) == []


def test_only_the_log_of_exactly_this_agent_is_deleted(bundles: Bundles, tmp_path: Path) -> None:
    """Defect 44: all logs whose names began so were deleted."""
    (tmp_path / "log").write_text("text")
    for system in ("abci", "abci2", "abci-test"):
        bundles.agents.upload_log(system, tmp_path / "log")
    bundles.agents.delete_log("abci")
    assert keys(bundles) == ["agent/abci-test", "agent/abci2"]
    assert bundles.agents.log("abci2") == b"text"
    with pytest.raises(NotFoundError):
        bundles.agents.delete_log("abci")


def presence(system: str) -> Presence:
    return Presence(
        *(system, "2.0", "slurm", "login1", 12, NOW, timedelta(seconds=60)),
        projects={"p": "group"},
        resources={"r": "-p gpu"},
        counts={"RUN": 2},
    )


def test_presence_is_published_and_found_whatever_the_case(bundles: Bundles) -> None:
    bundles.agents.publish(presence("ABCI"))
    assert bundles.agents.presence("abci") == presence("ABCI")
    assert bundles.agents.presence("other") is None


def test_unreadable_presences_are_left_out(bundles: Bundles) -> None:
    bundles.agents.publish(presence("a"))
    bundles.agents.publish(presence("b"))
    bundles.store.write(f"{bundles.prefix}agent/.systems/c.json", b"{}")
    assert [found.system for found in bundles.agents.presences()] == ["a", "b"]
    with pytest.raises(ManifestError, match=r"c\.json: not an agent's presence"):
        bundles.agents.presence("c")


def test_an_agent_was_seen_if_it_left_a_presence_or_a_log(bundles: Bundles, tmp_path: Path) -> None:
    (tmp_path / "log").write_text("text")
    bundles.agents.publish(presence("new"))
    bundles.agents.upload_log("old", tmp_path / "log")
    assert [bundles.agents.seen(system) for system in ("new", "old", "none")] == [True, True, False]


def test_an_agent_of_1_2_is_known_by_a_log_without_a_presence(bundles: Bundles, tmp_path: Path) -> None:
    assert not bundles.agents.signs_of_life().presences
    (tmp_path / "log").write_text("text")
    bundles.agents.publish(presence("New"))
    bundles.markers.mark_active("new", "a1")
    bundles.agents.upload_log("New", tmp_path / "log")
    bundles.agents.upload_log("old", tmp_path / "log")
    signs = bundles.agents.signs_of_life()
    assert (set(signs.presences), set(signs.logs)) == ({"new"}, {"new", "old"})


def test_an_agent_is_alive_for_three_heartbeats() -> None:
    alive = presence("a")
    assert alive.alive(NOW + timedelta(seconds=180))
    assert not alive.alive(NOW + timedelta(seconds=191))
    assert not replace(alive, stopped=True).alive(NOW)


def test_nothing_is_written_outside_the_prefix(tmp_path: Path) -> None:
    store: Store = MemoryStore()
    bundles = Bundles(store, "team/")
    record = bundles.create(job())
    bundles.claim(record, "sys1", now=NOW)
    bundles.request_cancel(record.job)
    bundles.markers.mark_active("sys1", "a1")
    bundles.agents.publish(presence("sys1"))
    assert all(entry.key.startswith("team/") for entry in store.list(""))


def test_a_bucket_is_found_reachable_by_one_listing_that_has_nothing_in_it() -> None:
    """A missing bucket was not noticed on SeaweedFS, which makes it when something is written to it."""
    listed: list[tuple[str, int]] = []

    class WatchedStore(MemoryStore):
        def list(self, prefix: str, *, after: str = "") -> Iterator[Entry]:
            found = list(super().list(prefix, after=after))
            listed.append((prefix, len(found)))
            return iter(found)

    bundles = Bundles(WatchedStore(), "team/")
    bundles.create(job())
    bundles.markers.notify(job())
    bundles.check_reachable()
    assert listed == [("team/agent/.reachable/", 0)]


def test_a_bucket_that_may_not_be_listed_is_not_reachable() -> None:
    class MissingStore(MemoryStore):
        def list(self, prefix: str, *, after: str = "") -> Iterator[Entry]:
            raise StoreRefusedError("no such bucket")

    with pytest.raises(StoreRefusedError, match="^no such bucket$"):
        Bundles(MissingStore()).check_reachable()
