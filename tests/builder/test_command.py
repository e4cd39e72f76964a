"""`cloudqaws` as it is typed, without AWS."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from cloudq.builder.cli import main
from tests.client.conftest import new_runner

# What Windows does not have.
_AS_ON_WINDOWS = """
import sys
for name in ("fcntl", "grp", "pwd", "resource", "termios", "tty", "pty", "syslog"):
    sys.modules[name] = None
"""
_MAIN = "from cloudq.builder.cli import main; main(prog_name='cloudqaws')"


def cloudqaws(
    home: Path, *words: str, before: str = "", **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run the command with a home folder and keys that open nothing, and AWS out of reach."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "CLOUDQ_"))}
    environment = {
        **kept,
        "HOME": str(home),
        "USERPROFILE": str(home),
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_REGION": "eu-west-1",
        **variables,
    }
    return subprocess.run(
        [sys.executable, "-c", f"{before}\n{_MAIN}", *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def run(s3_environment: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """The command in this process, with a home folder of its own, and AWS out of reach."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    return lambda *words: new_runner().invoke(main, words, prog_name="cloudqaws")


def test_a_plan_is_shown_also_where_python_has_no_posix_modules(tmp_path: Path) -> None:
    done = cloudqaws(tmp_path, "create", "lab", "--cs_bucket", "jobs", "--dry-run", before=_AS_ON_WINDOWS)
    assert done.returncode == 0, done.stderr
    assert "lab in eu-west-1: Slurm on CPU nodes, with Apptainer" in done.stdout
    assert "0.06 USD an hour idle" in done.stdout


def test_a_budget_shortens_the_lease(tmp_path: Path) -> None:
    done = cloudqaws(tmp_path, "create", "lab", "--cs-bucket", "jobs", "--dry-run", "--budget", "1")
    assert "1.00 USD in that time" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("words", "status", "problem"),
    [
        (("create", "x; reboot", "--cs-bucket", "b"), 2, "cluster name 'x; reboot': expected a letter"),
        (("create", "--cs-bucket", "b"), 2, "--name: expected one name of a cluster"),
        (("create", "lab"), 2, "--cs-bucket: expected the bucket of the jobs"),
        (("create", "lab", "--cs-bucket", "b", "--preset-name", "x"), 2, "no preset 'x': neither"),
        (
            ("create", "lab", "--cs-bucket", "b", "--cs-endpoint", "https://s3.example.org"),
            2,
            "--secret-arn: https://s3.example.org is outside AWS",
        ),
        (
            ("create", "lab", "--cs-bucket", "b", "--budget", "1", "--instance-type", "x9.huge"),
            2,
            "--budget: no price of x9.huge is known here, so it could not be kept",
        ),
        (
            (
                "create",
                "lab",
                "--cs-bucket",
                "b",
                "--cs-endpoint",
                "https://s3.example.org",
                "--secret-arn",
                "arn:aws:secretsmanager:eu-west-1:123456789012:secret:*",
            ),
            2,
            "--secret-arn: expected arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME, got",
        ),
        (
            ("create", "lab", "--cs-bucket", "b", "--region", "nowhere", "--yes"),
            1,
            "AWS: no region is called 'nowhere'",
        ),
        (("autoscale", "lab", "--threshold", "5"), 2, "--threshold: expected [[JOBS,MINUTES],...]"),
        (("list", "--profile", "nobody"), 1, "The config profile (nobody) could not be found"),
    ],
    ids=[
        "name",
        "no name",
        "no bucket",
        "preset",
        "outside",
        "budget",
        "secret",
        "region",
        "threshold",
        "profile",
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    run: Callable[..., Result], words: tuple[str, ...], status: int, problem: str
) -> None:
    done = run(*words)
    assert (done.exit_code, done.stdout) == (status, "")
    assert done.stderr.startswith(f"Error: {problem}")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("number", ["nan", "inf", "0", "-1"])
@pytest.mark.parametrize(
    "words", [("create", "lab", "--budget"), ("extend", "lab", "--lease")], ids=lambda w: w[0]
)
def test_what_is_no_amount_is_wrong_usage(
    run: Callable[..., Result], words: tuple[str, ...], number: str
) -> None:
    done = run(*words, number)
    assert done.exit_code == 2
    assert f"Invalid value for '{words[-1]}': " in done.stderr


def test_a_missing_region_is_said(run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    assert run("list").stderr.startswith("Error: no AWS region")


def test_presets_are_listed_and_copied(run: Callable[..., Result], tmp_path: Path) -> None:
    listed = run("preset").stdout
    assert [line.split()[0] for line in listed.splitlines()] == ["default", "enable-docker", "enable-gpu"]
    assert run("preset", "--preset-name", "mine").exit_code == 0
    assert (tmp_path / ".cloudq" / "aws" / "mine.yaml").exists()
