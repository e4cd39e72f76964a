"""Templates of scripts, filled: those of CloudQ and those of a site."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Union

from jinja2 import (
    BaseLoader,
    ChoiceLoader,
    Environment,
    FileSystemLoader,
    PackageLoader,
    PrefixLoader,
    StrictUndefined,
    TemplateError,
    TemplateNotFound,
)

from cloudq.errors import ConfigError
from cloudq.system import System


def render(
    name: str, values: dict[str, object], system: System, template_dirs: Sequence[Union[str, Path]]
) -> str:
    """Fill the template of this name. Raises ConfigError if there is none, or it cannot be filled."""
    environment = _environment(tuple(str(path) for path in template_dirs))
    try:
        text = environment.get_template(name).render(values)
    except TemplateNotFound as error:
        raise ConfigError(_no_template(environment, str(error.name), system)) from error
    except TemplateError as error:
        raise ConfigError(f"template of system {system.name}: {error}") from error
    return text if text.endswith(("\n", "\\")) else text + "\n"


@lru_cache(maxsize=8)
def _environment(template_dirs: tuple[str, ...]) -> Environment:
    own = PackageLoader("cloudq.metascript")
    site: list[BaseLoader] = [FileSystemLoader(path) for path in template_dirs]
    environment = Environment(  # noqa: S701 - the output is a shell script: values pass `quote`
        loader=ChoiceLoader([*site, own, PrefixLoader({"cloudq": own})]),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(quote=shlex.quote, clock=_clock, options=_options, mebibytes=_mebibytes)
    environment.tests["matching"] = lambda text, pattern: re.search(pattern, text) is not None
    return environment


def _no_template(environment: Environment, name: str, system: System) -> str:
    folder = name.rpartition("/")[0]
    known = environment.list_templates(filter_func=lambda other: other.rpartition("/")[0] == folder)
    word = "container_runtime" if folder == "containers" else "type"
    words = sorted(Path(other).stem for other in known if other != "base.sh")
    return f"system {system.name}: no template {name}: expected {word} to be one of {', '.join(words)}"


def _clock(time: timedelta) -> str:
    """Write a time as `HH:MM:SS`, its hours unlimited."""
    minutes, seconds = divmod(int(time.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}"


def _mebibytes(size: int) -> int:
    """Write bytes as MiB, rounded up."""
    return -(-size // 2**20)


def _options(words: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Return each option with its values; a word such as `-5` is a value."""
    groups: list[tuple[str, list[str]]] = []
    for word in words:
        if re.match(r"-+[^0-9]", word) or not groups:
            groups.append((word, []))
        else:
            groups[-1][1].append(word)
    return groups
