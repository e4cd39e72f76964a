"""Completion in real shells, help with examples, manual pages."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

import cloudq
from cloudq.cli import loaded
from cloudq.client.cli import COMMANDS, EXAMPLES, main
from cloudq.client.recollection import remember_jobs, remember_systems
from tests.client.conftest import Laptop, put_job
from tests.client.test_why import presence

ROOT = Path(cloudq.__file__).parent.parent


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"needs {program}")


@pytest.fixture
def remembering(laptop: Laptop) -> Laptop:
    """A client that has seen two jobs and a system."""
    jobs = [put_job(laptop.bundles, job_id) for job_id in ("3f7e11112222", "91ab11112222")]
    remember_jobs(laptop.config, jobs)
    remember_systems(laptop.config, [presence("ABCI")])
    return laptop


def in_bash(laptop: Laptop, line: str) -> list[str]:
    """Return what bash completes at the end of a line."""
    laptop.write("completion", laptop.answer("completion", "bash"))
    words = line.split(" ")
    program = (
        f"source ./completion; COMP_WORDS=({' '.join(map(shlex.quote, words))}); "
        f'COMP_CWORD={len(words) - 1}; _cloudqcli; printf "%s\\n" "${{COMPREPLY[@]}}"'
    )
    return run_shell(["bash", "--norc", "-c", program])


def in_fish(laptop: Laptop, line: str) -> list[str]:
    laptop.write("completion", laptop.answer("completion", "fish"))
    program = f"source ./completion; complete -C {shlex.quote(line)}"
    words = [word.partition("\t")[0] for word in run_shell(["fish", "--no-config", "-c", program])]
    # Fish also offers what begins so in the other case.
    return [word for word in words if word.startswith(line.rpartition(" ")[2])]


def in_zsh(laptop: Laptop, line: str) -> list[str]:
    laptop.write("completion", laptop.answer("completion", "zsh"))
    words = line.split(" ")
    program = (
        "compdef() { :; }; _files() { :; }\n"
        "compadd() { shift; for word; do [[ $word == ${words[CURRENT]}* ]] && print -r -- $word; done; : }\n"
        f"source ./completion; words=({' '.join(map(shlex.quote, words))}); CURRENT={len(words)}; _cloudqcli"
    )
    return run_shell(["zsh", "--no-rcs", "-c", program])


def run_shell(argv: list[str]) -> list[str]:
    done = subprocess.run(argv, capture_output=True, encoding="utf-8", check=True, timeout=60)
    assert done.stderr == ""
    return [line for line in done.stdout.splitlines() if line]


CASES = {
    "cloudqcli st": {"stat", "stageout"},
    "cloudqcli stat 3": {"3f7e11112222"},
    "cloudqcli stat @": {"@last"},
    "cloudqcli log --fo": {"--follow"},
    "cloudqcli list --system a": {"abci"},
    "cloudqcli list --state DO": {"DONE"},
    "cloudqcli submit --submit-to a": {"abci"},
}


@pytest.mark.parametrize(
    "complete",
    [
        pytest.param(in_bash, marks=needs("bash"), id="bash"),
        pytest.param(in_zsh, marks=needs("zsh"), id="zsh"),
        pytest.param(in_fish, marks=needs("fish"), id="fish"),
    ],
)
def test_commands_options_ids_and_systems_are_completed(remembering: Laptop, complete) -> None:  # type: ignore[no-untyped-def]
    assert {line: set(complete(remembering, line)) for line in CASES} == CASES


@needs("bash")
def test_completion_runs_no_python_and_answers_at_once(remembering: Laptop) -> None:
    remembering.write("completion", remembering.answer("completion", "bash"))
    program = "source ./completion; COMP_WORDS=(cloudqcli stat 3); COMP_CWORD=2; time -p _cloudqcli"
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(remembering.home)}
    least = 1.0
    for _ in range(5):
        before = os.times()
        subprocess.run(["bash", "--norc", "-c", program], env=environment, capture_output=True, check=True)
        after = os.times()
        # Of the processor, which does not depend on what else it has to do.
        used = after.children_user + after.children_system - before.children_user - before.children_system
        least = min(least, used)
    assert "python" not in remembering.answer("completion", "bash")
    assert least < 0.1


@pytest.mark.parametrize("name", list(COMMANDS))
def test_the_help_of_each_command_has_an_example_that_is_right(laptop: Laptop, name: str) -> None:
    text = laptop.answer(name, "--help")
    assert f"Example:\n    {EXAMPLES[name]}\n" in text
    words = shlex.split(EXAMPLES[name].rpartition("| ")[2].replace('eval "$(', "").replace(')"', ""))
    assert words[:2] == ["cloudqcli", name]
    # Parsed, not run: an option that does not exist is wrong usage.
    command = loaded(main)[name]
    try:
        command.make_context(name, words[2:], parent=click.Context(main))
    except click.BadParameter as error:
        assert "does not exist" in error.message  # noqa: PT017 - a file of the example


def test_the_manual_pages_have_all_commands_and_options(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "tools/make_man.py", str(tmp_path)], cwd=ROOT, check=True, timeout=60)
    page = (tmp_path / "cloudqcli.1").read_text(encoding="utf-8").replace("\\-", "-")
    for name, command in loaded(main).items():
        assert re.search(rf"^\.SS {name} ", page, re.MULTILINE)
        for param in command.params:
            assert not isinstance(param, click.Option) or f"\\fB{param.opts[-1]}\\fR" in page
    assert (tmp_path / "cloudqd.1").stat().st_size > 1000
    if shutil.which("groff"):
        done = subprocess.run(
            ["groff", "-man", "-Tutf8", "-ww", str(tmp_path / "cloudqcli.1")], capture_output=True, check=True
        )
        assert done.stderr == b""
