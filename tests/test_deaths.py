"""Real processes on Ray that are killed, stopped and starved: the digest stays."""

import os
import re
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import psutil
import pytest
import ray

from actors.cluster import Job, initial_state
from actors.local_cluster import LocalCluster
from actors.messages import (
    SERVER,
    EpochDone,
    NotFinite,
    Progress,
    Repeated,
    RunEpoch,
    Snapshot,
    Stall,
    Vector,
)
from actors.names import slot_of
from actors.objectives import BatchLoss, Objective, Shard
from actors.orders import (
    Assigned,
    Died,
    DriverMessage,
    Failed,
    Joined,
    Missing,
    Ready,
    Restarting,
    Suspected,
    Unplaced,
)
from actors.ray_cluster import RayCluster
from actors.supervisor import Crew, Intensity, Supervision
from tests.toys import (
    Attraction,
    Deadly,
    Descent,
    Failing,
    Targets,
    finish,
    killed,
    left,
    left_at_once,
    lent_job,
    out_of_memory,
    undisturbed,
)

pytestmark = pytest.mark.usefixtures("ray_session")

STEPS = 60
DEADLINE_S = 60.0

Kind = TypeVar("Kind")


def of_kind(messages: Sequence[DriverMessage], kind: type[Kind]) -> list[Kind]:
    return [message for message in messages if isinstance(message, kind)]


def ends_undisturbed(messages: Sequence[DriverMessage], job: Job, step: int) -> None:
    """The epoch's end is the undisturbed one: its arrays' bytes, and sums, to the bit."""
    done, expected = of_kind(messages, EpochDone)[-1], undisturbed(job, step)
    assert done.step == step
    assert done.parameters.tobytes() == expected.parameters.tobytes()
    assert done.optimizer_state.tobytes() == expected.optimizer_state.tobytes()
    assert (done.sample_count, done.loss_sum) == (expected.sample_count, expected.loss_sum)


def ends_undisturbed_epochs(
    messages: Sequence[DriverMessage], job: Job, epochs: int, steps_per_epoch: int
) -> None:
    """The same of the last one of several epochs, whose sums are its own."""
    done = of_kind(messages, EpochDone)[-1]
    until_steps = [(epoch + 1) * steps_per_epoch for epoch in range(epochs)]
    expected = of_kind(finish(LocalCluster(job, 1), *until_steps), EpochDone)[-1]
    assert (done.epoch, done.step) == (epochs - 1, until_steps[-1])
    assert done.parameters.tobytes() == expected.parameters.tobytes()
    assert done.optimizer_state.tobytes() == expected.optimizer_state.tobytes()
    assert (done.sample_count, done.loss_sum) == (expected.sample_count, expected.loss_sum)


def deadly(
    job: Job, deaths: dict[int, int], tmp_path: Path, ways: Sequence[Callable[[], None]] = (killed,)
) -> Job:
    """The job, with a death in the middle of computing (shard, step), each once, in those ways."""
    shards: list[Shard] = list(job.shards)
    for (shard, step), die in zip(deaths.items(), cycle(ways), strict=False):
        shards[shard] = Deadly(shards[shard], step, tmp_path / f"{shard}-{step}", die)
    return replace(job, shards=shards)


class Gated(Targets):
    """A shard that is computed from step `gate` on only while the file `opened` is there."""

    def __init__(self, shard: Targets, gate: int, opened: Path) -> None:
        super().__init__(shard.number, shard.size, shard.rows, shard.dtype)
        self.gate, self.opened = gate, opened

    def batch(self, step: int) -> Any:
        until_s = time.monotonic() + DEADLINE_S
        while step >= self.gate and not self.opened.exists() and time.monotonic() < until_s:
            time.sleep(0.01)
        return super().batch(step)


def gated(job: Job, gate: int, opened: Path) -> Job:
    """The job, whose first shard holds step `gate` up until the file is there."""
    first, *rest = job.shards
    assert isinstance(first, Targets)
    return replace(job, shards=[Gated(first, gate, opened), *rest])


class Occupant:
    """Holds CPUs of the cluster."""

    def sit(self) -> None:
        """Return when the place is taken."""


@contextmanager
def occupied(cpus: int) -> Iterator[Any]:
    """So many of the cluster's 8 CPUs are another's: the actor that holds them."""
    occupant = ray.remote(Occupant).options(num_cpus=cpus).remote()
    ray.get(occupant.sit.remote(), timeout=DEADLINE_S)
    try:
        yield occupant
    finally:
        ray.kill(occupant)


class Course:
    """A training on Ray that a test watches and disturbs; the first epoch runs."""

    def __init__(self, cluster: RayCluster, until_step: int) -> None:
        self.cluster = cluster
        self.messages: list[DriverMessage] = []
        cluster.run_epoch(RunEpoch(0, until_step))

    def until(self, kind: type[Kind], count: int = 1) -> list[Kind]:
        """Go on until so many messages of the kind were heard in all."""
        until_s = time.monotonic() + DEADLINE_S
        while len(found := of_kind(self.messages, kind)) < count:
            heard = self.cluster.receive(max(0.0, until_s - time.monotonic()))
            assert heard is not None, self.messages
            self.messages.append(heard.message)
            assert not isinstance(heard.message, Failed), heard.message.reason
        return found

    def until_shared(self, **shares: tuple[int, ...]) -> None:
        """Go on until the living hold these shards; `_` and `__` stand for `-` and `.`."""
        expected = {
            name.replace("__", ".").replace("_", "-"): held for name, held in shares.items()
        }
        while self.shares() != expected:
            self.until(DriverMessage, len(self.messages) + 1)

    def shares(self) -> dict[str, tuple[int, ...]]:
        """What each living worker was last told to hold."""
        held: dict[str, tuple[int, ...]] = {}
        for message in self.messages:
            if isinstance(message, Assigned):
                held[message.name] = message.shards
            elif isinstance(message, Died):
                held.pop(message.name, None)
        return held

    def kill(self, *names: str) -> None:
        for name in names:
            assert self.cluster.signal(name, signal.SIGKILL)


# --- Workers


@pytest.mark.parametrize(("shard", "step"), [(0, 0), (7, 59)])
def test_a_worker_killed_while_it_computes_is_replaced_and_changes_no_byte(
    shard: int, step: int, tmp_path: Path
) -> None:
    job = lent_job(8)
    messages = finish(RayCluster(deadly(job, {shard: step}, tmp_path), Crew(2, 2)), STEPS)
    assert (tmp_path / f"{shard}-{step}").exists()  # the fault did fire
    (died,) = of_kind(messages, Died)
    assert died.reason.startswith("connection")
    (restarting,) = of_kind(messages, Restarting)
    assert (restarting.replaces, restarting.name) == (died.name, f"{died.name}.2")
    stalled = of_kind(messages, Stall)
    assert step + 1 in [stall.step for stall in stalled]
    assert of_kind(messages, Repeated) == []  # no step is lost
    ends_undisturbed(messages, job, STEPS)


def test_the_replacement_of_a_killed_worker_joins_and_gets_its_share(tmp_path: Path) -> None:
    job, opened = lent_job(8), tmp_path / "opened"
    with RayCluster(gated(job, 20, opened), Crew(2, 2)) as cluster:
        course = Course(cluster, STEPS)
        course.until(Progress)
        course.kill("worker-1")
        course.until_shared(worker_0=(0, 1, 2, 3, 4, 5, 6, 7))
        course.until_shared(worker_0=(0, 1, 2, 3), worker_1__2=(4, 5, 6, 7))
        opened.touch()
        course.until(EpochDone)
    ends_undisturbed(course.messages, job, STEPS)


def test_workers_that_die_in_any_way_at_once_and_one_after_the_other_change_no_byte(
    tmp_path: Path,
) -> None:
    job = lent_job(8)
    faults = {0: 10, 3: 20, 5: 30, 6: 30}
    ways = (killed, left_at_once, out_of_memory, left)
    messages = finish(RayCluster(deadly(job, faults, tmp_path, ways), Crew(4, 4)), STEPS)
    assert all((tmp_path / f"{shard}-{step}").exists() for shard, step in faults.items())
    reasons = [message.reason for message in of_kind(messages, Died)]
    assert len(reasons) == len(of_kind(messages, Restarting)) >= 3
    # Two at one step may be one worker's; and who is killed says nothing.
    assert any(
        r.endswith(("MemoryError: no room for a gradient", "SystemExit: 3")) for r in reasons
    )
    assert any(reason.startswith("connection") for reason in reasons)
    ends_undisturbed(messages, job, STEPS)


def test_all_workers_killed_at_once_are_waited_for_and_change_no_byte(tmp_path: Path) -> None:
    job, opened = lent_job(8), tmp_path / "opened"
    with RayCluster(gated(job, 20, opened), Crew(3, 3)) as cluster:
        course = Course(cluster, STEPS)
        course.until(Progress)
        course.kill("worker-0", "worker-1", "worker-2")
        course.until(Died, 3)
        opened.touch()
        course.until(EpochDone)
    assert {r.name for r in of_kind(course.messages, Restarting)} == {
        "worker-0.2",
        "worker-1.2",
        "worker-2.2",
    }
    ends_undisturbed(course.messages, job, STEPS)


def test_a_worker_that_dies_while_it_starts_is_replaced_and_changes_no_byte(
    tmp_path: Path,
) -> None:
    job = lent_job(4)
    marker = tmp_path / "died"
    fragile = replace(job, objective=Fragile(job.objective, _die_once, marker))
    messages = finish(RayCluster(fragile, Crew(2, 2)), STEPS)
    assert marker.exists()
    (died,) = of_kind(messages, Died)
    assert of_kind(messages, Restarting)[0].replaces == died.name
    ends_undisturbed(messages, job, STEPS)


# --- The server


def test_a_server_killed_in_mid_epoch_comes_back_from_its_newest_snapshot(tmp_path: Path) -> None:
    job, opened = lent_job(8), tmp_path / "opened"
    with RayCluster(gated(job, 40, opened), Crew(2, 2)) as cluster:
        course = Course(cluster, STEPS)
        course.until(Progress)
        while (step := of_kind(course.messages, Progress)[-1].step) == 0:
            course.until(Progress, len(of_kind(course.messages, Progress)) + 1)
        cluster.take_snapshot()
        (snapshot,) = course.until(Snapshot)
        assert snapshot.step >= step
        course.kill(SERVER)
        (died,) = course.until(Died)
        joined = course.until(Joined, 4)
        opened.touch()
        course.until(EpochDone)
    assert died.name == SERVER
    assert joined[-1].name == "server.2"
    assert of_kind(course.messages, Stall)
    # The gate held all at step 40 at most, so no more than what lies behind the snapshot.
    repeated = sum(fact.step_count for fact in of_kind(course.messages, Repeated))
    assert repeated <= 40 - snapshot.step
    ends_undisturbed(course.messages, job, STEPS)


def test_a_server_that_never_gave_a_snapshot_begins_anew(tmp_path: Path) -> None:
    job, opened = lent_job(8), tmp_path / "opened"
    with RayCluster(gated(job, 40, opened), Crew(2, 2)) as cluster:
        course = Course(cluster, STEPS)
        course.until(Progress)
        course.kill(SERVER)
        course.until(Died)
        opened.touch()
        course.until(EpochDone)
    (repeated,) = of_kind(course.messages, Repeated)
    assert of_kind(course.messages, Progress)[0].step <= repeated.step_count <= 40
    ends_undisturbed(course.messages, job, STEPS)


def test_the_server_and_all_workers_killed_at_once_change_no_byte(tmp_path: Path) -> None:
    job, opened = lent_job(8), tmp_path / "opened"
    with RayCluster(gated(job, 20, opened), Crew(2, 2)) as cluster:
        course = Course(cluster, STEPS)
        course.until(Progress)
        course.kill(SERVER, "worker-0", "worker-1")
        course.until(Died, 3)
        opened.touch()
        course.until(EpochDone)
    assert {slot_of(died.name) for died in of_kind(course.messages, Died)} == {
        "server",
        "worker-0",
        "worker-1",
    }
    ends_undisturbed(course.messages, job, STEPS)


def test_a_server_that_always_fails_ends_the_training_with_its_traceback() -> None:
    class Broken(Descent):
        """An optimizer that can not update."""

        def update(self, *arguments: object, **outputs: object) -> None:
            raise ArithmeticError("the weights ran away")

    limits = Supervision(server=Intensity(1, 60.0))
    job = replace(lent_job(4), optimizer=Broken())
    messages = finish(RayCluster(job, Crew(1, 1, limits)), STEPS)
    assert [r.name for r in of_kind(messages, Restarting)] == ["server.2"]
    assert isinstance(messages[-1], Failed)
    assert messages[-1].reason.startswith("server died 2 times in 60 s; 1 restarts are allowed")
    assert "Traceback" in messages[-1].reason
    assert messages[-1].reason.endswith("ArithmeticError: the weights ran away")


# --- Stopped


def test_training_goes_on_without_a_stopped_worker_which_gets_its_shards_back_when_woken() -> None:
    job, steps = lent_job(8, rows=1), 2000
    with RayCluster(job, Crew(2, 2)) as cluster:
        course = Course(cluster, steps)
        while course.until(Progress)[-1].step < 3:  # until then nobody can say what is late
            course.until(DriverMessage, len(course.messages) + 1)
        assert cluster.signal("worker-1", signal.SIGSTOP)
        course.until_shared(worker_0=(0, 1, 2, 3, 4, 5, 6, 7), worker_1=())
        assert "worker-1" in {fact.name for fact in of_kind(course.messages, Suspected)}
        course.until(Stall)
        course.until(EpochDone)  # the other does it all
        ends_undisturbed(course.messages, job, steps)
        assert cluster.signal("worker-1", signal.SIGCONT)
        course.until_shared(worker_0=(0, 1, 2, 3), worker_1=(4, 5, 6, 7))
        cluster.run_epoch(RunEpoch(1, steps + 100))
        course.until(EpochDone, 2)
    assert of_kind(course.messages, Died) == []
    done = course.messages[-1]
    assert isinstance(done, EpochDone)
    assert done.parameters.tobytes() == undisturbed(job, steps + 100).parameters.tobytes()


@pytest.mark.parametrize("name", ["worker-1", "server"])
def test_who_is_stopped_for_longer_than_the_limit_is_killed_and_replaced(name: str) -> None:
    job, steps = lent_job(8, rows=1), 2000
    with RayCluster(job, Crew(2, 2, link_timeout_s=2.0)) as cluster:
        course = Course(cluster, steps)
        course.until(Progress)
        stopped = next(j for j in of_kind(course.messages, Joined) if j.name == name)
        assert cluster.signal(name, signal.SIGSTOP)
        (died,) = course.until(Died)
        joined = course.until(Joined, 4)
        course.until(EpochDone)
    assert died.name == name
    assert died.reason.startswith("silent for more than ")
    assert joined[-1].name == f"{name}.2"
    _, alive = psutil.wait_procs(
        [psutil.Process(stopped.process_id)] if psutil.pid_exists(stopped.process_id) else [],
        timeout=20,
    )
    assert alive == []  # SIGKILL ends a stopped process too
    ends_undisturbed(course.messages, job, steps)


# --- What a restart does not mend


def test_an_objective_that_always_fails_ends_the_training_with_its_traceback() -> None:
    job = lent_job(4)
    failing = replace(job, shards=[*job.shards[:3], Failing(job.shards[3], 5)])
    limits = Supervision(worker=Intensity(1, 60.0))
    messages = finish(RayCluster(failing, Crew(2, 2, limits)), STEPS)
    assert len(of_kind(messages, Died)) == 2  # one worker after the other, at the same step
    failed = messages[-1]
    assert isinstance(failed, Failed)
    expected = r"worker-\d died: 2 exceptions in a row, no step between; 1 restarts are allowed"
    assert re.match(expected, failed.reason)
    assert "Traceback" in failed.reason
    assert failed.reason.endswith("ValueError: the disk ate the rows")
    assert "/actors/" not in failed.reason  # the traceback begins where it matters


class Raising(Attraction):
    """It can not be computed on one shard's rows at one step: ever, or once, by the marker."""

    def __init__(self, batch: Any, marker: Path | None = None) -> None:
        self.bad, self.marker = batch, marker

    def gradient(self, parameters: Vector, batch: Any, out: Vector) -> BatchLoss:
        if np.array_equal(batch, self.bad) and (self.marker is None or _first(self.marker)):
            raise ArithmeticError(f"the rows of process {os.getpid()} ran away")
        return super().gradient(parameters, batch, out)


def test_a_worker_that_raised_once_gives_its_cpu_to_its_replacement_which_joins(
    tmp_path: Path,
) -> None:
    """All CPUs are the workers'. An actor that raised would keep its own: Ray leaves it alive."""
    job, opened, marker = lent_job(8), tmp_path / "opened", tmp_path / "raised"
    raising = replace(gated(job, 20, opened), objective=Raising(job.shards[7].batch(5), marker))
    # Whoever waits at the gate is not silent meanwhile, however long the replacement takes.
    crew = Crew(2, 2, link_timeout_s=30.0)
    with occupied(6), RayCluster(raising, crew) as cluster:
        course = Course(cluster, STEPS)
        (died,) = course.until(Died)
        course.until_shared(worker_0=(0, 1, 2, 3), worker_1__2=(4, 5, 6, 7))
        opened.touch()
        course.until(EpochDone)
    assert marker.exists()  # the fault did fire
    assert died.name == "worker-1"
    assert "Traceback" in died.reason
    assert re.search(r"ArithmeticError: the rows of process \d+ ran away$", died.reason)
    assert len(of_kind(course.messages, Died)) == 1
    ends_undisturbed(course.messages, job, STEPS)


def test_an_objective_that_always_raises_ends_within_the_restart_intensity_without_a_free_cpu() -> (
    None
):
    job = lent_job(4)
    raising = replace(job, objective=Raising(job.shards[3].batch(5)))
    limits = Supervision(worker=Intensity(2, 60.0))
    with occupied(7):
        messages = finish(RayCluster(raising, Crew(1, 1, limits)), STEPS)
    died = of_kind(messages, Died)
    assert [death.name for death in died] == ["worker-0", "worker-0.2", "worker-0.3"]
    assert [r.name for r in of_kind(messages, Restarting)] == ["worker-0.2", "worker-0.3"]
    failed = messages[-1]
    assert isinstance(failed, Failed)
    assert failed.reason.startswith("worker-0 died 3 times in 60 s; 2 restarts are allowed")
    assert failed.reason.endswith(f"the last cause: {died[-1].reason}")
    third = next(j.process_id for j in of_kind(messages, Joined) if j.name == "worker-0.3")
    assert "Traceback" in died[-1].reason
    assert died[-1].reason.endswith(f"ArithmeticError: the rows of process {third} ran away")


def test_workers_that_can_not_start_say_why() -> None:
    job = lent_job(4)
    broken = replace(job, objective=Fragile(job.objective, _refuse))
    limits = Supervision(worker=Intensity(1, 60.0))
    failed = finish(RayCluster(broken, Crew(1, 1, limits)), STEPS)[-1]
    assert isinstance(failed, Failed)
    assert failed.reason.startswith("worker-0 died 2 times in 60 s; 1 restarts are allowed")
    assert failed.reason.endswith("the last cause: ImportError: no such module here")


class Diverging(Attraction):
    """Its gradient is no number on one shard's rows at one step."""

    def __init__(self, batch: Any) -> None:
        self.bad = batch

    def gradient(self, parameters: Vector, batch: Any, out: Vector) -> BatchLoss:
        loss = super().gradient(parameters, batch, out)
        if np.array_equal(batch, self.bad):
            out[4] = np.nan
        return loss


def test_a_gradient_that_is_not_finite_is_told_with_step_shard_and_index() -> None:
    job = lent_job(4)
    diverging = replace(job, objective=Diverging(job.shards[2].batch(7)))
    with RayCluster(diverging, Crew(2, 2)) as cluster:
        course = Course(cluster, STEPS)
        (found,) = course.until(NotFinite)
        cluster.take_snapshot()
        (snapshot,) = course.until(Snapshot)
    assert found == NotFinite(7, 2, 4)
    assert snapshot.step == 7  # it was not applied
    assert snapshot.parameters.tobytes() == undisturbed(job, 7).parameters.tobytes()


# --- More and fewer workers


def test_training_begins_with_what_there_is_and_takes_workers_as_cpus_become_free() -> None:
    """Epoch after epoch, until four workers share the shards."""
    job, steps_per_epoch, epochs = lent_job(4), 100, 1
    with occupied(7) as occupant, RayCluster(job, Crew(1, 4)) as cluster:
        course = Course(cluster, steps_per_epoch)
        course.until(EpochDone)
        assert len(of_kind(course.messages, Joined)) == 2  # the server and one worker
        ray.kill(occupant)
        until_s = time.monotonic() + DEADLINE_S
        while sorted(course.shares().values()) != [(0,), (1,), (2,), (3,)]:
            assert time.monotonic() < until_s
            cluster.run_epoch(RunEpoch(epochs, (epochs + 1) * steps_per_epoch))
            epochs += 1
            course.until(EpochDone, epochs)
    assert len(of_kind(course.messages, Joined)) == 5
    assert of_kind(course.messages, Died) == []
    ends_undisturbed_epochs(course.messages, job, epochs, steps_per_epoch)


def test_training_goes_on_without_a_worker_that_finds_no_place() -> None:
    job = lent_job(4)
    with occupied(7):
        messages = finish(RayCluster(job, Crew(2, 2, start_timeout_s=6.0)), STEPS)
    (missing,) = of_kind(messages, Missing)
    assert re.fullmatch(
        r"did not start within 6 s; 2 workers ask for 1 CPU each; [0-9.]+ has 8 CPU, 0 free:"
        r" there is no place, or its start hangs; see cluster\.start_timeout_s",
        missing.reason,
    )
    (unplaced,) = of_kind(messages, Unplaced)  # some seconds before
    assert unplaced.names == missing.names
    assert re.fullmatch(
        r"2 workers ask for 1 CPU each; [0-9.]+ has 8 CPU, 0 free; training waits for 2 workers,"
        r" or begins with less after 6 s \(cluster\.start_timeout_s\)",
        unplaced.reason,
    )
    assert len(of_kind(messages, Ready)) == 1
    assert of_kind(messages, Died) == []
    ends_undisturbed(messages, job, STEPS)


# --- How a worker lives


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
    if _first(marker):
        os.kill(os.getpid(), signal.SIGKILL)


def _first(marker: Path) -> bool:
    """True for whoever comes first, in whatever process."""
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


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
    state = initial_state(parameters, parameters[:0])
    job = Job(Probe(), Keep(), [Rows(np.zeros((1000, 1000)))], state)
    (done,) = of_kind(finish(RayCluster(job, Crew(1, 1)), 1), EpochDone)
    threads, writable, owns_its_memory, blas_count = done.parameters
    assert (threads, writable, owns_its_memory) == (1, 0, 0)
    assert blas_count >= 1
