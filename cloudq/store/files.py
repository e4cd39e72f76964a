"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def appearing(path: Path) -> Iterator[BinaryIO]:
    """Open a new file (mode 0600) that takes the place of `path` when the block ends without an error.

    Raises:
        OSError: The folder does not exist, cannot be written to, or is full.
    """
    # By hand, because the module tempfile takes long to import.
    temporary = path.with_name(f".cloudq-{os.urandom(8).hex()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
        temporary.replace(path)
    except BaseException:
        temporary.unlink()
        raise
