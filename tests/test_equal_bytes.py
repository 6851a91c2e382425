"""The promise, for the actors alone: one result, with any number of workers, in any shell."""

from dataclasses import replace

import pytest

from actors.cluster import Cluster
from actors.local_cluster import LocalCluster
from actors.messages import EpochDone, Snapshot
from actors.orders import Assigned, Failed, Joined, Ready
from actors.ray_cluster import RayCluster
from actors.shared_memory import SHARED_FROM_BYTES
from actors.supervisor import Crew
from tests.toys import finish, toy_job, undisturbed

STEPS = 12


def bytes_after(cluster: Cluster, *until_steps: int) -> bytes:
    done = finish(cluster, *until_steps)[-1]
    assert isinstance(done, EpochDone)
    return done.parameters.tobytes() + done.optimizer_state.tobytes()


@pytest.mark.parametrize("shard_count", [1, 4, 7, 8])
def test_any_number_of_workers_gives_the_same_bytes_also_more_than_there_are_shards(
    shard_count: int,
) -> None:
    job = toy_job(shard_count)
    results = {bytes_after(LocalCluster(job, workers), STEPS) for workers in (1, 2, 3, 5, 9)}
    assert len(results) == 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.usefixtures("ray_session")
def test_five_ray_workers_for_four_shards_change_nothing(dtype: str) -> None:
    job = toy_job(4, dtype=dtype)
    in_one_process = bytes_after(LocalCluster(job, 1), STEPS)
    assert bytes_after(RayCluster(job, Crew(5, 5)), STEPS) == in_one_process


@pytest.mark.parametrize("share_memory", [True, False])
@pytest.mark.usefixtures("ray_session")
def test_arrays_that_are_lent_or_sent_change_nothing(share_memory: bool) -> None:
    job = toy_job(7, size=SHARED_FROM_BYTES)  # two workers send two or three gradients a step
    assert job.state.parameters.nbytes > SHARED_FROM_BYTES
    in_one_process = bytes_after(LocalCluster(job, 1), STEPS)
    cluster = RayCluster(job, Crew(2, 2), share_memory=share_memory)
    assert bytes_after(cluster, STEPS) == in_one_process


def test_an_epoch_boundary_changes_nothing() -> None:
    job = toy_job(4)
    in_one, in_two = (bytes_after(LocalCluster(job, 2), *stops) for stops in ([12], [5, 12]))
    assert in_one == in_two


def test_another_job_gives_other_bytes() -> None:
    """Else equal bytes would prove nothing."""
    jobs = [toy_job(4), toy_job(8), toy_job(4, rows=4)]
    results = {bytes_after(LocalCluster(job, 1), STEPS) for job in jobs}
    assert len(results) == len(jobs)


def test_the_driver_hears_who_joined_and_who_holds_what() -> None:
    told = finish(LocalCluster(toy_job(8), 2), 1)
    joined = [message.name for message in told if isinstance(message, Joined)]
    assert sorted(joined) == ["server", "worker-0", "worker-1"]
    assert len([message for message in told if isinstance(message, Ready)]) == 1
    assigned = [message for message in told if isinstance(message, Assigned)]
    assert assigned[-2:] == [
        Assigned("worker-0", (0, 1, 2, 3)),
        Assigned("worker-1", (4, 5, 6, 7)),
    ]


def test_a_snapshot_can_be_asked_for_in_one_process_too() -> None:
    job = toy_job(4)
    with LocalCluster(job, 2) as cluster:
        cluster.take_snapshot()
        while True:
            heard = cluster.receive()
            assert heard is not None
            assert not isinstance(heard.message, Failed)
            if isinstance(heard.message, Snapshot):
                break
    assert heard.message.step == 0
    assert heard.message.parameters.tobytes() == job.state.parameters.tobytes()


def test_a_training_goes_on_from_a_state_to_the_same_bytes() -> None:
    job = toy_job(4)
    expected = undisturbed(job, STEPS)
    half = finish(LocalCluster(job, 3), 5)[-1]
    assert isinstance(half, EpochDone)
    state = Snapshot(0, 5, half.sample_count, half.loss_sum, half.parameters, half.optimizer_state)
    done = finish(LocalCluster(replace(job, state=state), 2), STEPS)[-1]
    assert isinstance(done, EpochDone)
    assert done.parameters.tobytes() == expected.parameters.tobytes()
    assert done.optimizer_state.tobytes() == expected.optimizer_state.tobytes()
    assert (done.sample_count, done.loss_sum) == (expected.sample_count, expected.loss_sum)
