"""The command `cloudqaws`, which is yet to come."""

from __future__ import annotations

import sys


def main() -> int:
    """Say that there is no builder yet; return exit status 2."""
    sys.stderr.write("cloudqaws: clusters in AWS come with the builder, which is not part of this version\n")
    return 2
