"""CloudQ from Python: `from cloudq import Client`.

>>> from cloudq import Client
>>> client = Client()                                # the configuration of cloudqcli
>>> job = client.submit("job.sh", inputs=["data"])
>>> job.wait().state.value
'DONE'
>>> job.log()
'hello\\n'
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Optional, Union

from cloudq.bundle import Bundles
from cloudq.client.jobs.cancel import cancel
from cloudq.client.jobs.listing import load_jobs
from cloudq.client.jobs.selection import Patterns
from cloudq.client.jobs.waits import Pace, ended_jobs, render_end
from cloudq.client.results.logs import find_logs, find_task_log, read_log
from cloudq.client.results.stageout import stage_out
from cloudq.client.signatures import sign_cancel
from cloudq.client.submission.inputs import parse_input
from cloudq.client.submission.request import Submission
from cloudq.client.submission.submit import submit
from cloudq.config import ClientConfig, client_config_file, load_client_config
from cloudq.errors import InputError, JobFailedError
from cloudq.job import ArrayRange, Condition, Job, JobState
from cloudq.store import open_store

JobLike = Union["JobHandle", str]
"""A job, or its id or the beginning of it."""


class Client:
    """A user of one bucket.

    Args:
        config: A configuration file, or what was read from one; without it, that of `cloudqcli`
            (`$CLOUDQ_CONFIG` or `~/.cloudq/client/config.ini`).
        bundles: The bucket, if it is not to be opened after the configuration.

    Raises:
        ConfigError: The configuration is missing or wrong.
        StoreRefusedError: There are no credentials.
    """

    def __init__(
        self,
        config: Union[ClientConfig, Path, str, None] = None,
        *,
        bundles: Optional[Bundles] = None,
    ) -> None:
        if not isinstance(config, ClientConfig):
            config = load_client_config(client_config_file(Path(config) if config else None))
        self.config = config
        self.bundles = bundles or Bundles(open_store(config.store), config.prefix)

    def submit(
        self,
        script: Union[Path, str],
        arguments: Sequence[str] = (),
        *,
        inputs: Iterable[Union[Path, str]] = (),
        variables: Optional[Mapping[str, str]] = None,
        directives: Optional[Mapping[str, str]] = None,
        tasks: str = "",
        after: Iterable[JobLike] = (),
        after_ok: Iterable[JobLike] = (),
        submit_to: str = "",
        submit_options: str = "",
    ) -> JobHandle:
        """Submit a script, as `cloudqcli submit` does.

        Args:
            script: Its file.
            arguments: Its positional parameters.
            inputs: Files and folders, each `PATH` or `PATH:NAME`.
            variables: Variables that it exports at its beginning.
            directives: Directives instead of its own, such as `{"walltime": "2:00:00"}`.
            tasks: Makes it an array job: `1-10`, `1-100%4`.
            after: Jobs that must have ended before it starts.
            after_ok: Jobs that must have ended as DONE.
            submit_to: The system, if it is a script of that system's scheduler.
            submit_options: That scheduler's options.

        Raises:
            InputError: Something is refused; nothing was submitted.
            NoSuchJobError: A job to wait for does not exist.
            StoreError: The bucket cannot be reached, or refuses.
        """
        _refuse_one("inputs", inputs)
        _refuse_one("arguments", arguments)
        if not isinstance(tasks, str):
            raise InputError(f"tasks: expected a range such as '1-10', got {tasks!r}")
        submission = Submission(
            script=Path(script),
            submit_to=submit_to,
            submit_options=submit_options,
            hold_ids=tuple(map(_id_of, after)),
            conditions={Condition.OK: tuple(map(_id_of, after_ok))},
            array_range=ArrayRange.parse(tasks) if tasks else None,
            inputs=tuple(parse_input(str(text)) for text in inputs),
            directives={key: str(value) for key, value in (directives or {}).items()},
            arguments=tuple(map(str, arguments)),
            variables={name: str(value) for name, value in (variables or {}).items()},
        )
        job = submit(self.bundles, self.config, submission, now=_now())
        return JobHandle(self, job.id)

    def job(self, job_id: str) -> JobHandle:
        """Return a job by its id or the beginning of it.

        Raises:
            NoSuchJobError: There is none.
            InputError: There are several.
        """
        return JobHandle(self, self.bundles.find(job_id))

    def jobs(self) -> list[Job]:
        """Return the records of all jobs in the bucket, by time of submission."""
        return list(load_jobs(self.bundles, now=_now()).jobs)


class JobHandle:
    """A job that was submitted; each question is asked of the bucket.

    Attributes:
        id: Its id.
    """

    def __init__(self, client: Client, job_id: str) -> None:
        self.id = job_id
        self._client = client

    def __repr__(self) -> str:
        return f"<CloudQ job {self.id}>"

    @property
    def record(self) -> Job:
        """All that is recorded of it now."""
        return self._client.bundles.load(self.id).job

    @property
    def state(self) -> JobState:
        """Its state now."""
        return self.record.state

    def wait(self, timeout: Optional[float] = None) -> Job:
        """Wait until it has ended, and return its record.

        Args:
            timeout: Seconds to wait at most.

        Raises:
            TimeLimitError: It has not ended by then.
            NoSuchJobError: It was deleted.
        """
        limit = None if timeout is None else timedelta(seconds=timeout)
        return next(ended_jobs(self._client.bundles, [self.id], Pace(limit)))

    def result(self, timeout: Optional[float] = None) -> Job:
        """Wait until it has ended well, and return its record.

        Raises:
            JobFailedError: It ended otherwise than DONE; its `job` has the record.
            TimeLimitError, NoSuchJobError: As for `wait`.
        """
        job = self.wait(timeout)
        if job.state is not JobState.DONE:
            raise JobFailedError(render_end(job), job)
        return job

    def log(self, *, error: bool = False, task: Optional[int] = None) -> str:
        """Return what it has printed so far; of an array job all tasks' texts, one after the other.

        Args:
            error: stderr instead of stdout.
            task: Only this task.

        Raises:
            NoSuchJobError: There is no log of this task.
        """
        bundles, stream = self._client.bundles, "stderr" if error else "stdout"
        if task is None:
            logs = find_logs(bundles, self.id, stream)
        else:
            logs = [find_task_log(bundles, self.id, stream, str(task))]
        data = b"".join(block for log in logs for block in read_log(bundles, self.id, log))
        return data.decode("utf-8", "backslashreplace")

    def stage_out(self, folder: Union[Path, str, None] = None, *patterns: str) -> Path:
        """Fetch its outputs and logs, and return the folder.

        Args:
            folder: Where to; a new temporary folder if not given.
            patterns: Only these files: `results/*.csv`.
        """
        target = Path(folder) if folder is not None else Path(tempfile.mkdtemp(prefix=f"{self.id}-"))
        stage_out(self._client.bundles, self.id, target, patterns=Patterns(patterns))
        return target

    def cancel(self) -> None:
        """Ask for it to be cancelled. Raises JobStateError if it has ended."""
        cancel(self._client.bundles, self.id, sign_cancel(self._client.config, self.id))


def _refuse_one(name: str, value: object) -> None:
    if isinstance(value, (str, Path)):
        raise InputError(f"{name}: expected a list such as [{str(value)!r}], got {value!r}")


def _id_of(job: JobLike) -> str:
    return job if isinstance(job, str) else job.id


def _now() -> datetime:
    return datetime.now(timezone.utc)
