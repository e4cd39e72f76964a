"""Commands that cannot be started at all."""

from __future__ import annotations

import pytest

from cloudq.errors import InputError
from cloudq.process import run


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        pytest.param("a\0b", "true: an argument that no command can be given: ", id="NUL"),
        pytest.param("\ud800", "true: an argument that no command can be given: ", id="half a character"),
        pytest.param("x" * 3_000_000, "true: its arguments are too long for this system", id="too long"),
    ],
)
def test_an_argument_that_no_command_can_be_given_is_a_fault_of_the_input(argument: str, words: str) -> None:
    """It will be as wrong the next time; a command that is missing may be there then."""
    with pytest.raises(InputError, match=f"^{words}"):
        run(["true", argument])
