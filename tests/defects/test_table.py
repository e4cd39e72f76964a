"""The table of known defects is whole, and what it names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cloudq.log import open_agent_log

ROOT = Path(__file__).resolve().parents[2]
ROWS = re.findall(
    r"^\| (\d+) \| (.+?) \| (.+) \|$", (ROOT / "docs/known-defects.md").read_text(encoding="utf-8"), re.M
)
NUMBER_OF_DEFECTS = 111


def test_every_defect_has_its_row() -> None:
    assert [int(number) for number, _, _ in ROWS] == list(range(1, NUMBER_OF_DEFECTS + 1))


@pytest.mark.parametrize(("number", "answer"), [(number, answer) for number, _, answer in ROWS])
def test_a_row_names_a_test_that_exists_or_a_reason(number: str, answer: str) -> None:
    names = re.findall(r"`(tests/[\w/]+\.py)::(?:\w+::)?(\w+)`", answer)
    assert names or len(answer) > 30
    for file, name in names:
        text = (ROOT / file).read_text(encoding="utf-8")
        assert name == "runTest" or re.search(rf"^def {name}\(", text, re.M), f"{number}: {file}::{name}"


def test_no_command_goes_through_a_shell() -> None:
    """Defect 83."""
    for file in (ROOT / "cloudq").rglob("*.py"):
        assert not re.search(r"shell\s*=\s*True|os\.(system|popen)\(", file.read_text(encoding="utf-8")), file


def test_the_agents_log_has_the_configured_level(tmp_path: Path) -> None:
    """Defect 99."""
    import logging

    logger = logging.getLogger("cloudq")
    before = (logger.handlers[:], logger.level, logger.propagate)
    try:
        handler = open_agent_log(tmp_path / "log", "WARNING", also_stderr=False)
        logger.info("not this")
        logger.warning("but this")
        handler.close()
    finally:
        logger.handlers[:], logger.level, logger.propagate = before
    assert "but this" in (tmp_path / "log").read_text()
    assert "not this" not in (tmp_path / "log").read_text()
