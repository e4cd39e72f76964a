"""Blocks on their way to a store, when what sends them is broken off."""

from __future__ import annotations

from contextlib import suppress

import pytest

from cloudq.errors import StoreError
from cloudq.store.blocks import CountedBlocks


def test_what_an_interrupt_leaves_behind_gets_no_more_blocks() -> None:
    blocks = CountedBlocks(iter([b"a", b"b"]))
    with suppress(KeyboardInterrupt), blocks.blaming_the_source():
        assert next(blocks) == b"a"
        raise KeyboardInterrupt
    with pytest.raises(StoreError, match="broken off"):
        next(blocks)
    assert blocks.size == 1
