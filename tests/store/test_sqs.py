"""The queue of events, on moto's server: told by the bucket itself, waited on, emptied, refused."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from cloudq.errors import StoreRefusedError, StoreUnreachableError
from cloudq.store.sqs import EventQueue, region_of


def connect(service: str, endpoint: str) -> Any:
    make: Any = boto3.client
    return make(service, endpoint_url=endpoint, region_name="us-east-1")


@pytest.fixture
def sqs(moto_endpoint: str, s3_environment: None) -> Any:
    return connect("sqs", moto_endpoint)


@pytest.fixture
def url(sqs: Any) -> Iterator[str]:
    made = sqs.create_queue(QueueName=f"cloudq-{uuid.uuid4().hex[:8]}")["QueueUrl"]
    yield made
    sqs.delete_queue(QueueUrl=made)


def test_a_bucket_tells_the_queue_of_markers_and_of_nothing_else(
    sqs: Any, url: str, moto_endpoint: str
) -> None:
    """The set-up is the one of docs/agent.md."""
    s3, bucket = connect("s3", moto_endpoint), f"b-{uuid.uuid4().hex[:8]}"
    s3.create_bucket(Bucket=bucket)
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    rule = {"Name": "prefix", "Value": "agent/.inbox/"}
    told = {"QueueArn": arn, "Events": ["s3:ObjectCreated:*"], "Filter": {"Key": {"FilterRules": [rule]}}}
    s3.put_bucket_notification_configuration(
        Bucket=bucket, NotificationConfiguration={"QueueConfigurations": [told]}
    )
    queue = EventQueue(url, "")
    queue.wait(0)  # S3 sends a message of its own when it is configured.
    s3.put_object(Bucket=bucket, Key="0123/stdout", Body=b"")
    assert not queue.wait(0)
    s3.put_object(Bucket=bucket, Key="agent/.inbox/here/0123", Body=b"")
    assert queue.wait(5)
    assert not queue.wait(0)


def test_all_messages_are_taken_away_whatever_they_say(sqs: Any, url: str) -> None:
    for number in range(25):
        sqs.send_message(QueueUrl=url, MessageBody=f"\x0b{number}" if number % 2 else "[[[")
    queue = EventQueue(url, "")
    queue.check()
    assert queue.wait(1)
    assert not queue.wait(0)


def test_a_queue_that_is_not_there_is_refused_in_one_line(url: str) -> None:
    gone = f"{url}-gone"
    for act in (lambda: EventQueue(gone, "").check(), lambda: EventQueue(gone, "").wait(0)):
        with pytest.raises(StoreRefusedError) as caught:
            act()
        assert str(caught.value).startswith(f"events queue {gone}: AWS.SimpleQueueService.NonExistentQueue: ")


def test_a_server_that_does_not_answer_is_named(s3_environment: None) -> None:
    with pytest.raises(
        StoreUnreachableError, match=r"events queue http://127.0.0.1:9/1/q: Could not connect"
    ):
        EventQueue("http://127.0.0.1:9/1/q", "").check()


@pytest.mark.parametrize(
    ("host", "region"),
    [
        ("sqs.eu-west-1.amazonaws.com", "eu-west-1"),
        ("sqs.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("vpce-1-2.sqs.ap-northeast-1.vpce.amazonaws.com", "ap-northeast-1"),
        ("eu-west-1.queue.amazonaws.com", "eu-west-1"),
        ("127.0.0.1:5000", ""),
    ],
)
def test_the_region_stands_in_the_url(host: str, region: str) -> None:
    assert region_of(f"https://{host}/123456789012/cloudq") == region
