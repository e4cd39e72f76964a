"""What the policy of a site refuses, and what it lets through."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from cloudq.agentconfig import load_agent_config
from cloudq.bundle import INPUT, PROJECT
from cloudq.errors import ConfigError
from cloudq.job import JobState
from cloudq.policy import Policy
from tests.agent.conftest import Site, run_passes
from tests.archives import pack

GPU = "docker://nvcr.io/nvidia/pytorch:24.01-py3"
DIGEST = f"sha256:{'ab' * 32}"
IMAGE = f"#$ container_image: img=docker://lab/tool@{DIGEST}"
CALL = "cloudq_container_run $IMG"


def meta(*head: str, body: str = "echo hello") -> bytes:
    return "\n".join(("#!/bin/bash", "#$ run_on: here", *head, body, "")).encode("utf-8")


def outcome(site: Site, policy: Policy, script: bytes, **values: object) -> tuple[JobState, str]:
    site.settings["policy"] = policy
    job = site.submit(script, **values)
    run_passes(site.new_agent(), 2)
    found = site.job(job.id)
    return found.state, found.error


HOUR = Policy(longest_walltime=timedelta(hours=1))
LAB = Policy(projects=("lab*", "p1"))
CONTAINERS = Policy(containers_only=True)

REFUSED: dict[str, tuple[Policy, bytes, dict[str, object], str]] = {
    "too long": (HOUR, meta("#$ walltime: 2h"), {}, "a walltime of 2:00:00: expected one of at most 1:00:00"),
    "no walltime": (HOUR, meta(), {}, "no walltime: expected one of at most 1:00:00"),
    "walltime by an option": (
        HOUR,
        meta("#$ walltime: 1h", "#$ other_opts: --time=10:00:00"),
        {},
        "options of the scheduler are not taken from scripts: --time=10:00:00",
    ),
    "walltime by a native line": (
        HOUR,
        meta("#$ walltime: 1h", "#SBATCH -t 9:0:0"),
        {},
        "options of the scheduler are not taken from scripts: #SBATCH -t 9:0:0",
    ),
    "walltime by a local script": (
        HOUR,
        b"#!/bin/sh\n",
        {"submit_to": "here"},
        "local scripts are not taken",
    ),
    "local script": (
        Policy(local_scripts=False),
        b"#!/bin/sh\n",
        {"submit_to": "here"},
        "local scripts are not taken, only meta scripts",
    ),
    "too many tasks": (Policy(most_tasks=3), meta(), {"array_range": "1-4"}, "4 tasks, at most 3 are taken"),
    "no project": (LAB, meta(), {}, "no project: expected one of lab*, p1"),
    "project": (LAB, meta("#$ project: secret"), {}, "project secret (nothing"),
    "resource": (Policy(resources=("cpu",)), meta("#$ resource: gpu"), {}, "resource gpu (nothing"),
    "input": (Policy(largest_input=10), meta(), {}, "bytes of input, at most 10 are taken"),
    "image": (
        Policy(images=("docker://lab/*",)),
        meta(f"#$ container_image: img={GPU}"),
        {},
        f"image {GPU}: expected one of docker://lab/*",
    ),
    "image by another digest": (
        Policy(images=(f"sha256:{'cd' * 32}",)),
        meta(IMAGE),
        {},
        "expected one of sha256:cd",
    ),
    "nobody's signature": (Policy(principals=("alice@*",)), meta(), {}, "jobs of  are not taken"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_the_policy_does_not_allow_ends_with_the_reason(site: Site, case: str) -> None:
    policy, script, values, words = REFUSED[case]
    state, error = outcome(site, policy, script, **values)
    assert state is JobState.ERROR
    assert error.startswith("refused by policy: ")
    assert words in error
    assert site.cluster.jobs == {}


ALLOWED: dict[str, tuple[Policy, bytes, dict[str, object]]] = {
    "short enough": (HOUR, meta("#$ walltime: 1h"), {}),
    "options that may be given": (
        Policy(longest_walltime=timedelta(hours=1), scheduler_options=True),
        meta("#$ walltime: 1h", "#$ other_opts: --exclusive"),
        {},
    ),
    "few tasks": (Policy(most_tasks=4), meta(), {"array_range": "1-4"}),
    "local script": (Policy(most_tasks=4), b"#!/bin/sh\n", {"submit_to": "here"}),
    "local script all the same": (
        Policy(longest_walltime=timedelta(hours=1), local_scripts=True),
        b"#!/bin/sh\n",
        {"submit_to": "here"},
    ),
    "small input": (Policy(largest_input=1000), meta(), {}),
    "image": (Policy(images=("docker://lab/*",)), meta(IMAGE), {}),
    "image by its digest": (Policy(images=(DIGEST,)), meta(IMAGE), {}),
    "containers": (
        CONTAINERS,
        meta(IMAGE, body=f'# all in one\n{CALL} sh -c \'a; b | c > "$d"\'\n\n{CALL} "b $ARY_TASK_ID"'),
        {},
    ),
}


@pytest.mark.parametrize("case", ALLOWED)
def test_what_the_policy_allows_runs(site: Site, case: str) -> None:
    policy, script, values = ALLOWED[case]
    assert outcome(site, policy, script, **values) == (JobState.READY, "")


@pytest.mark.parametrize(
    "line",
    [
        "id",
        "X=1",
        f"{CALL}",
        "cloudq_container_run docker://evil sh",
        "cloudq_container_run $OTHER sh",
        f"{CALL} sh; id",
        f"{CALL} sh & id",
        f"{CALL} sh && id",
        f"{CALL} sh | tee x",
        f"{CALL} sh > x",
        f"{CALL} sh < x",
        f"{CALL} $(id)",
        f"{CALL} `id`",
        f'{CALL} "$(id)"',
        f'{CALL} "`id`"',
        f"{CALL} ${{X:-$(id)}}",
        f"{CALL} \\\n; id",
        f'{CALL} a\\"; id; "',
        f"{CALL} a\"b 'c\" ; id '",
        f"{CALL} $'a\\'; id; '",
        f"{CALL} 'a\nb'",
        f"{CALL} a#'; id",
        f"{CALL} x\r; id",
        f"if {CALL} x",
        f"{CALL} x\x0bid",
    ],
)
def test_no_command_hides_beside_a_container(site: Site, line: str) -> None:
    state, error = outcome(site, CONTAINERS, meta(IMAGE, body=line))
    assert (state, site.cluster.jobs) == (JobState.ERROR, {})
    assert "containers only: job.sh:4: expected" in error or "expected a plain" in error


def test_a_job_cannot_bring_its_own_meaning_of_a_project(site: Site) -> None:
    site.settings.update(policy=LAB, projects={})
    job = site.submit(meta("#$ project: p1"), run_on="ANY")
    named = site.submit(meta("#$ project: p1"))
    for job_id in (job.id, named.id):
        site.bundles.write(job_id, PROJECT, b"[p1]\nhere = secret\n")
    run_passes(site.new_agent(), 2)
    assert "project p1 (secret, which the job itself says that it means)" in site.job(named.id).error


@pytest.mark.parametrize(
    ("settings", "name"), [({"projects": {"p1": "lab1"}}, "p1"), ({}, "mine")], ids=["name", "meaning"]
)
def test_a_project_is_allowed_by_its_name_here_or_by_its_meaning(
    site: Site, settings: dict[str, object], name: str
) -> None:
    site.settings.update(policy=LAB, **settings)
    job = site.submit(meta(f"#$ project: {name}"))
    site.bundles.write(job.id, PROJECT, b"[mine]\nhere = lab2\n")
    run_passes(site.new_agent(), 2)
    assert site.job(job.id).state is JobState.READY


def test_inputs_count_unpacked_too(site: Site, tmp_path: Path) -> None:
    (tmp_path / "zeros").write_bytes(bytes(100_000))
    pack([(tmp_path / "zeros", "zeros")], tmp_path / "input.zip")
    site.settings["policy"] = Policy(largest_input=50_000)
    job = site.submit(meta(), input_size=1_000)
    site.bundles.write(job.id, INPUT, (tmp_path / "input.zip").read_bytes())
    run_passes(site.new_agent(), 2)
    assert "unpacks to 100000 bytes, at most 50000 are allowed" in site.job(job.id).error


def test_a_job_for_any_system_is_left_to_those_whose_policy_takes_it(site: Site, tmp_path: Path) -> None:
    other = Site(tmp_path / "other", site.store, name="there", clock=site.clock)
    site.settings["policy"] = HOUR
    job = site.submit(b"#!/bin/sh\n#$ walltime: 2h\necho\n", run_on="ANY")
    here, there = site.new_agent(), other.new_agent()
    from cloudq.agent.daemon.heartbeat import Heartbeat

    there.place.folders.agent_log.touch()
    Heartbeat(there).beat()
    run_passes(here, 2)
    assert site.job(job.id).run_system == ""
    run_passes(there, 2)
    assert site.job(job.id).run_system == "there"
    there.crew.stop()


def test_a_policy_is_read_from_the_configuration(tmp_path: Path) -> None:
    file = tmp_path / "config.ini"
    (tmp_path / "signers").touch()
    head = "[default]\nname = here\ncloudq_bucket = b\n[agent]\ntype = local\n"
    policy = (
        "[policy]\n"
        "principals = alice@x, bob@*\nprojects = lab1 lab2\nlongest_walltime = 2d\nmost_tasks = 10\n"
        "local_scripts = no\nscheduler_options = yes\ncontainers_only = yes\nimages = docker://lab/*\n"
        "largest_input = 10G\nresources = gpu\n"
    )
    file.write_text(f"{head}allowed_signers = signers\n{policy}", encoding="utf-8")
    assert load_agent_config(file).policy == Policy(
        principals=("alice@x", "bob@*"),
        projects=("lab1", "lab2"),
        resources=("gpu",),
        longest_walltime=timedelta(days=2),
        most_tasks=10,
        local_scripts=False,
        scheduler_options=True,
        containers_only=True,
        images=("docker://lab/*",),
        largest_input=10 * 1024**3,
    )
    file.write_text(head + policy, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"\[policy\] principals: expected a file allowed_signers"):
        load_agent_config(file)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("longest_walltime = 60", "a time such as 24:00:00 or 2d"),
        ("most_tasks = many", "a whole number of at least 1"),
        ("local_scripts = perhaps", "yes or no"),
        ("largest_input = 10", "a size with its unit such as 10G"),
    ],
)
def test_a_wrong_value_of_a_policy_is_named(tmp_path: Path, line: str, expected: str) -> None:
    file = tmp_path / "config.ini"
    text = f"[default]\nname = here\ncloudq_bucket = b\n[agent]\ntype = local\n[policy]\n{line}\n"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=f"{line.split()[0]}: expected {expected}"):
        load_agent_config(file)
