"""Fuzz one target with atheris, which is libFuzzer: `python -m tests.fuzz.with_atheris NAME SECONDS ...`."""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["cloudq", "configparser", "zipfile", "shlex"]):
    from tests.fuzz.targets import TARGETS


def main(name: str, seconds: str, corpus: str, longest: str, memory: str, keep: str) -> None:
    """Run until the time is over or something is found."""
    target = TARGETS[name]
    for number, seed in enumerate(target.seeds()):
        (Path(corpus) / f"seed-{number}").write_bytes(seed)
    options = [
        f"-max_total_time={seconds}",
        f"-timeout={longest}",
        f"-rss_limit_mb={memory}",
        f"-artifact_prefix={Path(keep) / name}-",
        "-max_len=16384",
        "-print_final_stats=0",
        "-verbosity=1",
    ]
    atheris.Setup([sys.argv[0], *options, corpus], target.feed)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
