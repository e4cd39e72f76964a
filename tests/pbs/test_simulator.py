"""The simulated commands say what the real ones said."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.pbs.answers import sample
from tests.pbs.commands import split_words
from tests.pbs.conftest import Site

SCRIPT = "#!/bin/sh\nsleep 600\n"


def command(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, cwd=Path.home(), capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture
def qsub(site: Site) -> Callable[..., str]:
    def qsub(*options: str, script: str = SCRIPT) -> str:
        path = Path.home() / "job.sh"
        path.write_text(script)
        done = command("qsub", *options, str(path))
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return qsub


def wait_for(job_id: str, state: str) -> None:
    deadline = time.monotonic() + 120
    while f'"job_state": "{state}"' not in command("qstat", "-x", "-f", "-F", "json", job_id).stdout:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        pytest.param(["qstat", "-f", "-F", "json", "9999.pbshost"], "qstat-unknown-job", id="qstat"),
        pytest.param(["qdel", "9999.pbshost"], "qdel-unknown-job", id="qdel"),
        pytest.param(["qsub", "-J", "1-1", "job.sh"], "qsub-array-of-one", id="array of one"),
        pytest.param(["qsub", "-q", "x", "job.sh"], "qsub-bad-queue", id="queue"),
        pytest.param(["qsub", "-l", "walltime=soon", "job.sh"], "qsub-bad-walltime", id="walltime"),
    ],
)
def test_a_refusal_is_worded_as_by_the_real_command(site: Site, argv: list[str], name: str) -> None:
    (Path.home() / "job.sh").write_text(SCRIPT)
    done = command(*argv)
    assert (done.returncode, done.stderr) == (
        int(sample(f"{name}.exitcode")),
        sample(f"{name}.stderr"),
    )


def test_a_server_that_is_down_begins_an_answer_all_the_same(site: Site) -> None:
    site.server.change(down=True)
    done = command("qstat", "-f", "-F", "json", "1")
    assert (done.returncode, done.stdout, done.stderr) == (
        int(sample("qstat-server-down.exitcode")),
        sample("qstat-server-down.stdout"),
        sample("qstat-server-down.stderr"),
    )


def test_a_finished_job_is_refused_without_x(qsub: Callable[..., str]) -> None:
    job_id = qsub(script="#!/bin/sh\n")
    wait_for(job_id, "F")
    done = command("qstat", "-f", "-F", "json", job_id)
    assert done.returncode == int(sample("qstat-finished-without-x.exitcode"))
    assert done.stderr == sample("qstat-finished-without-x.stderr").replace("9.pbshost", job_id)


def test_without_a_history_x_gives_nothing_and_no_error(site: Site, qsub: Callable[..., str]) -> None:
    job_id = qsub()
    site.server.change(history=False)
    done = command("qstat", "-x", "-f", "-F", "json", job_id)
    expected = sample("qstat-x-f-json-history-disabled.stderr").replace("34.pbshost", job_id)
    assert (done.returncode, done.stderr) == (0, expected)
    assert set(json.loads(done.stdout)) == {"timestamp", "pbs_version", "pbs_server"}


ENDED = [
    pytest.param("qstat-x-f-json-finished-exit0", "exit 0", id="exit 0"),
    pytest.param("qstat-x-f-json-finished-exit7", "exit 7", id="exit 7"),
    pytest.param("qstat-x-f-json-killed-by-SEGV", "kill -SEGV $$", id="signal"),
    pytest.param("qstat-x-f-json-command-not-found", "no_such_command", id="not found"),
    pytest.param("qstat-x-f-json-walltime-exceeded", "#PBS -l walltime=1\nsleep 600", id="walltime"),
]


@pytest.mark.parametrize(("name", "body"), ENDED)
def test_an_ended_job_has_the_attributes_of_a_real_one(
    qsub: Callable[..., str], name: str, body: str
) -> None:
    job_id = qsub(script=f"#!/bin/sh\n{body}\n")
    wait_for(job_id, "F")
    check_attributes(job_id, name)


def test_a_held_job_has_the_attributes_of_a_real_one(qsub: Callable[..., str]) -> None:
    check_attributes(qsub("-h"), "qstat-f-json-held")


@pytest.mark.parametrize(
    ("name", "started"),
    [
        pytest.param("qstat-x-f-json-deleted-while-running-finished", True, id="running"),
        pytest.param("qstat-x-f-json-deleted-while-queued", False, id="queued"),
    ],
)
def test_a_deleted_job_has_the_attributes_of_a_real_one(
    site: Site, qsub: Callable[..., str], name: str, started: bool
) -> None:
    site.server.change(started=started)
    job_id = qsub()
    wait_for(job_id, "R" if started else "Q")
    assert command("qdel", job_id).returncode == 0
    wait_for(job_id, "F")
    check_attributes(job_id, name)


def check_attributes(job_id: str, name: str) -> None:
    (real,) = json.loads(sample(f"{name}.json"))["Jobs"].values()
    answer = json.loads(command("qstat", "-x", "-f", "-F", "json", job_id).stdout)
    simulated = answer["Jobs"][job_id]
    same = ("job_state", "substate", "Exit_status", "Hold_Types")
    assert [simulated.get(key) for key in same] == [real.get(key) for key in same]
    assert {"session_id", "etime"} | set(simulated) >= set(real)
    end = real.get("comment", "").partition(" on (")[2].partition(")")[2].partition(" by ")[0]
    assert end in simulated.get("comment", "")


def test_a_task_that_ended_has_a_record_of_its_own_only_in_the_history(
    site: Site, qsub: Callable[..., str]
) -> None:
    script = '#!/bin/sh\n[ "$PBS_ARRAY_INDEX" = 1 ] && exit 3\nsleep 600\n'
    job_id = qsub("-J", "1-2", script=script)
    wait_for(job_id, "B")
    task = job_id.replace("[]", "[1]")
    deadline = time.monotonic() + 120
    while True:
        live = json.loads(command("qstat", "-f", "-F", "json", "-t", job_id).stdout)["Jobs"][task]
        if live["job_state"] == "X":
            break
        assert time.monotonic() < deadline
    past = json.loads(command("qstat", "-x", "-f", "-F", "json", "-t", job_id).stdout)["Jobs"][task]
    assert (live["comment"], "Exit_status" in live) == ("Subjob failed", False)
    assert (past["job_state"], past["Exit_status"]) == ("F", 3)


def test_nodes_are_told_as_captured(site: Site) -> None:
    assert command("pbsnodes", "-a", "-F", "json").stdout == sample("pbsnodes-a.json")


def test_output_without_options_goes_to_files_named_after_the_job(qsub: Callable[..., str]) -> None:
    job_id = qsub("-N", "arr", "-J", "1-3", script="#!/bin/sh\necho $PBS_ARRAY_INDEX\n")
    wait_for(job_id, "F")
    names = [f"arr.{stream}1.{task}" for stream in "eo" for task in (1, 2, 3)]
    assert sorted(path.name for path in Path.home().glob("arr.*")) == names


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (" -N 'two words' -l a=1", ["-N", "two words", "-l", "a=1"]),
        (" -v x='\"'\"'\"'1,2'\"'\"", ["-v", "x=\"'1,2'"]),
        ("\t-A a\\ b '' \"c\\d\"", ["-A", "a b", "", "c\\d"]),
    ],
)
def test_a_directive_is_split_as_by_qsub(line: str, words: list[str]) -> None:
    assert split_words(line) == words
