"""Whose fault it was that a job did not end well."""

from __future__ import annotations

import re

from cloudq.job import Job, JobState

_SCRIPT = "the script's: it ended with an error of its own"
_FAULTS = (
    (r"out of memory|memory limit", "the request's: it needed more memory than it had; ask for more"),
    (r"walltime|time limit", "the request's: it needed more time than it had; raise walltime"),
    (r"image|pull", "the image's: it could not be fetched or run"),
    (r"lost by the scheduler|node|requeued", "the site's: submit it again (cloudqcli resubmit)"),
    (r"the bundle is not complete", "something deleted objects of the job from the bucket"),
    (r"policy|signature|signed", "the site's rules: they do not allow this job"),
    (r"exit 127", "the script's: a command was not found there (a module to load, a container?)"),
    (r"exit 126", "the script's: a command is not executable there"),
    (r"signal 9|SIGKILL", "unclear: it was killed, most often for want of memory"),
    (r"signal|exit", _SCRIPT),
)


def fault_of(job: Job) -> str:
    """Say whose fault it was that a job ended as it did; nothing if it ended well or as was asked."""
    if job.state in (JobState.DONE, JobState.DELETED):
        return ""
    if job.state is JobState.TIMEOUT:
        return "the request's: it needed more time than it had; raise walltime"
    if not job.native_id:
        return "the request's: it was refused, and never ran"
    for pattern, words in _FAULTS:
        if re.search(pattern, job.error, re.IGNORECASE):
            return words
    return "unclear"
