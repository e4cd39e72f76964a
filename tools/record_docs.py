"""Run the commands in the documentation's `console` blocks and write what they really print below them.

    python tools/record_docs.py            rewrite the pages
    python tools/record_docs.py --check    change nothing; exit status 1 if a page says something else

A page's blocks run in order in one home directory made for it, with the files of examples/ in the current
directory. Lines `$ command` are commands, the lines below them their output (stdout and stderr). A comment
`<!-- run: command -->` runs a command that readers need not see. `--check` takes one job id, time, number of
seconds or size for another: they differ each time.
"""

from __future__ import annotations

import difflib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(path for path in (ROOT / "docs").rglob("*.md") if "```console" in path.read_text("utf-8"))
HOME = "/home/me"
"""The home directory as the pages show it."""
PATIENCE = 120
"""Seconds that one command may take."""

PART = re.compile(
    r"^<!-- run: (?P<hidden>.+) -->$|^```console\n(?P<block>.*?)^```$", re.MULTILINE | re.DOTALL
)
CHANGING = (
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(\+00:00|Z)?"), "TIME"),
    (re.compile(r"\b[0-9a-f]{12}\b"), "ID"),
    (re.compile(r"\d+"), "N"),
    (re.compile(r"[ \t]+"), " "),
    (re.compile(r"[─━-]{2,}"), "--"),
)

Run = Callable[[str], str]


def main(arguments: list[str]) -> int:
    """Record or check all pages; return the exit status."""
    check = arguments == ["--check"]
    if arguments and not check:
        print(__doc__, file=sys.stderr)
        return 2
    stale = [page for page in PAGES if not handle(page, check)]
    for page in stale:
        print(f"{page.relative_to(ROOT)} shows what CloudQ does not print; run: make record", file=sys.stderr)
    return 1 if stale else 0


def handle(page: Path, check: bool) -> bool:
    """Run a page and rewrite it, or with `check` tell whether it is true."""
    old = page.read_text("utf-8")
    new = recorded(old)
    if not check:
        page.write_text(new, "utf-8")
        return True
    differences = list(difflib.unified_diff(masked(old), masked(new), str(page), "really", lineterm="", n=1))
    print("\n".join(differences), end="\n" if differences else "")
    return not differences


def recorded(text: str) -> str:
    """Return a page with the real output of its commands."""
    with tempfile.TemporaryDirectory(prefix="cloudq-docs-") as name:
        home = Path(name).resolve()
        shutil.copytree(ROOT / "examples", home, dirs_exist_ok=True)

        def run(command: str) -> str:
            done = subprocess.run(
                ["bash", "-c", command],
                cwd=home,
                env=environment(home),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=PATIENCE,
                check=False,
                encoding="utf-8",
            )
            return done.stdout.replace(str(home), HOME).replace(f"host {platform.node()}", "host mypc")

        try:
            return PART.sub(lambda part: replay(part, run), text)
        finally:
            run("cloudqd stop")


def replay(part: re.Match[str], run: Run) -> str:
    """Run one part of a page; return what stands there from now on."""
    if part["hidden"]:
        run(part["hidden"])
        return part[0]
    lines = [line for command in commands(part["block"]) for line in (f"$ {command}\n", run(command))]
    return "```console\n" + "".join(lines) + "```"


def commands(block: str) -> Iterator[str]:
    """Yield the commands of a block, without the prompt."""
    for line in block.splitlines():
        if line.startswith("$ "):
            yield line[2:]


def environment(home: Path) -> dict[str, str]:
    """Return an environment that knows no other CloudQ and no other AWS than the page's own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "CLOUDQ_"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
    return {**kept, "HOME": str(home), "PATH": path, "TZ": "UTC", "COLUMNS": "110", "NO_COLOR": "1"}


def masked(text: str) -> list[str]:
    """Return a page's lines without what is different at each run."""
    for pattern, word in CHANGING:
        text = pattern.sub(word, text)
    return text.splitlines()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
