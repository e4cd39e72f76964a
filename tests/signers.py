"""SSH keys for tests, and files that allow them."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from cloudq.signing import Statement, sign


@dataclass(frozen=True)
class Signers:
    """A folder with the keys of some people and a file of those whose signatures count."""

    folder: Path

    @property
    def allowed(self) -> Path:
        return self.folder / "allowed_signers"

    def key(self, name: str) -> Path:
        """Return a person's private key, which is made if need be."""
        file = self.folder / name
        if not file.exists():
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(file)]
            subprocess.run(command, check=True, timeout=120)
        return file

    def allow(self, name: str, principal: str, options: str = "") -> None:
        """Add a person to the file."""
        kind, key = self.key(name).with_suffix(".pub").read_text(encoding="ascii").split()[:2]
        with self.allowed.open("a", encoding="ascii") as file:
            file.write(f"{principal} {options} {kind} {key}\n")

    def sign(self, name: str, statement: Statement) -> bytes:
        """Sign as this person."""
        return sign(statement, self.key(name))


@pytest.fixture
def signers(tmp_path: Path) -> Signers:
    """Alice and Bob are allowed, Mallory is not."""
    folder = tmp_path / "keys"
    folder.mkdir(mode=0o700)
    found = Signers(folder)
    found.allow("alice", "alice@example.org")
    found.allow("bob", "bob@example.org")
    found.key("mallory")
    return found
