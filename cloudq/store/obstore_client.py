"""The obstore client of an address: whose credentials it uses, and how patient it is."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any, Optional
from urllib.parse import urlsplit

from cloudq.errors import CloudQError, ConfigError, StoreRefusedError
from cloudq.store import StoreAddress
from cloudq.store.choice import Choice
from cloudq.store.credentials import StaticKeys, read_aws_settings

ATTEMPTS = 5
_KEYS_ARE_GOOD_FOR = timedelta(minutes=5)
_CONNECT_TIMEOUT = "10s"
# For a whole request: nothing that is sent or fetched by one is larger than `PART` of the store.
_TIMEOUT = "120s"
_LOOPBACK = re.compile(r"(?:localhost|127(?:\.\d{1,3}){3}|::1)\Z")

Credential = dict[str, Any]


class Credentials:
    """Gives obstore its keys, and looks for renewed ones every few minutes.

    Args:
        read: Returns the keys that count now. Raises CloudQError.

    Attributes:
        fault: Why there were none the last time.
    """

    def __init__(self, read: Callable[[], StaticKeys]) -> None:
        self._read = read
        self.fault: Optional[CloudQError] = None

    def __call__(self) -> Credential:
        try:
            keys = self._read()
        except CloudQError as error:
            self.fault = error
            raise
        self.fault = None
        return {
            "access_key_id": keys.access_key,
            "secret_access_key": keys.secret_key,
            "token": keys.token or None,
            "expires_at": datetime.now(timezone.utc) + _KEYS_ARE_GOOD_FOR,
        }


def make_client(
    address: StoreAddress, choice: Choice, *, attempts: int = ATTEMPTS
) -> tuple[Any, Credentials]:
    """Make the one client of a store, which may be used by several threads, and what gives it its keys.

    Args:
        address: The endpoint, the bucket and the profile are used.
        choice: Region, and whether there are static keys.
        attempts: How often one request is sent at most while the server is silent or overloaded.

    Raises:
        StoreRefusedError: The profile is unknown, or there are no credentials.
        ConfigError: The endpoint is not a URL.
    """
    from obstore.store import S3Store

    _check_url(address.endpoint_url)
    credentials = Credentials(_reader(address.profile, choice.keys))
    options: dict[str, Any] = {"endpoint": address.endpoint_url} if address.endpoint_url else {}
    client = S3Store(
        address.bucket,
        # As other tools do it: TLS guards what is sent, and to hash it takes longer than to encrypt it.
        unsigned_payload=not address.is_plain_http or _is_this_host(address.endpoint_url),
        region=choice.region,
        virtual_hosted_style_request=not address.endpoint_url and "." not in address.bucket,
        client_options={
            "allow_http": address.is_plain_http,
            "connect_timeout": _CONNECT_TIMEOUT,
            "timeout": _TIMEOUT,
        },
        retry_config={"max_retries": attempts - 1},
        credential_provider=credentials,
        **options,
    )
    return client, credentials


def _is_this_host(endpoint_url: str) -> bool:
    """Tell whether what is sent does not leave the host: nobody on the way can change it."""
    return _LOOPBACK.match(urlsplit(endpoint_url).hostname or "") is not None


def _check_url(endpoint_url: str) -> None:
    if endpoint_url:
        try:
            parts = urlsplit(endpoint_url)
            good = bool(parts.hostname) and not set(endpoint_url) & set(" \t<>\"'\\") and parts.port != 0
        except ValueError:
            good = False
        if not good:
            raise ConfigError(f"cloudq_endpoint_url: expected https://HOST[:PORT], got {endpoint_url!r}")


def _reader(profile: str, keys: Optional[StaticKeys]) -> Callable[[], StaticKeys]:
    if keys is None:
        return _chain_reader(profile)

    def read() -> StaticKeys:
        # Temporary keys are renewed in the file; one that is just being written is not believed.
        return read_aws_settings(profile).keys or keys

    return read


def _chain_reader(profile: str) -> Callable[[], StaticKeys]:
    from botocore.exceptions import BotoCoreError

    from cloudq.store.answers import CREDENTIALS_HINT, one_line
    from cloudq.store.s3_client import open_session

    session = open_session(profile)

    def read() -> StaticKeys:
        try:
            # The session keeps the credentials, and renews them in time.
            found = session.get_credentials()
            if found is None:
                raise StoreRefusedError("no credentials any more", hint=CREDENTIALS_HINT)
            frozen = found.get_frozen_credentials()
        except (BotoCoreError, RuntimeError) as error:
            # botocore's RuntimeError: what it was given anew has ended, too.
            raise StoreRefusedError(
                f"no credentials: {one_line(str(error))}", hint=CREDENTIALS_HINT
            ) from error
        return StaticKeys(frozen.access_key or "", frozen.secret_key or "", frozen.token or "")

    return read
