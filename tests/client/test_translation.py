"""What a script would become on a system, by what the system's agent published."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from cloudq.bundle import Bundles
from cloudq.client.submission.request import Submission
from cloudq.client.submission.submit import submit
from cloudq.client.submission.translation import translate_for
from cloudq.config import ClientConfig
from cloudq.errors import CloudQError, MetaScriptError, StoreUnreachableError
from cloudq.presence import Presence
from cloudq.store import Blob, StoreAddress
from cloudq.store.memory import MemoryStore
from cloudq.system import no_definitions, parse_definitions

NOW = datetime(2026, 1, 31, 8, 0, 0, tzinfo=timezone.utc)
SCRIPT = "#$ run_on: Cluster\n#$ project: team\n#$ resource: gpu\n#$ n_resource: 2\necho hello\n"


class FadingStore(MemoryStore):
    """A store that can go away."""

    gone = False

    def read(self, key: str) -> Blob:
        if self.gone:
            raise StoreUnreachableError("no answer")
        return super().read(key)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ClientConfig:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    address = StoreAddress("", "bucket")
    nothing = no_definitions()
    return ClientConfig(tmp_path / "config.ini", address, "", "INFO", nothing, nothing, None, None)


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "job.sh"
    path.write_text(SCRIPT)
    return path


def _publish(bundles: Bundles, templates: tuple[str, ...] = ()) -> None:
    bundles.agents.publish(
        Presence(
            *("Cluster", "2.0", "slurm", "login1", 12, NOW, timedelta(seconds=60)),
            projects={"team": "grp1"},
            resources={"gpu": "-p gpu --gres=gpu:1"},
            directory="/home/me/.cloudq",
            templates=templates,
        )
    )


def test_a_laptop_without_files_of_its_own_submits_by_what_the_system_publishes(
    config: ClientConfig, script: Path
) -> None:
    bundles = Bundles(MemoryStore())
    with pytest.raises(MetaScriptError, match=r"job\.sh:2: project: no section \[team\]"):
        submit(bundles, config, Submission(script), now=NOW)
    _publish(bundles)
    assert submit(bundles, config, Submission(script), now=NOW).run_on == "Cluster"


def test_a_translation_shows_what_would_be_submitted(config: ClientConfig, script: Path) -> None:
    bundles = Bundles(MemoryStore())
    _publish(bundles)
    lines = translate_for(bundles, config, script, "cluster").splitlines()
    options = [line for line in lines if line.startswith("#SBATCH")]
    assert options == ["#SBATCH -A grp1", "#SBATCH -p gpu", "#SBATCH --gres=gpu:1", "#SBATCH --nodes=2"]
    assert lines[-1] == "echo hello"


def test_a_system_that_was_asked_once_is_remembered_offline(config: ClientConfig, script: Path) -> None:
    store = FadingStore()
    bundles = Bundles(store)
    _publish(bundles)
    online = translate_for(bundles, config, script, "Cluster")
    store.gone = True
    assert translate_for(bundles, config, script, "Cluster") == online
    with pytest.raises(StoreUnreachableError):
        translate_for(bundles, config, script, "other")


def test_a_template_of_the_site_counts_if_there_is_a_copy_of_it_and_else_is_told_of(
    config: ClientConfig, script: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The template is the example of docs/agent.md."""
    bundles = Bundles(MemoryStore())
    _publish(bundles, templates=("slurm.sh",))
    guide = Path(__file__).parents[2] / "docs" / "agent.md"
    (example,) = re.findall(r"^```jinja\n(.*?)^```$", guide.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    (tmp_path / "slurm.sh").write_text(example)
    lines = translate_for(bundles, config, script, "Cluster", tmp_path).splitlines()
    assert [line for line in lines if line.startswith("#SBATCH")] == [
        *("#SBATCH -A grp1", "#SBATCH -p gpu", "#SBATCH --gres=gpu:1", "#SBATCH --nodes=2"),
        "#SBATCH --qos=cloudq",
    ]
    assert "ulimit -c 0" in lines
    assert caplog.messages == []
    assert "qos" not in translate_for(bundles, config, script, "Cluster")
    assert caplog.messages == ["Cluster has templates of its own, which are not used here: slurm.sh"]


def test_an_unknown_system_is_one_line(config: ClientConfig, script: Path) -> None:
    with pytest.raises(CloudQError, match="no agent of the name nowhere has been seen in this bucket"):
        translate_for(Bundles(MemoryStore()), config, script, "nowhere")


def test_a_systems_own_definitions_win_over_the_files_of_the_laptop() -> None:
    from cloudq.system import for_system, with_system

    own = parse_definitions("[gpu]\ncluster = -p old\nother = x\n", "resource.ini")
    merged = with_system(own, "Cluster", {"gpu": "-p gpu"})
    assert for_system(merged, "cluster") == {"gpu": "-p gpu"}
    assert for_system(merged, "other") == {"gpu": "x"}
