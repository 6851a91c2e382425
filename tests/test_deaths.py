"""Real processes on Ray, killed in mid-epoch: the digest stays, and the event is written down."""

import os
import re
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import ray

from actors.cluster import Job
from actors.messages import (
    Assigned,
    Died,
    DriverMessage,
    EpochDone,
    Failed,
    Joined,
    Progress,
    RunEpoch,
    Stall,
    Vector,
)
from actors.objectives import BatchLoss, Objective, Shard
from actors.ray_cluster import RayCluster
from tests.toys import Deadly, Descent, Failing, finish, toy_job, undisturbed
from trainer.checkpoints import digest

pytestmark = pytest.mark.usefixtures("ray_session")

STEPS = 60


Kind = TypeVar("Kind")


def of_kind(messages: Sequence[DriverMessage], kind: type[Kind]) -> list[Kind]:
    return [message for message in messages if isinstance(message, kind)]


def deadly(job: Job, deaths: dict[int, int], tmp_path: Path) -> Job:
    """The job, with a kill in the middle of computing (shard, step), each once."""
    shards: list[Shard] = list(job.shards)
    for shard, step in deaths.items():
        shards[shard] = Deadly(shards[shard], step, tmp_path / f"{shard}-{step}")
    return replace(job, shards=shards)


@pytest.mark.parametrize(("workers", "shard", "step"), [(2, 0, 0), (2, 3, 30), (3, 5, 59)])
def test_a_worker_killed_while_it_computes_changes_no_byte(
    workers: int, shard: int, step: int, tmp_path: Path
) -> None:
    job = toy_job(8)
    messages = finish(RayCluster(deadly(job, {shard: step}, tmp_path), workers), STEPS)
    assert (tmp_path / f"{shard}-{step}").exists()  # the fault did fire
    (died,) = of_kind(messages, Died)
    assert died.reason.startswith("connection")
    (stall,) = of_kind(messages, Stall)
    assert (stall.name, stall.step) == (died.name, step + 1)
    done, expected = messages[-1], undisturbed(job, STEPS)
    assert isinstance(done, EpochDone)
    assert digest(done.parameters) == digest(expected.parameters)
    assert (done.sample_count, done.loss_sum) == (expected.sample_count, expected.loss_sum)


def test_workers_killed_one_after_the_other_until_one_is_left_change_no_byte(
    tmp_path: Path,
) -> None:
    job = toy_job(8)
    faults = {0: 10, 3: 20, 5: 30, 6: 30}
    messages = finish(RayCluster(deadly(job, faults, tmp_path), 5), STEPS)
    assert len(of_kind(messages, Died)) == len(faults)
    done = messages[-1]
    assert isinstance(done, EpochDone)
    assert digest(done.parameters) == digest(undisturbed(job, STEPS).parameters)


def test_a_worker_killed_from_outside_at_a_random_moment_changes_no_byte() -> None:
    """The kill comes when some progress is heard: wherever the worker then is."""
    job, steps = toy_job(8, size=2000, rows=8), 1000
    victim: int | None = None
    messages: list[DriverMessage] = []
    with RayCluster(job, 3) as cluster:
        cluster.run_epoch(RunEpoch(0, steps))
        while not messages or not isinstance(messages[-1], EpochDone | Failed):
            messages.append(cluster.receive())
            if isinstance(messages[-1], Progress) and victim is None:
                victim = of_kind(messages, Joined)[1].process_id
                os.kill(victim, signal.SIGKILL)
    assert victim is not None
    (died,) = of_kind(messages, Died)
    shares = of_kind(messages, Assigned)[-2:]
    assert sorted(shard for share in shares for shard in share.shards) == list(range(8))
    assert died.name not in {share.name for share in shares}
    done = messages[-1]
    assert isinstance(done, EpochDone)
    assert digest(done.parameters) == digest(undisturbed(job, steps).parameters)


def test_the_death_of_the_last_worker_ends_the_training_with_its_cause(tmp_path: Path) -> None:
    messages = finish(RayCluster(deadly(toy_job(4), {0: 3}, tmp_path), 1), STEPS)
    assert isinstance(messages[-1], Failed)
    assert messages[-1].reason.startswith("no worker is left; the last, worker-0, died: connection")


def test_an_objective_that_always_fails_ends_the_training_with_its_traceback() -> None:
    job = toy_job(4)
    failing = replace(job, shards=[*job.shards[:3], Failing(job.shards[3], 5)])
    messages = finish(RayCluster(failing, 3), STEPS)
    assert len(of_kind(messages, Died)) == 3
    assert isinstance(messages[-1], Failed)
    assert "ValueError: the disk ate the rows" in messages[-1].reason


def test_the_death_of_the_server_ends_the_training(tmp_path: Path) -> None:
    class DeadlyDescent(Descent):
        """An optimizer that kills the server's process."""

        def update(self, *arguments: object, **outputs: object) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

    messages = finish(RayCluster(replace(toy_job(4), optimizer=DeadlyDescent()), 2), STEPS)
    assert isinstance(messages[-1], Failed)
    assert messages[-1].reason.startswith("the parameter server died: connection")


class Fragile:
    """An objective that runs `arrive` wherever it is unpacked: in each worker's constructor."""

    def __init__(self, objective: Objective, arrive: Callable[..., None], *arguments: Any) -> None:
        self.objective, self.arrive, self.arguments = objective, arrive, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrive, (self.objective, self.arrive, *self.arguments)

    def gradient(self, parameters: Vector, batch: object, out: Vector) -> BatchLoss:
        raise AssertionError("it arrives as the plain objective")


def _arrive(objective: Objective, arrive: Callable[..., None], *arguments: Any) -> Objective:
    arrive(*arguments)
    return objective


def _refuse() -> None:
    raise ImportError("no such module here")


def _die_once(marker: Path) -> None:
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def test_workers_that_can_not_start_say_why() -> None:
    job = toy_job(4)
    broken = replace(job, objective=Fragile(job.objective, _refuse))
    reason = r"no worker is left; the last, worker-\d, died: ImportError: no such module here"
    failed = finish(RayCluster(broken, 2), STEPS)[-1]
    assert isinstance(failed, Failed)
    assert re.fullmatch(reason, failed.reason)


def test_a_worker_that_dies_while_it_starts_changes_no_byte(tmp_path: Path) -> None:
    job = toy_job(4)
    marker = tmp_path / "died"
    fragile = replace(job, objective=Fragile(job.objective, _die_once, marker))
    messages = finish(RayCluster(fragile, 2), STEPS)
    assert marker.exists()
    assert len(of_kind(messages, Died)) == len(of_kind(messages, Joined)) == 1
    done = messages[-1]
    assert isinstance(done, EpochDone)
    assert digest(done.parameters) == digest(undisturbed(job, STEPS).parameters)


class Occupant:
    """Holds CPUs of the cluster."""

    def sit(self) -> None:
        """Return when the place is taken."""


def test_training_goes_on_without_a_worker_that_finds_no_place() -> None:
    occupant = ray.remote(Occupant).options(num_cpus=7).remote()
    ray.get(occupant.sit.remote())  # of the cluster's 8 CPUs one is left
    job = toy_job(4)
    messages = finish(RayCluster(job, 2, start_timeout_s=20.0), STEPS)
    ray.kill(occupant)
    (late,) = of_kind(messages, Died)
    assert late.reason.startswith("did not start within 20 s; 2 workers ask for 1 CPU")
    done = messages[-1]
    assert isinstance(done, EpochDone)
    assert digest(done.parameters) == digest(undisturbed(job, STEPS).parameters)


class Probe:
    """An objective that tells its worker's surroundings through the gradient."""

    def gradient(self, parameters: Vector, batch: object, out: Vector) -> BatchLoss:
        from threadpoolctl import threadpool_info

        pools = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
        assert isinstance(batch, np.ndarray)
        out[:] = [max(pools), batch.flags.writeable, batch.flags.owndata, len(pools)]
        return BatchLoss(0.0, 1)


class Rows:
    """A shard of plain rows, as large as what Ray keeps in shared memory."""

    def __init__(self, rows: np.ndarray) -> None:
        self.rows = rows

    def batch(self, step: int) -> np.ndarray:
        return self.rows


def test_a_worker_has_one_blas_thread_and_its_data_is_not_copied() -> None:
    class Keep(Descent):
        """An optimizer that keeps the gradient as the parameters."""

        def update(
            self, parameters: Vector, gradient_sum: Vector, *rest: object, out: Vector, **_: object
        ) -> None:
            out[:] = gradient_sum

    parameters = np.zeros(4)
    job = Job(Probe(), Keep(), [Rows(np.zeros((1000, 1000)))], parameters, parameters[:0])
    (done,) = of_kind(finish(RayCluster(job, 1), 1), EpochDone)
    threads, writable, owns_its_memory, blas_count = done.parameters
    assert (threads, writable, owns_its_memory) == (1, 0, 0)
    assert blas_count >= 1
