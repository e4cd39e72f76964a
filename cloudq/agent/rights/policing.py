"""What the site's policy says of a meta script."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Optional

from cloudq.agent.rights.admission import by_policy
from cloudq.agent.workplace import Workplace
from cloudq.errors import RefusedError
from cloudq.job import Job
from cloudq.metascript import MetaScript
from cloudq.policy import Policy, matches
from cloudq.system import ANY, System

_RUN = ("cloudq_container_run", "cq_container_run")
_CALL = re.compile(
    rf"[ \t]*(?:{'|'.join(_RUN)})[ \t]+(?P<quote>\"?)\$(?:(?P<variable>\w+))(?P=quote)[ \t]+[^ \t]"
)
_UNSAFE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\\`]|\$[^A-Za-z0-9_ ]")
_UNSAFE_BARE = re.compile(r"[;&|<>(){}'\"!#]")
_PLAIN_INTERPRETER = re.compile(r"#! ?(/usr/bin/env |(/usr)?/bin/)(ba|da|k|z)?sh( -[euxl]+)?\Z")


def check_script(place: Workplace, job: Job, script: MetaScript, system: System) -> None:
    """Refuse a script that is for another system, or that the policy does not allow.

    Raises:
        RefusedError: With what is not allowed, and what is.
    """
    policy, config, directives = place.config.policy, place.config, script.directives
    # Where the manifest says it, that counts: a requeued job may have been sent elsewhere.
    if not job.run_on and directives.run_on != ANY and directives.run_on.lower() != config.name.lower():
        raise RefusedError(f"refused: the script is for system {directives.run_on}, this is {config.name}")
    _check_name("project", directives.project, policy.projects, config.projects, system.projects)
    _check_name("resource", directives.resource, policy.resources, config.resources, system.resources)
    longest = policy.longest_walltime
    if longest is not None and (directives.walltime is None or directives.walltime > longest):
        said = "no walltime" if directives.walltime is None else f"a walltime of {directives.walltime}"
        raise by_policy(f"{said}: expected one of at most {longest}")
    if not policy.takes_options and (directives.other_options or script.native_lines):
        said = " ".join(directives.other_options) or script.native_lines[0]
        raise by_policy(f"options of the scheduler are not taken from scripts: {said}")
    if policy.containers_only:
        _check_commands(script)
    if policy.images is not None and not any(pattern.startswith("sha256:") for pattern in policy.images):
        check_images(policy, script, {})


def check_images(policy: Policy, script: MetaScript, pinned: Mapping[str, str]) -> None:
    """Refuse images that the policy does not list.

    Args:
        policy: The policy.
        script: The script.
        pinned: URL -> the same image by its digest, or a file, as far as that is known.

    Raises:
        RefusedError: An image is not on the list.
    """
    for image in script.directives.images:
        taken = pinned.get(image.url, image.url)
        digest = re.search(r"@(sha256:[0-9a-f]{64})\Z", taken)
        names = (image.url, *([digest[1]] if digest else []))
        if policy.images is not None and not any(matches(name, policy.images) for name in names):
            raise by_policy(f"image {image.url}: expected one of {', '.join(policy.images)}")


def _check_name(
    kind: str,
    name: str,
    allowed: Optional[tuple[str, ...]],
    own: Mapping[str, str],
    meanings: Mapping[str, str],
) -> None:
    """Refuse a project or resource that is not on the list.

    What a name means may come with the job; then it is the meaning that must be on the list.
    """
    if allowed is None:
        return
    if not name:
        raise by_policy(f"no {kind}: expected one of {', '.join(allowed)}")
    meaning = meanings.get(name, "")
    if name in own and matches(name, allowed):
        return
    if not (meaning and matches(meaning, allowed)):
        source = "" if name in own else ", which the job itself says that it means"
        raise by_policy(
            f"{kind} {name} ({meaning or 'nothing'}{source}): expected one of {', '.join(allowed)}"
        )


def _check_commands(script: MetaScript) -> None:
    """Refuse a script with a command that does not run in a container."""
    images = {variable for image in script.directives.images for variable in image.variables}
    if script.interpreter and not _PLAIN_INTERPRETER.match(script.interpreter):
        raise by_policy(f"containers only: expected a plain shell, got {script.interpreter!r}")
    expected = f"{_RUN[0]} $IMAGE COMMAND..., the image one of those of the head, and nothing else"
    for number, line in enumerate(script.body.split("\n"), script.body_line):
        if not _is_contained(line, images):
            raise by_policy(f"containers only: {script.source}:{number}: expected {expected}")


def _is_contained(line: str, images: set[str]) -> bool:
    """Tell whether a line is one call of the container function: no second command can hide in it.

    Outside single quotes there is no backslash in it, so that quotes are simply pairs, and of expansions only
    those of variables.
    """
    if re.match(r"[ \t]*(#[^\x00-\x08\x0a-\x1f]*)?\Z", line):
        return True
    quoted = re.compile(r"'[^']*'|\"[^\"]*\"")
    expanded = quoted.sub(lambda match: "x" if match[0].startswith("'") else match[0], line)
    bare = quoted.sub("x", line)
    call = _CALL.match(line)
    if _UNSAFE.search(expanded) or _UNSAFE_BARE.search(bare) or not call:
        return False
    return call["variable"] in images
