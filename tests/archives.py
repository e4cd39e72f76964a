"""Archives as files, for tests."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Union

from cloudq.archive import pack_blocks, survey


def pack(source: Union[Path, Iterable[tuple[Path, str]]], archive: Path) -> list[str]:
    """Write the archive of a folder's contents or of members to a file; return what was left out."""
    left_out: list[str] = []
    contents = source if isinstance(source, Path) else survey(source, left_out)
    data = b"".join(pack_blocks(contents, left_out))
    archive.write_bytes(data)
    return left_out
