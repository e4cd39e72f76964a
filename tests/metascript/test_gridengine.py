"""Translation for Grid Engine and ABCI: option lines, interpreters, tasks, modules, refusals."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from cloudq.agent.schedulers.gridengine import PREFIX
from cloudq.errors import MetaScriptError
from cloudq.system import System
from tests.metascript.conftest import Execute, Translate

CAMPUS = System(
    name="campus",
    scheduler="gridengine",
    projects={"p1": "lab42", "account": "-A lab 42", "odd": "lab's"},
    resources={
        "type1": "rt_F",
        "counted": "-pe mpi {n} -l 'a=b c'",
        "fixed": "-q short.q",
        "array": "-t 1-4",
    },
)
ABCI = replace(CAMPUS, name="abci", scheduler="abci", container_runtime="singularity")


def option_lines(script: str, start: str = f"{PREFIX} ") -> list[str]:
    return [line[len(start) :] for line in script.splitlines() if line.startswith(start)]


@pytest.mark.parametrize(
    ("head", "lines"),
    [
        pytest.param("", [], id="nothing asked"),
        pytest.param("#$ project: p1", ["-P lab42"], id="project"),
        pytest.param("#$ project: account", ["-A lab 42"], id="project that is options"),
        pytest.param("#$ resource: type1\n#$ n_resource: 3", ["-l rt_F=3"], id="resource type"),
        pytest.param(
            "#$ resource: counted\n#$ n_resource: 8", ["-pe mpi 8", "-l 'a=b c'"], id="options with {n}"
        ),
        pytest.param("#$ resource: fixed", ["-q short.q"], id="options"),
        pytest.param("#$ walltime: 2-03:00:05", ["-l h_rt=51:00:05"], id="walltime"),
        pytest.param("#$ nodes: 1\n#$ cores: 1\n#$ exclusive: no", [], id="what every job has"),
        pytest.param("#$ cores: 3\n#$ memory: 4G", ["-pe smp 3", "-l h_vmem=1366M"], id="cores and memory"),
        pytest.param("#$ gpus: 2\n#$ exclusive: yes", ["-l gpu=2", "-l exclusive=true"], id="GPUs, alone"),
        pytest.param(
            "#$ other_opts: -p -5 -v 'A=a b' -notify", ["-p -5", "-v 'A=a b'", "-notify"], id="other options"
        ),
        pytest.param(
            "#$ -l a=1 # why\n#$\t-q x\n#SBATCH -x\n#$ walltime: 1h",
            ["-l h_rt=01:00:00", "-l a=1 # why", "-q x"],
            id="native lines",
        ),
    ],
)
def test_directives_become_these_lines(translated: Translate, head: str, lines: list[str]) -> None:
    assert option_lines(translated(f"{head}\ntrue\n", CAMPUS)) == ["-S /bin/bash", *lines]


def test_qsub_finds_no_options_in_the_body(translated: Translate) -> None:
    body = "cat <<E\n#$ -l nosuch=1\n#$ -t 1-3\nE\n"
    script = translated(f"#!/bin/sh\n{body}", CAMPUS)
    assert script.endswith(body)
    assert option_lines(script) == ["-S /bin/sh"]


@pytest.mark.parametrize(
    ("head", "shell", "again"),
    [
        pytest.param("#!/opt/bin/zsh", "/opt/bin/zsh", None, id="a path"),
        pytest.param("#$ shell: bash", "/bin/sh", "/usr/bin/env bash", id="a name"),
        pytest.param("#!/bin/bash -eu", "/bin/sh", "/bin/bash -eu", id="with arguments"),
        pytest.param("#!/bin/sh -c $(x)", "/bin/sh", "/bin/sh -c '$(x)'", id="hostile arguments"),
    ],
)
def test_the_first_line_holds_also_where_queues_ignore_it(
    translated: Translate, head: str, shell: str, again: str
) -> None:
    script = translated(f"{head}\ntrue\n", CAMPUS)
    assert option_lines(script) == [f"-S {shell}"]
    started = re.findall(r'^    exec (.*) "\$JOB_SCRIPT"$', script, re.MULTILINE)
    assert started == ([] if again is None else [again])


def test_a_script_starts_again_under_its_own_shell_once(
    translated: Translate, execute: Execute, tmp_path: Path
) -> None:
    script = translated(
        '#!/usr/bin/env -S bash -u\necho "$- ${BASH_VERSION:+bash} ${CLOUDQ_STARTED-new}"\n', CAMPUS
    )
    ended = execute(script, "sh", {"JOB_SCRIPT": str(tmp_path / "translated.sh")})
    assert re.fullmatch(r"\w*u\w* bash new\n", ended.stdout)
    assert (ended.stderr, ended.status) == ("", 0)


@pytest.mark.parametrize("scheduler", ["gridengine", "abci"])
def test_a_job_that_is_no_array_has_no_task(translated: Translate, execute: Execute, scheduler: str) -> None:
    body = 'echo "<$ARY_TASK_ID$ARY_TASK_FIRST$ARY_TASK_LAST$ARY_TASK_STEPSIZE>"\nexit 3\n'
    names = ["SGE_TASK_ID", "SGE_TASK_FIRST", "SGE_TASK_LAST", "SGE_TASK_STEPSIZE"]
    script = translated(body, replace(CAMPUS, scheduler=scheduler))
    ended = execute(script, "sh -eu", dict.fromkeys(names, "undefined"))
    assert (ended.stdout, ended.recorded) == ("<>\n", "3\n")


def test_on_abci_the_project_is_no_line_of_the_script(translated: Translate) -> None:
    head = "#$ project: p1\n#$ resource: type1\n#$ n_resource: 2\n#$ walltime: 1:00:00\n"
    assert option_lines(translated(f"{head}true\n", ABCI)) == [
        "-S /bin/bash",
        "-l rt_F=2",
        "-l h_rt=01:00:00",
    ]


@pytest.mark.parametrize(
    ("resource", "asks"),
    [("rt_F", True), ("rt_G.small", True), ("rt_AF", True), ("rt_C.large", False), ("rt_Foo", False)],
)
def test_on_abci_the_resource_type_tells_of_gpus(translated: Translate, resource: str, asks: bool) -> None:
    system = replace(ABCI, resources={"r": resource})
    for head in ("#$ resource: r", f"#$ -l {resource}=1"):
        script = translated(f"{head}\n#$ container_img: docker://a\ncq_container_run $IMG0 true\n", system)
        assert ("--nv" in script) is asks


def test_on_abci_the_temporary_folder_and_modules_are_those_of_1_2(
    translated: Translate, execute: Execute, tmp_path: Path
) -> None:
    body = 'echo "$TMPDIR"\n'
    modules = 'module() { echo "module $*" >>"$LOG"; return 1; }\n'
    script = translated(body, replace(ABCI, container_runtime="none"))
    script = script.replace("\nARY_TASK_ID=$", f"\n{modules}ARY_TASK_ID=$", 1)
    log = tmp_path / "log"
    ended = execute(script, "sh -eu", {"SGE_LOCALDIR": "/local/123", "LOG": str(log)})
    assert (ended.stdout, ended.stderr, ended.status) == ("/local/123\n", "", 0)
    assert log.read_text() == "module load singularitypro/3.9\nmodule load aws-cli/2.11\n"


def test_on_abci_a_host_without_modules_is_no_fault(translated: Translate, execute: Execute) -> None:
    script = translated("true\n", replace(ABCI, container_runtime="none"))
    ended = execute(script, "sh -eu")
    assert (ended.stderr, ended.status) == ("", 0)


ARRAY = "the tasks of an array job are given at submission (--array_tid)"
NO_WORD = "Grid Engine cannot be given an empty value, a quote or a # here, got "


@pytest.mark.parametrize(
    ("head", "message"),
    [
        pytest.param(
            "#$ resource: fixed\n#$ n_resource: 2",
            "job.sh:2: n_resource: expected 1, as the definition of fixed on system campus has no {n}, "
            "such as in -pe smp {n}",
            id="number of what is fixed",
        ),
        pytest.param(
            "#$ nodes: 2",
            "job.sh:1: nodes: Grid Engine cannot be asked for nodes on every site: expected a resource that "
            "campus defines for that, such as -pe mpi {n}",
            id="nodes",
        ),
        pytest.param("#$ resource: array", f"job.sh:1: resource: -t: {ARRAY}", id="array by definition"),
        pytest.param("#$ other_opts: -V -t 1-4", f"job.sh:1: other_opts: -t: {ARRAY}", id="array by option"),
        pytest.param("#$ -V -t 1-4", f"job.sh:1: #$ -V -t 1-4: {ARRAY}", id="array by native line"),
        pytest.param("#$ project: odd", f"job.sh:1: project: {NO_WORD}lab's", id="a quote"),
        pytest.param("#$ other_opts: -v 'A=#'", f"job.sh:1: other_opts: {NO_WORD}A=#", id="a comment"),
        pytest.param("#$ other_opts: -A ''", f"job.sh:1: other_opts: {NO_WORD}", id="nothing"),
        pytest.param(
            "true\n#CQ$ -l x=1",
            "job.sh:1: #CQ$: a line of the script begins so, which qsub would take for an option: "
            "change that line",
            id="the prefix in the body",
        ),
    ],
)
def test_what_has_no_meaning_is_refused_with_its_line(translated: Translate, head: str, message: str) -> None:
    with pytest.raises(MetaScriptError) as caught:
        translated(f"{head}\ntrue\n", CAMPUS)
    assert str(caught.value) == message
