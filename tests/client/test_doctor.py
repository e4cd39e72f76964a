"""`cloudqcli doctor`: what it says of the client's side, and of the agents."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone

from cloudq.finding import Finding, Level, render_finding
from cloudq.presence import Presence
from tests.client.conftest import Laptop


def publish(laptop: Laptop, system: str, **values: object) -> None:
    presence = Presence(system, "2.0", "slurm", "login1", 1, datetime.now(timezone.utc), timedelta(minutes=1))
    laptop.bundles.agents.publish(replace(presence, **values))  # type: ignore[arg-type]


def levels(laptop: Laptop, *, status: int = 0) -> dict[str, str]:
    found = json.loads(laptop.run("doctor", "--json", status=status).stdout)
    return {one["subject"]: one["level"] for one in found}


def test_a_good_client_is_told_line_by_line_and_nothing_is_left(laptop: Laptop) -> None:
    publish(laptop, "sys1")
    lines = laptop.answer("doctor").splitlines()
    assert lines[0] == f"OK    configuration       {laptop.config_file}"
    assert {line[:4] for line in lines} == {"OK  "}
    assert [entry.key for entry in laptop.bundles.store.list("")] == ["agent/.systems/sys1.json"]


def test_agents_are_told_of_and_warnings_are_no_fault(laptop: Laptop) -> None:
    publish(laptop, "alive")
    publish(laptop, "careless", takes_any=False)
    publish(laptop, "silent", heartbeat=datetime.now(timezone.utc) - timedelta(days=1))
    publish(laptop, "stopped", stopped=True)
    publish(laptop, "waits", trouble="the scheduler has not answered")
    found = levels(laptop)
    assert {subject: level for subject, level in found.items() if subject.startswith("agent ")} == {
        "agent alive": "OK",
        "agent careless": "WARN",
        "agent silent": "WARN",
        "agent stopped": "WARN",
        "agent waits": "WARN",
    }
    assert "is alive, takes no ANY jobs" in laptop.answer("doctor")


def test_a_bucket_without_agents_is_a_warning(laptop: Laptop) -> None:
    assert levels(laptop)["agents"] == "WARN"


def test_a_missing_configuration_is_a_fault_with_the_way_out(laptop: Laptop) -> None:
    laptop.config_file.unlink()
    result = laptop.run("doctor", status=1)
    assert "FAIL  configuration       no configuration file: " in result.stdout
    assert "`cloudqcli init` writes one" in result.stdout
    assert result.stderr == ""


def test_a_finding_is_one_line() -> None:
    finding = Finding(Level.FAIL, "put", "two\nlines", "do\nthis")
    assert render_finding(finding) == "FAIL  put                 two lines; do this"


def test_whether_jobs_are_signed_is_told(laptop: Laptop) -> None:
    assert "OK    signatures          jobs are not signed (see signing_key)\n" in laptop.answer("doctor")
    key = laptop.home / "id"
    key.write_text("", encoding="utf-8")
    settings = laptop.config_file.read_text(encoding="utf-8")
    settings = settings.replace("[client]\n", f"[client]\nsigning_key = {key}\n")
    laptop.config_file.write_text(settings, encoding="utf-8")
    assert f"OK    signatures          jobs are signed with {key}\n" in laptop.answer("doctor")
