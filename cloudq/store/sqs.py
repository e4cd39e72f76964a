"""The queue that AWS tells of new objects: Amazon SQS, asked by long polling, over outbound HTTPS only.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from cloudq.errors import StoreRefusedError, StoreUnreachableError

LONGEST_WAIT = 20
"""Seconds that SQS holds back an answer at most."""

_MOST_MESSAGES = 10
_MOST_ROUNDS = 100
_READ_SECONDS = LONGEST_WAIT + 10
_REGION = "us-east-1"
# sqs.eu-west-1.amazonaws.com, vpce-1.sqs.eu-west-1.vpce.amazonaws.com; eu-west-1.queue.amazonaws.com of old.
_HOST = re.compile(r"(?:.*\.)?sqs\.(?P<region>[a-z0-9-]+)\.|(?P<old>[a-z0-9-]+)\.queue\.")


class EventQueue:
    """A queue whose messages only say that there is something to look at: nobody reads what is in them.

    Args:
        url: The queue.
        profile: Of the AWS configuration files, as for the bucket.

    Raises:
        StoreRefusedError: The profile is unknown, or there are no credentials.
    """

    def __init__(self, url: str, profile: str) -> None:
        from botocore.config import Config

        from cloudq.store.s3_client import open_session

        self.url = url
        parts, session = urlsplit(url), open_session(profile)
        self._client: Any = session.client(
            "sqs",
            endpoint_url=f"{parts.scheme}://{parts.netloc}",
            region_name=region_of(url) or session.region_name or _REGION,
            config=Config(connect_timeout=10, read_timeout=_READ_SECONDS, retries={"total_max_attempts": 1}),
        )

    def wait(self, seconds: int) -> bool:
        """Wait at most so long for a message; take away all there are, and tell whether there was one.

        Raises:
            StoreRefusedError, StoreUnreachableError: It cannot be asked.
        """
        found = self._take(seconds)
        for _ in range(_MOST_ROUNDS if found == _MOST_MESSAGES else 0):
            if self._take(0) == 0:
                break
        return found > 0

    def check(self) -> None:
        """Make sure that it may be asked; no message is taken away. Raises as `wait`."""
        self._ask(lambda: self._receive(0, VisibilityTimeout=0))

    def _take(self, seconds: int) -> int:
        messages = self._ask(lambda: self._receive(seconds)).get("Messages", [])
        if messages:
            entries = [
                {"Id": str(number), "ReceiptHandle": message["ReceiptHandle"]}
                for number, message in enumerate(messages)
            ]
            self._ask(lambda: self._client.delete_message_batch(QueueUrl=self.url, Entries=entries))
        return len(messages)

    def _receive(self, seconds: int, **options: int) -> Any:
        return self._client.receive_message(
            QueueUrl=self.url,
            MaxNumberOfMessages=_MOST_MESSAGES,
            WaitTimeSeconds=min(seconds, LONGEST_WAIT),
            **options,
        )

    def _ask(self, call: Callable[[], Any]) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return call()
        except ClientError as error:
            said = error.response.get("Error", {})
            raise StoreRefusedError(
                f"events queue {self.url}: {said.get('Code')}: {said.get('Message')}"
            ) from error
        except BotoCoreError as error:
            raise StoreUnreachableError(f"events queue {self.url}: {' '.join(str(error).split())}") from error


def region_of(url: str) -> str:
    """Return the region that a queue's URL names; empty if it names none."""
    match = _HOST.match(urlsplit(url).hostname or "")
    return "" if match is None else match["region"] or match["old"]
