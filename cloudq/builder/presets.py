"""Presets: what a cluster is made of, as a file that holds only what differs from the preset `default`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib.resources import files
from pathlib import Path
from typing import Any, Optional

from cloudq.builder.dependencies import load_yaml
from cloudq.errors import ConfigError, InputError
from cloudq.job import is_job_id
from cloudq.store.files import appearing

DEFAULT = "default"
OPERATING_SYSTEMS = {"ubuntu2404": "ubuntu", "alinux2023": "ec2-user"}
"""Operating system -> the name of its unprivileged user."""
STORAGE = ("efs", "fsx-scratch")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True)
class QueueOptions:
    """A partition of Slurm: instance types in the order of preference, and the most nodes at once."""

    name: str
    instance_types: tuple[str, ...]
    max_nodes: int


@dataclass(frozen=True)
class Accounting:
    """An existing MySQL database for Slurm's accounting."""

    uri: str
    user: str
    password_secret_arn: str


@dataclass(frozen=True)
class Package:
    """A package file of Apptainer, and the SHA-256 (hexadecimal) without which root would not install it."""

    url: str
    sha256: str


APPTAINER_PACKAGES = {
    "ubuntu2404": Package(
        "https://github.com/apptainer/apptainer/releases/download/v1.4.5/apptainer_1.4.5_amd64.deb",
        "70f19af846501acfbc2e42e7cfeee9ee11ddbbfa1c3502d0d99cde34e8e0af05",
    )
}
"""Operating system -> the package that it gets unless a preset names another."""


@dataclass(frozen=True)
class Preset:
    """What a cluster is made of; the comments in `presets/default.yaml` explain each member."""

    description: str
    os: str
    head_node: str
    root_volume_gb: int
    queues: tuple[QueueOptions, ...]
    apptainer: bool
    apptainer_package: Optional[Package]
    docker: bool
    storage: tuple[str, ...]
    accounting: Optional[Accounting]
    cluster: Mapping[str, Any]

    @property
    def package(self) -> Optional[Package]:
        """The package of Apptainer for the nodes; None if they get none."""
        if not self.apptainer:
            return None
        return self.apptainer_package or APPTAINER_PACKAGES[self.os]

    @property
    def user(self) -> str:
        """The unprivileged user of its operating system, who runs the agent and the jobs."""
        return OPERATING_SYSTEMS[self.os]


def packaged_presets() -> list[str]:
    """Return the names of the presets that come with CloudQ."""
    folder = files("cloudq.builder") / "presets"
    return sorted(file.name[: -len(".yaml")] for file in folder.iterdir() if file.name.endswith(".yaml"))


def user_folder() -> Path:
    """Return the folder of the user's own presets and prices."""
    return Path.home() / ".cloudq" / "aws"


def load_preset(name: str, folder: Path) -> Preset:
    """Read a preset: the user's of this name, else the packaged one.

    Raises:
        InputError: There is none of this name.
        ConfigError: With file and member, and what was expected.
    """
    source, text = _find(name, folder)
    base = _parse(_packaged(DEFAULT), "default.yaml")
    return make_preset({**base, **_parse(text, source)}, source)


def copy_preset(name: str, origin: str, folder: Path) -> Path:
    """Copy a packaged preset into the user's folder and return the file.

    Raises:
        InputError: There is a file of this name already, or no such packaged preset.
    """
    _check_name(name)
    if origin not in packaged_presets():
        raise InputError(f"no preset {origin!r}: expected {', '.join(packaged_presets())}")
    file = folder / f"{name}.yaml"
    if file.exists():
        raise InputError(f"{file}: exists already", hint="edit it, or name another with --preset-name")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with appearing(file) as stream:
        stream.write(_packaged(origin).encode("utf-8"))
    return file


def _find(name: str, folder: Path) -> tuple[str, str]:
    _check_name(name)
    file = folder / f"{name}.yaml"
    if file.exists():
        try:
            return str(file), file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{file}: cannot be read as UTF-8 text: {error}") from error
    if name not in packaged_presets():
        raise InputError(
            f"no preset {name!r}: neither {file} nor one of {', '.join(packaged_presets())}",
            hint=f"make it with `cloudqaws preset --preset-name {name}`",
        )
    return f"{name}.yaml", _packaged(name)


def _check_name(name: str) -> None:
    if not is_job_id(name):
        raise InputError(f"preset name {name!r}: expected letters, digits, '.', '_' and '-'")


def _packaged(name: str) -> str:
    return (files("cloudq.builder") / "presets" / f"{name}.yaml").read_text(encoding="utf-8")


def _parse(text: str, source: str) -> dict[str, Any]:
    members = load_yaml(text, source)
    if not isinstance(members, dict):
        raise ConfigError(f"{source}: expected members such as 'os: ubuntu2404'")
    known = {field.name for field in fields(Preset)}
    for member in members:
        if member not in known:
            raise ConfigError(f"{source}: {member}: unknown, expected one of {', '.join(sorted(known))}")
    return members


def make_preset(members: Mapping[str, Any], source: str) -> Preset:
    """Check the members of a preset. Raises ConfigError with the member and what was expected."""
    check = _Checker(source)
    if members["os"] not in OPERATING_SYSTEMS:
        raise check.fault("os", " or ".join(OPERATING_SYSTEMS), members["os"])
    storage = tuple(check.of_type("storage", members["storage"], list, "a list such as [efs]"))
    if not set(storage) <= set(STORAGE):
        raise check.fault("storage", f"some of {', '.join(STORAGE)}", members["storage"])
    package = check.package(members["apptainer_package"])
    if members["apptainer"] is True and package is None and members["os"] not in APPTAINER_PACKAGES:
        raise check.fault("apptainer_package", f"url and sha256 of one for {members['os']}", None)
    queues = check.of_type("queues", members["queues"], dict, "queues by name")
    if not queues:
        raise check.fault("queues", "at least one queue", queues)
    return Preset(
        description=check.of_type("description", members["description"], str, "text"),
        os=members["os"],
        head_node=check.of_type("head_node", members["head_node"], str, "an instance type"),
        root_volume_gb=check.whole("root_volume_gb", members["root_volume_gb"]),
        queues=tuple(check.queue(name, value) for name, value in queues.items()),
        apptainer=check.of_type("apptainer", members["apptainer"], bool, "true or false"),
        apptainer_package=package,
        docker=check.of_type("docker", members["docker"], bool, "true or false"),
        storage=storage,
        accounting=check.accounting(members["accounting"]),
        cluster=check.of_type(
            "cluster", members["cluster"], dict, "members of ParallelCluster's configuration"
        ),
    )


class _Checker:
    def __init__(self, source: str) -> None:
        self._source = source

    def fault(self, member: str, expected: str, found: object) -> ConfigError:
        return ConfigError(f"{self._source}: {member}: expected {expected}, got {found!r}")

    def of_type(self, member: str, value: Any, kind: type, expected: str) -> Any:
        if not isinstance(value, kind):
            raise self.fault(member, expected, value)
        return value

    def whole(self, member: str, value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise self.fault(member, "a whole number of at least 1", value)
        return value

    def queue(self, name: str, value: Any) -> QueueOptions:
        member = f"queues: {name}"
        options = self.of_type(member, value, dict, "instance_types and max_nodes")
        if set(options) != {"instance_types", "max_nodes"}:
            raise self.fault(member, "instance_types and max_nodes", options)
        types = self.of_type(f"{member}: instance_types", options["instance_types"], list, "a list")
        if not types or not all(isinstance(each, str) for each in types):
            raise self.fault(f"{member}: instance_types", "at least one instance type", types)
        return QueueOptions(name, tuple(types), self.whole(f"{member}: max_nodes", options["max_nodes"]))

    def package(self, value: Any) -> Optional[Package]:
        if value is None:
            return None
        expected = "null, or url (https://...) and sha256 (64 hexadecimal digits)"
        if not isinstance(value, dict) or set(value) != {"url", "sha256"}:
            raise self.fault("apptainer_package", expected, value)
        package = Package(str(value["url"]), str(value["sha256"]).lower())
        if not package.url.startswith("https://") or not _SHA256.match(package.sha256):
            raise self.fault("apptainer_package", expected, value)
        return package

    def accounting(self, value: Any) -> Optional[Accounting]:
        if value is None:
            return None
        expected = ("uri", "user", "password_secret_arn")
        if not isinstance(value, dict) or set(value) != set(expected):
            raise self.fault("accounting", f"null, or {', '.join(expected)}", value)
        return Accounting(**{key: str(value[key]) for key in expected})
