"""Static keys and settings from the environment and the files of AWS's tools, read without their libraries.

https://docs.aws.amazon.com/cli/latest/userguide/cli-configure-files.html; the order is that of botocore.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from configparser import Error as ConfigParserError
from configparser import RawConfigParser
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

_UNDERSTOOD = frozenset(
    {"aws_access_key_id", "aws_secret_access_key", "aws_session_token", "region", "output", "cli_pager"}
)
_OF_THE_CHAIN = (
    "role_arn",
    "source_profile",
    "credential_source",
    "credential_process",
    "web_identity_token_file",
    "role_session_name",
    "sso_",
    "external_id",
    "mfa_serial",
    "duration_seconds",
    "login_session",
)


@dataclass(frozen=True)
class StaticKeys:
    """Keys that stand somewhere as they are."""

    access_key: str
    secret_key: str
    token: str = ""


@dataclass(frozen=True)
class AwsSettings:
    """What environment and profile say.

    Attributes:
        source: Where the keys come from, for a person; empty without keys.
        is_file: True if that is one of the files.
        keys: The keys, None if there are no static ones, or something is odd that boto3 explains best.
        region: Empty if none is named.
        other: Settings that ask for more than keys and region.
    """

    source: str = ""
    is_file: bool = False
    keys: Optional[StaticKeys] = None
    region: str = ""
    other: tuple[str, ...] = field(default=())


def read_aws_settings(profile: str, environment: Mapping[str, str] = os.environ) -> AwsSettings:
    """Read what counts for a profile; if it is empty, or a `default` that is not there, the usual chain."""
    try:
        profiles = _read_profiles(environment)
    except (ConfigParserError, OSError, UnicodeDecodeError):
        return AwsSettings()
    explicit = bool(profile) and (profile != "default" or profile in profiles)
    named = environment.get("AWS_PROFILE") or environment.get("AWS_DEFAULT_PROFILE") or ""
    name = profile if explicit else named or "default"
    values = profiles.get(name)
    region = environment.get("AWS_DEFAULT_REGION") or (values or {}).get("region", "")
    if values is None and (explicit or named):
        return AwsSettings(region=region)
    values = values or {}
    other = tuple(sorted(set(values) - _UNDERSTOOD))
    if not explicit and any(environment.get(f"AWS_{key}") for key in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY")):
        token = environment.get("AWS_SESSION_TOKEN") or environment.get("AWS_SECURITY_TOKEN") or ""
        keys = _keys(environment.get("AWS_ACCESS_KEY_ID"), environment.get("AWS_SECRET_ACCESS_KEY"), token)
        return AwsSettings("the environment", keys=keys, region=region, other=_without_chain(other))
    if len(_without_chain(other)) < len(other):
        return AwsSettings(region=region, other=_without_chain(other))
    token = values.get("aws_session_token", "")
    keys = _keys(values.get("aws_access_key_id"), values.get("aws_secret_access_key"), token)
    return AwsSettings(f"profile {name!r}", keys is not None, keys, region, other)


def _keys(access_key: Optional[str], secret_key: Optional[str], token: str) -> Optional[StaticKeys]:
    return StaticKeys(access_key, secret_key, token) if access_key and secret_key else None


def _without_chain(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in names if not name.startswith(_OF_THE_CHAIN))


def _read_profiles(environment: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Read both files: profile -> settings; what the credentials file says goes first."""
    profiles: dict[str, dict[str, str]] = {}
    config = environment.get("AWS_CONFIG_FILE") or "~/.aws/config"
    for section, values in _read_ini(config).items():
        kind, _, name = section.partition(" ")
        if section == "default" or (kind == "profile" and name):
            profiles.setdefault(name.strip().strip("\"'") or "default", {}).update(values)
    credentials = environment.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials"
    for section, values in _read_ini(credentials).items():
        profiles.setdefault(section, {}).update(values)
    return profiles


def _read_ini(file: str) -> dict[str, dict[str, str]]:
    # "default" is a profile of its own here, not what all others inherit.
    parser = RawConfigParser(default_section="\0", strict=False)
    path = Path(os.path.expanduser(os.path.expandvars(file)))  # noqa: PTH111 - an unknown user stays as it is
    if path.is_file():
        parser.read_string(path.read_text(encoding="utf-8"))
    return {section: dict(parser[section]) for section in parser.sections()}
