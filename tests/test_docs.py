"""The documentation names everything that a user can write or see."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

import click
import pytest

import cloudq
from cloudq.agent.cli import main as cloudqd
from cloudq.agent.schedulers import SCHEDULERS
from cloudq.builder.cli import main as cloudqaws
from cloudq.cli import EXIT_STATUSES
from cloudq.client.cli import main as cloudqcli
from cloudq.job import JobState
from cloudq.manifest import MEMBERS
from cloudq.metascript.directives import KEYS

DOCS = Path(__file__).resolve().parent.parent / "docs"
COMMANDS = {"cloudqcli": cloudqcli, "cloudqd": cloudqd, "cloudqaws": cloudqaws}
HELP = {"--help", "--version"}
NAMES = {"projects", "resources"}


def read(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def sections(text: str) -> dict[str, str]:
    """Split a page at its headings: the words of the heading without backquotes -> the text below."""
    parts = re.split(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {title.replace("`", "").strip(): body for title, body in zip(parts[1::2], parts[2::2])}


def words(text: str) -> set[str]:
    """Return what stands between backquotes, and its words."""
    spans = re.findall(r"`([^`\n]+)`", text)
    return {word.strip(",") for span in spans for word in (span, *re.split(r"[\s=\[\]]+", span))}


def all_commands() -> list[tuple[str, click.Command]]:
    found: list[tuple[str, click.Command]] = []
    for name, command in COMMANDS.items():
        found.append((name, command))
        if isinstance(command, click.Group):
            context = click.Context(command)
            children = [(sub, command.get_command(context, sub)) for sub in command.list_commands(context)]
            found += [(f"{name} {sub}", child) for sub, child in children if child is not None]
    return found


def options() -> list[tuple[str, str]]:
    return [
        (name, option)
        for name, command in all_commands()
        if not command.hidden
        for parameter in command.params
        if isinstance(parameter, click.Option) and not parameter.hidden
        for option in parameter.opts
        if option.startswith("--") and option not in HELP
    ]


def config_sections() -> dict[str, set[str]]:
    """Return the sections and keys of the configuration files that `init` writes, also those in comments."""
    found: dict[str, set[str]] = {}
    for name in ("client-config.ini", "agent-config.ini"):
        text = (resources.files(cloudq) / "templates" / name).read_text("utf-8")
        parts = re.split(r"^\[([a-z]+)\]$", text, flags=re.MULTILINE)
        for section, body in zip(parts[1::2], parts[2::2]):
            keys = re.findall(r"^(?:# )?([a-z_]+) =", body, re.MULTILINE)
            found.setdefault(section, set()).update(keys)
    return found


def config_keys() -> list[str]:
    """Return all keys; in some sections there are names of the site instead."""
    return sorted({key for section in {*config_sections()} - NAMES for key in config_sections()[section]})


@pytest.mark.parametrize("name", [name for name, _ in all_commands()])
def test_each_command_has_a_section(name: str) -> None:
    assert name in sections(read("commands.md"))


@pytest.mark.parametrize(("command", "option"), options())
def test_each_option_is_in_the_section_of_its_command(command: str, option: str) -> None:
    assert option in words(sections(read("commands.md"))[command])


@pytest.mark.parametrize(("command", "option"), options())
def test_each_option_is_written_with_hyphens(command: str, option: str) -> None:
    assert "_" not in option


def test_no_section_is_of_a_command_that_is_gone() -> None:
    titles = {title for title in sections(read("commands.md")) if title.partition(" ")[0] in COMMANDS}
    assert titles == {name for name, _ in all_commands()}


@pytest.mark.parametrize("status", EXIT_STATUSES, ids=str)
def test_each_exit_status_is_documented_with_its_meaning(status: int) -> None:
    assert f"| {status} | {EXIT_STATUSES[status]} |" in read("commands.md")


@pytest.mark.parametrize(
    ("name", "shown"), [("run", "DONE"), ("list", "job-ID"), ("why", "The fault")], ids=str
)
def test_the_readme_shows_each_screen_as_a_light_picture_that_fetches_nothing(name: str, shown: str) -> None:
    picture = (DOCS / "screens" / f"{name}.svg").read_text("utf-8")
    assert f"](docs/screens/{name}.svg)" in (DOCS.parent / "README.md").read_text("utf-8")
    assert shown in picture.replace("&#160;", " ")
    assert len(picture) < 100_000
    assert "url(http" not in picture
    assert "href" not in picture


@pytest.mark.parametrize("key", KEYS)
def test_each_directive_is_documented(key: str) -> None:
    assert f"| `{key}` |" in read("meta-scripts.md")


@pytest.mark.parametrize("pattern", [r"^(\w+_(?:run|cp))\(\) ?[({]", r"\b(ARY_TASK_[A-Z]+|SYSTEM)="])
def test_each_function_and_variable_of_translated_scripts_is_documented(pattern: str) -> None:
    folder = resources.files(cloudq) / "metascript" / "templates"
    texts = [file.read_text("utf-8") for file in Path(str(folder)).rglob("*.sh")]
    names = {name for text in texts for name in re.findall(pattern, text, re.MULTILINE)}
    assert names
    assert names <= words(read("meta-scripts.md"))


@pytest.mark.parametrize("member", MEMBERS)
def test_each_manifest_member_is_documented(member: str) -> None:
    rows = [line for line in read("wire-format.md").splitlines() if line.startswith("| `")]
    assert member in words("\n".join(row.split("|")[1] for row in rows))


@pytest.mark.parametrize("state", JobState, ids=str)
def test_each_state_is_documented(state: JobState) -> None:
    assert f"| `{state}` |" in read("wire-format.md")


@pytest.mark.parametrize("key", config_keys())
def test_each_configuration_key_is_documented(key: str) -> None:
    rows = [line for line in read("configuration.md").splitlines() if line.startswith(f"| `{key}` |")]
    assert len(rows) == 1


@pytest.mark.parametrize("section", sorted(config_sections()))
def test_each_configuration_section_is_documented(section: str) -> None:
    assert f"`[{section}]`" in read("configuration.md")


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_each_scheduler_is_documented(scheduler: str) -> None:
    assert scheduler in words(read("configuration.md"))


@pytest.mark.parametrize("page", sorted(path.name for path in DOCS.glob("*.md")))
def test_the_readme_links_each_page(page: str) -> None:
    assert f"(docs/{page})" in (DOCS.parent / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "page", [DOCS.parent / "README.md", *sorted(DOCS.rglob("*.md"))], ids=lambda page: page.name
)
def test_each_link_leads_to_a_file(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_each_test_that_the_threat_model_names_is_there() -> None:
    named = re.findall(r"`(tests/[a-z_/0-9]+\.py)::(test_[a-z_0-9]+)`", read("security.md"))
    assert len(named) > 10
    root = DOCS.parent
    missing = [
        f"{file}::{name}"
        for file, name in named
        if f"def {name}(" not in (root / file).read_text(encoding="utf-8")
    ]
    assert missing == []
