"""`cloudqcli init`, and how configuration files are written."""

from __future__ import annotations

import inspect
import io
import re
import stat
from collections.abc import Callable, Mapping
from configparser import ConfigParser
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import click
import pytest

from cloudq import config
from cloudq.agentconfig import load_agent_config
from cloudq.config import load_client_config
from cloudq.errors import ConfigError, InputError
from cloudq.setup import (
    AGENT_QUESTIONS,
    CLIENT_QUESTIONS,
    answered,
    answers,
    render_template,
    write_config,
)
from cloudq.store import StoreAddress
from tests.client.conftest import Laptop

OPTIONS = ("init", "--endpoint-url", "https://s3.example.org", "--bucket", "jobs")


@pytest.fixture
def fresh(laptop: Laptop) -> Laptop:
    """A user without any configuration."""
    for path in laptop.config_file.parent.iterdir():
        path.unlink()
    laptop.config_file.parent.rmdir()
    laptop.config_file.parent.parent.rmdir()
    return laptop


def test_with_url_and_bucket_nothing_is_asked(fresh: Laptop) -> None:
    result = fresh.run(*OPTIONS, "--name", "laptop", "--prefix", "team", "--profile", "me", stdin="")
    folder = fresh.config_file.parent
    assert result.stdout == "".join(
        f"Saved as {folder / name}.\n" for name in ("config.ini", "project.ini", "resource.ini")
    )
    assert result.stderr == ""
    assert fresh.config.store == StoreAddress("https://s3.example.org", "jobs", "me")
    assert fresh.config.prefix == "team/"


def test_what_is_written_is_for_the_owner_only(fresh: Laptop) -> None:
    fresh.run(*OPTIONS)
    folder = fresh.config_file.parent
    assert {stat.S_IMODE(path.stat().st_mode) for path in (folder, folder.parent)} == {0o700}
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_what_is_not_given_is_asked_on_stderr(fresh: Laptop) -> None:
    result = fresh.run("init", "--endpoint-url", "", stdin="my laptop\nbucket1\n\nprofile1\n")
    assert "A name for this computer" in result.stderr
    assert "URL" not in result.stderr
    assert "name" not in result.stdout
    assert load_client_config(fresh.config_file).store == StoreAddress("", "bucket1", "profile1")


def test_with_nobody_to_ask_it_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("me\n"))
    with pytest.raises(InputError, match="^--bucket: expected a value, or somebody to ask for it$"):
        answers(CLIENT_QUESTIONS, {"endpoint_url": ""})
    assert capsys.readouterr().out.strip() == ""


class _Keyboard(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_person_whose_answers_cannot_be_used_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("sys.stdin", _Keyboard("me\nno-url\nb1\n\n\n" + "\nhttps://x\n\n\n\n"))

    def write(values: Mapping[str, str]) -> Mapping[str, str]:
        file = tmp_path / "config.ini"
        beside = ("project.ini", "resource.ini")
        write_config(file, "client-config.ini", values, force=True, check=load_client_config, beside=beside)
        return values

    values = answered(CLIENT_QUESTIONS, {}, write)
    assert (values["name"], values["endpoint_url"], values["bucket"]) == ("me", "https://x", "b1")
    told = capsys.readouterr()
    assert "config.ini: [default] cloudq_endpoint_url: expected https://" in told.err
    assert "Bucket [b1]" in told.err


def test_a_person_may_leave_a_question_by_ctrl_d_or_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", _Keyboard(""))
    with pytest.raises(click.Abort):
        answers(CLIENT_QUESTIONS, {})


def test_nothing_is_asked_for_a_file_that_is_not_to_be_replaced(laptop: Laptop) -> None:
    assert "exists already" in laptop.error(2, "init")


def test_a_file_that_is_there_is_replaced_only_by_force(laptop: Laptop) -> None:
    before = laptop.config_file.read_text()
    assert laptop.error(2, *OPTIONS) == (
        f"Error: {laptop.config_file}: exists already\nHint: --force writes it anew\n"
    )
    assert laptop.config_file.read_text() == before
    assert laptop.answer(*OPTIONS, "--force") == f"Saved as {laptop.config_file}.\n"
    assert laptop.config.store.bucket == "jobs"
    assert laptop.config.projects["p1"]["sys1"] == "group1"


def test_the_file_may_be_elsewhere(fresh: Laptop) -> None:
    fresh.run(*OPTIONS, "--config", "here/mine.ini")
    assert sorted(path.name for path in (fresh.home / "here").iterdir()) == [
        "mine.ini",
        "project.ini",
        "resource.ini",
    ]
    assert not fresh.config_file.exists()


@pytest.mark.parametrize(
    ("option", "value", "status", "message"),
    [
        ("--bucket", "a/b", 1, "cloudq_bucket: expected the name of a bucket, got 'a/b'"),
        ("--endpoint-url", "s3.example.org", 1, "cloudq_endpoint_url: expected https://"),
        ("--prefix", "a//b", 1, "cloudq_prefix: expected a key prefix"),
        ("--name", "x\n[client]", 2, "name: expected one line of printable text"),
    ],
    ids=str,
)
def test_values_that_could_not_be_used_are_not_written(
    laptop: Laptop, option: str, value: str, status: int, message: str
) -> None:
    before = {path: path.read_bytes() for path in laptop.config_file.parent.iterdir()}
    assert message in laptop.error(status, *OPTIONS, "--force", option, value)
    assert {path: path.read_bytes() for path in laptop.config_file.parent.iterdir()} == before


def test_percents_dollars_and_comment_signs_survive(fresh: Laptop) -> None:
    fresh.run(*OPTIONS, "--profile", "100% $me #1 ; x")
    assert load_client_config(fresh.config_file).store.profile == "100% $me #1 ; x"


@pytest.mark.parametrize("template", ["project.ini", "resource.ini"])
def test_the_templates_of_definitions_define_nothing(template: str) -> None:
    parser = ConfigParser()
    parser.read_string(render_template(template, {}))
    assert parser.sections() == []


@pytest.mark.parametrize(
    ("template", "source"),
    [("client-config.ini", config.load_client_config), ("agent-config.ini", load_agent_config)],
)
def test_each_template_has_every_key_that_is_read(template: str, source: Callable[[Path], object]) -> None:
    code = inspect.getsource(source) + inspect.getsource(config.store_address)
    code += inspect.getsource(config.key_prefix)
    keys = set(re.findall(r'"(?:default|agent|client)", "([a-z_]+)"', code))
    text = (files("cloudq") / "templates" / template).read_text(encoding="utf-8")
    assert keys
    assert {key for key in keys if not re.search(rf"^(# )?{key} =( |$)", text, re.MULTILINE)} == set()


def test_an_agents_file_has_the_defaults(tmp_path: Path) -> None:
    given = {"name": "sys1", "type": "local", "endpoint_url": "file:///x", "bucket": "b"}
    file = tmp_path / "new/config.ini"
    written = write_config(
        file, "agent-config.ini", answers(AGENT_QUESTIONS, given), force=False, check=load_agent_config
    )
    assert written == [file]
    bare = tmp_path / "bare.ini"
    bare.write_text(
        "[default]\nname = sys1\ncloudq_endpoint_url = file:///x\ncloudq_bucket = b\n[agent]\ntype = local\n"
    )
    assert load_agent_config(file) == replace(load_agent_config(bare), file=file)


def test_comments_of_the_agents_template_show_the_true_defaults(tmp_path: Path) -> None:
    values = {"name": "s", "type": "local", "endpoint_url": "", "bucket": "b"}
    text = render_template("agent-config.ini", answers(AGENT_QUESTIONS, values))
    shown = "\n".join(
        line[2:] if " = " in line and line.startswith("# ") and "slots" not in line else line
        for line in text.splitlines()
    )
    for name, content in (("plain.ini", text), ("shown.ini", shown)):
        (tmp_path / name).write_text(content)
    plain, full = (vars(load_agent_config(tmp_path / name)) for name in ("plain.ini", "shown.ini"))
    examples = {"projects", "resources", "term_file", "end_file"}
    assert {key for key in plain if plain[key] != full[key]} == {"file"} | examples


def test_a_check_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "config.ini"
    file.write_text("old")

    def check(new: Path) -> None:
        raise ConfigError(f"{new.name}: refused")

    values = answers(CLIENT_QUESTIONS, {"endpoint_url": "", "bucket": "b"})
    with pytest.raises(ConfigError, match=r"^config\.ini: refused$"):
        write_config(file, "client-config.ini", values, force=True, check=check)
    assert [path.name for path in tmp_path.iterdir()] == ["config.ini"]
    assert file.read_text() == "old"


def test_defaults_are_taken_where_nothing_is_asked() -> None:
    values = answers(CLIENT_QUESTIONS, {"endpoint_url": "https://x", "bucket": "b", "profile": None})
    assert (values["profile"], values["prefix"]) == ("default", "")


def test_an_unknown_value_of_a_template_is_an_error() -> None:
    with pytest.raises(KeyError):
        render_template("client-config.ini", {"name": "x"})
    with pytest.raises(InputError, match="bucket: expected one line of printable text"):
        render_template("client-config.ini", {"bucket": "a\nb"})
