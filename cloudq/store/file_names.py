"""File names of keys, for the store in a directory.

Each part of a key is percent-encoded except for ASCII letters, digits and `-._~`. The file of an object
has `%` at its end, which no encoded part has, so that `a` and `a/b` can both be objects: `a%`, `a/b%`.
A name of more than 200 characters is continued in a folder: `first 200 characters%+`, in it `+the rest`.
"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote, unquote

from cloudq.errors import StoreRefusedError

OBJECT = "%"
"""Ends the name of an object's file."""

CONTINUED = "%+"
"""Ends the name of a folder that only holds continued names; `+` begins them."""

OWN = ".%"
"""Begins the names of the store's own files; no encoded name does."""

_LONGEST = 200


def object_names(key: str) -> tuple[str, ...]:
    """Return the names that lead to the file of an object, folders first.

    Raises:
        StoreRefusedError: A part is empty, `.` or `..`, or the key has a NUL or is not Unicode.
    """
    *folders, last = _encoded_parts(key)
    return (*_shortened(folders), *_pieces(last + OBJECT))


def folder_names(prefix: str) -> tuple[str, ...]:
    """Return the names that lead to the folder of a prefix, which is empty or ends in `/`.

    Raises:
        StoreRefusedError: As for `object_names`.
    """
    return tuple(_shortened(_encoded_parts(prefix[:-1]))) if prefix else ()


def decode_name(name: str, *, is_folder: bool) -> str:
    """Return the part of a key that a whole name stands for, with `/` at its end if it is a folder."""
    return unquote(name) + "/" if is_folder else unquote(name[: -len(OBJECT)])


def _encoded_parts(key: str) -> list[str]:
    parts = key.split("/")
    if "\0" in key or any(part in ("", ".", "..") for part in parts):
        raise StoreRefusedError(
            f"key {key!r}: a store in a directory takes no empty part, no '.', no '..' and no NUL"
        )
    try:
        return [quote(part, safe="") for part in parts]
    except UnicodeEncodeError as error:
        raise StoreRefusedError(f"key {key!r}: not Unicode") from error


def _shortened(names: list[str]) -> Iterator[str]:
    for name in names:
        yield from _pieces(name)


def _pieces(name: str) -> list[str]:
    pieces = [name[start : start + _LONGEST] for start in range(0, len(name), _LONGEST)]
    # The `+` keeps a rest from being `..`, or from looking like the store's own.
    marked = pieces[:1] + ["+" + piece for piece in pieces[1:]]
    return [piece + CONTINUED for piece in marked[:-1]] + marked[-1:]
