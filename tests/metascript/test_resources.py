"""What a script asks for by number: nodes, cores, GPUs, memory, a node of its own."""

from __future__ import annotations

import pytest

from cloudq.errors import MetaScriptError
from cloudq.metascript import Placement, parse_meta_script, translate
from cloudq.system import System

PLACEMENT = Placement("/work", "/spool/exit_status")


def _translated(scheduler: str, *directives: str) -> list[str]:
    text = "".join(f"#$ {directive}\n" for directive in directives) + "echo\n"
    system = System("mine", scheduler, resources={"big": "-p big"})
    return translate(parse_meta_script(text, "job.sh"), system, PLACEMENT).splitlines()


@pytest.mark.parametrize(
    ("directive", "line"),
    [
        pytest.param("nodes: 2", "#SBATCH --nodes=2", id="nodes"),
        pytest.param("cores: 4", "#SBATCH --ntasks-per-node=1 --cpus-per-task=4", id="cores"),
        pytest.param("gpus: 1", "#SBATCH --gres=gpu:1", id="gpus"),
        pytest.param("memory: 1.5G", "#SBATCH --mem=1536M", id="memory"),
        pytest.param("memory: 1K", "#SBATCH --mem=1M", id="memory-rounded-up"),
        pytest.param("exclusive: yes", "#SBATCH --exclusive", id="exclusive"),
    ],
)
def test_slurm_gets_each_as_an_option(directive: str, line: str) -> None:
    assert line in _translated("slurm", directive)


def test_they_may_stand_beside_a_resource() -> None:
    lines = _translated("slurm", "resource: big", "n_resource: 2", "cores: 4")
    assert [line for line in lines if line.startswith("#SBATCH")] == [
        "#SBATCH -p big",
        "#SBATCH --nodes=2",
        "#SBATCH --ntasks-per-node=1 --cpus-per-task=4",
    ]


@pytest.mark.parametrize("directive", ["nodes: 2", "cores: 2", "gpus: 1", "memory: 1G", "exclusive: yes"])
def test_a_host_without_a_scheduler_refuses_what_it_cannot_give(directive: str) -> None:
    key = directive.partition(":")[0]
    with pytest.raises(MetaScriptError, match=rf"job\.sh:1: {key}: system mine runs processes of one host"):
        _translated("local", directive)


def test_what_a_host_has_anyway_is_not_refused() -> None:
    assert _translated("local", "nodes: 1", "cores: 1", "exclusive: no")[-1] == "echo"


@pytest.mark.parametrize(
    ("directives", "problem"),
    [
        pytest.param(["memory: 4"], "job.sh:1: memory: expected a size with its unit", id="no-unit"),
        pytest.param(["memory: 0G"], "job.sh:1: memory: expected a size", id="no-memory"),
        pytest.param(["exclusive: maybe"], "job.sh:1: exclusive: expected yes or no", id="maybe"),
        pytest.param(["cores: 0"], "job.sh:1: cores: expected a whole number of 1 or more", id="no-core"),
        pytest.param(["resource: big", "nodes: 2"], "job.sh:2: nodes: expected n_resource", id="both"),
    ],
)
def test_what_cannot_be_meant_is_refused(directives: list[str], problem: str) -> None:
    with pytest.raises(MetaScriptError) as refused:
        _translated("slurm", *directives)
    assert str(refused.value).startswith(problem)
