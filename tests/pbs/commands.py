"""The commands of the simulated PBS: qsub, qstat, qdel, qselect, pbsnodes, as OpenPBS 23.06 has them."""

from __future__ import annotations

import getopt
import getpass
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn, Optional

from tests.pbs.answers import is_finished, job_entries, render, sample
from tests.pbs.state import State, Submitted

_ROOT = Path(__file__).resolve().parents[2]
_QSUB_OPTIONS = "a:A:c:C:e:fhIj:J:k:l:m:M:N:o:p:q:r:R:S:u:v:VW:XzP:"
_QUEUES = ("workq", "rt_HF")
_WALLTIME = re.compile(r"(?:(?:(\d+):)?(\d+):)?(\d+)\Z")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_+.-]{0,229}\Z")
_ARRAY = re.compile(r"(\d+)-(\d+)(?::(\d+))?(?:%\d+)?\Z")


def main(name: str) -> None:
    """Run one of the commands with the arguments of this process."""
    state = State.of_environment()
    if state.settings().down:
        _unreachable(name)
    {"qsub": qsub, "qstat": qstat, "qdel": qdel, "qselect": qselect, "pbsnodes": pbsnodes}[name](
        state, sys.argv[1:]
    )


def qsub(state: State, arguments: Sequence[str]) -> None:
    """Take a job: options of the command line win over those of the script."""
    options, operands = getopt.gnu_getopt(list(arguments), _QSUB_OPTIONS)
    if len(operands) != 1:
        _fail(2, sample("qsub-array-of-one.stderr").partition("\n")[2])
    script = Path(operands[0]).read_text()
    given: dict[str, str] = {}
    for option, value in [*_directives(script), *options]:
        given[option] = f"{given[option]},{value}" if option == "-l" and option in given else value
    number = state.new_number()
    job = _submitted(number, given, operands[0], arguments)
    (state.job_folder(number) / "script").write_text(script)
    (state.job_folder(number) / "script").chmod(0o700)
    state.add(job)
    _start_mom(number)
    time.sleep(state.settings().qsub_seconds)
    print(job.id)


def qstat(state: State, arguments: Sequence[str]) -> None:
    """Tell of jobs, as JSON; with `-E` an unknown one is no error if another is known."""
    options, operands = getopt.gnu_getopt(list(arguments), "fF:xtE")
    flags = {option for option, _ in options}
    history = "-x" in flags
    if history and not state.settings().history:
        print(f"qstat: PBS is not configured to maintain job history {operands[-1]}", file=sys.stderr)
        sys.stdout.write(render(None))
        return
    entries, errors = {}, []
    for job_id in operands:
        job = _find(state, job_id)
        if job is None:
            errors.append((153, f"qstat: Unknown Job Id {job_id}\n"))
        elif is_finished(state, job) and not history:
            text = sample("qstat-finished-without-x.stderr").replace("9.pbshost", job_id)
            errors.append((35, text))
        else:
            entries.update(job_entries(state, job, history=history, tasks="-t" in flags))
    sys.stdout.write(render(entries))
    if errors and not ("-E" in flags and entries):
        _fail(*errors[-1])


def qdel(state: State, arguments: Sequence[str]) -> None:
    """Delete one job."""
    job = _find(state, arguments[0])
    if job is None:
        _fail(153, f"qdel: Unknown Job Id {arguments[0]}\n")
    if is_finished(state, job):
        _fail(35, f"qdel: Job has finished {arguments[0]}\n")
    state.delete(job)


def qselect(state: State, arguments: Sequence[str]) -> None:
    """Print the ids of a user's jobs."""
    options = dict(getopt.getopt(list(arguments), "xu:N:")[0])
    history = "-x" in options
    if history and not state.settings().history:
        print("qselect: PBS is not configured to maintain job history", file=sys.stderr)
        return
    for job in state.jobs():
        chosen = options.get("-u", getpass.getuser()) == getpass.getuser()
        if chosen and options.get("-N", job.name) == job.name and (history or not is_finished(state, job)):
            print(job.id)


def pbsnodes(state: State, arguments: Sequence[str]) -> None:
    """Tell of the one node."""
    sys.stdout.write(sample("pbsnodes-a.json"))


def _directives(script: str) -> Iterator[tuple[str, str]]:
    """Read `#PBS` lines down to the first command."""
    for line in script.splitlines():
        text = line.strip()
        if text.startswith("#PBS"):
            options, operands = getopt.getopt(split_words(text[4:]), _QSUB_OPTIONS)
            if operands:
                _fail(1, f"qsub: directive error: {text[4:].strip()}\n")
            yield from options
        elif text and not text.startswith(("#", ":")):
            return


def split_words(line: str) -> list[str]:
    """Split a directive as qsub's make_argv does: quotes of both kinds, a backslash outside of them."""
    lexer = shlex.shlex(line, posix=True)
    lexer.whitespace_split, lexer.commenters, lexer.escapedquotes = True, "", ""
    return list(lexer)


def _submitted(number: int, given: dict[str, str], script: str, arguments: Sequence[str]) -> Submitted:
    if given.get("-q", "workq") not in _QUEUES:
        _fail(170, sample("qsub-bad-queue.stderr"))
    tasks = given.get("-J", "")
    array = _ARRAY.match(tasks)
    if tasks and not (array and int(array[1]) < int(array[2])):
        _fail(2, sample("qsub-array-of-one.stderr"))
    resources = dict(word.partition("=")[::2] for word in given.get("-l", "").split(",") if word)
    name = given.get("-N", Path(script).name)
    if not _NAME.match(name):
        _fail(2, "qsub: illegal -N value\n")
    suffix = ".^array_index^" if tasks else ""
    return Submitted(
        number=number,
        name=name,
        arguments=tuple(arguments),
        work_dir=str(Path.cwd()),
        stdout=str(Path(given.get("-o", f"{name}.o{number}{suffix}")).absolute()),
        stderr=str(Path(given.get("-e", f"{name}.e{number}{suffix}")).absolute()),
        keep=given.get("-k", "n"),
        held="-h" in given,
        tasks=tasks,
        walltime=_walltime(resources.get("walltime")),
        queue=given.get("-q", "workq"),
        project=given.get("-P", "_pbs_project_default"),
        select=resources.get("select", "1:ncpus=1"),
    )


def _walltime(text: Optional[str]) -> Optional[int]:
    if text is None:
        return None
    match = _WALLTIME.match(text)
    if not match:
        _fail(166, sample("qsub-bad-walltime.stderr"))
    hours, minutes, seconds = (int(group or 0) for group in match.groups())
    return hours * 3600 + minutes * 60 + seconds


def _start_mom(number: int) -> None:
    code = f"import sys; sys.path[:0] = {sys.path!r}; from tests.pbs.mom import main; main({number})"
    subprocess.Popen(
        [sys.executable, "-S", "-c", code],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=(State.of_environment().job_folder(number) / "mom.log").open("ab"),
        start_new_session=True,
    )


def _find(state: State, job_id: str) -> Optional[Submitted]:
    number = re.match(r"\d*", job_id)
    for job in state.jobs():
        forgotten = not state.settings().history and is_finished(state, job)
        if number and str(job.number) == number[0] and not forgotten:
            return job
    return None


def _unreachable(name: str) -> NoReturn:
    if name == "qstat":
        sys.stdout.write(sample("qstat-server-down.stdout"))
        _fail(255, sample("qstat-server-down.stderr"))
    if name == "qdel":
        _fail(162, "Connection refused\nCouldn't connect to cluster: pbshost\n")
    _fail(162, sample("qstat-server-down.stderr").replace("qstat", name))


def _fail(status: int, message: str) -> NoReturn:
    sys.stderr.write(message)
    sys.exit(status)


def install(folder: Path, python: str = sys.executable, root: Path = _ROOT) -> None:
    """Put the commands into a folder, as programs.

    Args:
        python: What runs them; it needs no packages.
        root: Where it finds the packages `tests` and `cloudq`.
    """
    for name in ("qsub", "qstat", "qdel", "qselect", "pbsnodes"):
        program = folder / name
        program.write_text(
            f"#!{python} -S\nimport sys\nsys.path.insert(0, {str(root)!r})\n"
            f"from tests.pbs.commands import main\nmain({name!r})\n"
        )
        program.chmod(0o755)
