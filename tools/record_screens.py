"""Draw what CloudQ really shows on a terminal: docs/screens/NAME.svg, one picture for each session below.

    python tools/record_screens.py

An agent of type `local` runs in a home directory made for it, with the files of examples/. Each session is
typed into a shell on a pseudo-terminal; the picture is its last screen, or the first with the awaited text.
"""

from __future__ import annotations

import fcntl
import os
import platform
import pty
import re
import select
import shutil
import signal
import struct
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import StringIO
from itertools import groupby
from pathlib import Path

import pyte
from record_docs import HOME, ROOT, environment
from rich.console import Console
from rich.style import Style
from rich.text import Text

SCREENS = ROOT / "docs" / "screens"
COLUMNS, LINES = 100, 40
PATIENCE = 90
"""Seconds that one command may take."""

PROMPT = "$"
CTRL_C = b"\x03"

# Rich's own template names a font of another server; a picture in a README fetches nothing.
SVG = """<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: monospace; font-size: {char_height}px; line-height: {line_height}px }}
.{unique_id}-title {{ font-size: 16px; font-family: sans-serif }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""
COLOURS = {"brown": "yellow", "default": None}

LONG = """#!/bin/sh
#$ run_on: ANY
#$ walltime: 0:30:00
for percent in 5 40 60; do echo "# cloudq progress=$percent"; sleep 6; done
"""
FILES = {
    "train.sh": LONG,
    "points.sh": "#!/bin/sh\n#$ run_on: ANY\n#$ walltime: 5m\nsleep 1\n",
    "on-abci.sh": "#!/bin/sh\n#$ run_on: abci\n#$ gpus: 8\n./train\n",
    "broken.sh": "#!/bin/sh\n#$ run_on: ANY\n#$ walltime: 5m\necho 'reading the model'\npyton3 train.py\n",
}
PREPARATION = (
    'bucket="--endpoint-url file://$HOME/bucket --bucket jobs"; mkdir -p bucket/jobs',
    "cloudqd init --name mypc --type local $bucket --daemon-interval 1",
    "cloudqcli init --name laptop $bucket",
    "sed -i 's/^.*slots = .*/slots = 2/' ~/.cloudq/agent/config.ini && cloudqd --daemon",
)


@dataclass(frozen=True)
class Session:
    """Commands whose screen becomes a picture.

    Attributes:
        name: Of the picture.
        commands: What is typed and seen, one after the other.
        before: What is typed and not seen.
        until: The last command runs until its screen matches this, and is then interrupted.
    """

    name: str
    commands: tuple[str, ...]
    before: tuple[str, ...] = ()
    until: str = ""


SESSIONS = (
    Session(
        "run",
        ("cloudqcli run --input inputs/words.txt --to results hello.sh", "head -3 results/counts.txt"),
    ),
    Session(
        "list",
        ("cloudqcli list -w",),
        before=(
            "cloudqcli submit train.sh",
            "cloudqcli submit points.sh --array-tid 1-20",
            "cloudqcli submit on-abci.sh",
            "cloudqcli submit hello.sh --input inputs/words.txt",
        ),
        until=r"RUN \d+%(.|\n)*RUN [1-9]/20(.|\n)*READY",
    ),
    Session(
        "why",
        (
            "cloudqcli submit on-abci.sh",
            "cloudqcli why @last",
            "cloudqcli submit broken.sh",
            "cloudqcli wait @last",
            "cloudqcli why @last",
        ),
    ),
)


class Terminal:
    """A shell on a pseudo-terminal, and what its screen shows."""

    def __init__(self, folder: Path, variables: Mapping[str, str]) -> None:
        self.screen = pyte.Screen(COLUMNS, LINES)
        self._stream = pyte.ByteStream(self.screen)
        self._hidden = {str(folder): HOME, platform.node(): "mypc"}
        self._pid, self._terminal = pty.fork()
        if not self._pid:
            os.chdir(folder)
            os.execvpe("bash", ["bash", "--norc", "--noprofile"], dict(variables))
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        self._until_prompt()

    def type(self, command: str, until: str = "") -> None:
        """Type a command and wait for its end, or for a screen that matches a pattern."""
        os.write(self._terminal, f"{command}\n".encode())
        if until:
            self._wait(lambda: bool(re.search(until, self.text)))
        else:
            self._until_prompt()

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        os.write(self._terminal, CTRL_C)
        self._until_prompt()

    def clear(self) -> None:
        """Begin an empty screen."""
        self.screen.reset()
        os.write(self._terminal, b"\n")
        self._until_prompt()
        self.screen.reset()
        self._stream.feed(f"{PROMPT} ".encode())

    def close(self) -> None:
        """End the shell."""
        os.kill(self._pid, signal.SIGHUP)
        os.waitpid(self._pid, 0)

    @property
    def text(self) -> str:
        """What the screen shows."""
        return "\n".join(self.screen.display)

    def _until_prompt(self) -> None:
        self._wait(lambda: self.screen.display[self.screen.cursor.y].rstrip() in (PROMPT, f"^C{PROMPT}"))

    def _wait(self, done: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE
        while not self._quiet() or not done():
            if time.monotonic() > end:
                sys.exit(f"nothing more after {PATIENCE} s of this screen:\n{self.text}")

    def _quiet(self) -> bool:
        """Feed what has come; tell whether nothing has for a while."""
        if not select.select([self._terminal], [], [], 0.2)[0]:
            return True
        data = os.read(self._terminal, 65536)
        for word, shown in self._hidden.items():
            data = data.replace(word.encode(), shown.encode())
        self._stream.feed(data)
        return False


def main() -> int:
    """Record all sessions; return the exit status."""
    SCREENS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="cloudq-screens-") as name:
        home = Path(name).resolve()
        shutil.copytree(ROOT / "examples", home, dirs_exist_ok=True)
        for file, text in FILES.items():
            (home / file).write_text(text, "utf-8")
        variables = {**environment(home), "TERM": "xterm-256color", "PS1": f"{PROMPT} "}
        for unwanted in ("NO_COLOR", "COLUMNS"):
            variables.pop(unwanted, None)
        terminal = Terminal(home, variables)
        try:
            for command in PREPARATION:
                terminal.type(command)
            for session in SESSIONS:
                (SCREENS / f"{session.name}.svg").write_text(picture(terminal, session), "utf-8")
        finally:
            terminal.type("clear; cloudqcli list --ids | cloudqcli cancel -y -; cloudqd stop")
            terminal.close()
    return 0


def picture(terminal: Terminal, session: Session) -> str:
    """Play a session; return its screen as SVG."""
    for command in session.before:
        terminal.type(command)
    terminal.clear()
    for command in session.commands:
        terminal.type(command, until=session.until)
    lines = drawn(terminal.screen)
    if session.until:
        terminal.interrupt()
    elif lines[-1].plain.strip() == PROMPT:
        lines.pop()
    return as_svg(lines, session.name, title=session.commands[-1] if session.until else "")


def drawn(screen: pyte.Screen) -> list[Text]:
    """Return the lines of a screen, without the empty ones at its end."""
    lines = []
    for number in range(screen.lines):
        row = screen.buffer[number]
        runs = groupby((row[x] for x in range(screen.columns)), key=style_of)
        line = Text.assemble(*(("".join(cell.data for cell in run), style) for style, run in runs))
        line.rstrip()
        lines.append(line)
    while lines and not lines[-1].plain:
        lines.pop()
    return lines


def style_of(cell: pyte.screens.Char) -> Style:
    """Return the style of one character."""
    colours = [COLOURS.get(colour, colour) for colour in (cell.fg, cell.bg)]
    fore, back = (
        f"#{colour}" if colour and re.fullmatch("[0-9a-f]{6}", colour) else colour for colour in colours
    )
    return Style(color=fore, bgcolor=back, bold=cell.bold or None, reverse=cell.reverse or None)


def as_svg(lines: list[Text], name: str, *, title: str) -> str:
    """Draw lines as a window."""
    console = Console(
        record=True, width=COLUMNS, file=StringIO(), force_terminal=True, color_system="truecolor"
    )
    for line in lines:
        console.print(line, no_wrap=True, overflow="crop")
    return console.export_svg(title=title, code_format=SVG, unique_id=f"screen-{name}")


if __name__ == "__main__":
    sys.exit(main())
