"""One AWS account in one region: its services, with errors as one line each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Optional

from cloudq.errors import AwsError

if TYPE_CHECKING:
    from boto3.session import Session

_NO_REGION = "no AWS region: neither --region, nor AWS_REGION, nor the profile names one"


class Service:
    """A boto3 client whose calls raise `AwsError`. Calls have boto3's names and arguments."""

    def __init__(self, name: str, client: Any) -> None:
        self._name = name
        self._client = client

    def __getattr__(self, operation: str) -> Any:
        call = getattr(self._client, operation)

        def translated(**arguments: Any) -> Any:
            from botocore.exceptions import BotoCoreError, ClientError
            from botocore.parsers import ResponseParserError

            try:
                return call(**arguments)
            except ClientError as error:
                raise _from_answer(self._name, operation, error.response) from error
            except (BotoCoreError, ResponseParserError) as error:
                raise AwsError(f"AWS, {self._name}: {' '.join(str(error).split())}") from error

        return translated

    def items(self, operation: str, member: str, **arguments: Any) -> Iterator[Any]:
        """Yield what a listing call has in one member of its answer, page by page."""
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.parsers import ResponseParserError

        try:
            for page in self._client.get_paginator(operation).paginate(**arguments):
                yield from page.get(member) or ()
        except ClientError as error:
            raise _from_answer(self._name, operation, error.response) from error
        except (BotoCoreError, ResponseParserError) as error:
            raise AwsError(f"AWS, {self._name}: {' '.join(str(error).split())}") from error


def _from_answer(service: str, operation: str, response: Any) -> AwsError:
    error = response.get("Error", {})
    code, message = error.get("Code", ""), " ".join(error.get("Message", "").split())
    hint = ""
    if code in ("ExpiredToken", "ExpiredTokenException", "RequestExpired"):
        hint = "the credentials have expired: log in again, and give the same command once more"
    return AwsError(f"AWS, {service} {operation}: {message or code}", code, hint)


@dataclass(frozen=True)
class Aws:
    """An account and a region, as a profile or the environment names them.

    Args:
        session: Where clients come from.
        profile: The profile's name; empty for the environment's.
    """

    session: Session
    profile: str = ""

    @property
    def region(self) -> str:
        """The region's code, such as ap-northeast-1."""
        return str(self.session.region_name)

    @property
    def partition(self) -> str:
        """The first word of this region's ARNs: aws, aws-cn, aws-us-gov. Raises AwsError if there is none."""
        from botocore.exceptions import BotoCoreError

        try:
            return str(self.session.get_partition_for_region(self.region))
        except BotoCoreError as error:
            raise AwsError(f"AWS: no region is called {self.region!r}", hint="see --region") from error

    @cached_property
    def _services(self) -> dict[str, Service]:
        return {}

    def service(self, name: str, *, region: Optional[str] = None, patient: bool = True) -> Service:
        """Return the client of a service; one of each kind is made.

        Args:
            patient: Whether it tries again when AWS is silent or overloaded.
        """
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError

        key = f"{name} {region or ''}"
        if key not in self._services:
            attempts, seconds = (8, 10) if patient else (1, 4)
            retries: Any = {"mode": "standard", "total_max_attempts": attempts}
            config = Config(retries=retries, connect_timeout=seconds, read_timeout=6 * seconds)
            try:
                client = self.session.client(name, region_name=region or self.region, config=config)  # type: ignore[call-overload]
            except BotoCoreError as error:
                raise AwsError(f"AWS, {name}: {' '.join(str(error).split())}") from error
            self._services[key] = Service(name, client)
        return self._services[key]

    def regions_of(self, service: str) -> list[str]:
        """Return the regions of this partition in which a service has an endpoint."""
        return list(self.session.get_available_regions(service, partition_name=self.partition))

    def environment(self) -> dict[str, str]:
        """Return this process's environment, so changed that a child works in the same account and region."""
        variables = {**os.environ, "AWS_REGION": self.region, "AWS_DEFAULT_REGION": self.region}
        return {**variables, "AWS_PROFILE": self.profile} if self.profile else variables


def open_aws(profile: Optional[str], region: Optional[str]) -> Aws:
    """Find credentials and a region the usual way: profile, environment, role, SSO.

    Raises:
        AwsError: There is no such profile, there are no credentials, or no region is named that can be.
    """
    from boto3.session import Session
    from botocore.exceptions import BotoCoreError, ProfileNotFound

    try:
        session = Session(profile_name=profile or None, region_name=region or os.environ.get("AWS_REGION"))
        credentials = session.get_credentials()
    except ProfileNotFound as error:
        raise AwsError(str(error), hint="see `aws configure list-profiles`") from error
    except BotoCoreError as error:
        raise AwsError(f"AWS credentials: {' '.join(str(error).split())}") from error
    if credentials is None:
        raise AwsError(
            "no AWS credentials, neither in a profile nor in the environment", hint="run `aws configure`"
        )
    if not session.region_name:
        raise AwsError(_NO_REGION, hint="give --region, or run `aws configure`")
    aws = Aws(session, profile or "")
    _ = aws.partition  # a region of none is a mistake
    return aws
