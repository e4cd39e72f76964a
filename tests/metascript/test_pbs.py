"""Translation for PBS: its lines, the tasks of an array, refusals."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cloudq.errors import MetaScriptError
from cloudq.job import ArrayRange
from cloudq.metascript import Placement, parse_meta_script, translate
from cloudq.system import System
from tests.metascript.conftest import Translate

ABCI = System(
    name="abci3",
    scheduler="pbs",
    projects={"p1": "gaa50000", "account": "-A lab42"},
    resources={
        "full": "-q rt_HF -l select={n}",
        "queue": "rt_HC",
        "chunk": "ncpus=4:mem=8gb",
        "open": "-q rt_HF -l place=scatter",
        "fixed": "-q debug -l select=1:ncpus=8",
        "attached": "-lselect=2",
        "old": "-l ncpus=4",
        "array": "-J 1-4",
    },
)


def pbs_lines(script: str) -> list[str]:
    return [line for line in script.splitlines() if line.startswith("#PBS")]


@pytest.mark.parametrize(
    ("head", "lines"),
    [
        pytest.param("", [], id="nothing asked"),
        pytest.param("#$ project: p1", ["-P gaa50000"], id="project"),
        pytest.param("#$ project: account", ["-A lab42"], id="project that is options"),
        pytest.param(
            "#$ resource: full\n#$ n_resource: 2", ["-q rt_HF", "-l select=2"], id="options with {n}"
        ),
        pytest.param("#$ resource: queue\n#$ n_resource: 3", ["-q rt_HC", "-l select=3"], id="queue"),
        pytest.param("#$ resource: chunk\n#$ n_resource: 2", ["-l select=2:ncpus=4:mem=8gb"], id="chunk"),
        pytest.param(
            "#$ resource: open\n#$ n_resource: 2",
            ["-q rt_HF", "-l place=scatter", "-l select=2"],
            id="options that fix no number",
        ),
        pytest.param("#$ resource: fixed", ["-q debug", "-l select=1:ncpus=8"], id="options that fix it"),
        pytest.param("#$ resource: attached", ["-lselect=2"], id="option and value in one word"),
        pytest.param("#$ resource: old", ["-l ncpus=4"], id="resources of the job"),
        pytest.param(
            "#$ cores: 4\n#$ gpus: 2\n#$ memory: 1.5G",
            ["-l select=1:ncpus=4:ngpus=2:mem=1536mb"],
            id="numbers on one node",
        ),
        pytest.param(
            "#$ nodes: 3\n#$ cores: 4", ["-l select=3:ncpus=4", "-l place=scatter"], id="several nodes"
        ),
        pytest.param("#$ nodes: 1", ["-l select=1"], id="one node"),
        pytest.param(
            "#$ nodes: 2\n#$ exclusive: yes",
            ["-l select=2", "-l place=scatter:exclhost"],
            id="nodes of its own",
        ),
        pytest.param("#$ exclusive: yes", ["-l place=exclhost"], id="a node of its own"),
        pytest.param(
            "#$ resource: queue\n#$ gpus: 1", ["-q rt_HC", "-l select=1:ngpus=1"], id="queue and numbers"
        ),
        pytest.param(
            "#$ resource: chunk\n#$ gpus: 1", ["-l select=1:ncpus=4:mem=8gb:ngpus=1"], id="chunk and numbers"
        ),
        pytest.param("#$ walltime: 2-03:00:05", ["-l walltime=51:00:05"], id="walltime"),
        pytest.param(
            "#$ other_opts: -p -5 -m abe -V -M 'a b' -A ''",
            ["-p -5", "-m abe", "-V", "-M 'a b'", "-A ''"],
            id="other options",
        ),
        pytest.param(
            """#$ other_opts: -v "x='1,2'" """, ["""-v 'x='"'"'1,2'"'"''"""], id="value with quotes in it"
        ),
        pytest.param("#PBS -W umask=022\n#SBATCH -p x\n#$ -l gpu=1", ["-W umask=022"], id="native lines"),
    ],
)
def test_directives_become_these_lines_on_pbs(translated: Translate, head: str, lines: list[str]) -> None:
    assert pbs_lines(translated(f"{head}\ntrue\n", ABCI)) == [f"#PBS {line}" for line in lines]


def test_all_lines_for_pbs_stand_above_the_first_command(translated: Translate) -> None:
    script = translated("#!/bin/sh\n#PBS -m n\n#$ walltime: 1h\necho\n#PBS -late\n", ABCI)
    assert script.startswith(
        "#!/bin/sh\n# Translated by CloudQ: edit the meta script, not this.\n"
        "#PBS -l walltime=01:00:00\n#PBS -m n\n\nARY_TASK_ID="
    )


@pytest.mark.parametrize(
    ("tasks", "first", "last", "step"),
    [("2-11:4", "2", "10", "4"), ("7", "7", "7", "1"), ("0-1%1", "0", "1", "1"), ("", "", "", "")],
)
def test_a_task_is_told_its_array_by_the_script(
    placement: Placement, tasks: str, first: str, last: str, step: str
) -> None:
    placement = replace(placement, array_range=ArrayRange.parse(tasks) if tasks else None)
    script = translate(parse_meta_script("true", "job.sh"), ABCI, placement)
    assert (
        "ARY_TASK_ID=${PBS_ARRAY_INDEX-}\n"
        f"ARY_TASK_FIRST={first}\nARY_TASK_LAST={last}\nARY_TASK_STEPSIZE={step}\n"
    ) in script


ARRAY = "the tasks of an array job are given at submission (--array_tid)"


@pytest.mark.parametrize(
    ("head", "message"),
    [
        pytest.param(
            "#$ resource: fixed\n#$ n_resource: 2",
            "job.sh:2: n_resource: expected 1, as the definition of fixed on system abci3 fixes "
            "the number by select=1:ncpus=8 without {n}",
            id="number of what is fixed",
        ),
        pytest.param(
            "#$ resource: full\n#$ gpus: 2",
            "job.sh:2: gpus: the definition of full on system abci3 has select=1 already: leave it out",
            id="number that the definition fixes",
        ),
        pytest.param(
            "#$ resource: open\n#$ exclusive: yes",
            "job.sh:2: exclusive: the definition of open on system abci3 has place=scatter already: "
            "leave it out",
            id="place that the definition fixes",
        ),
        pytest.param("#$ resource: array", f"job.sh:1: resource: -J: {ARRAY}", id="array by definition"),
        pytest.param(
            "#$ other_opts: -V -J1-4", f"job.sh:1: other_opts: -J1-4: {ARRAY}", id="array by option"
        ),
        pytest.param("#PBS -J 1-4", f"job.sh:1: #PBS -J 1-4: {ARRAY}", id="array by native line"),
    ],
)
def test_what_has_no_meaning_on_pbs_is_refused_with_its_line(
    translated: Translate, head: str, message: str
) -> None:
    with pytest.raises(MetaScriptError) as caught:
        translated(f"{head}\ntrue\n", ABCI)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("queue", "asks"), [("rt_HF", True), ("rt_HG", True), ("rt_HC", False), ("rt_HFoo", False)]
)
def test_on_abci_3_the_queue_tells_of_gpus(translated: Translate, queue: str, asks: bool) -> None:
    body = "#$ container_img: docker://a\ncq_container_run $IMG0 true\n"
    for resource, head in (
        (queue, "#$ resource: r\n"),
        ("-l select=1", f"#$ resource: r\n#PBS -q {queue}\n"),
    ):
        system = System("abci3", "pbs", resources={"r": resource}, container_runtime="singularity")
        assert ("--nv" in translated(head + body, system)) is asks
