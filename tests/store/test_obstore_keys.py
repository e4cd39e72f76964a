"""Which keys obstore refuses to name."""

from __future__ import annotations

import pytest

from cloudq.store.obstore_keys import is_odd


@pytest.mark.parametrize(
    "key",
    ["", "/a", "a/", "a//b", ".", "..", "./a", "a/..", "a/./b", "a/../b", "a\nb", "\x00", "a\x7f"],
    ids=repr,
)
def test_keys_with_empty_parts_dots_or_control_characters_are_odd(key: str) -> None:
    assert is_odd(key)


@pytest.mark.parametrize(
    "key", ["a", "a/b", ".a", "a/..b", "a/b.", "...", "a/.../b", "é/日", "a b"], ids=repr
)
def test_other_keys_are_not(key: str) -> None:
    assert not is_odd(key)
