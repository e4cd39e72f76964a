"""Fuzz the targets for a time: `python -m tests.fuzz [--seconds S] [--keep FOLDER] [TARGET ...]`.

With atheris (coverage decides what is mutated further) where it is installed, else with Hypothesis. What is
found is printed with its traceback, and its bytes are kept; the exit status is then 1.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz.names import NAMES

_LONGEST = 30
"""Seconds that one input may take; more is a find."""
_MEMORY = 1024
"""MiB that a target may take."""


def main() -> int:
    """Fuzz each target in a process of its own; return 1 if anything was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.partition(":")[0])
    parser.add_argument("--seconds", type=int, default=60, help="for all targets together")
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()), help="folder for finds")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(NAMES))
    given = parser.parse_args()
    unknown = set(given.targets) - set(NAMES)
    if unknown:
        parser.error(f"unknown target {sorted(unknown)[0]!r}: expected {', '.join(NAMES)}")
    names = given.targets or NAMES
    seconds = max(1, given.seconds // len(names))
    found = [name for name in names if not _is_sound(name, seconds, given.keep)]
    print(f"{len(names)} targets, {seconds} s each: {', '.join(found) or 'nothing'} found")
    return 1 if found else 0


def _is_sound(name: str, seconds: int, keep: Path) -> bool:
    driver = "atheris" if importlib.util.find_spec("atheris") else "hypothesis"
    with tempfile.TemporaryDirectory(prefix="cloudq-corpus-") as corpus:
        argv = [sys.executable, "-m", f"tests.fuzz.with_{driver}", name, str(seconds), corpus]
        argv += [str(_LONGEST), str(_MEMORY), str(keep)]
        done = subprocess.run(
            argv,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    lines = done.stdout.splitlines()
    print(f"{name}: {'sound' if done.returncode == 0 else 'FOUND'} ({driver}; {_summary(lines)})", flush=True)
    if done.returncode:
        print("\n".join(line for line in lines if not line.startswith("#"))[-8000:], flush=True)
    return done.returncode == 0


def _summary(lines: list[str]) -> str:
    return next((line for line in reversed(lines) if " runs" in line), "no end")


if __name__ == "__main__":
    sys.exit(main())
