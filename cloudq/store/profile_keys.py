"""Keys of a profile for boto3, read again for each request: tools renew temporary ones in the file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from botocore.credentials import CredentialProvider, Credentials, ReadOnlyCredentials

from cloudq.store.credentials import StaticKeys, read_aws_settings

if TYPE_CHECKING:
    from boto3.session import Session


def follow_profile(session: Session, profile: str) -> None:
    """Have a session take its keys anew from the files, if that is where they stand as they are."""
    settings = read_aws_settings(profile)
    if settings.keys is not None and settings.is_file:
        provider = _OfProfile(profile, settings.keys)
        session._session.get_component("credential_provider").providers.insert(0, provider)


class _OfProfile(CredentialProvider):
    """Stands before botocore's own providers, which read the files once."""

    METHOD = CANONICAL_NAME = "cloudq-profile"

    def __init__(self, profile: str, keys: StaticKeys) -> None:
        super().__init__()
        self._keys = _Keys(profile, keys)

    def load(self) -> Credentials:
        return self._keys


class _Keys(Credentials):
    def __init__(self, profile: str, keys: StaticKeys) -> None:
        super().__init__(keys.access_key, keys.secret_key, keys.token or None, "shared-credentials-file")
        self._profile = profile

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        # A file that is just being written is not believed.
        keys = read_aws_settings(self._profile).keys
        if keys is None:
            return super().get_frozen_credentials()
        return ReadOnlyCredentials(keys.access_key, keys.secret_key, keys.token or None)
