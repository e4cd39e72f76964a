"""Abstract projects and resources: whether the names in a meta script are defined."""

from __future__ import annotations

from collections.abc import Iterable

from cloudq.errors import MetaScriptError
from cloudq.metascript.parse import MetaScript
from cloudq.system import ANY, Definitions


def check_names(script: MetaScript, projects: Definitions, resources: Definitions) -> None:
    """Check that project and resource are defined, for the system if `run_on` names one.

    Raises:
        MetaScriptError: A name without a section, or a section without a value for the system.
    """
    _check_name(script, "project", script.directives.project, projects)
    _check_name(script, "resource", script.directives.resource, resources)


def _check_name(script: MetaScript, directive: str, name: str, definitions: Definitions) -> None:
    if not name:
        return
    system = script.directives.run_on
    if name not in definitions:
        problem = f"no section [{name}] in the {directive} file (it has: {_listed(definitions)})"
    elif system != ANY and system.lower() not in definitions[name]:
        known = _listed(definitions[name])
        problem = (
            f"section [{name}] of the {directive} file has no line for system {system} (it has: {known})"
        )
    else:
        return
    line = script.directives.lines.get(directive, 1)
    error = MetaScriptError(script.source, line, f"{directive}: {problem}")
    error.hint = (
        f"say what it means there: in {directive}.ini here, or in [{directive}s] of the agent's config.ini"
    )
    raise error


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
