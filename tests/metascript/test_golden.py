"""The translation of every example for every scheduler, as golden files.

With CLOUDQ_UPDATE_GOLDEN=1 in the environment the files are written anew: read the difference.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from cloudq.agent.schedulers import SCHEDULERS
from cloudq.metascript import Placement, check_names, parse_meta_script, translate
from cloudq.system import Definitions, System, for_system, parse_definitions

GOLDEN = Path(__file__).parent / "golden"
EXAMPLES = Path(__file__).parents[2] / "examples"
META_SCRIPTS = sorted(path.name for path in EXAMPLES.glob("*.sh") if path.name != "slurm-local.sh")
SYSTEMS = {
    "abci": ("abci", "singularity"),
    "campus": ("gridengine", "apptainer"),
    "mycluster": ("slurm", "singularity"),
    "demo": ("local", "none"),
    "abci3": ("pbs", "singularity"),
}


def definitions(name: str) -> Definitions:
    return parse_definitions((EXAMPLES / name).read_text(encoding="utf-8"), name)


def example(name: str, system: str) -> str:
    scheduler, container_runtime = SYSTEMS[system]
    there = System(
        name=system,
        scheduler=scheduler,
        projects=for_system(definitions("project.ini"), system),
        resources=for_system(definitions("resource.ini"), system),
        container_runtime=container_runtime,
        endpoint_url="https://s3.example.org",
        profile="cloudq",
    )
    script = parse_meta_script((EXAMPLES / name).read_text(encoding="utf-8"), name)
    check_names(script, definitions("project.ini"), definitions("resource.ini"))
    return translate(
        script, there, Placement("/home/me/.cloudq/jobs/1f/work", "/home/me/.cloudq/jobs/1f/exit")
    )


def golden_file(name: str, system: str) -> Path:
    return GOLDEN / f"{Path(name).stem}.{SYSTEMS[system][0]}.sh"


CASES = [(name, system) for name in META_SCRIPTS for system in SYSTEMS]


@pytest.mark.parametrize(("name", "system"), CASES)
def test_an_example_is_translated_as_its_golden_file_shows(name: str, system: str) -> None:
    text, path = example(name, system), golden_file(name, system)
    if os.environ.get("CLOUDQ_UPDATE_GOLDEN") == "1":
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


def test_each_scheduler_has_a_system_among_the_golden_files() -> None:
    assert {scheduler for scheduler, _ in SYSTEMS.values()} == set(SCHEDULERS)


def test_each_golden_file_belongs_to_an_example() -> None:
    assert {golden_file(*case).name for case in CASES} == {path.name for path in GOLDEN.iterdir()}


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.sh")), ids=lambda path: path.name)
@pytest.mark.parametrize("shell", ["bash", "sh"])
def test_a_shell_reads_a_golden_file_without_complaint(path: Path, shell: str) -> None:
    done = subprocess.run([shell, "-n", str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="shellcheck is not installed")
@pytest.mark.parametrize("folder", [GOLDEN, EXAMPLES], ids=lambda folder: folder.name)
def test_shellcheck_finds_nothing(folder: Path) -> None:
    # SC2317: functions that a script does not use. SC2154: variables that the translation sets.
    command = ["shellcheck", "--exclude=SC2317,SC2154", *map(str, sorted(folder.glob("*.sh")))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
