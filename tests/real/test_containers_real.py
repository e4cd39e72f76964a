"""Containers by real runtimes: the same script gives the same under each of them.

Needs `tests/testbed/containers-up --podman --charliecloud`; what is not up is skipped.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Callable

import pytest

from cloudq.agent.running.images import ImageFinder
from cloudq.agent.running.registry import pin
from cloudq.agentconfig import AgentConfig, load_agent_config
from cloudq.metascript import Placement, parse_meta_script, translate
from cloudq.system import System
from tests.real.conftest import AGENT_USER, ROOT, TESTBED

CONTAINERS = TESTBED / "containers"
REGISTRY, PRIVATE = "127.0.0.1:26850", "127.0.0.1:26851"
BUSYBOX, ENTRY = f"docker://{REGISTRY}/testbed/busybox:1", f"docker://{REGISTRY}/testbed/entry:1"
RUNTIMES = ["apptainer", "docker", "podman", "charliecloud"]
NOISE = re.compile(r"^(INFO: .*|WARNING: .*|time=.* is not a shared mount.*)\n", re.MULTILINE)

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to run jobs as another user"),
    pytest.mark.skipif(not shutil.which("skopeo"), reason="tests/testbed/containers-up was not run"),
]


@lru_cache(maxsize=1)
def what_is_up() -> str:
    command = [str(ROOT / "tests" / "testbed" / "containers-up"), "--status"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


@dataclass(frozen=True)
class Job:
    """A job of the test user, translated for one runtime.

    Attributes:
        folder: Its working directory is `work` in it, its own folder `spool`.
        script: The translated script.
    """

    folder: Path
    script: Path

    @property
    def work_dir(self) -> Path:
        return self.folder / "work"

    def start(self) -> subprocess.Popen[str]:
        """Start it as a scheduler would: as its user, in a session of its own."""
        home = pwd.getpwnam(AGENT_USER).pw_dir
        settings = [
            f"HOME={home}",
            f"USER={AGENT_USER}",
            "PATH=/usr/local/bin:/usr/bin:/bin",
            "JOB_SAYS=a\nb 'c'",
        ]
        command = ["setpriv", f"--reuid={AGENT_USER}", f"--regid={AGENT_USER}", "--init-groups"]
        return subprocess.Popen(
            [*command, "/usr/bin/env", "-i", *settings, str(self.script)],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self) -> tuple[int, str, str]:
        """Run it, and return exit status, stdout and stderr, the latter without the runtime's chatter."""
        process = self.start()
        stdout, stderr = process.communicate(timeout=150)
        return process.returncode, stdout, NOISE.sub("", stderr)


@dataclass(frozen=True)
class Desk:
    """Makes jobs for one runtime that share a cache."""

    folder: Path
    runtime: str
    config: AgentConfig

    def job(self, name: str, text: str, **placed: object) -> Job:
        """Translate a script as the agent does."""
        folder = self.folder / name
        for part in (folder, folder / "it's work", folder / "spool"):
            part.mkdir()
            shutil.chown(part, AGENT_USER, AGENT_USER)
        (folder / "work").symlink_to(folder / "it's work")
        placement = Placement(str(folder / "it's work"), str(folder / "spool" / "exit_status"))
        script = parse_meta_script(text, "job.sh")
        urls = [image.url for image in script.directives.images]
        images = ImageFinder(self.config).find(urls, self.system, placement, minute=time.time_ns())
        placement = replace(placement, images={**images, **placed})  # type: ignore[dict-item]
        path = folder / "job.sh"
        path.write_text(translate(script, self.system, placement), encoding="utf-8")
        path.chmod(0o755)
        return Job(folder, path)

    @property
    def system(self) -> System:
        return System(
            name="here",
            scheduler="local",
            container_runtime=self.runtime,
            image_cache=str(self.config.image_cache),
            registries=self.config.registries,
        )


@pytest.fixture
def new_desk(open_folder: Path) -> Iterator[Callable[[str], Desk]]:
    def new_desk(runtime: str) -> Desk:
        program = {"charliecloud": "ch-run"}.get(runtime, runtime)
        if not re.search(rf"^{program} ", what_is_up(), re.MULTILINE):
            pytest.skip(f"{program} is not up: tests/testbed/containers-up --podman --charliecloud")
        shutil.chown(open_folder, AGENT_USER, AGENT_USER)
        file = open_folder / "config.ini"
        file.write_text(
            "[default]\nname = here\ncloudq_bucket = b\n[agent]\ntype = local\n"
            f"cloudq_directory = {open_folder}\n"
            f"[registry:ours]\nhost = {PRIVATE}\nauthfile = {CONTAINERS}/keys.json\n"
        )
        return Desk(open_folder, runtime, load_agent_config(file))

    yield new_desk
    # What a user made in a namespace of its own may be nobody's outside.
    subprocess.run(["chmod", "-R", "u+rwX", str(open_folder)], check=False)


@pytest.fixture(params=RUNTIMES)
def desk(request: pytest.FixtureRequest, new_desk: Callable[[str], Desk]) -> Desk:
    """A desk for each runtime in turn."""
    return new_desk(request.param)


SAME = f"""#!/bin/sh
#$ container_img: {ENTRY}
mkdir 'sub dir' && cd 'sub dir' || exit
echo 'standard input' | cq_container_run "$CONTAINER_IMG0" sh -c '
    pwd
    echo "$(id -u):$(id -g) $(id -un) $PWD $HOME"
    echo "$JOB_SAYS|$FROM_IMAGE|$SYSTEM|${{PATH%%:*}}"
    cat
    echo result >"made here"
    echo other >../above
    echo "$TMPDIR" >"$HOME/.cloudq-test" && rm "$HOME/.cloudq-test"
    for word; do printf "<%s>" "$word"; done; echo
    exit 7
' sh 'a  b' '' "it's" '"q"' '$HOME' '*' '-x' '
'
echo "status $?"
cq_container_run "$CONTAINER_IMG0" pwd
cd / && cq_container_run "$IMG0" sh -c 'kill -KILL $$' || echo "status $?"
"""


def test_the_same_script_does_the_same_under_each_runtime(desk: Desk) -> None:
    job = desk.job("1", SAME)
    status, stdout, stderr = job.run()
    user = pwd.getpwnam(AGENT_USER)
    sub = f"{job.folder}/it's work/sub dir"
    assert stdout == (
        f"{sub}\n{user.pw_uid}:{user.pw_gid} {AGENT_USER} {sub} {user.pw_dir}\n"
        "a\nb 'c'|yes|here|/usr/local/bin\nstandard input\n"
        '<a  b><><it\'s><"q"><$HOME><*><-x><\n>\n'
        f"status 7\n{sub}\nstatus 137\n"
    )
    assert (status, stderr.count("cloudq_container_run: pulling")) == (0, 1)
    for file in (Path(sub) / "made here", job.work_dir / "above"):
        assert (file.stat().st_uid, file.stat().st_gid) == (user.pw_uid, user.pw_gid)
    assert (job.folder / "spool" / "exit_status").read_text() == "0\n"


@pytest.mark.parametrize(
    ("command", "statuses"),
    [
        pytest.param(
            "no-such-command",
            {"apptainer": {255}, "charliecloud": {1}, "docker": {127}, "podman": {1, 127}},
            id="unknown",
        ),
        pytest.param(
            "/etc/passwd",
            {"apptainer": {255}, "charliecloud": {1}, "docker": {126}, "podman": {1, 126}},
            id="no program",
        ),
    ],
)
def test_a_command_that_cannot_start_fails_with_words(
    desk: Desk, command: str, statuses: dict[str, set[int]]
) -> None:
    status, stdout, stderr = desk.job(
        "1", f"#$ container_img: {BUSYBOX}\ncq_container_run $IMG0 {command}\n"
    ).run()
    assert (status in statuses[desk.runtime], stdout) == (True, "")
    said = stderr.partition("\n")[2].lower()
    assert "no such file" in said or "not found" in said or "permission denied" in said


def test_an_exit_status_of_the_command_that_looks_like_the_runtime_s_is_not_mistaken(desk: Desk) -> None:
    for number in (125, 126, 127, 255):
        job = desk.job(str(number), f"cq_container_run '{BUSYBOX}' sh -c 'exit {number}'\n")
        status, _, stderr = job.run()
        assert status == number
        assert "could not start" not in stderr, stderr


def test_an_image_that_is_not_there_ends_the_job_with_words(desk: Desk) -> None:
    url = f"docker://{REGISTRY}/testbed/nosuch:1"
    status, stdout, stderr = desk.job("1", f"#$ container_img: {url}\necho began\n").run()
    assert (status, stdout) == (125, "")
    assert stderr.endswith(f"cloudq_container_run: {desk.runtime}: image pull failed: {url}\n")


def requests_for_manifests() -> int:
    return (CONTAINERS / "log" / "private.log").read_text().count("/testbed/busybox/manifests/")


def test_eight_tasks_pull_a_private_image_once_and_the_next_job_not_at_all(desk: Desk) -> None:
    text = f"#$ container_img: docker://{PRIVATE}/testbed/busybox:1\ncq_container_run $IMG0 echo works\n"
    if desk.runtime in ("docker", "podman"):
        image = f"{PRIVATE}/testbed/busybox"
        subprocess.run(
            [
                "runuser",
                "-u",
                AGENT_USER,
                "--",
                "sh",
                "-c",
                f"{desk.runtime} rmi -f $({desk.runtime} images -q {image})",
            ],
            capture_output=True,
            check=False,
            cwd="/",
        )
    job = desk.job("1", text)
    before = requests_for_manifests()
    processes = [job.start() for _ in range(8)]
    answers = [process.communicate(timeout=150) for process in processes]
    assert [process.returncode for process in processes] == [0] * 8, answers
    assert {stdout for stdout, _ in answers} == {"works\n"}
    assert sum(stderr.count("container_run: pulling") for _, stderr in answers) == 1
    pulled = requests_for_manifests()
    assert pulled > before or desk.runtime in ("docker", "podman")
    for name in ("2", "3"):
        asked = requests_for_manifests()
        second = desk.job(name, text)  # the agent asks what the tag stands for
        by_agent = requests_for_manifests() - asked
        assert second.run()[:2] == (0, "works\n")
        assert requests_for_manifests() == asked + by_agent
    assert "secret" not in job.script.read_text() + str(answers)


def test_a_tag_that_moved_gives_the_new_image_to_the_next_job_only(new_desk: Callable[[str], Desk]) -> None:
    desk = new_desk("apptainer")
    tag = f"{REGISTRY}/testbed/moving:{os.getpid()}"
    text = f"#$ container_img: {tag}\ncq_container_run $IMG0 sh -c 'echo ${{FROM_IMAGE-no}}'\n"

    def move(image: str) -> None:
        source = f"docker://{REGISTRY}/testbed/{image}"
        subprocess.run(["skopeo", "copy", "-q", source, f"docker://{tag}"], check=True)

    move("busybox:1")
    old = desk.job("old", text)
    move("entry:1")
    new = desk.job("new", text)
    assert (new.run()[:2], old.run()[:2]) == ((0, "yes\n"), (0, "no\n"))


@pytest.mark.parametrize("runtime", ["apptainer", "singularity"])
def test_an_image_file_and_an_image_in_a_registry_of_files_run(
    new_desk: Callable[[str], Desk], runtime: str
) -> None:
    desk = new_desk(runtime if runtime == "apptainer" else "apptainer")
    desk = replace(desk, runtime=runtime)
    sif = CONTAINERS / "sif" / "busybox.sif"
    oras = f"oras://{REGISTRY}/testbed/{runtime}:{os.getpid()}"
    subprocess.run(["apptainer", "push", str(sif), oras], capture_output=True, check=True)
    text = f"#$ container_img: {sif}\n#$ container_img: {oras}\n"
    job = desk.job("1", f"{text}for image in $IMG0 $IMG1; do cq_container_run $image echo works; done\n")
    status, stdout, stderr = job.run()
    assert (status, stdout) == (0, "works\nworks\n"), stderr
    assert "@sha256:" in job.script.read_text()


def test_an_archive_runs(desk: Desk) -> None:
    archive = desk.folder / "app.tar"
    source = f"docker://{REGISTRY}/testbed/entry:1"
    subprocess.run(["skopeo", "copy", "-q", source, f"docker-archive:{archive}:app:1"], check=True)
    archive.chmod(0o644)
    job = desk.job("1", f"#$ container_img: {archive}\ncq_container_run $IMG0 echo works\n")
    assert job.run()[:2] == (0, "works\n")


@pytest.mark.parametrize("runtime", ["apptainer", "docker", "podman", "charliecloud"])
def test_what_the_agent_pulled_runs_without_the_registry(
    new_desk: Callable[[str], Desk], runtime: str
) -> None:
    desk = new_desk(runtime)
    url = f"docker://{PRIVATE}/testbed/entry:1"
    script = desk.job("0", f"#$ container_img: {ENTRY}\ntrue\n").script.read_text()
    program = script.partition("<<'END_OF_CLOUDQ_CONTAINERS'\n")[2]
    file = desk.folder / "containers.sh"
    file.write_text(program.partition("\nEND_OF_CLOUDQ_CONTAINERS\n")[0] + "\n")
    pinned = pin(url, CONTAINERS / "keys.json")
    assert pinned
    fetch = ["runuser", "-u", AGENT_USER, "--", "/bin/sh", str(file), "fetch", pinned]
    fetched = subprocess.run(fetch, capture_output=True, text=True, check=True, cwd="/").stdout.strip()
    assert Path(fetched).exists()
    before = (CONTAINERS / "log" / "private.log").read_text().count("GET")
    job = desk.job("1", f"#$ container_img: {ENTRY}\ncq_container_run $IMG0 sh -c 'echo $FROM_IMAGE'\n")
    other = desk.job(
        "2",
        "#$ container_img: /x.tar\ncq_container_run $IMG0 sh -c 'echo $FROM_IMAGE'\n",
        **{"/x.tar": fetched},
    )
    assert (job.run()[:2], other.run()[:2]) == ((0, "yes\n"), (0, "yes\n"))
    assert (CONTAINERS / "log" / "private.log").read_text().count("GET") == before


ENDLESS = f"""#$ container_img: {BUSYBOX}
cq_container_run $IMG0 sh -c 'trap "echo asked to end; exit 3" TERM
    touch ready; while :; do sleep 0.2; echo $$ >alive; done'
"""


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def is_running(job: Job) -> bool:
    """Tell whether the container still writes."""
    (job.work_dir / "alive").unlink(missing_ok=True)
    time.sleep(1)
    return (job.work_dir / "alive").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
def test_a_container_ends_with_its_job(desk: Desk, number: int) -> None:
    job = desk.job("1", ENDLESS)
    process = job.start()
    wait_for((job.work_dir / "ready").exists)
    os.killpg(process.pid, number)
    stdout, _ = process.communicate(timeout=150)
    assert process.returncode in (-number, 128 + number)
    wait_for(lambda: not is_running(job))
    if number == signal.SIGTERM:
        assert stdout.startswith("asked to end\n")  # a runtime may pass it on a second time
        assert (job.folder / "spool" / "exit_status").read_text() == "143\n"


def slurm_is_up() -> bool:
    command = [str(ROOT / "tests" / "testbed" / "slurm-up"), "--status"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("runtime", ["apptainer", "docker"])
def test_scancel_ends_the_container(new_desk: Callable[[str], Desk], runtime: str) -> None:
    if not slurm_is_up():
        pytest.skip("Slurm is not up: tests/testbed/slurm-up")
    job = new_desk(runtime).job("1", ENDLESS)
    submit = [
        "runuser",
        "-u",
        AGENT_USER,
        "--",
        "sbatch",
        "--parsable",
        "--output=/dev/null",
        str(job.script),
    ]
    native_id = subprocess.run(submit, capture_output=True, text=True, check=True, cwd="/").stdout.strip()
    try:
        wait_for((job.work_dir / "ready").exists)
    finally:
        subprocess.run(["scancel", native_id], check=True)
    wait_for(lambda: not is_running(job))
