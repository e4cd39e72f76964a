"""CloudFormation stacks: what they are, what happened to them, and waiting for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Optional

from cloudq.builder.aws import Aws, Service
from cloudq.errors import AwsError

GONE = "DELETE_COMPLETE"
_CASCADE = ("cancelled", "The following resource(s) failed")


@dataclass(frozen=True)
class Stack:
    """A stack as CloudFormation described it."""

    name: str
    arn: str
    status: str
    reason: str
    created: datetime
    tags: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)

    @property
    def busy(self) -> bool:
        """Whether CloudFormation is still at work on it."""
        return self.status.endswith("_IN_PROGRESS")

    @property
    def complete(self) -> bool:
        """Whether it is there as it was asked for."""
        return self.status in ("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE")

    @property
    def gone(self) -> bool:
        """Whether it has been deleted."""
        return self.status == GONE


@dataclass(frozen=True)
class Event:
    """One thing that happened to a resource of a stack."""

    id: str
    time: datetime
    resource: str
    physical_id: str
    type: str
    status: str
    reason: str


class Stacks:
    """The stacks of an account in one region."""

    def __init__(self, aws: Aws) -> None:
        self._service: Service = aws.service("cloudformation")

    def find(self, name_or_arn: str) -> Optional[Stack]:
        """Return one stack, None if there is none. A deleted one is found by its ARN only."""
        try:
            found = self._service.describe_stacks(StackName=name_or_arn)["Stacks"]
        except AwsError as error:
            if error.code == "ValidationError" and "does not exist" in str(error):
                return None
            raise
        return _stack(found[0]) if found else None

    def all(self) -> Iterator[Stack]:
        """Yield all stacks that have not been deleted."""
        for description in self._service.items("describe_stacks", "Stacks"):
            yield _stack(description)

    def create(self, name: str, template: str, *, tags: Mapping[str, str]) -> str:
        """Begin to make a stack that may hold roles and policies; return its ARN."""
        answer = self._service.create_stack(
            StackName=name,
            TemplateBody=template,
            Tags=[{"Key": key, "Value": value} for key, value in tags.items()],
            Capabilities=["CAPABILITY_IAM"],
            OnFailure="DO_NOTHING",
        )
        return str(answer["StackId"])

    def delete(self, arn: str) -> None:
        """Begin to delete a stack."""
        self._service.delete_stack(StackName=arn)

    def events(self, arn: str) -> list[Event]:
        """Return all that happened to a stack, oldest first."""
        found = [
            _event(e) for e in self._service.items("describe_stack_events", "StackEvents", StackName=arn)
        ]
        return found[::-1]

    def reason_of_failure(self, arn: str) -> str:
        """Return why a stack failed: the first failed resource's own reason, also of a nested stack."""
        for event in self.events(arn):
            if not event.status.endswith("_FAILED") or not event.reason:
                continue
            if any(word in event.reason for word in _CASCADE):
                continue
            if event.type == "AWS::CloudFormation::Stack" and event.physical_id not in ("", arn):
                return self.reason_of_failure(event.physical_id)
            return f"{event.resource} ({event.type}): {event.reason}"
        stack = self.find(arn)
        return stack.reason if stack and stack.reason else "CloudFormation gives no reason"

    def wait(
        self,
        arn: str,
        *,
        pause: Callable[[timedelta], None],
        interval: timedelta,
        on_event: Callable[[Event], None],
    ) -> Stack:
        """Wait until CloudFormation has done its work on a stack; return what it is then.

        Args:
            arn: The stack's ARN, by which it can be found when it is gone.
            pause: Sleeps.
            interval: Between two looks.
            on_event: Told each event once, in order; also those of before.

        Raises:
            AwsError: There is no such stack.
        """
        seen: set[str] = set()
        while True:
            stack = self.find(arn)
            if stack is None:
                raise AwsError(f"AWS, cloudformation: no stack {arn}", "ValidationError")
            for event in self.events(arn):
                if event.id not in seen:
                    seen.add(event.id)
                    on_event(event)
            if not stack.busy:
                return stack
            pause(interval)


def _stack(description: Any) -> Stack:
    return Stack(
        name=description["StackName"],
        arn=description["StackId"],
        status=description["StackStatus"],
        reason=description.get("StackStatusReason") or "",
        created=description["CreationTime"],
        tags={tag["Key"]: tag["Value"] for tag in description.get("Tags", ())},
        outputs={out["OutputKey"]: out["OutputValue"] for out in description.get("Outputs", ())},
    )


def _event(description: Any) -> Event:
    return Event(
        id=description["EventId"],
        time=description["Timestamp"],
        resource=description.get("LogicalResourceId") or "",
        physical_id=description.get("PhysicalResourceId") or "",
        type=description.get("ResourceType") or "",
        status=description.get("ResourceStatus") or "",
        reason=description.get("ResourceStatusReason") or "",
    )
