"""Calls into compiled code that Ctrl-C ends at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

Result = TypeVar("Result")

_LOOK_SECONDS = 0.5


def interruptible(function: Callable[..., Result], *args: Any, **options: Any) -> Result:
    """Call a function that does not look for signals, so that they are obeyed while it waits.

    Python acts on signals in its main thread only, between two steps of its own: from there the function is
    called in another thread, which an interrupt leaves behind.
    """
    if threading.current_thread() is not threading.main_thread():
        return function(*args, **options)
    results: list[Result] = []
    faults: list[BaseException] = []

    def call() -> None:
        try:
            results.append(function(*args, **options))
        except BaseException as error:  # noqa: BLE001 - raised below
            faults.append(error)

    thread = threading.Thread(target=call, name="store", daemon=True)
    thread.start()
    while thread.is_alive():
        # A signal of the moment before a wait, or that another thread receives, does not end it.
        thread.join(_LOOK_SECONDS)
    if faults:
        raise faults[0]
    return results[0]
