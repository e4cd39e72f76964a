"""Parsing of meta scripts: both dialects, line forms, and what is refused with which words."""

from __future__ import annotations

from datetime import timedelta

import pytest

from cloudq.errors import MetaScriptError
from cloudq.metascript import Directives, Image, MetaScript, parse_meta_script

DOCUMENTS = """#!/bin/bash
#$ run_on: abci
#$ project: project001
#$ resource: resource001
#$ n_resource: 2
#$ walltime: 1:00:00
#$ other_opts: --exclusive --mem=4G -v --comment 'two words'
#$ container_img: docker://nvcr.io/nvidia/pytorch:20.12-py3
#$ container_img: /images/other.sif

cq_container_run $CONTAINER_IMG0 python x.py
"""

TALK = """#$ run_on:ANY
#$ project:project01
#$ resource:type1
#$ n_resource:1
#$ walltime:1:00:00
#$ shell:bash
#$ container_image: img0=\\
docker://nvcr.io/nvidia/tensorflow:19.07-py3
cloudq_cs_cp s3://myobjs/data ./data
"""


def parse(text: str) -> MetaScript:
    return parse_meta_script(text, "job.sh")


def directives(head: str) -> Directives:
    return parse(f"#!/bin/sh\n{head}\necho body\n").directives


def test_the_dialect_of_the_documents_is_read() -> None:
    script = parse(DOCUMENTS)
    assert script.interpreter == "#!/bin/bash"
    assert script.body == "cq_container_run $CONTAINER_IMG0 python x.py\n"
    assert script.body_line == 11
    read = script.directives
    assert (read.run_on, read.project, read.resource, read.n_resource) == (
        "abci",
        "project001",
        "resource001",
        2,
    )
    assert read.walltime == timedelta(hours=1)
    assert read.other_options == ("--exclusive", "--mem=4G", "-v", "--comment", "two words")
    assert read.images == (
        Image("CONTAINER_IMG0", "docker://nvcr.io/nvidia/pytorch:20.12-py3"),
        Image("CONTAINER_IMG1", "/images/other.sif"),
    )
    assert read.lines["walltime"] == 6


def test_the_dialect_of_the_talk_is_read() -> None:
    script = parse(TALK)
    assert script.interpreter == ""
    assert script.body == "cloudq_cs_cp s3://myobjs/data ./data\n"
    read = script.directives
    assert (read.run_on, read.project, read.resource, read.shell) == ("ANY", "project01", "type1", "bash")
    assert read.walltime == timedelta(hours=1)
    assert read.images == (Image("IMG0", "docker://nvcr.io/nvidia/tensorflow:19.07-py3"),)


def test_a_script_without_directives_has_the_defaults() -> None:
    script = parse("echo hello\n")
    assert script == MetaScript("job.sh", "", Directives(lines={}), (), "echo hello\n", 1)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("#!/bin/sh\n#$ run_on: abci", id="no newline at the end"),
        pytest.param("#!/bin/sh\n#$ run_on: abci\n\n# the end\n\n", id="only comments below"),
    ],
)
def test_a_script_of_directives_only_has_an_empty_body(text: str) -> None:
    assert parse(text).body == ""


@pytest.mark.parametrize(
    "head",
    [
        pytest.param("# a comment\n\n#$ run_on: abci", id="comment and blank line before"),
        pytest.param("#$ project: p\n\n \t\n   # indented\n#\n#$ run_on: abci", id="between directives"),
        pytest.param("#$ run_on: abci  \t", id="trailing blanks"),
        pytest.param("#$\trun_on:\tabci", id="tabs"),
        pytest.param("#$run_on:abci", id="no blanks"),
        pytest.param("#$ run_on : abci", id="blank before the colon"),
        pytest.param("  #$ run_on: abci", id="indented"),
        pytest.param("#$\n#$ run_on: abci", id="empty directive line"),
        pytest.param("#$ run_on: other\n#$ run_on: abci", id="repeated, the last counts"),
        pytest.param("#$ run_on: \\\n#$ abci", id="continued"),
    ],
)
def test_a_directive_is_found(head: str) -> None:
    assert directives(head).run_on == "abci"


@pytest.mark.parametrize("text", ["any", "ANY", "Any"])
def test_any_is_known_in_every_spelling(text: str) -> None:
    assert directives(f"#$ run_on: {text}").run_on == "ANY"


def test_windows_line_ends_and_a_byte_order_mark_are_accepted() -> None:
    script = parse("\ufeff#!/bin/sh\r\n#$ run_on: abci\r\n\r\necho a\r\necho b\r")
    assert (script.interpreter, script.directives.run_on) == ("#!/bin/sh", "abci")
    assert script.body == "echo a\necho b\n"


def test_a_line_of_carriage_returns_takes_no_time() -> None:
    assert parse("#!/bin/sh\n" + "\r" * 1_000_000 + "x\n").body.endswith("\rx\n")


def test_continued_lines_are_read_no_further_than_a_directive_may_reach() -> None:
    with pytest.raises(MetaScriptError, match=r"^job\.sh:2: a directive of more than 32768 characters$"):
        directives("#$ run_on: a\\\n" + "a\\\n" * 40_000 + "a")


def test_there_are_no_more_images_than_a_script_can_need() -> None:
    images = "#$ container_img: docker://x\n"
    assert len(directives(images * 100).images) == 100
    with pytest.raises(MetaScriptError, match=r"^job\.sh:102: container_img: expected at most 100 images$"):
        directives(images * 101)


def test_unicode_is_kept() -> None:
    script = parse("#$ project: 研究\n#$ other_opts: --comment='größe €'\necho 'naïve \u2028 text'")
    assert script.directives.project == "研究"
    assert script.directives.other_options == ("--comment=größe €",)
    assert script.body == "echo 'naïve \u2028 text'\n"


@pytest.mark.parametrize(
    ("head", "options"),
    [
        pytest.param(
            '#$ other_opts: --a \\\n#$ --b "x y" \\\n   --c', ("--a", "--b", "x y", "--c"), id="three lines"
        ),
        pytest.param("#$ other_opts: --a=1\\\n#$2", ("--a=12",), id="within a word"),
        pytest.param("#$ other_opts: --a \\  \n --b", ("--a", "--b"), id="blanks after the backslash"),
        pytest.param("#$ other_opts: --a \\\r\n#$ --b\r", ("--a", "--b"), id="windows line ends"),
    ],
)
def test_a_final_backslash_continues_a_directive(head: str, options: tuple[str, ...]) -> None:
    assert directives(head).other_options == options


def test_native_lines_of_the_head_are_kept_verbatim() -> None:
    head = "#SBATCH -p 'a b'  \n#$ -l gpu=1\n#PBS -q x\n# SBATCH no\n##SBATCH no"
    script = parse(f"{head}\n#$ run_on: a\necho\n#SBATCH --late\n")
    assert script.native_lines == ("#SBATCH -p 'a b'  ", "#$ -l gpu=1", "#PBS -q x")
    assert script.directives.lines["#PBS -q x"] == 3


def test_text_like_directives_below_the_head_is_left_alone() -> None:
    assert parse("echo a\n#$ whatever: x\n# run_on: x\n").body == "echo a\n#$ whatever: x\n# run_on: x\n"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0:00:01", 1),
        ("1:00:00", 3600),
        ("36:00:00", 129600),
        ("2-01:00:00", 176400),
        ("90m", 5400),
        ("2h", 7200),
        ("1d12h", 129600),
        ("3600s", 3600),
        ("1H30M", 5400),
    ],
)
def test_walltime_has_these_forms(text: str, seconds: int) -> None:
    assert directives(f"#$ walltime:{text}").walltime == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("head", "variables"),
    [
        pytest.param("#$ container_img: docker://a", [("CONTAINER_IMG0", "IMG0")], id="by number"),
        pytest.param("#$ container_image: img3=docker://a", [("CONTAINER_IMG3", "IMG3")], id="numbered name"),
        pytest.param("#$ container_image: PyTorch = docker://a", [("PYTORCH",)], id="name"),
        pytest.param(
            "#$ container_img: a.sif\n#$ container_image: b=b.sif\n#$ container_img: c.sif",
            [("CONTAINER_IMG0", "IMG0"), ("B",), ("CONTAINER_IMG1", "IMG1")],
            id="mixed",
        ),
    ],
)
def test_images_have_the_variables_of_both_dialects(head: str, variables: list[tuple[str, ...]]) -> None:
    assert [image.variables for image in directives(head).images] == variables


@pytest.mark.parametrize(
    "url",
    [
        "docker://python:3",
        "oras://host:5000/app:1",
        "library://user/x",
        "shub://a/b",
        "s3://bucket/app.sif",
        "instance://i1",
        "/images/app",
        "app.sif",
        "images/app.sif",
        "images/app.tar",
        "python:3.12-slim",
        "host:5000/team/app:1",
        "nvcr.io/app@sha256:" + "0a" * 32,
        "docker://a;$(b)'\"&",
    ],
)
def test_an_image_may_be_there(url: str) -> None:
    assert directives(f"#$ container_img: {url}").images[0].url == url


@pytest.mark.parametrize(
    "line",
    [
        "#!/bin/sh",
        "#! /bin/bash -eu",
        "#!/usr/bin/env bash",
        "#!/usr/bin/env -S LC_ALL=C zsh -f",
        "#!/usr/local/bin/mksh",
    ],
)
def test_a_shell_may_be_the_interpreter(line: str) -> None:
    assert parse(f"{line}  \necho").interpreter == line


WALLTIME = "H:MM:SS such as 1:30:00, D-HH:MM:SS such as 2-00:00:00, or units such as 90m, 2h, 1d12h"
IMAGE = (
    "expected docker://, oras://, library://, shub://, s3:// or instance:// and a name, "
    "an absolute path, a file that ends in .sif or .tar, or name:tag, without blanks"
)
SHELLS = "bash, dash, ksh, sh, zsh"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            "\n#$ run-on: a",
            "job.sh:2: unknown directive 'run-on': did you mean 'run_on'?",
            id="typing error",
        ),
        pytest.param(
            "#$ Walltime: 1h", "job.sh:1: unknown directive 'Walltime': did you mean 'walltime'?", id="case"
        ),
        pytest.param(
            "#$ colour: red",
            "job.sh:1: unknown directive 'colour': expected one of run_on, project, resource, n_resource, "
            "nodes, cores, gpus, memory, exclusive, walltime, other_opts, container_img, container_image, "
            "shell",
            id="unknown",
        ),
        pytest.param(
            "#$ run_on abci", "job.sh:1: expected '#$ key: value', got '#$ run_on abci'", id="no colon"
        ),
        pytest.param("#$ project:  ", "job.sh:1: project: expected a value after the colon", id="no value"),
        pytest.param(
            "#$ project: a\x07b",
            r"job.sh:1: project: expected printable text, got '\x07' in 'a\x07b'",
            id="control character",
        ),
        pytest.param(
            "#$ other_opts: -x\u00a0-y",
            r"job.sh:1: other_opts: expected printable text, got '\xa0' in '-x\xa0-y'",
            id="no-break space",
        ),
        pytest.param(
            "#$ run_on: a/b",
            "job.sh:1: run_on: expected ANY or a system name of letters, digits, '.', '_' and '-', got 'a/b'",
            id="system name",
        ),
        pytest.param(
            "#$ resource: [x]",
            "job.sh:1: resource: expected the name of a section, without brackets, got '[x]'",
            id="brackets",
        ),
        pytest.param(
            "#$ resource: r\n#$ n_resource: 0",
            "job.sh:2: n_resource: expected a whole number of 1 or more, got '0'",
            id="no units",
        ),
        pytest.param(
            "#$ resource: r\n#$ n_resource: ２",
            "job.sh:2: n_resource: expected a whole number of 1 or more, got '２'",
            id="digits of another script",
        ),
        pytest.param(
            "#$ n_resource: 2",
            "job.sh:1: n_resource: expected a resource directive, too",
            id="number of nothing",
        ),
        pytest.param(
            "#$ walltime: 90",
            "job.sh:1: walltime: '90' means minutes to one scheduler and seconds or hours to another: "
            f"expected {WALLTIME}",
            id="bare number",
        ),
        pytest.param(
            "#$ walltime: 1:30",
            "job.sh:1: walltime: '1:30' means minutes to one scheduler and seconds or hours to another: "
            f"expected {WALLTIME}",
            id="two parts",
        ),
        pytest.param(
            "#$ walltime: 1:75:00", f"job.sh:1: walltime: expected {WALLTIME}, got '1:75:00'", id="75 minutes"
        ),
        pytest.param(
            "#$ walltime: soon", f"job.sh:1: walltime: expected {WALLTIME}, got 'soon'", id="no time"
        ),
        pytest.param(
            "#$ walltime: 0:00:00", "job.sh:1: walltime: expected more than no time, got '0:00:00'", id="zero"
        ),
        pytest.param(
            "#$ other_opts: --a 'b",
            "job.sh:1: other_opts: a quote or a final backslash is not closed (No closing quotation) "
            'in "--a \'b"',
            id="open quote",
        ),
        pytest.param(
            "#$ other_opts: gpu",
            "job.sh:1: other_opts: expected options, the first beginning with '-', got 'gpu'",
            id="no option",
        ),
        pytest.param(
            "#$ container_img: python", f"job.sh:1: container_img: {IMAGE}, got 'python'", id="no tag"
        ),
        pytest.param(
            "#$ container_img: http://host:80",
            f"job.sh:1: container_img: {IMAGE}, got 'http://host:80'",
            id="unknown scheme",
        ),
        pytest.param(
            "#$ container_img: docker://a b",
            f"job.sh:1: container_img: {IMAGE}, got 'docker://a b'",
            id="blank",
        ),
        pytest.param(
            "#$ container_img: -x.sif", f"job.sh:1: container_img: {IMAGE}, got '-x.sif'", id="option"
        ),
        pytest.param(
            "#$ container_img: docker://", f"job.sh:1: container_img: {IMAGE}, got 'docker://'", id="empty"
        ),
        pytest.param(
            "#$ container_image: docker://a",
            "job.sh:1: container_image: expected NAME=URL such as img0=docker://python:3, got 'docker://a'",
            id="no name",
        ),
        pytest.param(
            "#$ container_image: a-b=docker://a",
            "job.sh:1: container_image: expected NAME=URL such as img0=docker://python:3, got 'a-b=docker://a'",
            id="name of no variable",
        ),
        pytest.param(
            "#$ container_image: path=docker://a",
            "job.sh:1: container_image: the variable PATH has a meaning already: "
            "expected another name than 'path'",
            id="taken variable",
        ),
        pytest.param(
            "#$ container_img: a.sif\n#$ container_image: img0=b.sif",
            "job.sh:2: container_image: another image has the variable CONTAINER_IMG0 already: "
            "expected another name",
            id="variable used twice",
        ),
        pytest.param(
            "#$ shell: python",
            f"job.sh:1: shell: expected {SHELLS}, or the absolute path of one, got 'python'",
            id="no shell",
        ),
        pytest.param(
            "#$ shell: bin/sh",
            f"job.sh:1: shell: expected {SHELLS}, or the absolute path of one, got 'bin/sh'",
            id="relative path of a shell",
        ),
        pytest.param(
            "#!/usr/bin/env -S python3 -u\n",
            f"job.sh:1: a meta script is a shell script, expected one of {SHELLS} in the '#!' line, "
            "got 'python3': call it from a shell script, or submit it for one system with --submit_to",
            id="interpreter",
        ),
        pytest.param(
            "#$ project: p \\\n\necho",
            "job.sh:1: expected a continuation below the line's final backslash",
            id="nothing continued",
        ),
        pytest.param(
            "#$ project: p \\",
            "job.sh:1: expected a continuation below the line's final backslash",
            id="nothing continued at the end",
        ),
        pytest.param(
            "#$ other_opts: -a \\\n#$ walltime: 1h",
            "job.sh:1: the backslash makes the directive 'walltime' below a part of this one: remove it",
            id="directive continued",
        ),
        pytest.param(
            "#!/bin/sh\n\nset -e\n\n#$ walltime: 1h\n",
            "job.sh:5: directive 'walltime' below the first command: move it above line 3",
            id="below the head",
        ),
        pytest.param("echo\necho \0", "job.sh:2: NUL character: expected a text file", id="binary"),
    ],
)
def test_a_wrong_script_is_refused_with_its_line(text: str, message: str) -> None:
    with pytest.raises(MetaScriptError) as caught:
        parse(text)
    assert str(caught.value) == message


def test_a_value_that_is_overridden_is_checked_all_the_same() -> None:
    with pytest.raises(MetaScriptError, match=r"job\.sh:2: walltime"):
        directives("#$ walltime: never\n#$ walltime: 1h")
