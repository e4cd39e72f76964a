"""The values of directives: each parser takes a text and gives the value, or says what it expected."""

from __future__ import annotations

import re
import shlex
from datetime import timedelta

from cloudq.job import is_job_id
from cloudq.system import ANY

SHELLS = ("bash", "dash", "ksh", "sh", "zsh")
"""What `shell` may name, and what a meta script's `#!` line usually names."""

_OTHER_SHELLS = ("ash", "ksh93", "lksh", "mksh", "yash")
BOURNE_SHELLS = SHELLS + _OTHER_SHELLS
_WHOLE_NUMBER = re.compile(r"[0-9]{1,9}\Z")
_CLOCK = re.compile(r"(?:([0-9]{1,5})-)?([0-9]{1,6}):([0-5][0-9]):([0-5][0-9])\Z")
_UNITS = re.compile(r"(?:([0-9]{1,5})d)?(?:([0-9]{1,6})h)?(?:([0-9]{1,8})m)?(?:([0-9]{1,9})s)?\Z")
_MEMORY = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?) ?([KMGT])(?:I?B)?\Z")
_SHELL_PATH = re.compile(r"/[A-Za-z0-9._/+-]+\Z")
_ENVIRONMENT_WORD = re.compile(r"-|[A-Za-z_][A-Za-z0-9_]*=")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}\Z")
_IMAGE_URL = re.compile(
    r"(?:docker|oras|library|shub|s3|instance)://\S|/\S|[^\s/:-]\S*\.(?:sif|tar)\Z"
    # A name as docker has it. The tag or digest must be there: most misspellings have none.
    r"|(?!.*//)[a-z0-9][a-z0-9._/:-]*(?::\w[\w.-]*|@sha256:[0-9a-f]{64})\Z"
)
_TAKEN_VARIABLE = re.compile(
    r"(?:(?:ARY_TASK|AWS|BASH|CLOUDQ|LC|LD|SLURM)_.*|BASH|CDPATH|ENV|E?UID|HOME|IFS|LANG|LOGNAME|PATH"
    r"|PPID|PS[1-4]|(?:OLD)?PWD|RANDOM|SECONDS|SHELL|SHELLOPTS|SYSTEM|TERM|TMPDIR|USER)\Z"
)


def unprintable(text: str) -> str:
    """Return the first character that has no place in a directive (a tab has one), or an empty text."""
    return next((char for char in text if not char.isprintable() and char != "\t"), "")


def parse_run_on(text: str) -> str:
    """Parse a system's name; `any` in any spelling becomes `ANY`."""
    if not is_job_id(text):
        raise ValueError(
            f"expected {ANY} or a system name of letters, digits, '.', '_' and '-', got {text!r}"
        )
    return ANY if text.upper() == ANY else text


def parse_name(text: str) -> str:
    """Parse the name of an abstract project or resource."""
    if "[" in text or "]" in text:
        raise ValueError(f"expected the name of a section, without brackets, got {text!r}")
    return text


def parse_number(text: str) -> int:
    """Parse a whole number of 1 or more."""
    if not _WHOLE_NUMBER.match(text) or int(text) == 0:
        raise ValueError(f"expected a whole number of 1 or more, got {text!r}")
    return int(text)


def parse_memory(text: str) -> int:
    """Parse `512M`, `4G`, `1.5T` or `4GB`, in powers of 1024, to bytes."""
    match = _MEMORY.match(text.upper())
    size = float(match[1]) * 1024 ** "KMGT".index(match[2]) * 1024 if match else 0
    if size < 1:
        raise ValueError(f"expected a size with its unit such as 512M or 4G, got {text!r}")
    return int(size)


def parse_yes_or_no(text: str) -> bool:
    """Parse `yes` or `no` (`true`, `false`)."""
    known = {"yes": True, "true": True, "no": False, "false": False}
    if text.lower() not in known:
        raise ValueError(f"expected yes or no, got {text!r}")
    return known[text.lower()]


def parse_walltime(text: str) -> timedelta:
    """Parse `[D-]H:MM:SS` (hours may exceed 24) or a time with units such as `90m` or `1d12h`."""
    match = _CLOCK.match(text) or _UNITS.match(text.lower())
    if not match:
        raise ValueError(_walltime_problem(text))
    days, hours, minutes, seconds = (int(group or 0) for group in match.groups())
    walltime = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    if not walltime:
        raise ValueError(f"expected more than no time, got {text!r}")
    return walltime


def _walltime_problem(text: str) -> str:
    expected = "H:MM:SS such as 1:30:00, D-HH:MM:SS such as 2-00:00:00, or units such as 90m, 2h, 1d12h"
    if re.match(r"[0-9]+(?::[0-9]+)?\Z", text):
        return f"{text!r} means minutes to one scheduler and seconds or hours to another: expected {expected}"
    return f"expected {expected}, got {text!r}"


def parse_options(text: str) -> tuple[str, ...]:
    """Split scheduler options into words as a shell does, quotes honoured."""
    try:
        words = tuple(shlex.split(text))
    except ValueError as error:
        raise ValueError(f"a quote or a final backslash is not closed ({error}) in {text!r}") from error
    if not words[0].startswith("-"):
        raise ValueError(f"expected options, the first beginning with '-', got {words[0]!r}")
    return words


def parse_shell(text: str) -> str:
    """Parse the name or absolute path of a shell."""
    name = text.rpartition("/")[2]
    if name not in SHELLS or ("/" in text and not _SHELL_PATH.match(text)):
        raise ValueError(f"expected {', '.join(SHELLS)}, or the absolute path of one, got {text!r}")
    return text


def check_interpreter(line: str) -> None:
    """Refuse a `#!` line that does not name a shell.

    Raises:
        ValueError: With what to do instead.
    """
    name = interpreter_name(line)
    if name not in SHELLS + _OTHER_SHELLS:
        raise ValueError(
            f"a meta script is a shell script, expected one of {', '.join(SHELLS)} in the '#!' line, "
            f"got {name!r}: call it from a shell script, or submit it for one system with --submit_to"
        )


def interpreter_name(line: str) -> str:
    """Return the base name of the program that a `#!` line names, also by way of `env`."""
    words = line[2:].split()
    if words and words[0].rpartition("/")[2] == "env":
        words = [word for word in words[1:] if not _ENVIRONMENT_WORD.match(word)]
    return words[0].rpartition("/")[2] if words else ""


def parse_image_url(text: str) -> str:
    """Parse where a container image is: a URL, an absolute path, a file `….sif` or `….tar`, or `name:tag`."""
    if not _IMAGE_URL.match(text) or len(text.split()) != 1 or unprintable(text):
        raise ValueError(
            "expected docker://, oras://, library://, shub://, s3:// or instance:// and a name, "
            f"an absolute path, a file that ends in .sif or .tar, or name:tag, without blanks, got {text!r}"
        )
    return text


def parse_named_image(text: str) -> tuple[str, str]:
    """Parse `NAME=URL` to the variable (upper case) and the URL."""
    name, equals, url = (part.strip() for part in text.partition("="))
    if not equals or not _VARIABLE.match(name):
        raise ValueError(f"expected NAME=URL such as img0=docker://python:3, got {text!r}")
    if _TAKEN_VARIABLE.match(name.upper()):
        raise ValueError(
            f"the variable {name.upper()} has a meaning already: expected another name than {name!r}"
        )
    return name.upper(), parse_image_url(url)
