"""INI files whose faults are told with file, section, key, value, and what was expected."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from configparser import ConfigParser, InterpolationError
from configparser import Error as IniError
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Optional

from cloudq.errors import ConfigError

_WHOLE = re.compile(r"[0-9]{1,9}\Z")


@dataclass(frozen=True)
class Ini:
    """An INI file as CloudQ 1.2 reads it (`%` doubled, keys without case), with exact complaints."""

    file: Path
    values: Mapping[str, Mapping[str, str]]

    @classmethod
    def load(cls, file: Path, init_command: str) -> Ini:
        """Read a file.

        Args:
            init_command: The command that writes such a file, for the hint.

        Raises:
            ConfigError: It is missing, is no INI file in UTF-8, or has a single `%`.
        """
        parser = ConfigParser(default_section="\0none")
        parser.optionxform = str  # type: ignore[assignment, method-assign]
        try:
            text = file.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise ConfigError(
                f"no configuration file: {file}",
                hint=f"`{init_command}` writes one; --config FILE names another",
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{file}: cannot be read as UTF-8 text: {error}") from error
        try:
            parser.read_string(text, str(file))
            return cls(file, {section: dict(parser[section]) for section in parser.sections()})
        except InterpolationError as error:
            value = parser.get(error.section, error.option, raw=True)
            raise ConfigError(
                f"{file}: [{error.section}] {error.option}: expected `%` to be doubled (`%%`), got {value!r}"
            ) from error
        except IniError as error:
            raise ConfigError(f"{file}: not an INI file: {' '.join(str(error).split())}") from error

    def check_keys(self, known: Mapping[str, Optional[tuple[str, ...]]]) -> None:
        """Refuse what is not known.

        Args:
            known: The keys of each section, None for any; a section that ends in `:` is one of each NAME.

        Raises:
            ConfigError: A section or a key is not known; with the nearest word that is.
        """
        for section, values in self.values.items():
            kind = f"{section.partition(':')[0]}:" if ":" in section else section
            if kind not in known:
                sections = [f"{name}NAME" if name.endswith(":") else name for name in known]
                raise ConfigError(f"{self.file}: [{section}]: unknown section; {_nearest(section, sections)}")
            keys = known[kind]
            if keys is None:
                continue
            for key in values:
                if key.lower() not in keys:
                    raise ConfigError(f"{self.file}: [{section}] {key}: unknown key; {_nearest(key, keys)}")

    def fault(self, section: str, key: str, expected: str) -> ConfigError:
        """Return the error for the value of a key."""
        value = self._get(section, key)
        got = "nothing" if value is None else repr(value)
        return ConfigError(f"{self.file}: [{section}] {key}: expected {expected}, got {got}")

    def _get(self, section: str, key: str) -> Optional[str]:
        """Return the value of a key, whose case does not matter."""
        found = [value for name, value in self.values.get(section, {}).items() if name.lower() == key]
        return found[-1] if found else None

    def names(self, section: str) -> Mapping[str, str]:
        """Return a section of names, whose case does matter."""
        return {name: value.strip() for name, value in self.values.get(section, {}).items()}

    def text(self, section: str, key: str, default: Optional[str] = None) -> str:
        """Return a value; the default if it is missing or empty. Raises ConfigError if there is none."""
        value = (self._get(section, key) or "").strip() or default
        if value is None:
            raise self.fault(section, key, "a value")
        return value

    def choice(self, section: str, key: str, words: tuple[str, ...], default: str) -> str:
        """Return one of some words, as they are spelled here. Raises ConfigError."""
        value = self.text(section, key, default)
        for word in words:
            if word.lower() == value.lower():
                return word
        raise self.fault(section, key, f"one of {', '.join(words)}")

    def whole(self, section: str, key: str, default: int, *, minimum: int) -> int:
        """Return a whole number. Raises ConfigError."""
        value = self.text(section, key, str(default))
        if not (_WHOLE.match(value) and minimum <= int(value)):
            raise self.fault(section, key, f"a whole number of at least {minimum}")
        return int(value)

    def seconds(self, section: str, key: str, default: int, *, minimum: int) -> timedelta:
        """Return a whole number of seconds. Raises ConfigError."""
        return timedelta(seconds=self.whole(section, key, default, minimum=minimum))

    def beside(self, section: str, key: str) -> Optional[Path]:
        """Return the path of a file named relative to this one; None if the key is missing or empty.

        Raises:
            ConfigError: It begins with `~` and a user that is not known.
        """
        name = (self._get(section, key) or "").strip()
        return self.file.absolute().parent / self.path(section, key, name) if name else None

    def path(self, section: str, key: str, default: str) -> Path:
        """Return a path, with `~` replaced. Raises ConfigError."""
        name = self.text(section, key, default)
        try:
            return Path(name).expanduser()
        except RuntimeError as error:
            raise self.fault(section, key, "a path; `~NAME` is no user here") from error

    def file_beside(self, section: str, key: str) -> Optional[Path]:
        """Do the same with a file that must exist. Raises ConfigError."""
        path = self.beside(section, key)
        if path is not None and not _exists(path):
            raise self.fault(section, key, f"a file that exists ({path} does not)")
        return path


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # such as a name that is too long, or has a NUL
        return False


def _nearest(word: str, known: Iterable[str]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(word.lower().replace("-", "_"), known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"expected one of {', '.join(known)}"
