"""A cluster from creation to deletion, in an account in memory: also when the computer goes at any moment."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from cloudq.builder.boot import parse_lease
from cloudq.builder.creation import Creation, Order
from cloudq.builder.deletion import Deletion
from cloudq.builder.draining import drain
from cloudq.builder.reaping import overdue, reap_all
from cloudq.builder.setup_bucket import SetupBucket
from cloudq.bundle import Bundles
from cloudq.errors import AwsError, ClusterError, CommandError
from cloudq.presence import Presence, render_presence
from cloudq.process import Completed
from cloudq.store.memory import MemoryStore
from tests.builder.conftest import make_order
from tests.builder.fakes import START, Account, FakePcluster, PulledPlugError, Recorder, make_workshop


def create(account: Account, scratch: Path, order: Order | None = None, **means: object) -> None:
    Creation(make_workshop(account, scratch, **means), order or make_order()).run()  # type: ignore[arg-type]


def delete(account: Account, scratch: Path, **means: object) -> None:
    Deletion(make_workshop(account, scratch, **means), "lab").run()  # type: ignore[arg-type]


def alive(account: Account) -> set[str]:
    return {s["StackName"] for s in account.stacks.values() if s["StackStatus"] != "DELETE_COMPLETE"}


def is_clean(account: Account) -> bool:
    return not (alive(account) or account.buckets or account.instances or account.log_groups)


def test_a_cluster_is_made_of_a_network_files_and_pclusters_stack(account: Account, tmp_path: Path) -> None:
    progress = Recorder()
    create(account, tmp_path, progress=progress)
    assert alive(account) == {"lab-vpc", "lab"}
    assert progress.steps == ["network", "files for the nodes", "cluster"]
    files = account.buckets["lab-vpc-setup"]
    assert {"cloudq/agent.zip", "cloudq/head-node.sh", "cloudq/config.ini", "cloudq/lease"} <= set(files)


def test_the_same_command_twice_does_no_harm(account: Account, tmp_path: Path) -> None:
    create(account, tmp_path)
    before = len(account.stacks), dict(account.buckets["lab-vpc-setup"])
    create(account, tmp_path)
    assert (len(account.stacks), account.buckets["lab-vpc-setup"]) == before


@pytest.mark.parametrize("spot", [False, True], ids=["the same", "another"])
def test_of_two_commands_at_the_same_time_the_slower_goes_on_with_what_the_quicker_began(
    account: Account, tmp_path: Path, spot: bool
) -> None:
    shop, quicker = make_workshop(account, tmp_path), make_order()
    begin = shop.clusters.stacks.create

    def begin_second(name: str, template: str, *, tags: Mapping[str, str]) -> str:
        shop.clusters.stacks.create = begin  # type: ignore[method-assign]
        create(account, tmp_path, quicker)
        return begin(name, template, tags=tags)

    shop.clusters.stacks.create = begin_second  # type: ignore[method-assign]
    creation = Creation(shop, make_order(spot=spot))
    if spot:
        with pytest.raises(AwsError, match="lab-vpc already exists; what was made so far is still there"):
            creation.run()
    else:
        creation.run()
    assert alive(account) == {"lab-vpc", "lab"}
    assert len(account.stacks) == 2


def test_another_command_of_the_same_name_is_refused(account: Account, tmp_path: Path) -> None:
    create(account, tmp_path)
    with pytest.raises(ClusterError, match="lab exists, made with other options"):
        create(account, tmp_path, make_order(spot=True))
    assert alive(account) == {"lab-vpc", "lab"}


def test_a_foreign_stack_of_the_same_name_is_left_alone(account: Account, tmp_path: Path) -> None:
    account.add_stack("lab", {})
    with pytest.raises(ClusterError, match="stack lab exists, but cloudqaws did not make it"):
        create(account, tmp_path)
    with pytest.raises(ClusterError, match="cloudqaws did not make it"):
        delete(account, tmp_path)
    assert alive(account) == {"lab"}


@pytest.mark.parametrize("calls", range(40))
def test_create_goes_on_wherever_the_computer_was_lost(account: Account, tmp_path: Path, calls: int) -> None:
    account.plug = calls
    try:
        create(account, tmp_path)
    except PulledPlugError:
        account.plug = None
        account.tick(timedelta(minutes=1))
        create(account, tmp_path)
    assert alive(account) == {"lab-vpc", "lab"}
    assert len(account.stacks) == 2


@pytest.mark.parametrize("calls", range(40))
def test_delete_goes_on_wherever_the_computer_was_lost(account: Account, tmp_path: Path, calls: int) -> None:
    create(account, tmp_path)
    account.plug = calls
    try:
        delete(account, tmp_path)
    except PulledPlugError:
        account.plug = None
        account.tick(timedelta(minutes=1))
        if alive(account):
            delete(account, tmp_path)
    assert is_clean(account)


@pytest.mark.parametrize("calls", range(0, 40, 3))
def test_what_create_left_half_made_can_be_deleted(account: Account, tmp_path: Path, calls: int) -> None:
    account.plug = calls
    with contextlib.suppress(PulledPlugError):
        create(account, tmp_path)
    account.plug = None
    if alive(account):
        delete(account, tmp_path)
    assert is_clean(account)


def test_a_failed_start_of_the_head_node_tells_its_reason_and_leaves_nothing(
    account: Account, tmp_path: Path
) -> None:
    account.boot_error = "cloudq: Slurm does not answer"
    with pytest.raises(ClusterError) as caught:
        create(account, tmp_path)
    assert str(caught.value) == (
        "the cluster could not be made: HeadNodeWait (AWS::CloudFormation::WaitCondition): "
        "cloudq: Slurm does not answer; everything that was made is gone again"
    )
    assert is_clean(account)


def test_a_failed_network_tells_its_reason_and_leaves_nothing(account: Account, tmp_path: Path) -> None:
    account.network_error = "The maximum number of VPCs has been reached."
    with pytest.raises(
        ClusterError, match="the network could not be made: .* number of VPCs has been reached"
    ):
        create(account, tmp_path)
    assert is_clean(account)


def test_create_goes_on_with_the_stack_of_a_pcluster_that_outlived_its_caller(
    account: Account, tmp_path: Path
) -> None:
    first = FakePcluster(account)

    def second(argv: list[str], **means: object) -> Completed:
        first(argv, timeout=timedelta(minutes=1))
        raise CommandError(argv, 1, '{"message": "Stack lab already exists"}', "")

    create(account, tmp_path, run=second)
    assert alive(account) == {"lab-vpc", "lab"}


def test_a_configuration_that_pcluster_refuses_leaves_nothing(account: Account, tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match=r"pcluster: Invalid cluster configuration.*QueueUpdateStrategy"):
        create(account, tmp_path, run=FakePcluster(account, answer="invalid.json"))
    assert is_clean(account)


def test_when_the_credentials_expire_what_was_made_stays(account: Account, tmp_path: Path) -> None:
    shop = make_workshop(account, tmp_path)

    def expire(span: timedelta) -> None:
        raise AwsError("AWS, cloudformation describe_stacks: expired", "ExpiredToken", hint="log in again")

    object.__setattr__(shop, "pause", expire)
    with pytest.raises(AwsError, match="expired; what was made so far is still there") as caught:
        Creation(shop, make_order()).run()
    assert caught.value.hint == "log in again"
    assert alive(account) == {"lab-vpc"}


def test_delete_leaves_nothing_and_empties_the_bucket_first(account: Account, tmp_path: Path) -> None:
    create(account, tmp_path)
    progress = Recorder()
    delete(account, tmp_path, progress=progress)
    assert progress.steps == ["deleting the cluster", "deleting the network", "looking for leftovers"]
    assert is_clean(account)


def test_delete_takes_what_a_create_that_was_still_at_it_began_meanwhile(
    account: Account, tmp_path: Path
) -> None:
    create(account, tmp_path)
    shop = make_workshop(account, tmp_path)

    def pause(span: timedelta) -> None:
        account.tick(span)
        if account.live("lab-vpc") is None and len(account.stacks) == 2:
            FakePcluster(account)(
                ["pcluster", "create-cluster", "--cluster-name", "lab", "--cluster-configuration", str(file)],
                timeout=timedelta(minutes=1),
            )

    file = tmp_path / "late.yaml"
    file.touch()
    object.__setattr__(shop, "pause", pause)
    Deletion(shop, "lab").run()
    assert len(account.stacks) == 3
    assert is_clean(account)


def test_delete_of_an_unknown_cluster_is_an_error(account: Account, tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="no cluster lab in xx-north-1"):
        delete(account, tmp_path)


def test_delete_tells_why_a_stack_stays(account: Account, tmp_path: Path) -> None:
    create(account, tmp_path)
    account.delete_error = "resource sg-1 has a dependent object"
    with pytest.raises(ClusterError, match="stack lab could not be deleted: .* sg-1 has a dependent object"):
        delete(account, tmp_path)
    account.delete_error = ""
    delete(account, tmp_path)
    assert is_clean(account)


def test_delete_tells_what_is_left(account: Account, tmp_path: Path) -> None:
    create(account, tmp_path)
    tags = [{"Key": "parallelcluster:cluster-name", "Value": "lab"}]
    account.volumes.append({"VolumeId": "vol-1", "State": "available", "Tags": tags})
    with pytest.raises(ClusterError, match="lab is deleted, but this is left: volume vol-1"):
        delete(account, tmp_path)
    with pytest.raises(ClusterError, match="lab has no stacks any more, but this is left: volume vol-1"):
        delete(account, tmp_path)


def publish(bundles: Bundles, state: str) -> None:
    counts = {state: 1} if state else {}
    presence = Presence("lab", "2.0", "slurm", "head", 1, START, timedelta(days=1), counts=counts)
    bundles.store.write("agent/.systems/lab.json", render_presence(presence))


def test_delete_waits_until_the_agent_has_no_jobs(account: Account, tmp_path: Path) -> None:
    create(account, tmp_path)
    bundles = Bundles(MemoryStore())
    publish(bundles, "RUN")
    shop = make_workshop(account, tmp_path)
    looks: list[bytes] = []

    def pause(span: timedelta) -> None:
        looks.append(account.buckets["lab-vpc-setup"]["cloudq/lease"])
        publish(bundles, "")

    object.__setattr__(shop, "pause", pause)
    drain(shop, shop.clusters.get("lab"), bundles)
    assert len(looks) == 1
    assert looks[0].endswith(b"\ndrain\n")


def test_a_cluster_whose_agent_is_gone_has_nothing_to_wait_for(account: Account, tmp_path: Path) -> None:
    create(account, tmp_path)
    shop = make_workshop(account, tmp_path)
    drain(shop, shop.clusters.get("lab"), Bundles(MemoryStore()))
    assert b"drain" not in account.buckets["lab-vpc-setup"]["cloudq/lease"]


def test_reap_deletes_what_outlived_its_lease_and_nothing_else(account: Account, tmp_path: Path) -> None:
    create(account, tmp_path)
    create(account, tmp_path, make_order(name="other"))
    shop = make_workshop(account, tmp_path)
    assert overdue(shop.clusters.all(), now=account.now) == []
    account.now += timedelta(hours=7)
    SetupBucket(shop.aws, "other-vpc-setup").write_lease(account.now + timedelta(hours=5))
    account.now += timedelta(hours=2)
    names = [cluster.name for cluster in overdue(shop.clusters.all(), now=account.now)]
    assert names == ["lab"]
    said: list[str] = []
    reap_all(shop, names, tell=said.append)
    assert said == ["AWS compute cluster (lab) has been deleted."]
    assert alive(account) == {"other-vpc", "other"}


def test_the_lease_of_the_first_attempt_counts(account: Account, tmp_path: Path) -> None:
    account.plug = 12
    with pytest.raises(PulledPlugError):
        create(account, tmp_path)
    account.plug = None
    account.tick(timedelta(hours=3))
    create(account, tmp_path)
    until = parse_lease(account.buckets["lab-vpc-setup"]["cloudq/lease"].decode())
    assert until is not None
    assert until <= START + timedelta(hours=8, minutes=1)
