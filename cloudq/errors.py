"""Every deliberate error of CloudQ, and the exit status each gives a command."""

from __future__ import annotations

from collections.abc import Sequence


class CloudQError(Exception):
    """Something the person at the terminal must know: what, where, what was expected.

    Args:
        message: One line for the person at the terminal.
        hint: What to do about it; printed on a line of its own.
    """

    exit_status = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class ConfigError(CloudQError):
    """A configuration file is missing, or a value in it is not what was expected."""


class InputError(CloudQError):
    """A value given by the user (an option, a file name, a directive) is not what was expected."""

    exit_status = 2


class MetaScriptError(InputError):
    """A meta script has a directive that is unknown, malformed or has no meaning on the system."""

    def __init__(self, source: str, line: int, problem: str) -> None:
        super().__init__(f"{source}:{line}: {problem}")
        self.source = source
        self.line = line
        self.problem = problem


class RefusedError(CloudQError):
    """A job or a request that this site does not allow: not signed as it must be, or against its policy."""


class ManifestError(CloudQError):
    """A manifest is not JSON, or a member of it has the wrong type or value."""


class TooLargeError(ManifestError):
    """An object is larger than anything that is read at once: no manifest, no script, no definitions."""


class NoSuchJobError(CloudQError):
    """No job has this id."""

    exit_status = 3


class JobStateError(CloudQError):
    """The job is in a state in which this cannot be done."""


class JobFailedError(CloudQError):
    """A job ended otherwise than well.

    Args:
        job: Its record (`cloudq.job.Job`).
    """

    def __init__(self, message: str, job: object) -> None:
        super().__init__(message)
        self.job = job


class TimeLimitError(CloudQError):
    """What was waited for did not come within the time limit."""

    exit_status = 124


class AgentRunsError(CloudQError):
    """Another agent of the same name is alive elsewhere."""


class StoreError(CloudQError):
    """The object store cannot be reached, or refuses."""

    exit_status = 4


class StoreUnreachableError(StoreError):
    """No answer from the store: network, name, time-out, or a server error that outlasted the retries."""


class StoreRefusedError(StoreError):
    """The store refuses: no, wrong or expired credentials, no such bucket, no permission."""


class NotFoundError(StoreError):
    """There is no object of this key."""

    def __init__(self, key: str) -> None:
        super().__init__(f"no such object: {key}")
        self.key = key


class ConflictError(StoreError):
    """A conditional write lost: the object exists already, or is no longer the one that was read."""

    def __init__(self, key: str) -> None:
        super().__init__(f"changed by somebody else: {key}")
        self.key = key


class CommandError(CloudQError):
    """A command of the system ended with a status other than 0, or could not be started."""

    def __init__(self, argv: Sequence[str], status: int, stdout: str, stderr: str) -> None:
        said = (stderr.strip() or stdout.strip() or "no message").splitlines()[-1]
        super().__init__(f"{argv[0]} failed with status {status}: {said}")
        self.argv = tuple(argv)
        self.status = status
        self.stdout = stdout
        self.stderr = stderr


class CommandTimeoutError(CommandError):
    """A command did not end in time and was killed; whether it took effect is not known."""

    def __init__(self, argv: Sequence[str], seconds: float) -> None:
        super().__init__(argv, -1, "", f"no answer within {seconds:.0f} s")


class SchedulerOutputError(CloudQError):
    """A scheduler command printed something that cannot be understood."""


class ArchiveError(CloudQError):
    """An archive holds a member that must not be unpacked, or is damaged."""


class AwsError(CloudQError):
    """AWS refuses, fails or cannot be reached. `code` is its own word for it, such as `AccessDenied`."""

    def __init__(self, message: str, code: str = "", hint: str = "") -> None:
        super().__init__(message, hint)
        self.code = code


class ClusterError(CloudQError):
    """A cluster could not be made, found or deleted."""
