"""What a cluster costs: AWS's price list, dated tables, a file of one's own, and what is told of it."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cloudq.builder.aws import open_aws
from cloudq.builder.plan import adapt
from cloudq.builder.presets import load_preset, packaged_presets
from cloudq.builder.prices import affordable, estimate, estimate_for, list_price, load_prices
from cloudq.builder.tables import render_plan
from cloudq.errors import ConfigError
from tests.builder.conftest import make_order, make_plan
from tests.builder.fakes import START, Account, FakeAws

EMPTY = Path("/nonexistent")


def product(**dimension: Any) -> str:
    return json.dumps({"terms": {"OnDemand": {"t": {"priceDimensions": {"d": dimension}}}}})


def test_the_price_list_is_asked_for_plain_linux_in_the_region(s3_environment: None) -> None:
    from botocore.stub import ANY, Stubber

    aws = open_aws(None, "eu-west-1")
    pricing = aws.service("pricing", region=aws.regions_of("pricing")[0], patient=False)
    with Stubber(pricing._client) as stub:
        prices = [
            product(unit="Hrs", pricePerUnit={"USD": "0.17"}),
            product(unit="Hrs", pricePerUnit={"USD": "0"}),
            product(unit="GB", pricePerUnit={"USD": "9"}),
        ]
        asked = {"ServiceCode": "AmazonEC2", "MaxResults": 10, "Filters": ANY}
        stub.add_response("get_products", {"PriceList": prices}, asked)
        assert list_price(aws, "c5.xlarge") == 0.17
        for _ in range(3):
            stub.add_response("get_products", {"PriceList": prices[:1]}, asked)
        told = estimate_for(make_plan(), aws, EMPTY)
    assert told.source == "AWS price list"
    assert 0.17 < told.idle < 0.2
    assert list_price(FakeAws(Account()), "c5.xlarge") is None


def test_prices_can_be_replaced_by_a_file_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "prices.yaml").write_text("instances: {x9.huge: {xx-north-1: 7.5}}\n", encoding="utf-8")
    table = load_prices(tmp_path)
    assert table.instance("x9.huge", "xx-north-1") == 7.5
    assert table.instance("c6i.2xlarge", "eu-west-1") == 2 * (table.instance("c6i.xlarge", "eu-west-1") or 0)
    assert table.instance("c6i.large", "eu-west-1") == (table.instance("c6i.xlarge", "eu-west-1") or 0) / 2
    assert table.instance("c6i.metal", "eu-west-1") is None
    assert (table.date("x9.huge", "xx-north-1"), table.date("x9.huge", "eu-west-1")) == ("prices.yaml", "")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("colour: red\n", "expected some of the members date, per_vcpu, instances, "),
        ("[1]\n", "expected some of the members date, "),
        ("spot_share: cheap\n", "spot_share: expected US dollars, got 'cheap'"),
        ("nat_gateway: -1\n", "nat_gateway: expected US dollars, got -1"),
        ("instances: {x9.huge: 7}\n", "instances: expected {TYPE: {REGION: US dollars}}, got {'x9.huge': 7}"),
        ("gb_month: {ebs: true}\n", "gb_month: expected {KIND: US dollars}, got {'ebs': True}"),
    ],
    ids=["member", "list", "word", "negative", "no region", "truth"],
)
def test_a_file_of_prices_that_cannot_be_used_is_told(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "prices.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=re.escape(f"prices.yaml: {problem}")):
        load_prices(tmp_path)


REGIONS = (
    "ap-northeast-1", "ap-northeast-3", "ap-southeast-1", "ap-southeast-2", "ca-central-1", "eu-central-1",
    "eu-north-1", "eu-west-1", "eu-west-2", "eu-west-3", "us-east-1", "us-east-2", "us-west-1", "us-west-2",
)  # fmt: skip


@pytest.mark.parametrize("name", packaged_presets())
def test_what_the_presets_use_has_a_price_in_the_usual_regions(name: str) -> None:
    table, preset = load_prices(EMPTY), load_preset(name, EMPTY)
    types = {preset.head_node, *(each for queue in preset.queues for each in queue.instance_types)}
    for region in REGIONS:
        assert [each for each in types if table.instance(each, region) is None] == [], region
        assert {table.date(each, region) for each in types} == {"2026-07"}


@pytest.mark.parametrize(
    ("types", "source"),
    [
        (("c5.xlarge",), "table of 2026-07"),
        (("c5.xlarge", "r5.xlarge"), "table of 2025-03-02"),
        (("x9.huge",), "table of 2026-07"),
    ],
    ids=["one date", "the older of two", "unknown"],
)
def test_an_estimate_tells_the_oldest_date_that_counts(
    monkeypatch: pytest.MonkeyPatch, s3_environment: None, types: tuple[str, ...], source: str
) -> None:
    monkeypatch.setattr("cloudq.builder.prices.list_price", lambda aws, each: None)
    preset = adapt(load_preset("default", EMPTY), max_nodes=None, instance_types=types)
    assert estimate_for(make_plan(preset=preset), open_aws(None, "eu-west-1"), EMPTY).source == source


def test_an_unknown_price_is_named_and_spot_nat_and_storage_count() -> None:
    from dataclasses import replace

    table = load_prices(EMPTY)
    plain = estimate(make_plan(), table, lambda each: 1.0, source="test")
    spot = estimate(make_plan(spot=True), table, lambda each: 1.0, source="test")
    assert spot.full == pytest.approx(plain.full)
    assert plain.spot is None
    assert spot.spot == pytest.approx(plain.full - 4 * (1 - table.spot_share))
    text = render_plan(make_plan(spot=True), spot, region="xx-north-1", lease_until=START)
    assert (
        f"{plain.full:.2f} at full size if spot costs as much as on demand, perhaps {spot.spot:.2f};" in text
    )
    nat = estimate(make_plan(nat=True), table, lambda each: 1.0, source="test")
    assert nat.idle - plain.idle == pytest.approx(table.nat_gateway)
    preset = replace(make_plan().preset, storage=("fsx-scratch",))
    assert estimate(make_plan(preset=preset), table, lambda each: 1.0, source="test").idle > plain.idle
    order = make_order()
    unknown = estimate(order.plan, table, lambda each: None, source="test")
    assert unknown.unknown == ("t3.medium", "c6i.xlarge", "c5.xlarge")
    text = render_plan(order.plan, unknown, region="xx-north-1", lease_until=START)
    assert "(without t3.medium, c6i.xlarge, c5.xlarge: no price known)" in text
    assert (
        "   at most  unknown: give the price of t3.medium, c6i.xlarge, c5.xlarge in ~/.cloudq/aws/pri" in text
    )
    assert affordable(1, 0.5) == timedelta(hours=2)
    assert affordable(1, 0) > timedelta(days=365)
