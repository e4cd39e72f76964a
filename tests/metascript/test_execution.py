"""Translated scripts, run by real shells: variables, exit status, signals, functions, hostile values."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudq.metascript import Placement
from tests.metascript.conftest import DEMO, Execute, Translate

SHELLS = ["sh", "sh -eu", "bash", "bash -eu", "zsh", "ksh", "mksh"]
LINE = st.text(st.characters(min_codepoint=33, exclude_categories=["C", "Z"]), min_size=1, max_size=30)


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> str:
    command = str(request.param)
    if not shutil.which(command.split()[0]):
        pytest.skip(f"{command} is not installed")
    return command


@pytest.fixture
def path_with(tmp_path: Path) -> Callable[[str, str], dict[str, str]]:
    """Put a program on the PATH: it prints its name and its arguments, one per line."""

    def path_with(name: str, extra: str = "") -> dict[str, str]:
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        program = folder / name
        program.write_text(f'#!/bin/sh\n{extra}\nprintf "<%s>\\n" {name} "$@"\nexit "${{FAKE_STATUS:-0}}"\n')
        program.chmod(0o700)
        return {"PATH": f"{folder}:{os.environ['PATH']}"}

    return path_with


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param("", 0, id="no body"),
        pytest.param("true\n", 0, id="falls off the end"),
        pytest.param("false\n", 1, id="falls off the end after a failure"),
        pytest.param("exit 7\n", 7, id="exit"),
        pytest.param("cd /\nexit 4\n", 4, id="changes the directory"),
        pytest.param("set -e\nfalse\nexit 9\n", 1, id="set -e"),
        pytest.param("f() { exit 11; }\nf\n", 11, id="exit in a function"),
        pytest.param("PATH=/nonexistent\nexit 5\n", 5, id="changes the PATH"),
        pytest.param("set -C\nset -f\nIFS=0123456789\nexit 6\n", 6, id="noclobber, noglob, IFS"),
        pytest.param("umask 777\nexit 3\n", 3, id="umask"),
        pytest.param("exec >&- 2>&-\nexit 15\n", 15, id="closes its output"),
        pytest.param("mv() { :; }\nprintf() { :; }\nexit 12\n", 12, id="functions of the same names"),
        pytest.param("(exit 3) || sh -c 'exit 5'\n", 5, id="children"),
        pytest.param("kill -TERM $$\nsleep 5\n", 143, id="SIGTERM"),
        pytest.param("kill -USR1 $$\nsleep 5\n", 138, id="SIGUSR1"),
    ],
)
def test_the_exit_status_is_kept_and_recorded(
    translated: Translate, execute: Execute, shell: str, body: str, status: int
) -> None:
    ended = execute(translated(f"#$ run_on: demo\n{body}"), shell)
    assert (ended.status, ended.stdout) == (status, "")
    # A success of ksh93 (not of mksh) is left to the scheduler's record: see parts/status.sh.
    assert ended.recorded in ([None, "0\n"] if shell == "ksh" and status == 0 else [f"{status}\n"])


def test_a_fatal_error_of_the_shell_is_not_recorded_as_success(
    translated: Translate, execute: Execute, shell: str
) -> None:
    ended = execute(translated('set -u\ntrue\necho "$no_such_variable"\ntrue\n'), shell)
    assert ended.status != 0
    assert ended.recorded in (None, f"{ended.status}\n")


def test_a_body_with_its_own_exit_trap_or_exec_leaves_no_status_file(
    translated: Translate, execute: Execute
) -> None:
    for body in ("trap 'echo bye' EXIT\nexit 3\n", "exec sh -c 'exit 3'\n"):
        ended = execute(translated(body))
        assert (ended.status, ended.recorded) == (3, None)


def test_the_status_of_an_earlier_run_is_removed_first(
    translated: Translate, execute: Execute, placement: Placement
) -> None:
    Path(placement.status_file).write_text("0\n")
    assert execute(translated("exec sh -c 'exit 3'\n")).recorded is None


def test_a_status_file_that_cannot_be_written_changes_no_exit_status(
    translated: Translate, execute: Execute, placement: Placement
) -> None:
    Path(placement.status_file).mkdir()
    (Path(placement.status_file) / "full").touch()
    Path(placement.status_file + ".part").mkdir()
    script = translated("set -e\nexit 4\n")
    assert subprocess.run(["bash", "-c", script], capture_output=True, check=False).returncode == 4


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP"])
def test_a_signal_to_the_job_is_recorded(
    translated: Translate, tmp_path: Path, placement: Placement, shell: str, name: str
) -> None:
    path = tmp_path / "translated.sh"
    path.write_text(translated("sh -c 'echo started; exec sleep 20'\necho not reached\n"))
    number = signal.Signals[f"SIG{name}"]
    with subprocess.Popen(
        [*shell.split(), str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "started\n"
        os.killpg(process.pid, number)
        assert process.stdout.read() == ""
    assert process.returncode == 128 + number
    assert Path(placement.status_file).read_text() == f"{128 + number}\n"


SIGNALS = "HUP INT QUIT ILL TRAP ABRT BUS FPE USR1 SEGV USR2 PIPE ALRM TERM XCPU XFSZ VTALRM PROF SYS"


@pytest.mark.parametrize("name", SIGNALS.split())
def test_no_signal_to_the_shell_alone_is_recorded_as_success(
    translated: Translate, execute: Execute, shell: str, name: str
) -> None:
    number = signal.Signals[f"SIG{name}"]
    ended = execute(translated(f"true\nkill -{number} $$\necho not reached\n"), shell)
    # ksh93 ends by some of them with the mere number.
    assert (ended.stdout, ended.status in (128 + number, -number, number)) == ("", True)
    assert ended.recorded in [f"{128 + number}\n", None]
    # Those are what sites and users send; and bash would record a 0 for a crash.
    if name in "HUP INT TERM USR1 USR2 XCPU" or (
        shell.startswith("bash") and name in "ABRT BUS FPE ILL SEGV"
    ):
        assert ended.recorded


def test_a_stack_that_overflows_ends_bash_at_once_and_is_not_recorded_as_success(
    translated: Translate, execute: Execute
) -> None:
    ended = execute(translated("ulimit -s 256\nf() { f; }\ntrue\nf\n"))
    assert (ended.status, ended.recorded) == (-signal.SIGSEGV, None)


@pytest.mark.parametrize("text", ["printf %s a\\", "true\nprintf '%s' \\\\\\"])
def test_a_final_backslash_without_a_newline_means_what_it_means_without_cloudq(
    translated: Translate, execute: Execute, shell: str, tmp_path: Path, text: str
) -> None:
    (tmp_path / "plain.sh").write_text(text)
    plain = subprocess.run([*shell.split(), str(tmp_path / "plain.sh")], stdout=subprocess.PIPE, check=True)
    assert execute(translated(text), shell).stdout == plain.stdout.decode()


def test_variables_are_exported(translated: Translate, execute: Execute, shell: str) -> None:
    script = translated(
        "#$ container_img: docker://a\n#$ container_image: box=b.sif\n"
        'env | grep -E "^(SYSTEM|ARY_TASK_.*|CONTAINER_IMG0|IMG0|BOX)=" | sort\n'
    )
    expected = (
        "ARY_TASK_FIRST=\nARY_TASK_ID=\nARY_TASK_LAST=\nARY_TASK_STEPSIZE=\n"
        "BOX=b.sif\nCONTAINER_IMG0=docker://a\nIMG0=docker://a\nSYSTEM=demo\n"
    )
    assert execute(script, shell).stdout == expected


@pytest.mark.parametrize(
    ("scheduler", "names"),
    [
        ("abci", ["SGE_TASK_ID", "SGE_TASK_FIRST", "SGE_TASK_LAST", "SGE_TASK_STEPSIZE"]),
        ("gridengine", ["SGE_TASK_ID", "SGE_TASK_FIRST", "SGE_TASK_LAST", "SGE_TASK_STEPSIZE"]),
        ("local", ["CLOUDQ_TASK_ID", "CLOUDQ_TASK_FIRST", "CLOUDQ_TASK_LAST", "CLOUDQ_TASK_STEP"]),
        (
            "slurm",
            ["SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_MAX", "SLURM_ARRAY_TASK_STEP"],
        ),
    ],
)
def test_a_task_knows_its_place_and_records_its_own_status(
    translated: Translate, execute: Execute, scheduler: str, names: list[str]
) -> None:
    body = 'echo "$ARY_TASK_ID $ARY_TASK_FIRST $ARY_TASK_LAST $ARY_TASK_STEPSIZE"\nexit 3\n'
    script = translated(body, replace(DEMO, scheduler=scheduler))
    ended = execute(script, environment=dict(zip(names, ["12", "2", "22", "10"])))
    assert (ended.stdout, ended.recorded) == ("12 2 22 10\n", ".123\n")


def test_a_script_runs_in_its_working_directory(
    translated: Translate, execute: Execute, placement: Placement, shell: str
) -> None:
    assert execute(translated("pwd\n"), shell).stdout == f"{placement.work_dir}\n"


def test_without_its_working_directory_a_script_does_not_run(
    translated: Translate, execute: Execute, placement: Placement
) -> None:
    Path(placement.work_dir).rmdir()
    ended = execute(translated("echo ran\n"))
    assert (ended.status, ended.stdout, ended.recorded) == (1, "", "1\n")


def test_a_script_starts_with_status_0_and_without_noise(
    translated: Translate, execute: Execute, shell: str
) -> None:
    ended = execute(translated('echo "status $? arguments $#"\n'), shell)
    assert (ended.stdout, ended.stderr) == ("status 0 arguments 0\n", "")


DEFAULTS = "--endpoint-url https://s3.example.org --profile cloudq"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param("file s3://b/k", f"{DEFAULTS} s3 cp --no-progress file s3://b/k", id="to the bucket"),
        pytest.param(
            "folder s3://b/k",
            f"{DEFAULTS} s3 cp --no-progress --recursive folder s3://b/k",
            id="folder to the bucket",
        ),
        pytest.param("s3://b/object .", f"{DEFAULTS} s3 cp --no-progress s3://b/object .", id="object"),
        pytest.param(
            "s3://b/folder x",
            f"{DEFAULTS} s3 cp --no-progress --recursive s3://b/folder x",
            id="folder by its name",
        ),
        pytest.param(
            "s3://b/any/ x", f"{DEFAULTS} s3 cp --no-progress --recursive s3://b/any/ x", id="final slash"
        ),
        pytest.param("s3://b x", f"{DEFAULTS} s3 cp --no-progress --recursive s3://b x", id="whole bucket"),
        pytest.param(
            "file s3://b/k http://e",
            "--endpoint-url http://e --profile cloudq s3 cp --no-progress file s3://b/k",
            id="other endpoint",
        ),
        pytest.param(
            "file s3://b/k http://e me",
            "--endpoint-url http://e --profile me s3 cp --no-progress file s3://b/k",
            id="other endpoint and profile",
        ),
        pytest.param(
            "file s3://b/k '' me",
            "--endpoint-url https://s3.example.org --profile me s3 cp --no-progress file s3://b/k",
            id="other profile",
        ),
    ],
)
def test_the_copy_function_calls_aws_with_these_words(
    translated: Translate,
    execute: Execute,
    path_with: Callable[..., dict[str, str]],
    arguments: str,
    words: str,
) -> None:
    # The stand-in knows one folder in the bucket, as `aws s3 ls` tells by its status.
    listing = 'case "$*" in *" ls s3://b/folder/") exit 0 ;; *" ls "*) exit 1 ;; esac'
    ended = execute(
        translated(f"touch file; mkdir folder\ncq_cs_cp {arguments}\n"), "sh", path_with("aws", listing)
    )
    assert ended.stdout.replace("<", "").replace(">", "").split() == ["aws", *words.split()]
    assert ended.status == 0


@pytest.mark.parametrize("name", ["cq_cs_cp", "cloudq_cs_cp", "abci_cs_cp", "slurm_cs_cp"])
def test_the_copy_function_has_the_names_of_both_dialects(
    translated: Translate, execute: Execute, path_with: Callable[..., dict[str, str]], name: str
) -> None:
    script = translated(f"{name} 'a b' s3://b/k\n", replace(DEMO, endpoint_url="", profile=""))
    ended = execute(script, environment={**path_with("aws"), "FAKE_STATUS": "3"})
    assert ended.stdout == "<aws>\n<s3>\n<cp>\n<--no-progress>\n<a b>\n<s3://b/k>\n"
    assert ended.status == 3


def test_the_copy_function_copies_local_files_and_folders(
    translated: Translate, execute: Execute, placement: Placement, shell: str
) -> None:
    ended = execute(translated("mkdir a\necho x >'a/b c'\ncq_cs_cp a d\ncq_cs_cp 'a/b c' e\n"), shell)
    assert (ended.status, ended.stderr) == (0, "")
    assert (Path(placement.work_dir) / "d" / "b c").read_text() == "x\n"
    assert (Path(placement.work_dir) / "e").read_text() == "x\n"


@pytest.mark.parametrize(
    ("call", "status", "message"),
    [
        pytest.param(
            "cq_cs_cp a",
            2,
            "cloudq_cs_cp: expected SRC DST [ENDPOINT [PROFILE]], got 1 arguments",
            id="arguments",
        ),
        pytest.param(
            "PATH=/nonexistent\ncq_cs_cp a s3://b/k",
            127,
            "cloudq_cs_cp: the command aws is not installed on system demo",
            id="no aws",
        ),
    ],
)
def test_the_copy_function_says_what_is_wrong(
    translated: Translate, execute: Execute, shell: str, call: str, status: int, message: str
) -> None:
    ended = execute(translated(f"{call}\n"), shell)
    assert (ended.status, ended.stderr) == (status, f"{message}\n")


@settings(max_examples=25)
@given(
    # A backslash at the end of a directive continues it.
    tail=LINE.filter(lambda text: text[0] != "-" and text[-1] != "\\"),
    name=st.text(max_size=30).filter(lambda text: "\0" not in text),
    option=LINE,
)
def test_no_value_means_anything_to_the_shell(
    translated: Translate, execute: Execute, tail: str, name: str, option: str
) -> None:
    name = name.encode("utf-8", "replace").decode().replace("\r", "")
    system = replace(DEMO, scheduler="slurm", name=name, projects={"p": tail}, resources={"r": tail})
    value = option.replace("\\", "\\\\").replace('"', '\\"')
    head = f'#$ container_img: docker://{tail}\n#$ project: p\n#$ resource: r\n#$ other_opts: --x "{value}"\n'
    ended = execute(translated(f'{head}printf "%s\\n" "$IMG0" "$SYSTEM."\n', system), "sh")
    assert ended.stdout == f"docker://{tail}\n{name}.\n"
    assert (ended.stderr, ended.status) == ("", 0)
