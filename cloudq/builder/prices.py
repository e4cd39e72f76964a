"""What a cluster costs an hour: from the AWS price list where it can be read, else from a dated table."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any, Optional

from cloudq.builder.aws import Aws
from cloudq.builder.dependencies import load_yaml
from cloudq.builder.plan import Plan
from cloudq.errors import AwsError, ConfigError

HOURS_A_MONTH = 730
_FSX_GB = 1200
_NODE_ROOT_GB = 45
_OF_INSTANCES = ("per_vcpu", "instances")
# By how deep the prices lie.
_EXPECTED = ("US dollars", "{KIND: US dollars}", "{TYPE: {REGION: US dollars}}")
_SIZE = re.compile(r"(\d*)xlarge\Z")

PriceOf = Callable[[str], Optional[float]]
"""Instance type -> US dollars an hour, None if nobody knows."""


@dataclass(frozen=True)
class DatedPrices:
    """Prices of instances an hour on demand in US dollars, of one date and source; see `prices.json`."""

    date: str
    source: str
    per_vcpu: Mapping[str, Mapping[str, float]]
    instances: Mapping[str, Mapping[str, float]]

    def instance(self, instance_type: str, region: str) -> Optional[float]:
        """Return the price of one instance; None if it is not here."""
        named = self.instances.get(instance_type, {}).get(region)
        if named is not None:
            return named
        family, _, size = instance_type.partition(".")
        per_vcpu, vcpus = self.per_vcpu.get(family, {}).get(region), _vcpus(size)
        return per_vcpu * vcpus if per_vcpu is not None and vcpus else None


@dataclass(frozen=True)
class PriceTable:
    """All prices that are known here; of the tables the first that has a price counts.

    Attributes:
        spot_share: What a spot instance usually costs, as a part of the price on demand: a guess.
    """

    tables: Sequence[DatedPrices]
    spot_share: float
    public_address: float
    nat_gateway: float
    gb_month: Mapping[str, float]

    def instance(self, instance_type: str, region: str) -> Optional[float]:
        """Return the price of one instance for an hour on demand; None if no table has it."""
        return self._find(instance_type, region)[0]

    def date(self, instance_type: str, region: str) -> str:
        """Return of when that price is; empty if there is none."""
        return self._find(instance_type, region)[1]

    def _find(self, instance_type: str, region: str) -> tuple[Optional[float], str]:
        for table in self.tables:
            price = table.instance(instance_type, region)
            if price is not None:
                return price, table.date
        return None, ""


@dataclass(frozen=True)
class Estimate:
    """What a cluster costs an hour.

    Attributes:
        idle: With no compute node; US dollars.
        full: With all its nodes at the price on demand, which spot instances rarely reach.
        unknown: Instance types whose price nobody knows, and which are not in the sums.
        source: Where the prices come from, with their date.
        spot: With all its nodes at what spot usually costs: a guess; None without spot instances.
    """

    idle: float
    full: float
    unknown: tuple[str, ...]
    source: str
    spot: Optional[float] = None


def load_prices(folder: Path) -> PriceTable:
    """Read the packaged tables, which the user's `prices.yaml` goes before. Raises ConfigError."""
    members = json.loads((files("cloudq.builder") / "prices.json").read_text(encoding="utf-8"))
    del members["note"]
    tables = members.pop("tables")
    file = folder / "prices.yaml"
    if file.exists():
        own = _own_prices(file, members)
        tables.insert(0, {member: own.pop(member, {}) for member in _OF_INSTANCES})
        tables[0].update(date=str(own.pop("date", "prices.yaml")), source=str(file))
        members = {**members, **own, "gb_month": {**members["gb_month"], **own.get("gb_month", {})}}
    return PriceTable(tables=tuple(DatedPrices(**each) for each in tables), **members)


def _own_prices(file: Path, members: Mapping[str, Any]) -> dict[str, Any]:
    """Read the user's prices: numbers, or mappings down to them."""
    known = ("date", *_OF_INSTANCES, *members)
    own = load_yaml(file.read_text(encoding="utf-8"), str(file)) or {}
    if not isinstance(own, dict) or not set(own) <= set(known):
        raise ConfigError(f"{file}: expected some of the members {', '.join(known)}")
    depths = {**dict.fromkeys(_OF_INSTANCES, 2), "gb_month": 1}
    for member, value in own.items():
        if member != "date" and not _are_prices(value, depths.get(member, 0)):
            raise ConfigError(f"{file}: {member}: expected {_EXPECTED[depths.get(member, 0)]}, got {value!r}")
    return own


def _are_prices(value: Any, depth: int) -> bool:
    if depth:
        return isinstance(value, dict) and all(_are_prices(each, depth - 1) for each in value.values())
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0


def estimate(plan: Plan, table: PriceTable, price_of: PriceOf, *, source: str) -> Estimate:
    """Add up what runs always, and what may run at most. A queue counts with its dearest type."""
    unknown: list[str] = []

    def instance(instance_type: str) -> float:
        price = price_of(instance_type)
        if price is None:
            unknown.append(instance_type)
        return price or 0.0

    disk = table.gb_month["ebs"] / HOURS_A_MONTH
    address = 0.0 if plan.nat else table.public_address
    idle = instance(plan.preset.head_node) + plan.preset.root_volume_gb * disk + table.public_address
    idle += table.nat_gateway if plan.nat else 0.0
    idle += "fsx-scratch" in plan.preset.storage and _FSX_GB * table.gb_month["fsx-scratch"] / HOURS_A_MONTH
    rest, nodes = idle, 0.0
    for queue in plan.preset.queues:
        nodes += queue.max_nodes * max(instance(each) for each in queue.instance_types)
        rest += queue.max_nodes * (_NODE_ROOT_GB * disk + address)
    spot = rest + nodes * table.spot_share if plan.spot else None
    return Estimate(idle, rest + nodes, tuple(dict.fromkeys(unknown)), source, spot)


def estimate_for(plan: Plan, aws: Aws, folder: Path) -> Estimate:
    """Estimate with AWS's own price list; without permission or network for that, with the table."""
    table = load_prices(folder)
    try:
        listed = {each: list_price(aws, each) for each in _instance_types(plan)}
    except AwsError:
        listed = {}
    known = {each: price for each, price in listed.items() if price is not None}

    def price_of(instance_type: str) -> Optional[float]:
        return known.get(instance_type) or table.instance(instance_type, aws.region)

    dates = {table.date(each, aws.region) for each in _instance_types(plan) if each not in known}
    return estimate(plan, table, price_of, source=_source(listed=bool(known), dates=sorted(dates - {""})))


def _source(*, listed: bool, dates: Sequence[str]) -> str:
    """Name where prices are from; of tables the oldest that counts."""
    sources = [*(["AWS price list"] if listed else []), *([f"table of {dates[0]}"] if dates else [])]
    return " and ".join(sources) or "no prices known"


def list_price(aws: Aws, instance_type: str) -> Optional[float]:
    """Ask AWS for the price an hour, on demand, Linux, no extras. Raises AwsError."""
    regions = aws.regions_of("pricing")
    if not regions:
        return None
    wanted = {
        "instanceType": instance_type,
        "regionCode": aws.region,
        "operatingSystem": "Linux",
        "preInstalledSw": "NA",
        "tenancy": "Shared",
        "capacitystatus": "Used",
    }
    filters = [{"Type": "TERM_MATCH", "Field": key, "Value": value} for key, value in wanted.items()]
    answer = aws.service("pricing", region=regions[0], patient=False).get_products(
        ServiceCode="AmazonEC2", Filters=filters, MaxResults=10
    )
    prices = [price for product in answer["PriceList"] for price in _hourly(json.loads(product))]
    return max(prices, default=None)


def affordable(budget: float, rate: float) -> timedelta:
    """Return how long a budget lasts at a price an hour."""
    return timedelta(hours=budget / rate) if rate > 0 else timedelta(days=3650)


def _hourly(product: Any) -> list[float]:
    dimensions = [
        dimension
        for term in product.get("terms", {}).get("OnDemand", {}).values()
        for dimension in term.get("priceDimensions", {}).values()
        if dimension.get("unit") == "Hrs"
    ]
    prices = [float(each.get("pricePerUnit", {}).get("USD", 0)) for each in dimensions]
    return [price for price in prices if price > 0]


def _instance_types(plan: Plan) -> list[str]:
    queued = [each for queue in plan.preset.queues for each in queue.instance_types]
    return list(dict.fromkeys([plan.preset.head_node, *queued]))


def _vcpus(size: str) -> int:
    if size == "large":
        return 2
    match = _SIZE.match(size)
    return 4 * int(match[1] or 1) if match else 0
