"""Signed statements: what a user wants run or cancelled, signed by `ssh-keygen` with an SSH key.

https://man.openbsd.org/ssh-keygen.1 (`-Y sign`, `-Y verify`, ALLOWED SIGNERS) and, for the signature,
https://github.com/openssh/openssh-portable/blob/master/PROTOCOL.sshsig
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from cloudq.errors import CloudQError, CommandError, RefusedError
from cloudq.process import NOT_STARTED, feed, run

NAMESPACE = "cloudq"
JOB = "job"
CANCEL = "cancel"
REQUEUE = "requeue"
MAX_BYTES = 8 * 1024 * 1024
_ATTENDED = timedelta(minutes=5)
_ARMOR = b"-----BEGIN SSH SIGNATURE-----"


@dataclass(frozen=True)
class Statement:
    """What is signed.

    Attributes:
        kind: `job`, `cancel` or `requeue`.
        bucket: The bucket and the prefix, as both sides have them in their configuration.
        members: What the manifest says of it; the id is always there.
        files: Name in the bundle -> SHA-256 in hexadecimal digits.
    """

    kind: str
    bucket: str
    members: Mapping[str, object]
    files: Mapping[str, str] = field(default_factory=dict)


def render_statement(statement: Statement) -> bytes:
    """Write a statement in its one form: JSON in ASCII, sorted, without blanks."""
    members = {
        NAMESPACE: statement.kind,
        "bucket": statement.bucket,
        "files": dict(statement.files),
        "manifest": dict(statement.members),
    }
    return json.dumps(members, sort_keys=True, separators=(",", ":")).encode("ascii")


def parse_statement(data: bytes) -> Statement:
    """Read a statement. Raises RefusedError."""
    try:
        members = json.loads(data.decode("ascii"))
        files, manifest = members["files"], members["manifest"]
        texts = (members[NAMESPACE], members["bucket"], *files.keys(), *files.values())
        if not (isinstance(manifest, dict) and all(isinstance(text, str) for text in texts)):
            raise TypeError
        return Statement(members[NAMESPACE], members["bucket"], manifest, files)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RefusedError("not signed as CloudQ signs: the statement cannot be understood") from error


def sign(statement: Statement, key: Path) -> bytes:
    """Sign a statement; ssh-keygen may ask for a pass phrase or a touch, or use ssh-agent.

    Args:
        key: A private key, or a public key or certificate whose private key ssh-agent has.

    Returns:
        The statement and below it the signature, as they are stored.

    Raises:
        CloudQError: ssh-keygen could not sign.
    """
    data = render_statement(statement)
    command = ["ssh-keygen", "-q", "-Y", "sign", "-n", NAMESPACE, "-f", str(key)]
    try:
        signature = feed(command, data, timeout=_ATTENDED, attended=True).stdout
    except CommandError as error:
        hint = (
            "install OpenSSH 8.2 or later" if error.status == NOT_STARTED else f"see `ssh-keygen -lf {key}`"
        )
        raise CloudQError(f"cannot sign with {key}: {error}", hint=hint) from error
    return data + b"\n" + signature.encode("ascii")


def verify(signed: bytes, allowed_signers: Path) -> tuple[Statement, tuple[str, ...]]:
    """Check a signature against a file of allowed signers, and return what was signed, and by whom.

    Principals, namespaces and validity dates of that file are honoured as of now.

    Raises:
        RefusedError: It is no signature, or none of an allowed signer.
        CommandError: ssh-keygen is not there; nothing is known.
    """
    data, armor, signature = signed.partition(b"\n" + _ARMOR)
    if not armor or len(signed) > MAX_BYTES:
        raise RefusedError("not signed as CloudQ signs: expected a statement and an SSH signature")
    with tempfile.NamedTemporaryFile(prefix="cloudq-", suffix=".sig") as file:
        file.write(armor[1:] + signature)
        file.flush()
        found = _principals(file.name, allowed_signers)
        principals = tuple(name for name in found if _verifies(data, file.name, allowed_signers, name))
    if not principals:
        raise RefusedError("its signature is not that of an allowed signer, whose key is valid now")
    return parse_statement(data), principals


def verify_own(signed: bytes, key: Path) -> Statement:
    """Check that this key has signed, and return what; its public half must lie beside it.

    Raises:
        RefusedError: It has not, or there is no public half.
    """
    public = key if key.suffix == ".pub" else key.with_name(f"{key.name}.pub")
    try:
        words = public.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise RefusedError(f"there is no public key {public}") from error
    with tempfile.NamedTemporaryFile(prefix="cloudq-", suffix=".signers") as file:
        file.write(f"self {' '.join(words[:2])}\n".encode())
        file.flush()
        return verify(signed, Path(file.name))[0]


def check_verifier(allowed_signers: Path) -> None:
    """Make sure that signatures can be checked at all.

    Raises:
        CloudQError: The file cannot be read, or this host has no ssh-keygen that knows signatures.
    """
    try:
        allowed_signers.read_bytes()
    except OSError as error:
        raise CloudQError(f"allowed_signers: {allowed_signers}: {error.strerror}") from error
    try:
        run(["ssh-keygen", "-Y", "find-principals"])
    except CommandError as error:
        # It asks for a file: it knows the word.
        if error.status == NOT_STARTED or "signature" not in error.stderr.lower():
            raise CloudQError(
                f"allowed_signers: signatures cannot be checked here: {error}",
                hint="install OpenSSH 8.2 or later",
            ) from error


def digest(data: bytes) -> str:
    """Return the SHA-256 of some bytes as statements have it."""
    return hashlib.sha256(data).hexdigest()


def _principals(signature: str, allowed_signers: Path) -> tuple[str, ...]:
    """Return whose key it may be. Raises CommandError if that could not be asked."""
    command = ["ssh-keygen", "-Y", "find-principals", "-s", signature, "-f", str(allowed_signers)]
    try:
        output = run(command).stdout
    except CommandError as error:
        if error.status in (NOT_STARTED, -1):
            raise
        return ()
    # Some versions print the names of one line of the file as they stand there, joined by commas.
    return tuple(name for name in re.split(r"[,\n]", output) if name)


def _verifies(data: bytes, signature: str, allowed_signers: Path, principal: str) -> bool:
    if principal.startswith(("-", "!")):
        return False
    signer = ["-f", str(allowed_signers), "-I", principal]
    try:
        feed(["ssh-keygen", "-q", "-Y", "verify", *signer, "-n", NAMESPACE, "-s", signature], data)
    except CommandError as error:
        if error.status in (NOT_STARTED, -1):
            raise
        return False
    return True
