"""Images before a submission: runtime of a host, digests, images in S3, pulls by the agent."""

from __future__ import annotations

import base64
import json
import stat
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Optional

import pytest

from cloudq.agent.running.images import ImageFinder, find_runtime
from cloudq.agent.running.registry import Answer, pin, registry_of
from cloudq.agentconfig import AgentConfig, load_agent_config
from cloudq.errors import CommandError, ConfigError, InputError, StoreUnreachableError
from cloudq.job import JobState
from cloudq.metascript import Placement
from cloudq.process import DEFAULT_TIMEOUT, Completed
from cloudq.store import Store, StoreAddress, open_store
from cloudq.store.memory import MemoryStore
from cloudq.system import Registry, System
from tests.agent.conftest import Site, run_passes

DIGEST = "sha256:" + "0123456789abcdef" * 4
SYSTEM = System(name="here", scheduler="local", container_runtime="apptainer")


@pytest.mark.parametrize(
    ("configured", "programs", "runtime"),
    [
        pytest.param("auto", ["docker", "singularity", "ch-run"], "singularity", id="first of three"),
        pytest.param("auto", ["docker", "podman"], "podman", id="podman before docker"),
        pytest.param("auto", ["ch-run"], "charliecloud", id="charliecloud"),
        pytest.param("auto", [], "none", id="none there"),
        pytest.param("docker", ["apptainer"], "docker", id="configured"),
        pytest.param("none", ["apptainer"], "none", id="configured away"),
    ],
)
def test_the_runtime_is_the_configured_one_or_the_first_on_the_path(
    configured: str, programs: list[str], runtime: str
) -> None:
    assert find_runtime(configured, lambda name: f"/bin/{name}" if name in programs else None) == runtime


# Registries.


@dataclass
class FakeRegistry:
    """Answers requests by their URL; without a token it asks for one if `realm` is set."""

    digests: Mapping[str, str]
    realm: str = ""
    challenge: str = 'Bearer realm="{}",service="reg",scope="repository:a:pull"'
    requests: list[tuple[str, str, str]] = field(default_factory=list)

    def __call__(self, method: str, url: str, headers: Mapping[str, str]) -> Answer:
        authorization = headers.get("Authorization", "")
        self.requests.append((method, url, authorization))
        if self.realm and url.startswith(self.realm):
            return Answer(200, {}, b'{"token": "secret"}')
        if url not in self.digests:
            raise OSError("no such host") if url.startswith("https://127") else OSError("refused")
        if self.realm and authorization not in ("Bearer secret", f"Basic {CREDENTIALS}"):
            return Answer(401, {"www-authenticate": self.challenge.format(self.realm)})
        return Answer(200, {"docker-content-digest": self.digests[url]})


CREDENTIALS = base64.b64encode(b"me:secret").decode()


@pytest.mark.parametrize(
    ("reference", "url", "pinned"),
    [
        (
            "docker://python:3.12",
            "https://registry-1.docker.io/v2/library/python/manifests/3.12",
            "docker://python",
        ),
        ("docker://me/app", "https://registry-1.docker.io/v2/me/app/manifests/latest", "docker://me/app"),
        (
            "docker://docker.io/me/a:1",
            "https://registry-1.docker.io/v2/me/a/manifests/1",
            "docker://docker.io/me/a",
        ),
        (
            "docker://nvcr.io/nvidia/p:20",
            "https://nvcr.io/v2/nvidia/p/manifests/20",
            "docker://nvcr.io/nvidia/p",
        ),
        ("oras://ghcr.io/a/b:1", "https://ghcr.io/v2/a/b/manifests/1", "oras://ghcr.io/a/b"),
        (
            "docker://127.0.0.1:5000/a:1",
            "http://127.0.0.1:5000/v2/a/manifests/1",
            "docker://127.0.0.1:5000/a",
        ),
        ("docker://localhost/a:1", "http://localhost/v2/a/manifests/1", "docker://localhost/a"),
    ],
    ids=lambda text: text.partition("://")[2] if "manifests" not in text else "",
)
def test_a_tag_becomes_the_digest_that_the_registry_tells(reference: str, url: str, pinned: str) -> None:
    assert pin(reference, None, FakeRegistry({url: DIGEST})) == f"{pinned}@{DIGEST}"


@pytest.mark.parametrize(
    ("reference", "pinned"),
    [
        (f"docker://a@{DIGEST}", f"docker://a@{DIGEST}"),
        (f"docker://a:1@{DIGEST}", f"docker://a:1@{DIGEST}"),
        ("library://a/b:1", None),
        ("docker://a;$(b)'\"&", None),
    ],
)
def test_nobody_is_asked_about_what_is_no_tag(reference: str, pinned: Optional[str]) -> None:
    registry = FakeRegistry({})
    assert pin(reference, None, registry) == pinned
    assert registry.requests == []


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Answer(404, {}), id="no such image"),
        pytest.param(Answer(200, {}), id="no digest"),
        pytest.param(Answer(200, {"docker-content-digest": "sha256:12"}), id="half a digest"),
        pytest.param(Answer(401, {"www-authenticate": 'Basic realm="x"'}), id="wants a password"),
        pytest.param(Answer(307, {"location": "https://elsewhere/"}), id="is elsewhere"),
    ],
)
def test_a_registry_that_does_not_tell_is_no_error(answer: Answer) -> None:
    assert pin("docker://nvcr.io/a:1", None, lambda *_: answer) is None


def test_a_registry_that_does_not_answer_is_no_error() -> None:
    assert pin("docker://nvcr.io/a:1", None, FakeRegistry({})) is None


URL = "https://nvcr.io/v2/a/manifests/1"


def write_auths(file: Path, host: str) -> Path:
    file.write_text(json.dumps({"auths": {host: {"auth": CREDENTIALS}}}))
    return file


def test_a_token_is_asked_for_with_the_credentials_for_the_host(tmp_path: Path) -> None:
    registry = FakeRegistry({URL: DIGEST}, realm="https://auth.nvcr.io/token")
    auth_file = write_auths(tmp_path / "keys.json", "nvcr.io")
    assert pin("docker://nvcr.io/a:1", auth_file, registry) == f"docker://nvcr.io/a@{DIGEST}"
    query = "service=reg&scope=repository%3Aa%3Apull"
    assert registry.requests == [
        ("HEAD", URL, ""),
        ("GET", f"https://auth.nvcr.io/token?{query}", f"Basic {CREDENTIALS}"),
        ("HEAD", URL, "Bearer secret"),
    ]


def test_docker_hub_has_its_credentials_under_its_old_name(tmp_path: Path) -> None:
    url = "https://registry-1.docker.io/v2/library/a/manifests/1"
    registry = FakeRegistry({url: DIGEST}, realm="https://auth.docker.io/token")
    auth_file = write_auths(tmp_path / "keys.json", "https://index.docker.io/v1/")
    assert pin("docker://a:1", auth_file, registry)
    assert registry.requests[1][2] == f"Basic {CREDENTIALS}"


def test_a_registry_may_want_the_credentials_themselves(tmp_path: Path) -> None:
    registry = FakeRegistry({URL: DIGEST}, realm="https://x", challenge='Basic realm="{}"')
    assert pin("docker://nvcr.io/a:1", write_auths(tmp_path / "keys.json", "nvcr.io"), registry)
    assert registry.requests[-1] == ("HEAD", URL, f"Basic {CREDENTIALS}")


@pytest.mark.parametrize(
    "text",
    ["", "no JSON", "[]", '{"auths": []}', '{"auths": {"nvcr.io": {}}}', '{"auths": {"nvcr.io": "x"}}'],
)
def test_without_usable_credentials_a_token_is_asked_for_without(tmp_path: Path, text: str) -> None:
    (tmp_path / "keys.json").write_text(text)
    registry = FakeRegistry({URL: DIGEST}, realm="https://auth.nvcr.io/token")
    assert pin("docker://nvcr.io/a:1", tmp_path / "keys.json", registry)
    assert registry.requests[1][2] == ""


def test_credentials_never_travel_unencrypted(tmp_path: Path) -> None:
    registry = FakeRegistry({URL: DIGEST}, realm="http://auth.nvcr.io/token")
    assert pin("docker://nvcr.io/a:1", write_auths(tmp_path / "keys.json", "nvcr.io"), registry) is None
    assert [authorization for _, _, authorization in registry.requests] == [""]


@pytest.mark.parametrize(
    ("reference", "host"),
    [
        ("docker://a:1", "docker.io"),
        (f"docker://nvcr.io/a/b@{DIGEST}", "nvcr.io"),
        ("oras://127.0.0.1:5000/a:1", "127.0.0.1:5000"),
    ],
)
def test_the_host_of_a_registry_is_found(reference: str, host: str) -> None:
    assert registry_of(reference) == host


# What a job is to take.


@dataclass
class FakeHost:
    """A place for an agent: its configuration, a bucket, and a shell that pulls as it is told."""

    folder: Path
    config: AgentConfig
    store: MemoryStore = field(default_factory=MemoryStore)
    buckets: list[str] = field(default_factory=list)
    commands: list[tuple[str, ...]] = field(default_factory=list)
    fault: Optional[Exception] = None
    pinned: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, Optional[Path]]] = field(default_factory=list)

    def run(
        self, argv: Sequence[str], *, cwd: Optional[Path] = None, timeout: timedelta = DEFAULT_TIMEOUT
    ) -> Completed:
        self.commands.append(tuple(argv))
        if self.fault:
            raise self.fault
        return Completed("/cache/image.sif\n")

    def pin(self, reference: str, auth_file: Optional[Path]) -> Optional[str]:
        self.asked.append((reference, auth_file))
        return self.pinned.get(reference)

    def open_store(self, address: StoreAddress) -> Store:
        self.buckets.append(address.bucket)
        return self.store

    def find(
        self, *urls: str, system: System = SYSTEM, minute: int = 0, **settings: object
    ) -> Mapping[str, str]:
        config = replace(self.config, **settings)  # type: ignore[arg-type]
        finder = ImageFinder(config, self.run, self.pin, self.open_store)
        placement = Placement(str(self.folder / "work"), str(self.folder / "spool" / "exit_status"))
        return finder.find(urls, system, placement, minute)


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    (tmp_path / "spool").mkdir()
    file = tmp_path / "config.ini"
    file.write_text(
        f"[default]\nname = here\ncloudq_bucket = b\n[agent]\ntype = local\ncloudq_directory = {tmp_path}\n"
        "[registry:ngc]\nhost = nvcr.io\nauthfile = keys.json\n"
    )
    return FakeHost(tmp_path, load_agent_config(file))


def test_only_what_is_not_what_its_url_says_is_told(host: FakeHost) -> None:
    host.pinned = {"docker://a:1": f"docker://a@{DIGEST}"}
    urls = ["docker://a:1", "docker://b:1", "/images/c.sif", "c.sif", "c.tar", "instance://i", "library://l"]
    assert host.find(*urls) == {"docker://a:1": f"docker://a@{DIGEST}"}
    assert host.commands == []


def test_a_plain_name_is_one_of_docker(host: FakeHost) -> None:
    host.pinned = {"docker://a:1": f"docker://a@{DIGEST}"}
    assert host.find("a:1", "nvcr.io/b:2") == {
        "a:1": f"docker://a@{DIGEST}",
        "nvcr.io/b:2": "docker://nvcr.io/b:2",
    }


def test_a_registry_is_asked_with_its_own_credentials_and_once_a_minute(host: FakeHost) -> None:
    asked = [("docker://nvcr.io/a:1", host.folder / "keys.json"), ("docker://b:1", None)]
    for minute in (7, 7, 8):
        host.find("docker://nvcr.io/a:1", "docker://b:1", minute=minute)
    assert host.asked == asked * 2


def test_without_a_runtime_nobody_asks_for_images(host: FakeHost) -> None:
    none = replace(SYSTEM, container_runtime="none")
    assert host.find("docker://a:1", "s3://b/a.sif", system=none, container_pull="agent") == {}
    assert (host.asked, host.buckets) == ([], [])


def test_an_agent_that_pulls_runs_the_program_of_the_jobs(host: FakeHost) -> None:
    host.pinned = {"docker://a:1": f"docker://a@{DIGEST}"}
    found = host.find("docker://a:1", "/images/b.sif", container_pull="agent")
    assert found == {"docker://a:1": "/cache/image.sif"}
    program = host.folder / "spool" / "containers.sh"
    assert host.commands == [("/bin/sh", str(program), "fetch", f"docker://a@{DIGEST}")]
    assert "apptainer pull" in program.read_text()


def test_a_pull_that_fails_is_told_with_what_the_runtime_said(host: FakeHost) -> None:
    host.fault = CommandError(
        ["/bin/sh"], 125, "", "INFO: x\nFATAL: no such host\ncloudq: image pull failed\n"
    )
    with pytest.raises(InputError) as caught:
        host.find("docker://a:1", container_pull="agent")
    assert str(caught.value) == (
        "image pull failed: docker://a:1: FATAL: no such host / cloudq: image pull failed"
    )


def test_an_image_in_s3_is_fetched_once_for_each_version(host: FakeHost) -> None:
    host.store.write("images/app.sif", b"one")
    first, again = (host.find("s3://others/images/app.sif")["s3://others/images/app.sif"] for _ in range(2))
    assert first == again
    assert host.buckets == ["others", "others"]
    assert host.store.requests["GET"] == 1
    host.store.write("images/app.sif", b"two")
    second = host.find("s3://others/images/app.sif")["s3://others/images/app.sif"]
    assert (Path(first).read_bytes(), Path(second).read_bytes()) == (b"one", b"two")
    assert Path(first).parent == host.folder / "images"
    assert stat.S_IMODE(Path(first).parent.stat().st_mode) == 0o700
    assert first.endswith("-app.sif")


@pytest.mark.parametrize("url", ["s3://others", "s3://others/", "s3:///app.sif"])
def test_the_place_of_an_image_in_s3_has_bucket_and_key(host: FakeHost, url: str) -> None:
    with pytest.raises(InputError) as caught:
        host.find(url)
    assert str(caught.value) == f"image {url}: expected s3://BUCKET/KEY"


def test_an_image_that_is_not_in_s3_is_named(host: FakeHost) -> None:
    with pytest.raises(InputError) as caught:
        host.find("s3://others/app.sif")
    assert str(caught.value) == "image pull failed: s3://others/app.sif: no such object: app.sif"


def test_a_store_that_is_away_is_a_fault_that_may_pass(host: FakeHost) -> None:
    class Away(MemoryStore):
        def stat(self, key: str) -> object:  # type: ignore[override]
            raise StoreUnreachableError("no answer")

    host.store = Away()
    with pytest.raises(StoreUnreachableError):
        host.find("s3://others/app.sif")


# In the agent.


def test_a_job_whose_image_is_not_there_ends_and_says_so(site: Site) -> None:
    site.settings = {
        "container_runtime": "apptainer",
        "store": StoreAddress(f"file://{site.folder.parent}", "bucket"),
    }
    agent, job = site.new_agent(), site.submit(b"#!/bin/sh\n#$ container_img: s3://images/app.sif\ntrue\n")
    run_passes(agent, 2)
    ended = site.job(job.id)
    assert ended.state is JobState.ERROR
    assert ended.error == "image pull failed: s3://images/app.sif: no such object: app.sif"


def test_a_script_takes_what_the_agent_found(site: Site) -> None:
    address = StoreAddress(f"file://{site.folder.parent}", "pictures")
    open_store(address).write("app.sif", b"image")
    site.settings = {"container_runtime": "apptainer", "store": address}
    agent = site.new_agent()
    job = site.submit(b'#!/bin/sh\n#$ container_img: s3://pictures/app.sif\necho "$IMG0"\n')
    run_passes(agent)
    assert site.job(job.id).error == ""
    script = site.cluster.scripts[site.job(job.id).native_id]
    shown = subprocess.run(["sh", str(script)], capture_output=True, text=True, check=True).stdout.strip()
    assert Path(shown).read_bytes() == b"image"


# The configuration.


@pytest.fixture
def loaded(host: FakeHost) -> Callable[[str], AgentConfig]:
    def loaded(more: str) -> AgentConfig:
        text = host.config.file.read_text().replace("[registry", f"{more}\n[registry")
        host.config.file.write_text(text)
        return load_agent_config(host.config.file)

    return loaded


def test_the_keys_for_containers_have_defaults(host: FakeHost) -> None:
    config = host.config
    assert (config.container_runtime, config.container_pull) == ("auto", "job")
    assert config.image_cache == host.folder / "images"
    assert config.registries == (Registry("nvcr.io", str(host.folder / "keys.json")),)


def test_the_keys_for_containers_are_read(loaded: Callable[[str], AgentConfig]) -> None:
    config = loaded("container_runtime = Podman\ncontainer_pull = agent\ncontainer_cache = /scratch/images")
    assert (config.container_runtime, config.container_pull) == ("podman", "agent")
    assert config.image_cache == Path("/scratch/images")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            "container_runtime = rkt",
            "[agent] container_runtime: expected one of auto, none, apptainer, singularity, podman, docker, "
            "charliecloud, got 'rkt'",
        ),
        ("container_pull = me", "[agent] container_pull: expected one of job, agent, got 'me'"),
        ("[registry:a]\nauthfile = x", "[registry:a] host: expected a value, got nothing"),
        (
            "[registry:a]\nhost = https://nvcr.io\nauthfile = x",
            "[registry:a] host: expected the host of a registry, such as nvcr.io or 127.0.0.1:5000, "
            "got 'https://nvcr.io'",
        ),
        (
            "[registry:a]\nhost = nvcr.io",
            "[registry:a] authfile: expected a file in the form of Docker's config.json, got nothing",
        ),
    ],
    ids=str,
)
def test_a_fault_of_these_keys_is_named(
    host: FakeHost, loaded: Callable[[str], AgentConfig], more: str, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(more)
    assert str(caught.value) == f"{host.config.file}: {message}"


def test_an_answer_that_is_nested_too_deeply_is_no_digest() -> None:
    def ask(method: str, url: str, headers: Mapping[str, str]) -> Answer:
        if "/token" in url:
            return Answer(200, {}, b"[" * 500_000)
        return Answer(401, {"www-authenticate": 'Bearer realm="https://nvcr.io/token"'})

    assert pin("docker://nvcr.io/lab/tool:1", ask=ask) is None
