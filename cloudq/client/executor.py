"""Jobs as futures: works with `concurrent.futures.wait` and `as_completed`."""

from __future__ import annotations

import threading
from concurrent.futures import Executor, Future
from datetime import timedelta
from typing import Any, Optional

from cloudq.client.api import Client, JobHandle
from cloudq.client.jobs.waits import POLL, load_all, render_end
from cloudq.errors import CloudQError, JobFailedError, JobStateError, StoreUnreachableError
from cloudq.job import Job, JobState


class CloudQExecutor(Executor):
    """Submits scripts as jobs; each future gives the record of a job that ended well.

    One thread looks at all open jobs. Cancelling a future whose job has not started cancels the job.

    Args:
        client: The client; a new one if not given.
        interval: Pause between two looks.
    """

    def __init__(self, client: Optional[Client] = None, *, interval: timedelta = POLL) -> None:
        self._client = client or Client()
        self._interval = interval.total_seconds()
        self._open: dict[str, Future[Any]] = {}
        self._changed = threading.Condition()
        self._shut = False
        self._thread: Optional[threading.Thread] = None

    def submit(self, script: Any, /, *arguments: Any, **options: Any) -> Future[Any]:
        """Submit a script with these arguments; the options are those of `Client.submit`.

        Raises:
            InputError, StoreError: It was not submitted.
            RuntimeError: The executor was shut down.
        """
        with self._changed:
            if self._shut:
                raise RuntimeError("cannot submit after shutdown")
        handle = self._client.submit(script, [str(argument) for argument in arguments], **options)
        future: Future[Any] = Future()
        future.job = handle  # type: ignore[attr-defined]
        future.add_done_callback(lambda done: _cancel_if_asked(done, handle))
        with self._changed:
            self._open[handle.id] = future
            if self._thread is None:
                self._thread = threading.Thread(target=self._look, name="cloudq-jobs", daemon=True)
                self._thread.start()
            self._changed.notify()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more jobs; wait for those that are open, or cancel those that have not started."""
        with self._changed:
            self._shut = True
            futures = list(self._open.values())
            self._changed.notify()
        if cancel_futures:
            for future in futures:
                future.cancel()
        if wait and self._thread is not None:
            self._thread.join()

    def _look(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._open) or self._shut)
                if not self._open:
                    return
                ids = list(self._open)
            for job_id in ids:
                self._look_at(job_id)
            with self._changed:
                if self._open:
                    self._changed.wait(self._interval)

    def _look_at(self, job_id: str) -> None:
        future = self._open[job_id]
        try:
            (job,) = load_all(self._client.bundles, [job_id])
        except StoreUnreachableError:
            return
        except CloudQError as error:
            self._forget(job_id)
            if not future.cancelled():
                future.set_exception(error)
            return
        if future.cancelled() or job.state.final:
            self._forget(job_id)
        _tell(future, job)

    def _forget(self, job_id: str) -> None:
        with self._changed:
            self._open.pop(job_id, None)


def _tell(future: Future[Any], job: Job) -> None:
    """Bring a future to where its job is."""
    begun = job.state.final or job.started is not None
    if begun and not future.running() and not future.set_running_or_notify_cancel():
        return
    if job.state is JobState.DONE:
        future.set_result(job)
    elif job.state.final:
        future.set_exception(JobFailedError(render_end(job), job))


def _cancel_if_asked(future: Future[Any], handle: JobHandle) -> None:
    if future.cancelled():
        try:
            handle.cancel()
        except JobStateError:
            return  # It ended at the same moment.
