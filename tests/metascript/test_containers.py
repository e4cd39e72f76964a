"""Containers in translated scripts: what the runtimes are told, with recorders in their places.

The real runtimes are in tests/real/test_containers_real.py.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from cloudq.errors import ConfigError
from cloudq.metascript import Placement, container_program
from cloudq.system import Registry, System
from tests.metascript.conftest import DEMO, Execute, Execution, Translate
from tests.metascript.test_golden import EXAMPLES

RUNTIMES = ["apptainer", "singularity", "docker", "podman", "charliecloud"]
SHELLS = ["sh", "sh -eu", "bash", "bash -eu", "zsh", "ksh", "mksh"]
DIGEST = "0123456789abcdef" * 4
PINNED = f"docker://host:5000/team/app@sha256:{DIGEST}"

RECORDER = r"""#!/bin/sh
# Writes down how it was called, and does as much of what a runtime does as its callers can see.
name=${0##*/}
line=$name
for word; do line="$line|$word"; done
printf '%s\n' "$line" >>"$FAKE_LOG" # at once: others write there, too
last() { for word; do :; done; printf '%s' "$word"; }
case "$name $1 ${2-}" in
    *' pull '*)
        [ -z "${FAKE_PULL-}" ] || eval "$FAKE_PULL"
        case $name in *ptainer | *ularity) shift; while [ $# -gt 2 ]; do shift; done; echo image >"$1" ;; esac
        ;;
    *' build '*) echo image >"$3" ;;
    *' load '*) echo 'Loaded image ID: sha256:feed' ;;
    *' save '*) echo archive >"$3" ;;
    *' image inspect') [ -n "${FAKE_KNOWN-}" ] || [ "$3" != -f ] || echo sha256:cafe ;;
    *' events '*) [ -z "${FAKE_STARTED-}" ] || echo start ;;
    *' info '*) echo "[name=seccomp${FAKE_ROOTLESS:+ name=rootless}]" ;;
    'skopeo copy '*) ;;
    'umoci unpack '*)
        mkdir -p "$5/rootfs/bin" && cd "$5" || exit
        printf '\t%s\n' '"env": [' '"PATH=/image/bin",' '"HOME=/root",' '"FROM_IMAGE=yes"' ']' >config.json
        ;;
    'ch-convert '*) mkdir -p "$(last "$@")" ;;
    *' exec '* | *' run '* | 'ch-run '*)
        [ -z "${FAKE_RUN-}" ] || eval "$FAKE_RUN"
        exit "${FAKE_STATUS:-0}"
        ;;
esac
"""


@dataclass(frozen=True)
class Host:
    """A host whose container programs are recorders.

    Attributes:
        folder: Where everything is: `cache` is that of all jobs, `images` the job's own.
        placement: The job's.
    """

    folder: Path
    placement: Placement

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    @property
    def calls(self) -> list[list[str]]:
        """Every call: the program and its arguments."""
        log = self.folder / "calls"
        return [line.split("|") for line in log.read_text().splitlines()] if log.exists() else []

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ}
        return {**kept, "PATH": f"{self.folder}/bin:/usr/bin:/bin", "FAKE_LOG": str(self.folder / "calls")}

    def system(self, runtime: str) -> System:
        return replace(
            DEMO,
            container_runtime=runtime,
            image_cache=str(self.cache),
            registries=(Registry("host:5000", "/etc/our keys.json"),),
        )

    def write_program(self, runtime: str) -> Path:
        path = self.folder / "containers.sh"
        text = container_program(self.system(runtime), self.placement)
        if not path.exists() or path.read_text() != text:  # it may be running
            path.write_text(text)
        return path

    def start(self, runtime: str, *words: str, shell: str = "sh", **settings: str) -> subprocess.Popen[str]:
        """Start the program that translated scripts run."""
        return subprocess.Popen(
            [*shell.split(), str(self.write_program(runtime)), *words],
            cwd=self.placement.work_dir,
            env={**self.environment, **settings},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def do(self, runtime: str, *words: str, shell: str = "sh", **settings: str) -> Execution:
        """Have it do one thing: `run IMAGE COMMAND...`, `find IMAGE`, `fetch IMAGE`."""
        process = self.start(runtime, *words, shell=shell, **settings)
        stdout, stderr = process.communicate(timeout=120)
        return Execution(process.returncode, stdout, stderr, None)


@pytest.fixture
def host(tmp_path: Path, placement: Placement) -> Host:
    (tmp_path / "bin").mkdir()
    for name in ("apptainer", "singularity", "docker", "podman", "ch-run", "ch-image", "ch-convert"):
        program = tmp_path / "bin" / name
        program.write_text(RECORDER)
        program.chmod(0o700)
    for name in ("skopeo", "umoci"):
        shutil.copy(tmp_path / "bin" / "docker", tmp_path / "bin" / name)
    return Host(tmp_path, placement)


def option_values(call: list[str], option: str) -> list[str]:
    return [value for word, value in zip(call, call[1:]) if word == option]


def image_calls(host: Host) -> list[list[str]]:
    """Return the calls that bring an image in, without folders of temporary files."""
    verbs = {"pull", "build", "load", "save", "copy", "unpack", "-i"}
    calls = [call for call in host.calls if call[1] in verbs]
    return [
        [
            re.sub(r"\.part\.[\w.-]+", ".part", word).rpartition("/images/")[2].rpartition("/cache/")[2]
            for word in call
        ]
        for call in calls
    ]


# What is run.


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("name", ["cq_container_run", "cloudq_container_run"])
def test_a_container_gets_its_arguments_unharmed(
    host: Host, translated: Translate, execute: Execute, shell: str, name: str
) -> None:
    if not shutil.which(shell.split()[0]):
        pytest.skip(f"{shell} is not installed")
    image = host.folder / "app.sif"
    image.touch()
    body = f"""#$ container_img: {image}
mkdir sub && cd sub
export WORDS=8 IFS=/ # as somebody's script may
if {name} "$CONTAINER_IMG0" python 'two words' '' '*' "it's" '$HOME' -- '--x=;'; then :; else exit $?; fi
"""
    ended = execute(
        translated(body, host.system("apptainer")), shell, {**host.environment, "FAKE_STATUS": "9"}
    )
    words = ["python", "two words", "", "*", "it's", "$HOME", "--", "--x=;"]
    assert (ended.status, ended.stderr) == (9, "")
    work_dir = host.placement.work_dir
    assert host.calls == [
        ["apptainer", "exec", "--bind", work_dir, "--pwd", f"{work_dir}/sub", str(image), *words]
    ]


def test_an_argument_may_have_lines(host: Host) -> None:
    (host.folder / "app.sif").touch()
    assert host.do("apptainer", "run", str(host.folder / "app.sif"), "echo", "a\n\nb\n").status == 0
    assert (host.folder / "calls").read_text().endswith("|echo|a\n\nb\n\n")


@pytest.mark.parametrize("shell", ["dash", "bash --posix", "busybox sh", "mksh"])
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_program_runs_under_every_posix_shell(host: Host, runtime: str, shell: str) -> None:
    if not shutil.which(shell.split()[0]):
        pytest.skip(f"{shell} is not installed")
    ended = host.do(runtime, "run", PINNED, "true", "a b", shell=shell, FAKE_STATUS="7")
    assert (ended.status, ended.stdout) == (7, "")
    assert ended.stderr == f"cloudq_container_run: pulling {PINNED}\n"
    run = next(call for call in host.calls if {"exec", "run", "ch-run"} & set(call[:2]))
    assert run[-1] == "a b"


@pytest.mark.parametrize(("runtime", "program"), [("docker", "docker"), ("podman", "podman")])
def test_an_engine_is_told_what_the_others_do_by_themselves(host: Host, runtime: str, program: str) -> None:
    assert host.do(runtime, "run", PINNED, "./run.sh", "a b", TMPDIR=str(host.cache)).status == 0
    run = next(call for call in host.calls if call[:2] == [program, "run"])
    work_dir = host.placement.work_dir
    assert option_values(run, "--entrypoint") == ["./run.sh"]
    assert run[-2:] == ["sha256:cafe", "a b"]
    assert option_values(run, "-w") == [work_dir]
    assert option_values(run, "--user") == [f"{os.getuid()}:{os.getgid()}"]
    assert {"--rm", "-i", "--network=host"} <= set(run)
    for folder in (work_dir, str(host.cache), "/tmp"):
        assert f"type=bind,source={folder},target={folder}" in option_values(run, "--mount")


def test_an_engine_binds_folders_with_commas_and_quotes(host: Host) -> None:
    odd = host.folder / 'a,b "c"'
    odd.mkdir()
    assert host.do("docker", "run", PINNED, "true", TMPDIR=str(odd)).status == 0
    run = next(call for call in host.calls if call[:2] == ["docker", "run"])
    doubled = str(odd).replace('"', '""')
    assert f'type=bind,"source={doubled}","target={doubled}"' in option_values(run, "--mount")


@pytest.mark.parametrize("runtime", ["docker", "podman"])
def test_an_engine_hands_on_all_variables_by_name_but_those_of_the_host(host: Host, runtime: str) -> None:
    given = {"MULTI": "a\nPATH=b c\n", "LD_PRELOAD": "", "BASH_FUNC_f%%": "() { :; }", "EMPTY": ""}
    assert host.do(runtime, "run", PINNED, "true", **given).status == 0
    run = next(call for call in host.calls if call[:2] == [runtime, "run"])
    names = option_values(run, "-e")
    assert {"MULTI", "EMPTY", "HOME", "FAKE_LOG"} <= set(names)
    assert not {"PATH", "LD_PRELOAD", "f", "_", "SHLVL"} & set(names)
    assert not [name for name in names if name.startswith("cloudq_")]


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_no_variable_of_the_job_is_assigned_on_the_way(host: Host, runtime: str) -> None:
    program = container_program(host.system(runtime), host.placement)
    names = set(re.findall(r"^\s*(?:for )?(\w+)(?:=| in )", program, re.MULTILINE))
    assert names
    assert {name for name in names if not name.startswith("cloudq_")} <= {
        "DOCKER_CONFIG",
        "USER",
        "second",
        "try",
    }


def test_without_root_the_engine_s_user_0_is_the_caller(host: Host) -> None:
    assert host.do("docker", "run", PINNED, "true", FAKE_ROOTLESS="1").status == 0
    run = next(call for call in host.calls if call[:2] == ["docker", "run"])
    assert option_values(run, "--user") == ["0:0"]


def test_in_an_engine_the_user_has_a_name(host: Host) -> None:
    assert host.do("docker", "run", PINNED, "true").status == 0
    run = next(call for call in host.calls if call[:2] == ["docker", "run"])
    file = host.folder / "images" / "passwd"
    assert f"type=bind,source={file},target=/etc/passwd" in option_values(run, "--mount")
    assert re.search(rf"^\w+:x:{os.getuid()}:{os.getgid()}::.*:/bin/sh$", file.read_text(), re.MULTILINE)


def test_charliecloud_takes_path_from_the_image_and_the_rest_from_the_job(host: Host) -> None:
    assert host.do("charliecloud", "run", PINNED, "true", "a b", FROM_IMAGE="no").status == 0
    run = next(call for call in host.calls if call[0] == "ch-run")
    assert "--set-env=PATH=/image/bin" in run
    assert not [word for word in run if word.startswith(("--set-env=FROM_IMAGE", "--set-env=HOME"))]
    assert run[run.index("-c") + 1] == host.placement.work_dir
    assert run[-3:] == ["--", "true", "a b"]
    host.do("charliecloud", "run", PINNED, "true")
    assert "--set-env=FROM_IMAGE=yes" in host.calls[-1]


def test_a_folder_outside_the_working_directory_is_seen_unless_it_is_the_system_s(host: Host) -> None:
    (host.folder / "app.sif").touch()
    program = f'cd "$1" && sh {host.write_program("apptainer")} run {host.folder}/app.sif true'
    for folder in (str(host.folder), "/", "/usr/lib"):
        subprocess.run(["sh", "-c", program, "sh", folder], env=host.environment, check=True)
    binds = [option_values(call, "--bind") for call in host.calls]
    work_dir = host.placement.work_dir
    assert binds == [[str(host.folder), work_dir], [work_dir], [work_dir]]


GPU = '#$ other_opts: --gres=gpu:1\n#$ container_img: {image}\ncq_container_run "$IMG0" true\n'


@pytest.mark.parametrize(
    ("runtime", "settings", "options"),
    [
        pytest.param("apptainer", {}, ["--nv"], id="apptainer"),
        pytest.param("docker", {}, ["--gpus", "all"], id="docker"),
        pytest.param("docker", {"SLURM_JOB_GPUS": "2,3"}, ["--gpus", '"device=2,3"'], id="docker on Slurm"),
        pytest.param("podman", {}, ["--device", "nvidia.com/gpu=all"], id="podman"),
        pytest.param(
            "podman",
            {"SLURM_JOB_GPUS": "2,3"},
            ["--device", "nvidia.com/gpu=3", "--device", "nvidia.com/gpu=2"],
            id="podman on Slurm",
        ),
    ],
)
def test_only_a_job_with_gpus_shows_them_to_its_containers(
    host: Host,
    translated: Translate,
    execute: Execute,
    runtime: str,
    settings: dict[str, str],
    options: list[str],
) -> None:
    settings = {**host.environment, **settings, "CUDA_VISIBLE_DEVICES": "0"}
    image = PINNED if runtime != "apptainer" else str(host.write_program("none"))
    script = GPU.format(image=image)
    system = replace(host.system(runtime), scheduler="slurm")
    assert execute(translated(script, system), "sh", settings).status == 0
    without = script.replace("gpu:1", "license:1")
    assert execute(translated(without, system), "sh", settings).status == 0
    first, second = ("|".join(call) for call in host.calls if call[1] in ("exec", "run"))
    assert "|" + "|".join(options) + "|" in first
    assert "|" + "|".join(options) + "|" not in second
    if runtime != "apptainer":
        assert ("|-e|CUDA_VISIBLE_DEVICES|" in first) is ("SLURM_JOB_GPUS" not in settings)


# What is taken for an image.


KEPT = f"sha256-{DIGEST}-{os.uname().machine}"
NODE = os.uname().nodename


@pytest.mark.parametrize(
    ("runtime", "reference", "calls"),
    [
        pytest.param(
            "apptainer",
            PINNED,
            [
                [
                    *["apptainer", "pull", "--force", "--disable-cache", "--authfile", "/etc/our keys.json"],
                    *[f"{KEPT}.sif.part", PINNED],
                ]
            ],
            id="apptainer, by digest",
        ),
        pytest.param(
            "singularity",
            f"oras://other/app@sha256:{DIGEST}",
            [
                [
                    *["singularity", "pull", "--force", "--disable-cache", f"{KEPT}.sif.part"],
                    f"oras://other/app@sha256:{DIGEST}",
                ]
            ],
            id="singularity, oras by digest",
        ),
        pytest.param(
            "apptainer",
            "library://a/b:1",
            [["apptainer", "pull", "--force", "OWN.sif.part", "library://a/b:1"]],
            id="apptainer, library",
        ),
        pytest.param(
            "apptainer",
            "python:3.12",
            [["apptainer", "pull", "--force", "OWN.sif.part", "docker://python:3.12"]],
            id="apptainer, name and tag",
        ),
        pytest.param("docker", "python:3", [["docker", "pull", "-q", "python:3"]], id="docker, name and tag"),
        pytest.param(
            "podman", "python:3", [["podman", "pull", "-q", "docker.io/python:3"]], id="podman, name and tag"
        ),
        pytest.param("docker", "docker://a/b", [["docker", "pull", "-q", "a/b"]], id="docker"),
        pytest.param(
            "podman", "docker://h:1/b:2", [["podman", "pull", "-q", "h:1/b:2"]], id="podman, other registry"
        ),
        pytest.param("docker", PINNED, [], id="docker has it"),
    ],
)
def test_an_image_is_pulled_so(host: Host, runtime: str, reference: str, calls: list[list[str]]) -> None:
    assert host.do(runtime, "find", reference).status == 0
    own = rf"[0-9]+-[0-9]+-{os.uname().machine}\.sif"
    assert [[re.sub(own, "OWN.sif", word) for word in call] for call in image_calls(host)] == calls


@pytest.mark.parametrize(
    ("runtime", "oci", "call"),
    [
        ("apptainer", False, ["apptainer", "build", "--force", "docker-archive"]),
        ("apptainer", True, ["apptainer", "build", "--force", "oci-archive"]),
        ("docker", False, ["docker", "load", "-i"]),
        ("podman", True, ["podman", "load", "-i"]),
        ("charliecloud", False, ["skopeo", "copy", "-q", "docker-archive"]),
        ("charliecloud", True, ["skopeo", "copy", "-q", "oci-archive"]),
    ],
)
def test_an_archive_is_converted_once_for_all_jobs(
    host: Host, runtime: str, oci: bool, call: list[str]
) -> None:
    content = host.folder / ("oci-layout" if oci else "manifest.json")
    content.touch()
    subprocess.run(["tar", "-cf", "app.tar", content.name], cwd=host.folder, check=True)
    for _ in range(2):
        assert host.do(runtime, "find", str(host.folder / "app.tar"), FAKE_KNOWN="").status == 0
    calls = [made for made in host.calls if made[: len(call) - 1] == call[:-1] and call[-1] in "|".join(made)]
    assert len(calls) == 1
    assert [path for path in host.cache.iterdir() if path.name.startswith("app.tar-")]


def test_what_find_prints_run_takes(host: Host) -> None:
    for runtime in RUNTIMES:
        found = host.do(runtime, "find", PINNED)
        assert (found.status, found.stdout.count("\n")) == (0, 1)
        assert host.do(runtime, "run", found.stdout.strip(), "true").status == 0


EMPTY = "no image: the variable is empty, or the script's head has no such image"


@pytest.mark.parametrize(
    ("runtime", "words", "message"),
    [
        pytest.param("apptainer", ["", "true"], EMPTY, id="empty"),
        pytest.param(
            "docker",
            ["python", "x.py"],
            "python: expected an image (docker://NAME, NAME:TAG, a file); is its variable empty?",
            id="empty and not quoted",
        ),
        pytest.param("docker", ["a:1"], "expected IMAGE COMMAND..., got 1 arguments", id="no command"),
        pytest.param("docker", [], "expected IMAGE COMMAND..., got 0 arguments", id="nothing"),
        pytest.param(
            "docker", ["a:1", ""], "expected IMAGE COMMAND..., got an empty command", id="empty command"
        ),
        pytest.param("apptainer", ["./a.sif", "true"], "./a.sif: no such image file", id="no file"),
        pytest.param(
            "apptainer",
            ["s3://b/a.sif", "true"],
            "s3://b/a.sif: name an image in S3 in the script's head (container_img)",
            id="S3 in the body",
        ),
        pytest.param(
            "docker",
            ["library://a", "true"],
            "library://a: docker takes images of the form docker://NAME, and archives FILE.tar",
            id="library on docker",
        ),
        pytest.param(
            "charliecloud",
            ["oras://a", "true"],
            "oras://a: charliecloud takes docker://NAME, archives FILE.tar, and folders",
            id="oras on charliecloud",
        ),
    ],
)
def test_what_is_no_image_is_refused_in_one_line(
    host: Host, runtime: str, words: list[str], message: str
) -> None:
    ended = host.do(runtime, "run", *words)
    assert (ended.status, ended.stdout) == (2, "")
    assert ended.stderr == f"cloudq_container_run: {message}\n"
    assert host.calls == []


def test_an_unquoted_variable_that_is_not_set_is_refused(
    host: Host, translated: Translate, execute: Execute
) -> None:
    script = translated("cq_container_run $CONTAINER_IMG9 python x.py\n", host.system("docker"))
    ended = execute(script, environment=host.environment)
    assert (ended.status, host.calls) == (2, [])


# The images of the head.


@pytest.mark.parametrize("shell", SHELLS)
def test_the_variables_of_the_head_say_where_the_images_are(
    host: Host, translated: Translate, execute: Execute, shell: str
) -> None:
    if not shutil.which(shell.split()[0]):
        pytest.skip(f"{shell} is not installed")
    head = f"#$ container_img: {PINNED}\n#$ container_image: box=instance://i1\n"
    script = translated(
        f'{head}env | grep -E "^(CONTAINER_IMG0|IMG0|BOX)=" | sort\n', host.system("apptainer")
    )
    ended = execute(script, shell, host.environment)
    path = host.cache / f"{KEPT}.sif"
    assert ended.stdout == f"BOX=instance://i1\nCONTAINER_IMG0={path}\nIMG0={path}\n"
    assert path.read_text() == "image\n"


def test_what_the_agent_found_is_taken_for_what_the_script_says(host: Host) -> None:
    placement = replace(host.placement, images={"docker://host:5000/team/app:1": PINNED})
    found = Host(host.folder, placement).do("apptainer", "find", "docker://host:5000/team/app:1")
    assert found.stdout == f"{host.cache}/{KEPT}.sif\n"


def test_a_failed_pull_ends_the_job_before_it_begins(
    host: Host, translated: Translate, execute: Execute
) -> None:
    script = translated(f"#$ container_img: {PINNED}\necho began\n", host.system("apptainer"))
    ended = execute(script, environment={**host.environment, "FAKE_PULL": "echo no such host >&2; exit 9"})
    assert (ended.status, ended.stdout, ended.recorded) == (125, "", "125\n")
    assert ended.stderr == (
        f"cloudq_container_run: pulling {PINNED}\nno such host\n"
        f"cloudq_container_run: apptainer: image pull failed: {PINNED}\n"
    )
    assert list(host.cache.iterdir()) == []


def test_without_a_container_runtime_the_images_are_as_the_script_says(
    translated: Translate, execute: Execute
) -> None:
    script = translated('#$ container_img: docker://a\necho "$IMG0"\ncq_container_run "$IMG0" true\n')
    ended = execute(script)
    assert (ended.status, ended.stdout) == (127, "docker://a\n")
    assert ended.stderr == "cloudq_container_run: no container runtime is configured on system demo\n"


# Once, whatever happens.


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_eight_tasks_pull_an_image_once(host: Host, runtime: str) -> None:
    slow = {"FAKE_PULL": "sleep 0.5"}
    url = "docker://host:5000/team/app:1"  # a tag: docker is asked for one in any case
    processes = [host.start(runtime, "find", url, **slow) for _ in range(8)]
    ends = [(process.communicate(timeout=120)[0], process.returncode) for process in processes]
    assert len(set(ends)) == 1
    assert ends[0][1] == 0
    assert len([call for call in image_calls(host) if call[1] in ("pull", "copy")]) == 1


def test_an_image_by_digest_is_kept_for_other_jobs_and_a_tag_is_not(host: Host) -> None:
    other = Host(host.folder, replace(host.placement, status_file=str(host.folder / "other" / "exit_status")))
    for reference in (PINNED, "docker://app:1"):
        assert host.do("apptainer", "find", reference).status == 0
        assert other.do("apptainer", "find", reference).status == 0
    assert [call[-1] for call in image_calls(host)] == [PINNED, "docker://app:1", "docker://app:1"]


def test_an_image_that_an_engine_lost_is_pulled_again(host: Host) -> None:
    reference = "docker://app:1"
    for _ in range(2):
        assert host.do("docker", "find", reference).status == 0
    gone = host.folder / "bin" / "docker"
    gone.write_text(RECORDER.replace("' image inspect')", "' image inspect') [ \"$3\" = -f ] || exit 1;"))
    assert host.do("docker", "find", reference).status == 0
    assert len(image_calls(host)) == 2


def test_what_a_killed_pull_left_is_never_taken_and_goes_away(host: Host) -> None:
    host.cache.mkdir()
    left = host.cache / f"{KEPT}.sif.part.otherhost.123"
    left.write_text("half")
    assert host.do("apptainer", "find", PINNED).stdout == f"{host.cache}/{KEPT}.sif\n"
    assert [path.name for path in host.cache.iterdir()] == [f"{KEPT}.sif"]


def test_a_lock_without_a_sign_of_life_is_taken_over(host: Host) -> None:
    lock = host.cache / f"{KEPT}.sif.lock"
    lock.mkdir(parents=True)
    (lock / "holder").write_text("otherhost 123 7\n")
    program = host.write_program("apptainer")
    assert "-ge 60 ]" in program.read_text()
    program.write_text(program.read_text().replace("-ge 60 ]", "-ge 2 ]"))
    done = subprocess.run(
        ["sh", str(program), "find", PINNED],
        env=host.environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, f"{host.cache}/{KEPT}.sif\n")
    assert done.stderr.startswith(f"cloudq_container_run: another task is pulling {PINNED}\n")
    assert not lock.exists()


def test_a_lock_with_signs_of_life_is_respected(host: Host) -> None:
    lock = host.cache / f"{KEPT}.sif.lock"
    lock.mkdir(parents=True)
    program = host.write_program("apptainer")
    program.write_text(program.read_text().replace("-ge 60 ]", "-ge 3 ]"))
    signs = f'for n in $(seq 20); do echo $n >"{lock}/holder"; sleep 0.25; done'
    alive = f'{signs}; rm -r "{lock}"; date +%s%N'
    with subprocess.Popen(["sh", "-c", alive], stdout=subprocess.PIPE, text=True) as holder:
        command = ["sh", str(program), "find", PINNED]
        waiting = {**host.environment, "FAKE_PULL": f'date +%s%N >"{host.folder}/pulled"'}
        subprocess.run(command, env=waiting, capture_output=True, check=True, timeout=120)
        assert holder.stdout
        assert int((host.folder / "pulled").read_text()) > int(holder.stdout.read())


def test_the_lock_of_a_killed_task_is_free_soon(host: Host) -> None:
    killed = host.start("apptainer", "find", PINNED, FAKE_PULL=f'touch "{host.folder}/began"; exec sleep 600')
    wait_for((host.folder / "began").exists)
    killed.kill()
    killed.wait()
    assert host.do("apptainer", "find", PINNED).status == 0
    assert len(image_calls(host)) == 2
    os.killpg(killed.pid, 9)


def test_a_cancelled_pull_leaves_no_lock(host: Host) -> None:
    pulling = host.start(
        "apptainer", "find", PINNED, FAKE_PULL=f'touch "{host.folder}/began"; exec sleep 600'
    )
    wait_for((host.folder / "began").exists)
    os.killpg(pulling.pid, 15)
    assert pulling.wait(timeout=60) == 143
    assert not (host.cache / f"{KEPT}.sif.lock").exists()


def test_tasks_that_waited_for_a_failed_pull_do_not_try_again(host: Host) -> None:
    failing = {"FAKE_PULL": f'while [ ! -e "{host.folder}/all wait" ]; do sleep 0.1; done; exit 9'}
    processes = [host.start("apptainer", "find", PINNED, **failing) for _ in range(4)]
    begun = [process.stderr.readline() for process in processes if process.stderr]
    assert sum("another task is pulling" in line for line in begun) == 3
    (host.folder / "all wait").touch()
    said = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [125] * 4
    assert len(image_calls(host)) == 1
    again = f"cloudq_container_run: apptainer: image pull failed in another task: {PINNED}\n"
    assert sum(text.endswith(again) for text in said) == 3
    assert host.do("apptainer", "find", PINNED).status == 0


def test_a_cache_that_cannot_be_written_is_named(host: Host) -> None:
    host.cache.write_text("a file")
    ended = host.do("apptainer", "find", PINNED)
    assert ended.status == 125
    assert str(host.cache) in ended.stderr


# For another host, and with credentials.


@pytest.mark.parametrize("runtime", ["docker", "podman"])
def test_an_agent_hands_an_engine_s_image_on_as_an_archive(host: Host, runtime: str) -> None:
    fetched = host.do(runtime, "fetch", PINNED)
    assert fetched.stdout == f"{host.cache}/{KEPT}.tar\n"
    assert [runtime, "save", "-o"] in [call[:3] for call in host.calls]
    assert host.do(runtime, "run", fetched.stdout.strip(), "true").status == 0
    assert [runtime, "load", "-i", fetched.stdout.strip()] in host.calls


@pytest.mark.parametrize(
    ("runtime", "show", "shown"),
    [
        ("docker", 'cat "$DOCKER_CONFIG/config.json"', "keys"),
        ("podman", 'echo "$REGISTRY_AUTH_FILE"', "AUTH_FILE"),
        ("apptainer", 'echo "$4"', "AUTH_FILE"),
    ],
)
def test_credentials_are_named_to_the_runtime_and_nobody_else(
    host: Host, runtime: str, show: str, shown: str
) -> None:
    auth_file = host.folder / "our keys.json"
    auth_file.write_text("keys\n")
    found = host.folder / "found"
    program = host.write_program(runtime)
    program.write_text(program.read_text().replace("/etc/our keys.json", str(auth_file)))
    for registry in ("host:5000", "other:5000"):
        command = ["sh", str(program), "find", f"docker://{registry}/app:1"]
        settings = {"FAKE_PULL": f'{{ {show}; }} >>"{found}" 2>/dev/null'}
        subprocess.run(command, env={**host.environment, **settings}, capture_output=True, check=True)
    lines = found.read_text().splitlines()
    assert lines[0] == shown.replace("AUTH_FILE", str(auth_file))
    assert lines[0] not in lines[1:]
    assert "keys\n" not in "".join(path.read_text() for path in host.cache.rglob("*") if path.is_file())


# How it ends.


@pytest.mark.parametrize(
    ("status", "started", "said"),
    [
        pytest.param("7", "", "", id="the command's"),
        pytest.param("125", "1", "", id="the command's 125"),
        pytest.param("127", "1", "", id="the command's 127"),
        pytest.param("125", "", "125 is its own", id="the engine's 125"),
        pytest.param("126", "", "126 is its own", id="the engine's 126"),
    ],
)
@pytest.mark.parametrize("runtime", ["docker", "podman"])
def test_whose_exit_status_it_is_is_said(
    host: Host, runtime: str, status: str, started: str, said: str
) -> None:
    assert host.do(runtime, "find", PINNED).status == 0
    ended = host.do(runtime, "run", PINNED, "true", FAKE_STATUS=status, FAKE_STARTED=started)
    assert ended.status == int(status)
    could_not = f"{runtime} could not start the command in the image: status {said}, not the command's"
    assert ended.stderr == (f"cloudq_container_run: {could_not}\n" if said else "")


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_standard_input_reaches_the_command(host: Host, runtime: str) -> None:
    program = host.write_program(runtime)
    assert host.do(runtime, "find", PINNED).status == 0
    done = subprocess.run(
        ["sh", str(program), "run", PINNED, "cat"],
        env={**host.environment, "FAKE_RUN": "cat"},
        input="a\nb\n",
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "a\nb\n"


@pytest.mark.parametrize("runtime", ["docker", "podman"])
def test_a_container_does_not_outlive_a_job_that_was_killed(host: Host, runtime: str) -> None:
    assert host.do(runtime, "find", PINNED).status == 0
    job = host.start(runtime, "run", PINNED, "true", FAKE_RUN="exec sleep 600")
    wait_for(lambda: [runtime, "run"] in [call[:2] for call in host.calls])
    os.killpg(job.pid, 9)
    name = option_values(next(call for call in host.calls if call[:2] == [runtime, "run"]), "--name")[0]
    wait_for(lambda: [runtime, "rm", "-f", name] in host.calls)
    assert [runtime, "kill", name] in host.calls


@pytest.mark.parametrize("runtime", ["docker", "podman"])
def test_a_job_that_is_cancelled_waits_for_its_container_s_own_end(host: Host, runtime: str) -> None:
    assert host.do(runtime, "find", PINNED).status == 0
    begun = host.folder / "begun"
    ends = f"trap 'sleep 0.5; exit 3' TERM; sleep 600 & : >'{begun}'; wait"
    job = host.start(runtime, "run", PINNED, "true", FAKE_RUN=ends)
    wait_for(begun.exists)
    os.killpg(job.pid, 15)
    assert job.wait(timeout=60) == 3
    assert [runtime, "kill"] not in [call[:2] for call in host.calls]


# The text.


def golden(runtime: str) -> tuple[Path, str]:
    from cloudq.metascript import parse_meta_script, translate

    system = System(
        name="mycluster",
        scheduler="slurm",
        projects={"project001": "lab42"},
        resources={"small": "-p short --ntasks={n}"},
        container_runtime=runtime,
        image_cache="/home/me/.cloudq/images",
        registries=(Registry("nvcr.io", "/home/me/keys.json"),),
    )
    placement = Placement(
        "/home/me/.cloudq/cache/1f",
        "/home/me/.cloudq/spool/1f/exit_status",
        images={"docker://python:3.12-slim": f"docker://python@sha256:{DIGEST}"},
    )
    script = parse_meta_script((EXAMPLES / "container.sh").read_text(encoding="utf-8"), "container.sh")
    path = Path(__file__).parent / "golden-containers" / f"container.slurm.{runtime}.sh"
    return path, translate(script, system, placement)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_script_for_each_runtime_is_as_its_golden_file_shows(runtime: str) -> None:
    path, text = golden(runtime)
    if os.environ.get("CLOUDQ_UPDATE_GOLDEN") == "1":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("shell", ["bash", "dash", "zsh", "mksh"])
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_shell_reads_script_and_program_without_complaint(host: Host, runtime: str, shell: str) -> None:
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    for path in (golden(runtime)[0], host.write_program(runtime)):
        done = subprocess.run([shell, "-n", str(path)], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="shellcheck is not installed")
@pytest.mark.parametrize("gpu", [False, True])
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_shellcheck_finds_nothing(host: Host, translated: Translate, runtime: str, gpu: bool) -> None:
    head = "#$ other_opts: --gres=gpu:1\n" if gpu else ""
    script = translated(f"{head}true\n", replace(host.system(runtime), scheduler="slurm"))
    program = script.partition("<<'END_OF_CLOUDQ_CONTAINERS'\n")[2].partition("\nEND_OF_CLOUDQ_CONTAINERS\n")[
        0
    ]
    # SC2012: ls tells size and time of one file, in the way of POSIX. SC2013: words are wanted.
    # SC2016: a program for another shell. SC2094: both ends of one pipe. SC2317: called by name.
    command = ["shellcheck", "--shell=sh", "--exclude=SC2012,SC2013,SC2016,SC2094,SC2317", "-"]
    done = subprocess.run(command, input=program + "\n", capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_an_unknown_runtime_is_named_with_those_there_are() -> None:
    with pytest.raises(ConfigError) as caught:
        container_program(replace(DEMO, container_runtime="rkt"), Placement("/w", "/s/exit_status"))
    assert str(caught.value) == (
        "system demo: no template containers/rkt.sh: expected container_runtime to be one of "
        "apptainer, charliecloud, docker, none, podman, singularity"
    )


def test_a_template_of_the_site_replaces_a_runtime(host: Host, translated: Translate, tmp_path: Path) -> None:
    (tmp_path / "containers").mkdir()
    (tmp_path / "containers" / "docker.sh").write_text(
        '{% extends "parts/images.sh" %}\n'
        '{% block runtime %}\nrun_image() {\n    exec enroot "$@"\n}\n{% endblock %}'
    )
    script = "cq_container_run docker://python:3 true\n"
    assert "exec enroot" in translated(script, host.system("docker"), [tmp_path])
