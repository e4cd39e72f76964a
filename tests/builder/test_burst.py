"""The played burst: on-premise slots first, then the cloud, then nothing."""

from __future__ import annotations

from datetime import timedelta

from benchmarks.burst import Play, World, picture, summary


def test_a_burst_fills_the_slots_on_premise_then_the_cloud_which_goes_away_again() -> None:
    world = World()
    play = Play(world)
    moments = play.run(timedelta(hours=12))
    assert all(m.waiting + m.on_premise + m.in_cloud + m.done == world.jobs for m in moments)
    assert moments[0].on_premise == world.slots
    first_in_cloud = next(m for m in moments if m.in_cloud)
    assert first_in_cloud.time >= world.cluster_takes + world.node_takes
    assert (moments[-1].done, moments[-1].nodes) == (world.jobs, 0)
    assert [line.split()[2] for line in play.said] == ["create:", "delete:"]
    assert moments[-1].time < timedelta(hours=3), "without the cloud it takes three hours"


def test_a_small_burst_never_makes_a_cluster() -> None:
    play = Play(World(jobs=50, slots=50))
    assert play.run(timedelta(hours=12))[-1].done == 50
    assert play.said == []


def test_the_picture_shows_each_state() -> None:
    moments = Play(World(jobs=300, slots=50)).run(timedelta(hours=12))
    drawn = picture(moments, World(jobs=300, slots=50))
    assert drawn.count("<polygon") == 4
    assert "all done after" in summary(moments)
