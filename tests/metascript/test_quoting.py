"""Whatever a value is, a real bash prints it back from the script it went into, for every template."""

from __future__ import annotations

import shlex
import subprocess
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudq.errors import InputError, MetaScriptError
from cloudq.job import ArrayRange
from cloudq.metascript import Image, Placement, container_program, parse_meta_script, translate, with_values
from cloudq.system import Registry, System

SCHEDULERS = ("abci", "gridengine", "local", "pbs", "slurm")
RUNTIMES = ("apptainer", "charliecloud", "docker", "none", "podman", "singularity")
SHELL = "'\"`$(){}[];&|<>!#*?~\\ \t%=-^,"
bounded = settings(max_examples=12, derandomize=True)


def chars(extra: str = "") -> st.SearchStrategy[str]:
    """Characters with a meaning to a shell, and all others that UTF-8 can write."""
    return st.one_of(
        st.sampled_from(SHELL + extra),
        st.characters(exclude_categories=["Cs"], exclude_characters="\0\n\r"),
    )


lines = st.text(
    st.one_of(st.sampled_from(SHELL), st.characters(exclude_categories=["Cs", "Cc"])), max_size=25
)
texts = st.text(chars("\n\r\x1b"), max_size=25)
printable = lines.map(lambda text: "".join(filter(str.isprintable, text)).strip())
words = lines.map(lambda text: "".join(char for char in text if char.isprintable() and not char.isspace()))


@dataclass(frozen=True)
class Values:
    """One value for everything of a translation that somebody else may choose."""

    name: str
    image: str
    found: str
    endpoint: str
    profile: str
    cache: str
    host: str
    auth_file: str


hosts = words.map(lambda text: "registry.example" + text.replace("/", ""))
values = st.builds(Values, lines, words, words, lines, lines, lines, host=hosts, auth_file=lines)


def printed(program: str, *arguments: str) -> list[str]:
    """Run a program of bash, and return the values that it printed, each ended by a NUL."""
    done = subprocess.run(
        ["bash", "-s", *arguments], input=program.encode(), capture_output=True, timeout=120, check=False
    )
    assert done.stderr == b""
    return done.stdout.decode().split("\0")[:-1]


def show(*names: str) -> str:
    return "printf '%s\\0' " + " ".join(f'"${name}"' for name in names)


def system_of(chosen: Values, scheduler: str, runtime: str) -> System:
    return System(
        name=chosen.name,
        scheduler=scheduler,
        container_runtime=runtime,
        image_cache=chosen.cache,
        registries=(Registry(chosen.host, chosen.auth_file),),
        endpoint_url=chosen.endpoint,
        profile=chosen.profile,
    )


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@given(chosen=values)
@bounded
def test_a_translated_script_has_every_value_as_it_was(
    scheduler: str, tmp_path: Path, chosen: Values
) -> None:
    folder = tmp_path / "a 'folder' of $HOME"
    folder.mkdir(exist_ok=True)
    # `aws` prints its words: endpoint and profile come from the system.
    (tmp_path / "aws").write_text("#!/bin/sh\nprintf '%s\\0' \"$@\"\n")
    (tmp_path / "aws").chmod(0o755)
    body = f"PATH={tmp_path}:$PATH\n{show('SYSTEM', 'IMG', 'PWD')}\ncloudq_cs_cp s3://a/b/ c\n"
    script = parse_meta_script(f"#!/bin/bash\n#$ container_image: img=docker://x:1\n{body}", "job.sh")
    image = Image("IMG", chosen.image)
    script = replace(script, directives=replace(script.directives, images=(image,)))
    # No runtime: the images are not pulled, and the variables say what the directives say.
    system = system_of(chosen, scheduler, "none")
    text = translate(script, system, Placement(str(folder), str(folder / "status")))
    endpoint = ["--endpoint-url", chosen.endpoint] if chosen.endpoint else []
    profile = ["--profile", chosen.profile] if chosen.profile else []
    copied = ["s3", "cp", "--no-progress", "--recursive", "s3://a/b/", "c"]
    expected = [chosen.name, chosen.image, str(folder), *endpoint, *profile, *copied]
    assert printed(text) == expected
    assert (folder / "status").read_text() == "0\n"


@pytest.mark.parametrize("runtime", [name for name in RUNTIMES if name != "none"])
@given(chosen=values)
@bounded
def test_the_program_of_a_container_runtime_has_every_value_as_it_was(
    runtime: str, tmp_path: Path, chosen: Values
) -> None:
    system = system_of(chosen, "local", runtime)
    url, found = f"docker://{chosen.image}", f"docker://{chosen.host}/{chosen.found}"
    placement = Placement(chosen.name, f"{chosen.name}/status", images={url: found})
    # All of its functions; what comes after them acts.
    functions, _, _ = container_program(system, placement).partition("\ncloudq_task=")
    variables = ("cloudq_work_dir", "cloudq_own", "cloudq_cache", "cloudq_reference", "cloudq_auth_file")
    seen = printed(f"{functions}\nfind_image {quoted(url)}\nfind_auth_file\n{show(*variables)}\n")
    assert seen == [chosen.name, f"{chosen.name}/images", chosen.cache, found, chosen.auth_file]


def quoted(text: str) -> str:
    """Quote in another way than the code that is tested: as an octal number for each byte."""
    return "$'" + "".join(f"\\{byte:03o}" for byte in text.encode()) + "'"


@given(arguments=st.lists(texts, max_size=4), variable=texts)
@bounded
def test_arguments_and_variables_arrive_as_they_were(arguments: list[str], variable: str) -> None:
    script = '#!/bin/bash\n#$ run_on: ANY\nprintf \'%s\\0\' "$V" "$@"\n'
    text = with_values(script, arguments, {"V": variable})
    assert printed(text) == [variable, *arguments]


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@given(option=printable, project=printable, resource=printable, image=words)
@settings(bounded, max_examples=25)
def test_no_directive_adds_a_command(
    scheduler: str, tmp_path: Path, option: str, project: str, resource: str, image: str
) -> None:
    head = (
        f"#$ other_opts: -x {shlex.quote(option)}\n#$ project: p\n#$ resource: r\n"
        f"#$ container_image: img=docker://{image}x\n"
    )
    system = System("here", scheduler, {"p": project}, {"r": f"-l {shlex.quote(resource)}"})
    placement = Placement(str(tmp_path), str(tmp_path / "status"), ArrayRange.parse("1-3"))
    try:
        script = parse_meta_script(f"{head}printf '%s\\0' \"$IMG\"\n", "job.sh")
        text = translate(script, system, placement)
    except MetaScriptError as error:
        refusal = str(error)
    else:
        refusal = ""
        assert printed(text) == [f"docker://{image}x"]
        assert commands_of(text) == commands_of(plain(scheduler, tmp_path))
    assert "\n" not in refusal


@lru_cache
def plain(scheduler: str, folder: Path) -> str:
    script = parse_meta_script("#$ container_image: img=docker://x:1\nprintf '%s\\0' \"$IMG\"\n", "job.sh")
    placement = Placement(str(folder), str(folder / "status"), ArrayRange.parse("1-3"))
    return translate(script, System("here", scheduler), placement)


def commands_of(text: str) -> list[str]:
    """Return the lines that a shell runs, but for those whose value is meant to differ."""
    return [line for line in text.split("\n") if line[:1] != "#" and not line.startswith("IMG=") and line]


@pytest.mark.parametrize("value", ["a\0b"])
def test_what_no_shell_can_hold_is_refused(value: str) -> None:
    with pytest.raises(InputError, match="without NUL"):
        with_values("true\n", [value], {})
