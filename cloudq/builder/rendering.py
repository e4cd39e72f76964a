"""Template files of the builder, in which undefined names fail."""

from __future__ import annotations

import shlex
from functools import lru_cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template


def template(name: str) -> Template:
    """Return a packaged template. In shell, values pass `quote`; in YAML, `tojson`."""
    return _environment().get_template(name)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(  # noqa: S701 - shell, YAML and INI, not HTML
        loader=PackageLoader("cloudq.builder"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters["quote"] = shlex.quote
    return environment
