"""The Python API: every example of its documentation is run, with an agent that ends each job at once."""

from __future__ import annotations

import doctest
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import cloudq
from cloudq import Client, CloudQExecutor
from cloudq.bundle import Bundles
from cloudq.client import api
from cloudq.client.jobs import waits
from cloudq.errors import InputError, JobFailedError, NoSuchJobError, TimeLimitError
from cloudq.job import JobState
from tests.client.conftest import Laptop, put_done_job, put_job
from tests.client.test_stageout import put_output

GUIDE = Path(cloudq.__file__).parent.parent / "docs" / "python.md"
SOON = timedelta(milliseconds=20)


class QuickAgent:
    """Ends every job that is announced, until it is told to stop."""

    def __init__(self, bundles: Bundles) -> None:
        self._bundles = bundles
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.01):
            for job_id in self._bundles.markers.inbox("sys1"):
                self._bundles.markers.remove_notice("sys1", job_id)
                self._bundles.write(job_id, "stdout", b"hello\n")
                put_output(self._bundles, job_id, result__csv=b"1,2\n", big=b"x")
                put_done_job(self._bundles, job_id, exit_code=0)


@pytest.fixture
def agent(laptop: Laptop, monkeypatch: pytest.MonkeyPatch) -> Iterator[QuickAgent]:
    """An agent, and jobs that are looked at often."""
    monkeypatch.setattr(waits.Pace.__init__, "__kwdefaults__", {**PACE, "interval": SOON})
    laptop.write("data/x", "x")
    agent = QuickAgent(laptop.bundles)
    yield agent
    agent.stop()


PACE: dict[str, Any] = waits.Pace.__init__.__kwdefaults__ or {}


@pytest.mark.usefixtures("agent")
@pytest.mark.parametrize("source", ["guide", "module"])
def test_the_examples_of_the_documentation_are_true(source: str) -> None:
    if source == "guide":
        failed, tried = doctest.testfile(str(GUIDE), module_relative=False)
    else:
        failed, tried = doctest.testmod(api)
    assert tried >= 5
    assert failed == 0


def test_a_job_that_fails_raises_with_its_record(laptop: Laptop) -> None:
    put_done_job(laptop.bundles, state=JobState.ERROR, error="exit 7", exit_code=7)
    job = Client().job("a1")
    assert job.wait().exit_code == 7
    with pytest.raises(JobFailedError, match=r"^Job \(a1\) job.sh: ERROR: exit 7$") as failed:
        job.result()
    assert failed.value.job == job.record


def test_questions_about_jobs(laptop: Laptop) -> None:
    put_job(laptop.bundles, array_range="1-2")
    laptop.bundles.write("a1", "stdout.1", b"one\n")
    laptop.bundles.write("a1", "stderr.2", b"two\xff\n")
    client = Client(laptop.config_file)
    job = client.job("a")
    assert (job.id, job.state, repr(job)) == ("a1", JobState.INIT, "<CloudQ job a1>")
    assert job.log() == job.log(task=1) == "one\n"
    assert job.log(error=True) == "two\\xff\n"
    assert [record.id for record in client.jobs()] == ["a1"]
    job.cancel()
    assert laptop.bundles.cancel_requested("a1")
    with pytest.raises(TimeLimitError):
        job.wait(timeout=0)
    with pytest.raises(NoSuchJobError):
        client.job("zz")


def test_a_submission_has_all_that_the_command_line_has(laptop: Laptop) -> None:
    put_job(laptop.bundles, "b1")
    client = Client()
    job = client.submit(
        Path("job.sh"), ["x"], variables={"A": "1"}, directives={"cores": "2"}, tasks="1-3", after=["b1"]
    )
    second = client.submit("job.sh", after_ok=[job])
    assert (str(job.record.array_range), job.record.hold_ids) == ("1-3", ("b1",))
    assert second.record.hold_ids == (job.id,)
    script = laptop.bundles.read(job.id, "job.sh").decode()
    assert "#$ cores: 2\n" in script
    assert "export A=1; set -- x\n" in script
    with pytest.raises(InputError, match="no such file or folder"):
        client.submit("job.sh", inputs=["nothing"])


@pytest.mark.usefixtures("laptop")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inputs": "data"}, r"inputs: expected a list such as \['data'\], got 'data'"),
        ({"arguments": "x"}, r"arguments: expected a list such as \['x'\], got 'x'"),
        ({"tasks": 3}, "tasks: expected a range such as '1-10', got 3"),
        ({"directives": {"walltme": "1h"}}, "-D walltme: unknown directive: did you mean 'walltime'?"),
    ],
    ids=["inputs", "arguments", "tasks", "directives"],
)
def test_values_of_another_type_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        Client().submit("job.sh", **options)


@pytest.mark.usefixtures("laptop")
def test_numbers_are_taken_for_their_digits() -> None:
    client = Client()
    job = client.submit("job.sh", variables={"A": 1}, directives={"cores": 2})  # type: ignore[dict-item]
    assert "export A=1\n" in client.bundles.read(job.id, "job.sh").decode()


@pytest.mark.usefixtures("laptop")
def test_a_future_is_cancelled_with_its_job() -> None:
    client = Client()
    with CloudQExecutor(client, interval=SOON) as executor:
        future = executor.submit("job.sh")
        assert future.cancel()
        job_id = client.jobs()[0].id
        with pytest.raises(CancelledError):
            future.result()
    assert client.bundles.cancel_requested(job_id)
    with pytest.raises(RuntimeError, match="cannot submit after shutdown"):
        executor.submit("job.sh")


def test_a_future_of_a_job_that_fails_raises(laptop: Laptop) -> None:
    client = Client()
    with CloudQExecutor(client, interval=SOON) as executor:
        future = executor.submit("job.sh")
        (job,) = client.jobs()
        put_job(laptop.bundles, job.id, state=JobState.RUN, started=job.submitted)
        while not future.running():
            pass
        assert not future.cancel()
        put_done_job(laptop.bundles, job.id, state=JobState.TIMEOUT, started=job.submitted)
        with pytest.raises(JobFailedError, match="TIMEOUT"):
            future.result(timeout=120)


def test_importing_cloudq_imports_nothing_else() -> None:
    program = (
        "import sys; import cloudq\n"
        "assert not hasattr(cloudq, 'nothing')\n"
        "print([name for name in sys.modules if name.startswith('cloudq.') or name == 'click'])\n"
        "from cloudq import Client, CloudQExecutor, JobHandle"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=GUIDE.parent.parent,
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert done.stdout == "[]\n"
