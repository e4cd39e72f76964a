"""Files and folders below a root, which appear whole, and vanish when nothing is in them."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Callable

from cloudq.store.file_names import CONTINUED, OBJECT, OWN, decode_name, folder_names, object_names

_ATTEMPTS = 100
_MODE = 0o700


@dataclass(frozen=True)
class FileTree:
    """The files of the objects of a bucket. Every method may raise OSError.

    Args:
        root: The folder of the bucket; made with the first file, if the folder above it exists.
    """

    root: Path

    def file(self, key: str) -> Path:
        """Return where the file of an object is, or would be."""
        return self.root.joinpath(*object_names(key))

    def folder(self, prefix: str) -> Path:
        """Return where the folder of a prefix is, which is empty or ends in `/`."""
        return self.root.joinpath(*folder_names(prefix))

    @contextmanager
    def file_beside(self, path: Path, fill: Callable[[BinaryIO], object]) -> Iterator[Path]:
        """Write a file in the folder of another; if the block does not move it away it is removed."""
        descriptor, name = self._open_beside(path)
        try:
            with os.fdopen(descriptor, "wb") as file:
                fill(file)
                file.flush()
                os.fsync(file.fileno())
            yield Path(name)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            self.prune(path.parent)
            raise
        Path(name).unlink(missing_ok=True)

    def _open_beside(self, path: Path) -> tuple[int, str]:
        # Whoever deletes the last object of a folder removes it, perhaps before our file is in it.
        for _ in range(_ATTEMPTS):
            with contextlib.suppress(FileNotFoundError):
                self._make_folder(path.parent)
                return tempfile.mkstemp(prefix=f"{OWN}new-", dir=path.parent)
        raise FileNotFoundError(errno.ENOENT, "the folder vanishes again and again", str(path.parent))

    def _make_folder(self, folder: Path) -> None:
        # Not `exist_ok`: that fails if the folder is there at first and gone a moment later.
        with contextlib.suppress(FileExistsError):
            try:
                folder.mkdir(_MODE)
            except FileNotFoundError:
                if folder == self.root:
                    raise
                self._make_folder(folder.parent)
                folder.mkdir(_MODE)

    def prune(self, folder: Path) -> None:
        """Remove a folder and those above it as long as they are empty."""
        with contextlib.suppress(OSError):
            while folder != self.root:
                folder.rmdir()
                folder = folder.parent

    def walk(
        self, folder: Path, top: str = "", prefix: str = "", after: str = ""
    ) -> Iterator[tuple[str, Path]]:
        """Yield key and path of the objects in a folder, in key order.

        Args:
            folder: Where to look; nothing is found if it does not exist.
            top: Prefix that the folder stands for; the keys begin with it.
            prefix, after: Only keys that begin so, and are greater.
        """
        for name, path in self.children(folder):
            key = top + name
            if not key.startswith(prefix):
                continue
            if not name.endswith("/"):
                if key > after:
                    yield key, path
            elif key > after or after.startswith(key):
                yield from self.walk(path, key, prefix, after)

    def children(self, folder: Path) -> Sequence[tuple[str, Path]]:
        """Return names and paths in a folder, in key order; names of folders end in `/`."""
        return sorted(_scan(folder))


def _scan(folder: Path, beginning: str = "") -> Iterator[tuple[str, Path]]:
    """Yield what is in a folder, names that are continued in a further folder as one."""
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as items:
        for item in items:
            name = beginning + (item.name[1:] if beginning else item.name)
            if item.name.startswith(OWN):
                continue
            if name.endswith(CONTINUED):
                yield from _scan(Path(item.path), name[: -len(CONTINUED)])
            elif name.endswith(OBJECT) or item.is_dir():
                yield decode_name(name, is_folder=not name.endswith(OBJECT)), Path(item.path)
