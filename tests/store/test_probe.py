"""The probe for conditional writes: what is found, and what is told when the store cannot be asked."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

import pytest

from cloudq.errors import StoreRefusedError
from cloudq.store import probe
from cloudq.store.memory import MemoryStore
from cloudq.store.probe import has_conditional_writes


class UnwritableStore(MemoryStore):
    """Takes neither writes nor deletions."""

    def create(self, key: str, data: bytes) -> str:
        raise StoreRefusedError("cannot write: wrong key")

    def delete(self, keys: Iterable[str]) -> None:
        raise StoreRefusedError("cannot delete: wrong key")


class UndeletableStore(MemoryStore):
    """Does not take deletions."""

    def delete(self, keys: Iterable[str]) -> None:
        raise StoreRefusedError("cannot delete: no permission")


class CarelessStore(MemoryStore):
    """Writes whatever is there."""

    def create(self, key: str, data: bytes) -> str:
        return self.write(key, data)


def test_a_store_with_conditional_writes_has_them_and_stays_empty() -> None:
    store = MemoryStore()
    assert has_conditional_writes(store, "agent/.probe/")
    assert list(store.list("")) == []


def test_a_store_that_writes_whatever_is_there_has_none_and_stays_empty() -> None:
    store = CarelessStore()
    assert not has_conditional_writes(store, "agent/.probe/")
    assert list(store.list("")) == []


def test_what_a_killed_trial_left_is_removed_after_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    store.write("agent/.probe/0123456789abcdef", b"")
    assert has_conditional_writes(store, "agent/.probe/")
    assert [entry.key for entry in store.list("")] == ["agent/.probe/0123456789abcdef"]
    monkeypatch.setattr(probe, "TRIAL_AGE", timedelta(0))
    assert has_conditional_writes(store, "agent/.probe/")
    assert list(store.list("")) == []


def test_the_first_error_is_told_not_that_of_the_deletion() -> None:
    """Wrong keys were told as "cannot delete agent/.probe/..."."""
    with pytest.raises(StoreRefusedError, match="^cannot write: wrong key$"):
        has_conditional_writes(UnwritableStore(), "agent/.probe/")


def test_a_deletion_that_is_refused_is_told() -> None:
    with pytest.raises(StoreRefusedError, match="^cannot delete: no permission$"):
        has_conditional_writes(UndeletableStore(), "agent/.probe/")
