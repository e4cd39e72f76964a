"""The client on systems without POSIX: it imports nothing that Windows does not have."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cloudq
from tests.client.conftest import Laptop

_PROGRAM = """
import importlib, os, pkgutil, signal, sys

MISSING = {"fcntl", "pwd", "grp", "resource", "termios", "syslog", "daemon", "tty", "pty", "spwd", "nis"}

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name in MISSING:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

for name in MISSING & set(sys.modules):
    del sys.modules[name]
sys.meta_path.insert(0, Blocker())
# What the modules os and signal do not have there.
for name in ("fork", "getuid", "geteuid", "getgid", "getegid", "killpg", "setsid", "mkfifo", "chown"):
    delattr(os, name)
for name in ("SIGHUP", "SIGKILL", "SIGUSR1", "SIGALRM", "SIGCHLD"):
    delattr(signal, name)

import cloudq.client
for module in pkgutil.walk_packages(cloudq.client.__path__, "cloudq.client."):
    importlib.import_module(module.name)
from cloudq.client.cli import main
from cloudq import Client, CloudQExecutor

def answer(*argv):
    try:
        main(list(argv), prog_name="cloudqcli")
    except SystemExit as end:
        assert not end.code, (argv, end.code)

answer("submit", "job.sh", "--input", "data")
for command in ("stat", "why", "log", "stageout", "cancel"):
    answer(command, "@last")
answer("list")
answer("systems")
answer("translate", "--help")
"""


def test_a_client_needs_no_module_and_no_function_of_posix(laptop: Laptop) -> None:
    laptop.write("data/x", "x")
    environment = {**os.environ, "PYTHONPATH": str(Path(cloudq.__file__).parent.parent)}
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        env=environment,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "has been submitted" in done.stdout
