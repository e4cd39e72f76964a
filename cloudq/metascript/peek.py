"""A first look at a script whose directives nobody has checked yet."""

from __future__ import annotations

import re

from cloudq.system import ANY

_RUN_ON = re.compile(r"^#\$[ \t]*run_on[ \t]*:[ \t]*(\S+)[ \t\r]*$", re.MULTILINE)


def peek_run_on(text: str) -> str:
    """Return the system that a script is for, `ANY` if it names none, however broken the rest of it is.

    An agent must know whether a job is its own before it may say anything about it.
    """
    found = _RUN_ON.findall(text)
    return found[-1] if found else ANY
