"""Translation: scheduler lines, interpreters, container runtimes, templates of a site, refusals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cloudq.agent.schedulers import SCHEDULERS
from cloudq.errors import ConfigError, MetaScriptError
from cloudq.system import System
from tests.metascript.conftest import DEMO, Translate

SLURM = System(
    name="slurm1",
    scheduler="slurm",
    projects={"p1": "lab42", "odd": "a\\b 'c'", "lines": "one\ntwo"},
    resources={
        "type1": "t2.micro",
        "gpu": "-p gpu --gres=gpu:1",
        "counted": "-p 'big one' --ntasks={n} -C x",
        "fixed": "--nodes=4 -p wide",
        "tasks": "-n8",
        "per_node": "--ntasks-per-node=4 --nodelist=n1",
        "open": "-p 'x",
        "bell": "-p \x07",
        "array": "--array=1-4",
    },
    container_runtime="apptainer",
)


def scheduler_lines(script: str) -> list[str]:
    return [line for line in script.splitlines() if line.startswith("#SBATCH")]


@pytest.mark.parametrize(
    ("head", "lines"),
    [
        pytest.param("", [], id="nothing asked"),
        pytest.param("#$ project: p1", ["-A lab42"], id="project"),
        pytest.param("#$ project: odd", ["-A 'a\\\\b \\'c\\''"], id="project with quotes"),
        pytest.param("#$ project: lines", ["-A 'one two'"], id="project on two lines of the file"),
        pytest.param("#$ project: p9\n#$ run_on: Slurm1", [], id="project undefined on the named system"),
        pytest.param("#$ resource: type1\n#$ n_resource: 3", ["-C t2.micro", "--nodes=3"], id="feature"),
        pytest.param(
            "#$ resource: gpu\n#$ n_resource: 2", ["-p gpu", "--gres=gpu:1", "--nodes=2"], id="options"
        ),
        pytest.param(
            "#$ resource: counted\n#$ n_resource: 8",
            ["-p 'big one'", "--ntasks=8", "-C x"],
            id="options with {n}",
        ),
        pytest.param("#$ resource: fixed", ["--nodes=4", "-p wide"], id="options that fix the nodes"),
        pytest.param("#$ resource: tasks", ["-n8"], id="options that fix the tasks"),
        pytest.param(
            "#$ resource: per_node\n#$ n_resource: 2",
            ["--ntasks-per-node=4", "--nodelist=n1", "--nodes=2"],
            id="options that only look so",
        ),
        pytest.param("#$ walltime: 90m", ["--time=01:30:00"], id="walltime"),
        pytest.param("#$ walltime: 2-03:00:05", ["--time=51:00:05"], id="walltime of days"),
        pytest.param(
            "#$ other_opts: --exclusive --mem=4G -v --nice -5 --comment 'two words' -x a,b",
            ["--exclusive", "--mem=4G", "-v", "--nice=-5", "'--comment=two words'", "-x a,b"],
            id="other options",
        ),
        pytest.param("#$ other_opts: --comment '' -v", ["--comment=", "-v"], id="empty value"),
        pytest.param("#$ other_opts: --x a b", ["--x a b"], id="option with two values"),
        pytest.param(
            "#SBATCH --qos=high # why\n#$ -l gpu=1\n#PBS -q x\n#$ walltime: 1h",
            ["--time=01:00:00", "--qos=high # why"],
            id="native lines",
        ),
    ],
)
def test_directives_become_these_lines_on_slurm(translated: Translate, head: str, lines: list[str]) -> None:
    assert scheduler_lines(translated(f"{head}\ntrue\n", SLURM)) == [f"#SBATCH {line}" for line in lines]


def test_all_lines_for_slurm_stand_above_the_first_command(translated: Translate) -> None:
    script = translated("#!/bin/sh\n#SBATCH --qos=high\n#$ walltime: 1h\necho\n#SBATCH --late\n", SLURM)
    assert script.startswith(
        "#!/bin/sh\n# Translated by CloudQ: edit the meta script, not this.\n"
        "#SBATCH --time=01:00:00\n#SBATCH --qos=high\n\nARY_TASK_ID="
    )


def test_the_local_queue_is_told_the_walltime_only(translated: Translate) -> None:
    head = "#$ project: project001\n#$ resource: small\n#$ walltime: 1d\n#$ other_opts: -x\n#SBATCH -p x\n"
    script = translated(f"{head}#CLOUDQ --walltime=5\ntrue\n")
    assert [line for line in script.splitlines() if line.startswith("#")][2:4] == [
        "#CLOUDQ --walltime=24:00:00",
        "#CLOUDQ --walltime=5",
    ]
    assert "#SBATCH" not in script


@pytest.mark.parametrize(
    ("head", "first_line"),
    [
        pytest.param("", "#!/bin/bash", id="nothing said"),
        pytest.param("#$ shell: bash", "#!/usr/bin/env bash", id="name"),
        pytest.param("#$ shell: sh", "#!/bin/sh", id="sh"),
        pytest.param("#$ shell: /opt/bin/zsh", "#!/opt/bin/zsh", id="path"),
        pytest.param("#!/bin/dash -e\n#$ shell: bash", "#!/bin/dash -e", id="its own line counts"),
    ],
)
def test_the_first_line_names_the_shell(translated: Translate, head: str, first_line: str) -> None:
    assert translated(f"{head}\ntrue\n").partition("\n")[0] == first_line


CONTAINER = "cq_container_run docker://python:3 true\n"


def test_a_script_without_containers_is_not_burdened_with_them(translated: Translate) -> None:
    assert "container" not in translated("echo\n", SLURM)
    assert "cloudq_container_run()" in translated("#$ container_img: docker://python:3\necho\n", SLURM)


def test_the_body_stands_unchanged_at_the_end(translated: Translate) -> None:
    body = "echo '{{ not }} {% a %} {# template #}'\n\n\tcat <<E\n$HOME\nE\n\n"
    assert translated(f"#!/bin/sh\n#$ run_on: ANY\n{body}").endswith(
        f"\n# The meta script from its first command on.\n{body}"
    )


def test_a_translation_ends_with_one_newline(translated: Translate) -> None:
    for text in ("", "#$ run_on: demo", "echo a", "echo a\n"):
        assert translated(text).rstrip("\n") + "\n" == translated(text)


@pytest.mark.parametrize(
    ("head", "asks"),
    [
        pytest.param("#$ resource: gpu", True, id="resource"),
        pytest.param("#$ other_opts: --gpus=1", True, id="other options"),
        pytest.param("#SBATCH --gres=GPU:1", True, id="native line"),
        pytest.param("#$ resource: type1", False, id="no GPU"),
    ],
)
def test_a_container_sees_gpus_if_the_job_asks_for_them(translated: Translate, head: str, asks: bool) -> None:
    assert ("apptainer exec --nv " in translated(f"{head}\n{CONTAINER}", SLURM)) is asks


@pytest.mark.parametrize("runtime", ["apptainer", "singularity"])
def test_the_runtime_of_the_system_is_called(translated: Translate, runtime: str) -> None:
    assert f"\n    exec {runtime} exec " in translated(CONTAINER, replace(SLURM, container_runtime=runtime))


ARRAY = "the tasks of an array job are given at submission (--array_tid)"


@pytest.mark.parametrize(
    ("head", "message"),
    [
        pytest.param(
            "\n#$ project: p9",
            "job.sh:2: project: 'p9' has no meaning on system slurm1 (known there: lines, odd, p1)",
            id="project, any system",
        ),
        pytest.param(
            "#$ run_on: slurm1\n#$ resource: r9",
            "job.sh:2: resource: 'r9' has no meaning on system slurm1 "
            "(known there: array, bell, counted, fixed, gpu, open, per_node, tasks, type1)",
            id="resource",
        ),
        pytest.param(
            "#$ resource: fixed\n#$ n_resource: 2",
            "job.sh:2: n_resource: expected 1, as the definition of fixed on system slurm1 fixes "
            "the number by --nodes=4 without {n}",
            id="number of what is fixed",
        ),
        pytest.param(
            "#$ resource: open",
            'job.sh:1: resource: the definition "-p \'x" cannot be split into options: No closing quotation',
            id="definition with an open quote",
        ),
        pytest.param(
            "#$ resource: bell",
            r"job.sh:1: resource: expected a definition of printable text, got '-p \x07'",
            id="definition with a control character",
        ),
        pytest.param(
            "#$ resource: array", f"job.sh:1: resource: --array=1-4: {ARRAY}", id="array by definition"
        ),
        pytest.param("#$ other_opts: -v -a 1-4", f"job.sh:1: other_opts: -a: {ARRAY}", id="array by option"),
        pytest.param("#SBATCH --array=1", f"job.sh:1: #SBATCH --array=1: {ARRAY}", id="array by native line"),
        pytest.param(
            "#$ other_opts: -x ''",
            "job.sh:1: other_opts: -x: Slurm cannot be given an empty value here",
            id="empty",
        ),
    ],
)
def test_what_has_no_meaning_on_slurm_is_refused_with_its_line(
    translated: Translate, head: str, message: str
) -> None:
    with pytest.raises(MetaScriptError) as caught:
        translated(f"{head}\ntrue\n", SLURM)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("system", "message"),
    [
        pytest.param(
            replace(DEMO, scheduler="lsf"),
            "system demo: no template lsf.sh: expected type to be one of ",
            id="scheduler",
        ),
        pytest.param(
            replace(DEMO, container_runtime="rkt"),
            "system demo: no template containers/rkt.sh: "
            "expected container_runtime to be one of "
            "apptainer, charliecloud, docker, none, podman, singularity",
            id="container runtime",
        ),
    ],
)
def test_an_unknown_word_in_the_configuration_is_named(
    translated: Translate, system: System, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        translated(CONTAINER, system)
    assert str(caught.value).startswith(message)


def test_only_schedulers_are_offered_as_type(translated: Translate) -> None:
    with pytest.raises(ConfigError, match=f"one of {', '.join(sorted(SCHEDULERS))}$"):
        translated("true\n", replace(DEMO, scheduler="lsf"))


def test_a_template_of_the_site_replaces_ours_by_name(translated: Translate, tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "modules.sh").write_text("module load {{ system.name | quote }}\n")
    script = translated("true\n", replace(DEMO, name="a b"), [tmp_path])
    assert "\nmodule load 'a b'\n" in script
    assert "/etc/profile.d" not in script


def test_a_template_of_the_site_may_build_on_ours(translated: Translate, tmp_path: Path) -> None:
    (tmp_path / "slurm.sh").write_text(
        '{% extends "cloudq/slurm.sh" %}{% block modules %}module load site\n{% endblock %}'
    )
    script = translated("#$ walltime: 1h\ntrue\n", SLURM, [tmp_path])
    assert "#SBATCH --time=01:00:00\n" in script
    assert "\nmodule load site\n" in script


@pytest.mark.parametrize(
    ("template", "message"),
    [
        pytest.param(
            "{{ sytem.name }}", "template of system demo: 'sytem' is undefined", id="undefined name"
        ),
        pytest.param("{% if %}", "template of system demo: Expected an expression", id="syntax"),
    ],
)
def test_a_faulty_template_of_the_site_is_a_fault_of_the_configuration(
    translated: Translate, tmp_path: Path, template: str, message: str
) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "modules.sh").write_text(template)
    with pytest.raises(ConfigError) as caught:
        translated("true\n", DEMO, [tmp_path])
    assert str(caught.value).startswith(message)
