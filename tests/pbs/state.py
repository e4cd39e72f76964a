"""What the simulated PBS server knows, in a folder: settings, jobs, and how they stand."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Optional

from cloudq.job import ArrayRange

SERVER = "pbshost"
FOLDER_VARIABLE = "PBS_SIMULATOR"


@dataclass(frozen=True)
class Settings:
    """How the server is set up: whether it answers, keeps a history, starts jobs; a pause of qsub."""

    down: bool = False
    history: bool = True
    started: bool = True
    qsub_seconds: float = 0


@dataclass(frozen=True)
class Submitted:
    """A job as it was submitted; `tasks` is a text for ArrayRange."""

    number: int
    name: str
    arguments: tuple[str, ...]
    work_dir: str
    stdout: str
    stderr: str
    keep: str = "n"
    held: bool = False
    tasks: str = ""
    walltime: Optional[int] = None
    queue: str = "workq"
    project: str = "_pbs_project_default"
    select: str = "1:ncpus=1"
    submitted: float = field(default_factory=time.time)

    @property
    def id(self) -> str:
        """Its id, as qsub prints it."""
        return f"{self.number}{'[]' * bool(self.tasks)}.{SERVER}"

    def task_id(self, task: int) -> str:
        """Return the id of a task."""
        return f"{self.number}[{task}].{SERVER}"

    @property
    def indices(self) -> tuple[Optional[int], ...]:
        """Its tasks; `(None,)` if it is no array."""
        return ArrayRange.parse(self.tasks).task_ids() if self.tasks else (None,)

    @property
    def limit(self) -> Optional[int]:
        """How many tasks may run at the same time."""
        return ArrayRange.parse(self.tasks).limit if self.tasks else None


@dataclass(frozen=True)
class Standing:
    """How a job or task stands."""

    state: str
    substate: int
    comment: str = ""
    exit_status: Optional[int] = None
    started: Optional[float] = None
    finished: Optional[float] = None


class State:
    """The folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "jobs").mkdir(parents=True, exist_ok=True)

    @classmethod
    def of_environment(cls) -> State:
        """Open the folder that the environment names."""
        return cls(Path(os.environ[FOLDER_VARIABLE]))

    def settings(self) -> Settings:
        """Read the settings."""
        file = self.folder / "settings.json"
        return Settings(**json.loads(file.read_text())) if file.exists() else Settings()

    def change(self, **settings: Any) -> None:  # noqa: ANN401
        """Change some of the settings."""
        _write(self.folder / "settings.json", asdict(replace(self.settings(), **settings)))

    def new_number(self) -> int:
        """Take the next job number."""
        for number in range(1, 10_000):
            try:
                (self.folder / "jobs" / str(number)).mkdir()
                return number
            except FileExistsError:
                continue
        raise RuntimeError("too many jobs")

    def job_folder(self, number: int) -> Path:
        """Return the folder of a job."""
        return self.folder / "jobs" / str(number)

    def add(self, job: Submitted) -> None:
        """Take a job into the queue."""
        standing = Standing("H", 20) if job.held else Standing("Q", 10)
        for task in job.indices:
            self.move(job, task, standing)
        _write(self.job_folder(job.number) / "job.json", asdict(job))

    def jobs(self) -> Iterator[Submitted]:
        """Yield all jobs, in order."""
        for file in sorted(self.folder.glob("jobs/*/job.json"), key=lambda file: int(file.parent.name)):
            values = json.loads(file.read_text())
            yield Submitted(**{**values, "arguments": tuple(values["arguments"])})

    def move(self, job: Submitted, task: Optional[int], standing: Standing) -> None:
        """Record how a job or task stands."""
        _write(self._standing_file(job, task), asdict(standing))

    def standing(self, job: Submitted, task: Optional[int]) -> Standing:
        """Return how a job or task stands."""
        return Standing(**json.loads(self._standing_file(job, task).read_text()))

    def delete(self, job: Submitted) -> None:
        """Ask for the end of a job."""
        (self.job_folder(job.number) / "deleted").touch()

    def deleted(self, job: Submitted) -> bool:
        """Tell whether somebody asked for it."""
        return (self.job_folder(job.number) / "deleted").exists()

    def _standing_file(self, job: Submitted, task: Optional[int]) -> Path:
        return self.job_folder(job.number) / f"standing.{'job' if task is None else task}.json"


def _write(file: Path, values: dict[str, Any]) -> None:
    part = file.with_suffix(f".{os.getpid()}")
    part.write_text(json.dumps(values))
    part.replace(file)
