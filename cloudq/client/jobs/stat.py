"""The record of one job, member by member, whatever is in it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping

from cloudq.bundle import MANIFEST, Bundles
from cloudq.client.display.values import shown_time, visible
from cloudq.errors import ManifestError, NoSuchJobError, NotFoundError
from cloudq.manifest import is_time_member, parse_manifest, parse_members, parse_time, program_members


def load_members(bundles: Bundles, job_id: str, *, for_programs: bool = False) -> Mapping[str, object]:
    """Return the members of a job's manifest as they are.

    Args:
        for_programs: Give the states of an array job's tasks as objects, if they can be understood.

    Raises:
        NoSuchJobError: There is no manifest.
        ManifestError: It is not a JSON object.
    """
    try:
        data = bundles.read(job_id, MANIFEST)
    except NotFoundError as error:
        raise NoSuchJobError(f"Invalid job ID: {job_id}") from error
    if for_programs:
        with contextlib.suppress(ManifestError):
            return program_members(parse_manifest(data, job_id))
    return parse_members(data, job_id)


def render_members(members: Mapping[str, object], *, local: bool = False) -> str:
    """Write a line per member: the name padded to the longest, two blanks, the value.

    Args:
        local: Times as the clocks here show them.
    """
    names = {member: visible(member) for member in members}
    width = max(map(len, names.values()), default=0)
    return "\n".join(
        f"{names[member]:<{width}}  {_shown(member, members[member], local)}" for member in members
    )


def _shown(member: str, value: object, local: bool) -> str:
    if is_time_member(member):
        with contextlib.suppress(ValueError):
            return shown_time(parse_time(value), local=local)
    return visible(value.rstrip("\n") if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
