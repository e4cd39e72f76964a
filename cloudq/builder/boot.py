"""What the set-up bucket holds for the nodes: the agent, its configuration, the scripts of their start."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Optional

from cloudq.builder.configuration import HEAD_SCRIPT, NODE_SCRIPT
from cloudq.builder.plan import Plan
from cloudq.builder.rendering import template
from cloudq.builder.tags import parse_time, render_time

AGENT = "agent.zip"
CONFIG = "config.ini"
LEASE = "lease"
DRAIN = "drain"
_PYTHON_FLOOR = "(3, 10)"
_FAMILIES = {"ubuntu2404": "debian", "alinux2023": "redhat"}


def setup_files(
    plan: Plan, *, setup_url: str, region: str, agent: bytes, lease_until: datetime
) -> dict[str, bytes]:
    """Return the objects of the set-up bucket, below its prefix: name -> content.

    Args:
        setup_url: `s3://BUCKET/PREFIX` of the set-up bucket.
        agent: The archive of `wheelhouse.agent_archive`.
    """
    family = _FAMILIES[plan.preset.os]
    secret_arn = plan.store.secret_arn
    values = {
        "setup_url": setup_url,
        "user": plan.preset.user,
        "region": region,
        "agent_sha256": hashlib.sha256(agent).hexdigest(),
        "python_floor": _PYTHON_FLOOR,
        "secret_arn": secret_arn,
        # An ARN's fourth part is its region.
        "secret_region": secret_arn.split(":")[3] if secret_arn else "",
        "wants_docker": plan.preset.docker,
        "family": family,
        "apptainer": plan.preset.package,
        "apptainer_file": "apptainer.deb" if family == "debian" else "apptainer.rpm",
    }
    return {
        AGENT: agent,
        CONFIG: render_agent_config(plan).encode(),
        LEASE: render_lease(lease_until).encode(),
        HEAD_SCRIPT: template(HEAD_SCRIPT).render(values).encode(),
        NODE_SCRIPT: template(NODE_SCRIPT).render(values).encode(),
    }


def render_agent_config(plan: Plan) -> str:
    """Write the agent's configuration: its queues and their instance types are its resources."""
    runtime = "apptainer" if plan.preset.apptainer else "docker" if plan.preset.docker else "none"
    values: Mapping[str, object] = {
        "name": plan.name,
        "profile": "cs" if plan.store.secret_arn else "default",
        "endpoint_url": plan.store.endpoint_url.replace("%", "%%"),
        "bucket": plan.store.bucket,
        "prefix": plan.store.prefix.rstrip("/").replace("%", "%%"),
        "container_runtime": runtime,
        "idle_minutes": round(plan.idle.total_seconds() / 60),
        "resources": resources_of(plan),
    }
    return template("agent-config.ini").render(values)


def resources_of(plan: Plan) -> list[tuple[str, str]]:
    """Return what the resources of meta scripts mean on the cluster: each queue, and each instance type."""
    found: dict[str, str] = {}
    for queue in plan.preset.queues:
        for name in (queue.name, *queue.instance_types):
            found.setdefault(name, f"-p {queue.name}")
    return list(found.items())


def render_lease(until: datetime, *, drain: bool = False) -> str:
    """Write the file that tells the agent until when the cluster lives, and whether to take no more jobs."""
    return render_time(until) + ("\n" + DRAIN if drain else "") + "\n"


def parse_lease(text: str) -> Optional[datetime]:
    """Read until when the cluster lives; None if it does not say."""
    return parse_time(text.partition("\n")[0])
