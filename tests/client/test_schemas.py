"""JSON answers keep to the published schemas; bars are drawn on terminals only."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

import cloudq
from cloudq.bundle import Bundles
from cloudq.job import Condition, JobState, Task
from cloudq.manifest import MEMBERS
from cloudq.store import StoreAddress, open_store
from cloudq.store.moved import watching
from tests.client.conftest import NOW, Laptop, put_done_job, put_job
from tests.client.test_why import presence

SCHEMAS = Path(cloudq.__file__).parent.parent / "docs" / "schemas"


def schema(name: str) -> Any:
    return json.loads((SCHEMAS / f"{name}.json").read_text(encoding="utf-8"))


def check(name: str, answer: object) -> None:
    files = [(path.name, Resource.from_contents(schema(path.stem))) for path in SCHEMAS.glob("*.json")]
    registry: Registry[Any] = Registry().with_resources(files)
    Draft202012Validator(schema(name), registry=registry).validate(answer)


@pytest.fixture
def full(laptop: Laptop) -> Laptop:
    """A bucket with a job of every kind."""
    tasks = {1: Task(JobState.DONE, "", 0), 2: Task(JobState.ERROR, "exit 1", 1)}
    put_done_job(laptop.bundles, "a1", state=JobState.ERROR, array_range="1-2", tasks=tasks, finished=NOW)
    put_done_job(laptop.bundles, "b1", exit_code=0)
    put_job(laptop.bundles, "c1", state=JobState.RUN, progress=40, reason="x", revision=3)
    put_job(laptop.bundles, "d1", hold_ids=("a1",), conditions={"a1": Condition.OK})
    laptop.bundles.write("a1", "stdout.1", b"one\n")
    laptop.bundles.agents.publish(presence(counts={"RUN": 1}, projects={"p": "x"}))
    return laptop


@pytest.mark.parametrize(
    ("name", "argv"),
    [
        ("job", ["stat", "a1", "--json"]),
        ("job", ["stat", "c1", "--json"]),
        ("job", ["submit", "job.sh", "--json"]),
        ("jobs", ["list", "--json"]),
        ("jobs", ["history", "--json"]),
        ("jobs", ["wait", "b1", "--json"]),
        ("logs", ["log", "a1", "--json"]),
        ("events", ["stat", "a1", "--events", "--json"]),
        ("systems", ["systems", "--json"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
def test_each_json_answer_keeps_to_its_schema(full: Laptop, name: str, argv: list[str]) -> None:
    answer = full.json(*argv)
    assert answer
    check(name, answer)


def test_the_schema_of_a_job_has_all_members() -> None:
    # Programs get the errors of tasks in `task_states`.
    assert set(schema("job")["properties"]) == set(MEMBERS) - {"task_errors"}


def test_bytes_of_a_transfer_are_told_to_who_watches(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 5000)
    bundles = Bundles(open_store(StoreAddress(tmp_path.as_uri(), "bucket")))
    moved: list[int] = []
    with watching(moved.append):
        bundles.upload("a1", "input.zip", tmp_path / "file")
        bundles.download("a1", "input.zip", tmp_path / "copy")
    bundles.upload("a1", "input.zip", tmp_path / "file")
    assert sum(moved) == 10_000


def test_answers_in_pipes_import_nothing_that_draws(full: Laptop) -> None:
    program = (
        "import sys; from cloudq.client.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([name for name in ('rich', 'jsonschema') if name in sys.modules], file=sys.stderr)"
    )
    for argv in (["list"], ["stat", "a1"], ["wait", "b1"], ["history", "--json"]):
        done = subprocess.run(
            [sys.executable, "-c", program, *argv],
            env={**os.environ, "PYTHONPATH": str(SCHEMAS.parent.parent)},
            capture_output=True, encoding="utf-8", check=True, timeout=60,
        )  # fmt: skip
        assert done.stderr == "[]\n"
