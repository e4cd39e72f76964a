"""Inputs: which file goes where."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cloudq.client.submission.inputs import Input, check_inputs, parse_input
from cloudq.errors import InputError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data/deep").mkdir(parents=True)
    (tmp_path / "data/deep/x").write_text("x")
    (tmp_path / "file").write_text("f")
    return tmp_path


@pytest.mark.parametrize(
    ("text", "path", "name"),
    [
        ("file", "file", "file"),
        ("data", "data", "data"),
        ("data/", "data", "data"),
        ("data/deep/x", "data/deep/x", "x"),
        ("file:f", "file", "f"),
        ("file:in/f", "file", "in/f"),
        ("file:in/", "file", "in/file"),
        ("file:./f", "file", "f"),
        ("file:", "file", "file"),
        ("./data/../file", "file", "file"),
        ("data/deep/..", "data", "data"),
    ],
    ids=str,
)
def test_an_input_has_the_name_given_or_its_own(folder: Path, text: str, path: str, name: str) -> None:
    assert parse_input(text) == Input(folder / path, name)


def test_a_path_with_a_colon_is_a_path(folder: Path) -> None:
    (folder / "t:300K").write_text("")
    assert parse_input("t:300K") == Input(folder / "t:300K", "t:300K")
    assert parse_input("t:300K:cold") == Input(folder / "t:300K", "cold")


def test_the_colon_of_a_drive_does_not_count() -> None:
    with pytest.raises(InputError, match=r"no such file or folder: C:\\data$"):
        parse_input("C:\\data")
    with pytest.raises(InputError, match=r"no such file or folder: C:/data$"):
        parse_input("C:/data:name")


def test_a_link_that_is_given_is_followed(folder: Path) -> None:
    (folder / "link").symlink_to("data")
    assert parse_input("link:d") == Input(folder / "data", "d")


@pytest.mark.parametrize("text", ["none", "none:x", "", ":x"], ids=repr)
def test_what_is_not_there_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="no such file or folder"):
        parse_input(text)


def test_a_pipe_is_refused(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    with pytest.raises(InputError, match="no such file or folder"):
        parse_input("pipe")


@pytest.mark.parametrize("name", ["/abs", "../x", "a/../../x", "a//b", "..", "."], ids=repr)
def test_a_name_that_leads_out_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="expected a relative name without '..' after the colon"):
        parse_input(f"file:{name}")


@pytest.mark.parametrize(
    ("names", "collision"),
    [
        (["job.sh"], "'job.sh' in the job's folder collides with 'job.sh'"),
        (["job_local.sh"], "collides with 'job_local.sh'"),
        (["a", "a"], "collides with 'a'"),
        (["a", "a/b"], "'a/b' in the job's folder collides with 'a'"),
        (["a/b", "a"], "'a' in the job's folder collides with 'a/b'"),
    ],
    ids=str,
)
def test_inputs_that_would_overwrite_are_refused(names: list[str], collision: str) -> None:
    inputs = [Input(Path("file"), name) for name in names]
    with pytest.raises(InputError, match=collision) as refused:
        check_inputs(inputs, ("job.sh", "job_local.sh"))
    assert refused.value.hint == "give it another: --input PATH:NAME"


def test_inputs_beside_one_another_are_fine() -> None:
    check_inputs([Input(Path("file"), name) for name in ("a/b", "a/c", "ab", "in/job.sh")], ("job.sh",))
