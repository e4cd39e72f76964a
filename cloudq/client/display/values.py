"""How values are shown to a person: one line, no control characters, 1.2's form of times."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Optional

# All control characters but tab, line feed and carriage return, which logs are full of.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def visible(text: str) -> str:
    """Write a text so that it cannot act on a terminal: `\\n`, `\\x1b` instead of what they stand for."""
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def visible_lines(blocks: Iterable[bytes]) -> Iterator[str]:
    """Do the same with a text that comes in blocks, whose lines and tabs are kept; it need not be UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
    for block in blocks:
        yield visible_text(decoder.decode(block))
    yield decoder.decode(b"", final=True)


def visible_text(text: str) -> str:
    """Do the same with a text of several lines."""
    return _CONTROL.sub(lambda match: _escaped(match[0]), text)


def shown_time(moment: Optional[datetime], *, local: bool = False) -> str:
    """Write a time (UTC) as CloudQ 1.2 shows it, or as the clocks here do; `-` for not yet."""
    if moment is None:
        return "-"
    return f"{moment.astimezone():%Y/%m/%d %H:%M:%S}" if local else f"{moment:%Y/%m/%d %H:%M:%S} UTC"


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
