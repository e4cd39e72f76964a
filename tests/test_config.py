"""Configuration files: the keys of 1.2 and ours, defaults, and exact complaints."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Union

import pytest

from cloudq import agentconfig, config
from cloudq.agentconfig import AgentConfig, agent_config_file, load_agent_config
from cloudq.config import ClientConfig, client_config_file, load_client_config
from cloudq.errors import ConfigError
from cloudq.store import StoreAddress

CLIENT_OF_1_2 = """\
[default]
name = your_system_name
aws_profile = abci
cloudq_endpoint_url = https://s3.abci.ai
cloudq_bucket = cloudq
log_level = INFO

[client]
resource_profile = resource.ini
project_profile = project.ini
"""
AGENT_OF_1_2 = """\
[default]
name = ABCI
aws_profile = default
cloudq_endpoint_url = https://s3.abci.ai
cloudq_bucket = cloudq
log_level = INFO

[agent]
type = abci
num_procs = 8
daemon_interval = 5
cloudq_directory = ~/.cloudq
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "project.ini").write_text("[p1]\nABCI = gaa5%x\n")
    (tmp_path / "resource.ini").write_text("[r1]\nabci = rt_F\n")
    return tmp_path / "config.ini"


def changed(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new)


def test_a_client_file_of_1_2_is_read(file: Path) -> None:
    file.write_text(CLIENT_OF_1_2)
    config = load_client_config(file)
    assert config.store == StoreAddress("https://s3.abci.ai", "cloudq", "abci")
    assert config.prefix == ""
    assert config.projects["p1"]["abci"] == "gaa5%x"
    assert config.resources["r1"]["abci"] == "rt_F"
    assert config.project_file == file.parent / "project.ini"


def test_an_agent_file_of_1_2_is_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/u")
    file.write_text(AGENT_OF_1_2)
    config = load_agent_config(file)
    assert (config.name, config.scheduler, config.transfers) == ("ABCI", "abci", 8)
    assert config.interval == timedelta(seconds=5)
    assert config.directory == Path("/home/u/.cloudq")
    assert config.any_delay == timedelta(0)


def test_a_client_needs_nothing_but_a_bucket(file: Path) -> None:
    file.write_text("[default]\ncloudq_bucket = b\n")
    config = load_client_config(file)
    assert config.store == StoreAddress("", "b", "default")
    assert (config.project_file, config.resource_file, dict(config.projects)) == (None, None, {})
    assert config.log_level == "INFO"


def test_the_queue_of_events_must_be_one(file: Path) -> None:
    url = "https://sqs.eu-west-1.amazonaws.com/123456789012/cloudq"
    file.write_text(f"{AGENT_OF_1_2}events_queue_url = {url}\n")
    assert load_agent_config(file).events_queue_url == url
    file.write_text(f"{AGENT_OF_1_2}events_queue_url = cloudq\n")
    with pytest.raises(ConfigError, match=r"\[agent\] events_queue_url: expected the URL of an SQS queue"):
        load_agent_config(file)
    file.write_text(AGENT_OF_1_2)
    assert load_agent_config(file).events_queue_url == ""


@pytest.mark.parametrize(("text", "prefix"), [("a", "a/"), ("/a/b/", "a/b/"), ("", "")], ids=repr)
def test_a_prefix_ends_in_a_slash(file: Path, text: str, prefix: str) -> None:
    file.write_text(f"[default]\ncloudq_bucket = b\ncloudq_prefix = {text}\n")
    assert load_client_config(file).prefix == prefix


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("cloudq_bucket = cloudq", "", "[default] cloudq_bucket: expected a value, got nothing"),
        ("cloudq_bucket = cloudq", "cloudq_bucket =", "[default] cloudq_bucket: expected a value, got ''"),
        (
            "cloudq_bucket = cloudq",
            "cloudq_bucket = a/b",
            "[default] cloudq_bucket: expected the name of a bucket, got 'a/b'",
        ),
        (
            "https://s3.abci.ai",
            "s3.abci.ai",
            "[default] cloudq_endpoint_url: expected https://…, http://…, file:///… or nothing (AWS), "
            "got 's3.abci.ai'",
        ),
        (
            "log_level = INFO",
            "log_level = LOUD",
            "[default] log_level: expected one of DEBUG, INFO, WARNING, ERROR, got 'LOUD'",
        ),
        (
            "log_level = INFO",
            "cloudq_prefix = a//b",
            "[default] cloudq_prefix: expected a key prefix such as team/project, got 'a//b'",
        ),
        ("[default]\n", "[default\n", "not an INI file: "),
        (
            "name = your_system_name",
            "name = %(your",
            "[default] name: expected `%` to be doubled (`%%`), got '%(your'",
        ),
        (
            "name = your_system_name",
            "Name = 100%",
            "[default] Name: expected `%` to be doubled (`%%`), got '100%'",
        ),
        (
            "name = your_system_name",
            "name = %(your)s",
            "[default] name: expected `%` to be doubled (`%%`), got '%(your)s'",
        ),
        ("log_level = INFO", "log-levl = INFO", "[default] log-levl: unknown key; did you mean 'log_level'?"),
        (
            "project_profile =",
            "pears =",
            "[client] pears: unknown key; expected one of project_profile, resource_profile",
        ),
        ("[client]", "[clients]", "[clients]: unknown section; did you mean 'client'?"),
        (
            "[client]",
            "[xyz]",
            "[xyz]: unknown section; expected one of default, client, agent, policy, projects, resources, "
            "registry:NAME",
        ),
        ("[client]", "[registy:x]", "[registy:x]: unknown section; did you mean 'registry:NAME'?"),
        ("name = your_system_name", "name = a\nname = b", "not an INI file: "),
    ],
    ids=str,
)
def test_a_fault_of_a_client_file_is_named(file: Path, old: str, new: str, complaint: str) -> None:
    """Defect 58: configuration faults ended in a NameError."""
    file.write_text(changed(CLIENT_OF_1_2, old, new))
    with pytest.raises(ConfigError) as fault:
        load_client_config(file)
    assert str(fault.value).startswith(f"{file}: {complaint}")
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        (
            "name = ABCI",
            "name = any",
            "[default] name: expected letters, digits, '.', '_' and '-', and not ANY",
        ),
        ("name = ABCI", "name = a b", "[default] name: expected letters"),
        ("type = abci", "", "[agent] type: expected a value, got nothing"),
        (
            "num_procs = 8",
            "num_procs = 0",
            "[agent] num_procs: expected a whole number of at least 1, got '0'",
        ),
        ("num_procs = 8", "num_procs = many", "[agent] num_procs: expected a whole number"),
        ("num_procs = 8", f"num_procs = {'9' * 5000}", "[agent] num_procs: expected a whole number"),
        ("num_procs = 8", "num_procs = ²", "[agent] num_procs: expected a whole number"),
        (
            "daemon_interval = 5",
            "container_cache = ~nobody_of_this_name/x",
            "[agent] container_cache: expected a path; `~NAME` is no user here, got '~nobody",
        ),
        ("daemon_interval = 5", f"allowed_signers = {'x' * 300}", "[agent] allowed_signers: expected a file"),
        ("daemon_interval = 5", "daemon_interval = 0.5", "[agent] daemon_interval: expected a whole number"),
        ("daemon_interval = 5", "any_delay = -1", "[agent] any_delay: expected a whole number of at least 0"),
        (
            "daemon_interval = 5",
            "container_runtime = rkt",
            "[agent] container_runtime: expected one of auto, none, apptainer, singularity, podman, docker, "
            "charliecloud, got 'rkt'",
        ),
    ],
    ids=lambda text: str(text)[:60],
)
def test_a_fault_of_an_agent_file_is_named(file: Path, old: str, new: str, complaint: str) -> None:
    file.write_text(changed(AGENT_OF_1_2, old, new))
    with pytest.raises(ConfigError) as fault:
        load_agent_config(file)
    assert str(fault.value).startswith(f"{file}: {complaint}")


def test_a_missing_file_comes_with_the_command_that_writes_it(file: Path) -> None:
    with pytest.raises(ConfigError, match=f"^no configuration file: {file}$") as fault:
        load_client_config(file)
    assert fault.value.hint == "`cloudqcli init` writes one; --config FILE names another"


def test_a_file_that_is_no_text_is_named(file: Path) -> None:
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=f"^{file}: cannot be read as UTF-8 text"):
        load_client_config(file)


def test_a_missing_project_file_is_named(file: Path) -> None:
    (file.parent / "project.ini").unlink()
    file.write_text(CLIENT_OF_1_2)
    with pytest.raises(ConfigError) as fault:
        load_client_config(file)
    assert str(fault.value) == (
        f"{file}: [client] project_profile: expected a file that exists "
        f"({file.parent / 'project.ini'} does not), got 'project.ini'"
    )


@pytest.mark.parametrize("load", [load_client_config, load_agent_config], ids=["client", "agent"])
def test_one_file_may_hold_the_sections_of_both_sides(
    file: Path, load: Callable[[Path], Union[ClientConfig, AgentConfig]]
) -> None:
    client = CLIENT_OF_1_2.partition("[client]")[2]
    own = "[projects]\nMine = a\n[resources]\nany-word = b\n[registry:x]\nhost = h\nauthfile = f\n"
    file.write_text(f"{AGENT_OF_1_2}\n[client]{client}\n{own}")
    assert load(file).store == StoreAddress("https://s3.abci.ai", "cloudq", "default")


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("num_procs = 8", "num_proc = 8", "[agent] num_proc: unknown key; did you mean 'num_procs'?"),
        (
            "[agent]",
            "[registry:x]\nhots = h\n[agent]",
            "[registry:x] hots: unknown key; did you mean 'host'?",
        ),
    ],
    ids=str,
)
def test_what_an_agents_file_does_not_know_is_refused(file: Path, old: str, new: str, complaint: str) -> None:
    """A mistyped key was ignored without a word."""
    file.write_text(changed(AGENT_OF_1_2, old, new))
    with pytest.raises(ConfigError) as fault:
        load_agent_config(file)
    assert str(fault.value) == f"{file}: {complaint}"


def test_each_key_that_is_read_is_known() -> None:
    code = inspect.getsource(config) + inspect.getsource(agentconfig)
    read = re.findall(r'ini\.\w+\(\s*"(default|agent|client)", "([a-z_]+)"', code)
    assert len(read) > 15
    assert {(section, key) for section, key in read if key not in (config._KEYS[section] or ())} == set()


def test_the_folder_of_a_sites_templates_is_found_from_everywhere(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon leaves the directory from which a relative `--config` counts."""
    file.write_text(AGENT_OF_1_2)
    monkeypatch.chdir(file.parent)
    config = load_agent_config(Path(file.name))
    monkeypatch.chdir("/")
    assert config.template_folder == file.parent / "templates"


def test_keys_ignore_case_and_percents_are_doubled(file: Path) -> None:
    file.write_text("[default]\nCloudQ_Bucket = b%%c\n")
    assert load_client_config(file).store.bucket == "b%c"


def test_the_file_given_counts_then_the_variable_then_the_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CLOUDQ_CONFIG", "~/mine.ini")
    assert client_config_file(Path("given.ini")) == Path("given.ini")
    assert client_config_file() == tmp_path / "mine.ini"
    monkeypatch.setenv("CLOUDQ_CONFIG", "~nobody_of_this_name/mine.ini")
    assert client_config_file() == Path("~nobody_of_this_name/mine.ini")
    monkeypatch.delenv("CLOUDQ_CONFIG")
    assert client_config_file() == tmp_path / ".cloudq/client/config.ini"
    assert agent_config_file() == tmp_path / ".cloudq/agent/config.ini"


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("", ()),
        ("s3://data", ("s3://data/",)),
        ("s3://data/a/b/, s3://more/", ("s3://data/a/b/", "s3://more/")),
        ("s3://data/a\n  s3://more", ("s3://data/a/", "s3://more/")),
    ],
    ids=repr,
)
def test_places_to_copy_end_in_a_slash(file: Path, text: str, places: tuple[str, ...]) -> None:
    file.write_text(f"{AGENT_OF_1_2}copy_places = {text}\ncopy_profile = p\n")
    found = load_agent_config(file)
    assert (found.copy_places, found.copy_profile) == (places, "p")


@pytest.mark.parametrize("text", ["data", "s3://", "s3://b/../c", "s3://b//c", "s3:///x", "https://b/x"])
def test_what_is_no_place_to_copy_is_named(file: Path, text: str) -> None:
    file.write_text(f"{AGENT_OF_1_2}copy_places = s3://good {text}\n")
    with pytest.raises(ConfigError, match=r"\[agent\] copy_places: expected s3://BUCKET/PREFIX/, or several"):
        load_agent_config(file)
