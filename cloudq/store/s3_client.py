"""The boto3 client of an address: whose credentials it uses, and how patient it is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from cloudq.errors import ConfigError, StoreRefusedError
from cloudq.store import StoreAddress

if TYPE_CHECKING:
    from boto3.session import Session
    from mypy_boto3_s3.client import S3Client

ATTEMPTS = 5
_REGION = "us-east-1"
_POOLED_CONNECTIONS = 96
_CONNECT_SECONDS = 10
_READ_SECONDS = 60


def make_client(address: StoreAddress, *, attempts: int = ATTEMPTS) -> S3Client:
    """Make the one client of a store; it may be used by several threads.

    Args:
        address: The profile and the endpoint are used. The profile `default` need not exist: then,
            as with an empty one, the keys come from the environment or the role of the machine.
        attempts: How often one request is sent at most while the server is silent or overloaded.

    Raises:
        StoreRefusedError: The profile is unknown, or there are no credentials.
        ConfigError: The endpoint is not a URL.
    """
    session = open_session(address.profile)
    try:
        return session.client(
            "s3",
            endpoint_url=address.endpoint_url or None,
            region_name=session.region_name or _REGION,
            config=_config(own_endpoint=bool(address.endpoint_url), attempts=attempts),
        )
    except ValueError as error:
        raise ConfigError(
            f"cloudq_endpoint_url: expected https://HOST[:PORT], got {address.endpoint_url!r}"
        ) from error


def open_session(profile: str) -> Session:
    from boto3.session import Session
    from botocore.exceptions import BotoCoreError, ProfileNotFound

    from cloudq.store.profile_keys import follow_profile

    try:
        session = Session()
        if profile and (profile != "default" or profile in session.available_profiles):
            session = Session(profile_name=profile)
        follow_profile(session, profile)
        credentials = session.get_credentials()
    except ProfileNotFound as error:
        raise _unknown_profile(profile or os.environ.get("AWS_PROFILE", "")) from error
    except BotoCoreError as error:
        text = " ".join(str(error).split())
        raise StoreRefusedError(f"credentials of profile {profile!r}: {text}") from error
    if credentials is None:
        raise _no_credentials(profile)
    return session


def _no_credentials(profile: str) -> StoreRefusedError:
    profile = profile or "default"
    command = "aws configure" if profile == "default" else f"aws configure --profile {profile}"
    return StoreRefusedError(
        f"no credentials for the object store, neither in profile {profile!r} nor in the environment",
        hint=f"run `{command}`, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    )


def _unknown_profile(profile: str) -> StoreRefusedError:
    files = [
        os.environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"),
        os.environ.get("AWS_CONFIG_FILE", "~/.aws/config"),
    ]
    return StoreRefusedError(
        f"unknown profile {profile!r}: it is neither in {files[0]} nor in {files[1]}",
        hint=f"make it with `aws configure --profile {profile}`, or correct aws_profile in the configuration",
    )


def _config(*, own_endpoint: bool, attempts: int) -> Any:
    from botocore.config import Config

    options: dict[str, Any] = {}
    if own_endpoint:
        # Many servers have no wildcard DNS for bucket names, and some refuse checksums they do not know.
        options["s3"] = {"addressing_style": "path"}
        options["request_checksum_calculation"] = "when_required"
        options["response_checksum_validation"] = "when_required"
    return Config(
        max_pool_connections=_POOLED_CONNECTIONS,
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        # Else some regions get URLs signed in a way that most servers do not know any more.
        signature_version="s3v4",
        retries={"mode": "standard", "total_max_attempts": attempts},
        **options,
    )
