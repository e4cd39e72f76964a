"""`cloudqd` as it is typed: where its options may stand."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloudq.agent.cli import main
from cloudq.agentconfig import load_agent_config
from tests.client.conftest import new_runner

INIT = ("--name", "here", "--type", "local", "--endpoint-url", "file:///b", "--bucket", "b")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration file at an unusual place; none is at the usual one."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("CLOUDQ_CONFIG", raising=False)
    file = tmp_path / "mine.ini"
    file.write_text(
        "[default]\nname = here\ncloudq_endpoint_url = file:///b\ncloudq_bucket = b\n"
        f"[agent]\ntype = local\ncloudq_directory = {tmp_path}/agent\n"
    )
    return file


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("command", ["status", "stop"])
def test_the_configuration_may_be_named_before_and_after_the_command(
    file: Path, command: str, after: bool
) -> None:
    option = ["--config", str(file)]
    result = new_runner().invoke(main, [command, *option] if after else [*option, command])
    assert result.exit_code == 1
    assert "here" in result.output + result.stderr
    assert "no configuration file" not in result.stderr


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_init_writes_the_file_that_is_named(file: Path, after: bool) -> None:
    new = file.with_name("new.ini")
    option = ["--config", str(new)]
    result = new_runner().invoke(main, ["init", *INIT, *option] if after else [*option, "init", *INIT])
    assert (result.exit_code, result.stdout) == (0, f"Saved as {new}.\n")
    assert load_agent_config(new).name == "here"


def test_what_stands_after_the_command_counts(file: Path) -> None:
    result = new_runner().invoke(main, ["--config", "none.ini", "status", "--config", str(file)])
    assert result.stdout.startswith("Agent here is not running")


def test_without_the_option_the_usual_place_counts(file: Path) -> None:
    result = new_runner().invoke(main, ["status"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"Error: no configuration file: {file.parent}/.cloudq/agent/config.ini\n")
