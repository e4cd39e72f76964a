"""Whether the names of projects and resources are defined, as the client checks it."""

from __future__ import annotations

import pytest

from cloudq.errors import MetaScriptError
from cloudq.metascript import check_names, parse_meta_script
from cloudq.system import no_definitions, parse_definitions

PROJECTS = parse_definitions("[p1]\nabci = group\ndemo =\n[p2]\nabci = other\n", "project.ini")
RESOURCES = parse_definitions("[r1]\nabci = rt_F\n", "resource.ini")


@pytest.mark.parametrize(
    "head",
    [
        pytest.param("", id="no names"),
        pytest.param("#$ project: p1\n#$ resource: r1", id="any system"),
        pytest.param("#$ project: p1\n#$ resource: r1\n#$ run_on: ABCI", id="a system, in another case"),
    ],
)
def test_defined_names_pass(head: str) -> None:
    check_names(parse_meta_script(head, "job.sh"), PROJECTS, RESOURCES)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        pytest.param(
            "#$ project: p3",
            "job.sh:1: project: no section [p3] in the project file (it has: p1, p2)",
            id="project",
        ),
        pytest.param(
            "\n#$ resource: x",
            "job.sh:2: resource: no section [x] in the resource file (it has: r1)",
            id="resource",
        ),
        pytest.param(
            "#$ run_on: other\n#$ resource: r1",
            "job.sh:2: resource: section [r1] of the resource file has no line "
            "for system other (it has: abci)",
            id="no line for the system",
        ),
    ],
)
def test_undefined_names_are_refused_with_their_line(head: str, message: str) -> None:
    with pytest.raises(MetaScriptError) as caught:
        check_names(parse_meta_script(head, "job.sh"), PROJECTS, RESOURCES)
    assert str(caught.value) == message


def test_without_definitions_every_name_is_unknown() -> None:
    with pytest.raises(MetaScriptError, match=r"no section \[p1\] in the project file \(it has: none\)"):
        check_names(parse_meta_script("#$ project: p1", "job.sh"), no_definitions(), no_definitions())


def test_a_name_may_mean_nothing_in_particular_on_a_system() -> None:
    """As in CloudQ 1.2: a line without a value is a name that is known and needs no option."""
    check_names(parse_meta_script("#$ run_on: demo\n#$ project: p1", "job.sh"), PROJECTS, RESOURCES)
