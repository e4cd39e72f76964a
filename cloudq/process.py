"""Run commands of the system: a list of words, a time limit, an exit status that counts."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import IO, Callable, Optional, Protocol

from cloudq.errors import CommandError, CommandTimeoutError, InputError

DEFAULT_TIMEOUT = timedelta(minutes=1)
NOT_STARTED = 127
"""Status of a command that could not be started, as a shell gives it."""

# Without packages and the caller's folder: the program needs neither.
_HOLDER = (sys.executable, "-I", "-S", str(Path(__file__).with_name("tether.py")))

# What opens the bucket (or names the configuration that does) in the environment. What comes with it, such
# as AWS_PROFILE and AWS_REGION, is no secret.
_CREDENTIALS = frozenset({
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN",
    "AWS_WEB_IDENTITY_TOKEN_FILE", "CLOUDQ_CONFIG", "CLOUDQ_STORE",
})  # fmt: skip
_CREDENTIALS_BEGIN = "AWS_CONTAINER_"


@dataclass(frozen=True)
class Completed:
    """What a command that ended with status 0 printed."""

    stdout: str
    stderr: str = ""


class Started(Protocol):
    """A process that was started and left alone; `pid` is also its session and process group."""

    pid: int

    def poll(self) -> Optional[int]:
        """Return the exit status if it has ended (-N when signal N ended it), None if not."""
        ...


class Runner(Protocol):
    """The one function through which commands are run; tests give a fake of it."""

    def __call__(
        self, argv: Sequence[str], *, cwd: Optional[Path] = None, timeout: timedelta = DEFAULT_TIMEOUT
    ) -> Completed: ...


def without_credentials(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that commands may have.

    Schedulers hand them on to jobs: `sbatch` by its default `--export=ALL`, `qsub` by `-V`.
    """
    return {
        name: value
        for name, value in environment.items()
        if name not in _CREDENTIALS and not name.startswith(_CREDENTIALS_BEGIN)
    }


def run(
    argv: Sequence[str],
    *,
    cwd: Optional[Path] = None,
    timeout: timedelta = DEFAULT_TIMEOUT,
    environment: Optional[Mapping[str, str]] = None,
) -> Completed:
    """Run a command without a shell and return what it printed.

    Bytes that are not UTF-8 are kept as replacement characters.

    Args:
        argv: The command and its arguments.
        cwd: The directory to run it in; the caller's own stays as it is.
        timeout: After this the command and its children are killed.
        environment: All its variables; the caller's without credentials if None: what is submitted
            inherits them.

    Raises:
        CommandTimeoutError: It did not end in time. It may have taken effect all the same.
        CommandError: It could not be started (status 127), or ended with another status than 0.
        InputError: An argument has a NUL or what no encoding has, or all are longer than the system allows.
    """
    return _run(argv, cwd=cwd, timeout=timeout, environment=environment)


def run_tethered(
    argv: Sequence[str],
    *,
    timeout: timedelta = DEFAULT_TIMEOUT,
    environment: Optional[Mapping[str, str]] = None,
) -> Completed:
    """Run a command as `run` does, one that must not go on without this process, however that ends.

    An interrupted caller waits until the command has ended; of one that is killed the command is
    interrupted and then killed by a program between the two.
    """
    end, held = os.pipe()
    with os.fdopen(end, "rb") as caller, os.fdopen(held, "wb") as tether:
        return _run(argv, timeout=timeout, environment=environment, caller=caller, tether=tether)


def _run(
    argv: Sequence[str],
    *,
    cwd: Optional[Path] = None,
    timeout: timedelta,
    environment: Optional[Mapping[str, str]],
    caller: Optional[IO[bytes]] = None,
    tether: Optional[IO[bytes]] = None,
) -> Completed:
    seconds = timeout.total_seconds()
    try:
        with subprocess.Popen(
            [*_HOLDER, *argv] if caller else list(argv),
            cwd=cwd,
            env=without_credentials(os.environ) if environment is None else environment,
            stdin=caller or subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        ) as process:
            try:
                stdout, stderr = process.communicate(timeout=seconds)
            except (subprocess.TimeoutExpired, KeyboardInterrupt) as error:
                if tether:
                    tether.close()
                    process.wait()
                if isinstance(error, KeyboardInterrupt):
                    raise
                _kill_session(process)
                raise CommandTimeoutError(argv, seconds) from None
    except ValueError as error:
        raise InputError(f"{argv[0]}: an argument that no command can be given: {error}") from error
    except OSError as error:
        if error.errno == errno.E2BIG:
            raise InputError(f"{argv[0]}: its arguments are too long for this system") from error
        raise CommandError(argv, NOT_STARTED, "", f"{argv[0]}: {error.strerror}") from error
    if process.returncode != 0:
        raise CommandError(argv, process.returncode, stdout, stderr)
    return Completed(stdout, stderr)


def feed(
    argv: Sequence[str], data: bytes, *, timeout: timedelta = DEFAULT_TIMEOUT, attended: bool = False
) -> Completed:
    """Run a command that reads its input, and return what it printed.

    Args:
        argv: The command and its arguments.
        data: What it reads.
        timeout: After this it is killed.
        attended: Let it talk to the person at the terminal: ask for a pass phrase, or for a touch.

    Raises:
        CommandTimeoutError: It did not end in time.
        CommandError: It could not be started (status 127), or ended with another status than 0.
    """
    try:
        done = subprocess.run(
            list(argv),
            input=data,
            stdout=subprocess.PIPE,
            stderr=None if attended else subprocess.PIPE,
            timeout=timeout.total_seconds(),
            start_new_session=not attended,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise CommandTimeoutError(argv, timeout.total_seconds()) from None
    except OSError as error:
        raise CommandError(argv, NOT_STARTED, "", f"{argv[0]}: {error.strerror}") from error
    stdout, stderr = (output.decode("utf-8", "replace") for output in (done.stdout, done.stderr or b""))
    if done.returncode != 0:
        raise CommandError(argv, done.returncode, stdout, stderr)
    return Completed(stdout, stderr)


def _kill_session(process: subprocess.Popen[str]) -> None:
    """Kill the command and every child of it that stayed in its session; on Windows the command alone."""
    if sys.platform == "win32":
        process.kill()
        process.wait()
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def start(
    argv: Sequence[str],
    *,
    cwd: Path,
    stdout: IO[bytes],
    stderr: IO[bytes],
    environment: Mapping[str, str],
) -> Started:
    """Start a program in a session of its own, with nothing to read, and return at once.

    It outlives the caller.

    Args:
        environment: All its variables; the caller's are not added.

    Raises:
        CommandError: It could not be started (status 127).
    """
    try:
        return subprocess.Popen(
            list(argv),
            cwd=cwd,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
    except OSError as error:
        raise CommandError(argv, 127, "", f"{error.filename or argv[0]}: {error.strerror}") from error


def fork(function: Callable[[], None], *, log: Path) -> Started:
    """Run a function in a child process, in a session of its own, and return at once; it outlives the caller.

    It has nothing to read, what it prints is appended to a log, and it shares no open file with the
    caller, so that it holds none of the caller's locks. Cheaper than `start` by the time that Python
    and its modules take. The caller must have one thread only.
    """
    pid = os.fork()
    if pid:
        return _Forked(pid)
    status = 1
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # programs inherit what `nohup` ignores
        _replace_files(log)
        function()
        status = 0
    except BaseException:  # noqa: BLE001  # nothing of the child may go on in the caller's code
        traceback.print_exc()
    finally:
        os._exit(status)


def _replace_files(log: Path) -> None:
    """Close everything that is open, and open the null device and the log instead."""
    for name in os.listdir("/dev/fd"):  # noqa: PTH208
        with contextlib.suppress(OSError):
            os.close(int(name))
    os.open(os.devnull, os.O_RDONLY)
    os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(1, 2, inheritable=True)
    sys.stdout = sys.stderr = os.fdopen(1, "w", buffering=1, encoding="utf-8", errors="backslashreplace")


class _Forked:
    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._status: Optional[int] = None

    def poll(self) -> Optional[int]:
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._status = os.waitstatus_to_exitcode(status) if pid else None
        return self._status
