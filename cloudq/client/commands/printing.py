"""How logs reach a terminal or a pipe while they grow: as they are, or line by line under their tasks."""

from __future__ import annotations

import codecs
import sys
from typing import BinaryIO, Optional, TextIO

from cloudq.client.display.values import visible_text
from cloudq.client.results.tailing import Piece

_MARK = {"stdout": "", "stderr": "!"}


class PiecePrinter:
    """Prints pieces of logs.

    Args:
        by_task: Begin each line with its task, as `[3] ` or for stderr `[3!] `; for array jobs.
        raw: Leave control characters as they are, also on a terminal.
        apart: Print what a job wrote to stderr on our stderr.
        stdout, stderr: Where to print; the process's own if not given.
    """

    def __init__(
        self,
        *,
        by_task: bool,
        raw: bool,
        apart: bool,
        stdout: Optional[TextIO] = None,
        stderr: Optional[TextIO] = None,
    ) -> None:
        self._by_task = by_task
        self._raw = raw
        out, err = stdout or sys.stdout, stderr or sys.stderr
        self._outputs = {"stdout": out, "stderr": err if apart else out}
        self._unfinished: dict[str, bytes] = {}
        self._decoders: dict[str, codecs.IncrementalDecoder] = {}

    def show(self, piece: Piece) -> None:
        """Print a piece; of an array job, as far as its lines are whole."""
        if not self._by_task:
            self._write(piece, piece.data)
            return
        *lines, rest = (self._unfinished.get(piece.log, b"") + piece.data).split(b"\n")
        self._unfinished[piece.log] = rest
        self._write(piece, b"".join(self._prefixed(piece, line) for line in lines))

    def end(self) -> None:
        """Print the lines that never ended."""
        for log, line in self._unfinished.items():
            if line:
                piece = Piece(log, line)
                self._write(piece, self._prefixed(piece, line))
        self._unfinished.clear()

    @staticmethod
    def _prefixed(piece: Piece, line: bytes) -> bytes:
        return f"[{piece.task}{_MARK[piece.stream]}] ".encode("utf-8", "surrogateescape") + line + b"\n"

    def _write(self, piece: Piece, data: bytes) -> None:
        output = self._outputs[piece.stream]
        if self._raw or not output.isatty():
            binary: BinaryIO = output.buffer
            binary.write(data)
        else:
            output.write(visible_text(self._decoder(piece.log).decode(data)))
        output.flush()

    def _decoder(self, log: str) -> codecs.IncrementalDecoder:
        return self._decoders.setdefault(log, codecs.getincrementaldecoder("utf-8")("backslashreplace"))
