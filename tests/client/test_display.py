"""How values are shown to a person."""

from __future__ import annotations

import pytest

from cloudq.client.display.values import visible, visible_lines


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("läuft 漢字", "läuft 漢字"),
        ("a\nb\tc", "a\\nb\\tc"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\x9b", "\\x9b"),
        ("\u202eback", "\\u202eback"),
        ("\udcff", "\\udcff"),
    ],
    ids=repr,
)
def test_a_value_is_one_harmless_line(text: str, shown: str) -> None:
    assert visible(text) == shown


@pytest.mark.parametrize(
    ("blocks", "shown"),
    [
        ([b"a\tb\r\n", b"c"], "a\tb\r\nc"),
        ([b"\x1b[31m\x07\x00"], "\\x1b[31m\\x07\\x00"),
        (["ü".encode()[:1], "ü".encode()[1:]], "ü"),
        (["\x9b".encode()], "\\x9b"),
        ([b"\xff\xfe ", b"\xc3"], "\\xff\\xfe \\xc3"),
        ([], ""),
    ],
    ids=repr,
)
def test_a_log_keeps_its_lines_and_loses_its_control_characters(blocks: list[bytes], shown: str) -> None:
    assert "".join(visible_lines(blocks)) == shown
