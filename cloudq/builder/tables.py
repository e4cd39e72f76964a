"""What is printed: the table of clusters, one cluster for programs, the plan of a new one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Any, Optional

from cloudq.builder.clusters import Cluster
from cloudq.builder.plan import Plan
from cloudq.builder.prices import Estimate, PriceTable
from cloudq.builder.tags import render_time

_TIME_WIDTH = 23
# 1.2's columns, and what came later.
_COLUMNS = (
    ("Status", 9),
    ("Creation Time", _TIME_WIDTH),
    ("Age", 9),
    ("Lease Left", 10),
    ("Nodes", 5),
    ("Cost USD", 8),
)


def render_clusters(clusters: Sequence[Cluster], *, now: datetime, table: PriceTable, region: str) -> str:
    """Write the table of `list`; each line ends in a newline."""
    width = max([len("Cluster Name"), *(len(cluster.name) for cluster in clusters)])
    head = "  ".join(["Cluster Name".rjust(width), *(title.rjust(size) for title, size in _COLUMNS)])
    rows = [head, "-" * len(head)]
    for cluster in clusters:
        values = (
            cluster.status,
            _time(cluster.completed),
            _span(now - cluster.created),
            _left(cluster.lease_until, now),
            str(cluster.nodes),
            f"{cluster.cost_so_far(now, table, region):.2f}",
        )
        cells = [value.rjust(size) for value, (_, size) in zip(values, _COLUMNS)]
        rows.append("  ".join([cluster.name.rjust(width), *cells]))
    return "".join(f"{row}\n" for row in rows)


def cluster_members(cluster: Cluster, *, now: datetime, table: PriceTable, region: str) -> dict[str, Any]:
    """Return what `list --json` tells of one cluster."""
    left = cluster.lease_until - now if cluster.lease_until else None
    return {
        "name": cluster.name,
        "status": cluster.status,
        "created": render_time(cluster.created),
        "completed": render_time(cluster.completed) if cluster.completed else None,
        "age_seconds": round((now - cluster.created).total_seconds()),
        "lease_until": render_time(cluster.lease_until) if cluster.lease_until else None,
        "lease_left_seconds": round(left.total_seconds()) if left is not None else None,
        "nodes": cluster.nodes,
        "cost_at_least_usd": round(cluster.cost_so_far(now, table, region), 4),
        "preset": cluster.label.preset,
        "bucket": cluster.label.store.bucket,
        "prefix": cluster.label.store.prefix,
        "region": region,
    }


def render_plan(plan: Plan, estimate: Estimate, *, region: str, lease_until: datetime) -> str:
    """Write what is about to be made, and what it costs."""
    queues = "; ".join(
        f"{queue.name}: up to {queue.max_nodes} x {' or '.join(queue.instance_types)}"
        for queue in plan.preset.queues
    )
    where = plan.store.endpoint_url or "S3"
    hours = plan.lease.total_seconds() / 3600
    place = f"{plan.name} in {region}{', ' + plan.zone if plan.zone else ''}"
    lines = (
        ("cluster", f"{place}: {plan.preset.description}"),
        ("head node", f"{plan.preset.head_node}, {plan.preset.os}, always on"),
        ("queues", queues + (", spot" if plan.spot else "")),
        ("storage", ", ".join(plan.preset.storage) or "home directories only"),
        ("jobs", f"bucket {plan.store.bucket} in {where}, prefix {plan.store.prefix or '(none)'}"),
        ("way in", _way_in(plan)),
        ("price", f"{_rate(estimate)}; {estimate.source}"),
        ("lease", f"{hours:.4g} hours, until {_time(lease_until)}; then, or after "
                  f"{plan.idle.total_seconds() / 60:.4g} minutes without jobs, it ends itself"),
        ("at most", _most(estimate, hours)),
    )  # fmt: skip
    return "".join(f"{title:>10}  {text}\n" for title, text in lines)


def _rate(estimate: Estimate) -> str:
    rate = f"{estimate.idle:.2f} USD an hour idle, {estimate.full:.2f} at full size"
    if estimate.spot is not None:
        rate += f" if spot costs as much as on demand, perhaps {estimate.spot:.2f}"
    if estimate.unknown:
        rate += f" (without {', '.join(estimate.unknown)}: no price known)"
    return rate


def _most(estimate: Estimate, hours: float) -> str:
    if estimate.unknown:
        return f"unknown: give the price of {', '.join(estimate.unknown)} in ~/.cloudq/aws/prices.yaml"
    return f"{estimate.full * hours:.2f} USD in that time"


def _way_in(plan: Plan) -> str:
    ways = [f"key pair {plan.keypair} (from inside the network only)"] if plan.keypair else []
    return ", ".join([*ways, *(["Session Manager"] if plan.ssm else [])]) or "none"


def _time(time: Optional[datetime]) -> str:
    return f"{time.astimezone(timezone.utc):%Y/%m/%d %H:%M:%S} UTC" if time else ""


def _left(until: Optional[datetime], now: datetime) -> str:
    if until is None:
        return "-"
    return _span(until - now) if until > now else "ended"


def _span(span: timedelta) -> str:
    minutes = max(0, int(span.total_seconds() // 60))
    days, hours = divmod(minutes // 60, 24)
    return f"{days}d {hours:02}:{minutes % 60:02}" if days else f"{hours}:{minutes % 60:02}"
