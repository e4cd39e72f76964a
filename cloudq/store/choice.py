"""Which library speaks to an S3 server, and why: obstore where it can, boto3 where it must."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Optional

from cloudq.errors import ConfigError
from cloudq.store import StoreAddress
from cloudq.store.credentials import StaticKeys, read_aws_settings

ENVIRONMENT_VARIABLE = "CLOUDQ_STORE"
DEFAULT_REGION = "us-east-1"
_LIBRARIES = ("auto", "obstore", "boto3")
_VARIABLES_OF_BOTO3 = (
    *("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"),
    *("AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT", "AWS_CA_BUNDLE"),
)

_COMMON_REGIONS = ("af-", "ap-", "ca-", "eu-", "il-", "me-", "mx-", "sa-", "us-east-", "us-west-", "us-gov-")


@dataclass(frozen=True)
class Choice:
    """Which library is used for an address.

    Attributes:
        library: `obstore` or `boto3`.
        reason: Why, to be read after the library's name.
        keys: The static keys to sign with; None for those of boto3's credential chain.
        region: The region to sign for.
    """

    library: str
    reason: str
    keys: Optional[StaticKeys] = None
    region: str = DEFAULT_REGION


def choose_library(address: StoreAddress) -> Choice:
    """Look at the environment and the AWS configuration files; nothing large is imported, nobody asked.

    Raises:
        ConfigError: CLOUDQ_STORE names something else.
    """
    wanted = os.environ.get(ENVIRONMENT_VARIABLE, "auto")
    if wanted not in _LIBRARIES:
        raise ConfigError(f"{ENVIRONMENT_VARIABLE}: expected {', '.join(_LIBRARIES)}, got {wanted!r}")
    settings = read_aws_settings(address.profile)
    region = settings.region or DEFAULT_REGION
    if wanted == "boto3":
        return Choice("boto3", f"because {ENVIRONMENT_VARIABLE} says so", region=region)
    obstacle = _obstacle(address, region, settings.other)
    if obstacle:
        return Choice("boto3", f"because {obstacle}", region=region)
    if settings.keys is None:
        return Choice("obstore", "with credentials from boto3's chain", region=region)
    return Choice("obstore", f"with the keys of {settings.source}", settings.keys, region)


def _obstacle(address: StoreAddress, region: str, other: tuple[str, ...]) -> str:
    """Say what only boto3 can do here; empty if nothing."""
    if find_spec("obstore") is None:
        return "obstore is not installed"
    if other:
        return f"the profile sets {', '.join(other)}"
    found = next((name for name in _variables_of_boto3(address) if os.environ.get(name)), "")
    if found:
        return f"{found} is set"
    if not address.endpoint_url and (
        address.bucket.startswith("arn:") or not region.startswith(_COMMON_REGIONS)
    ):
        return f"obstore knows no bucket {address.bucket} in region {region}"
    return ""


def _variables_of_boto3(address: StoreAddress) -> tuple[str, ...]:
    """Return the variables of the environment that count for an address, and that boto3 alone knows."""
    if not address.endpoint_url:
        return _VARIABLES_OF_BOTO3
    return () if address.is_plain_http else ("AWS_CA_BUNDLE",)
