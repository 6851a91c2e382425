"""Everstep under faults, on the actors themselves: how long no step is finished.

A toy job whose every shard takes 5 ms (emulated by waiting), so that a step of two workers
with four shards each takes 20 ms. The server's process notes when it finished each step. A
fault is a real signal to a real process, at a random moment of a seeded schedule; the next
one comes only after all actors are there again.
"""

import random
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from actors.cluster import Cluster, Job, initial_state
from actors.local_cluster import LocalCluster
from actors.messages import SERVER, EpochDone, Repeated, RunEpoch, Vector
from actors.names import slot_of
from actors.objectives import BatchLoss
from actors.orders import Assigned, Died, DriverMessage, Failed, Joined
from actors.ray_cluster import RayCluster
from actors.supervisor import Crew, Intensity, Supervision
from benchmarks.step_log import longest_gap

SHARDS: Final = 8
WORKERS: Final = 2
STEP_S: Final = 0.02
SNAPSHOT_EVERY_S: Final = 1.0  # the product's default
_PARAMETERS: Final = 23_860  # of a 784-30-10 network
_SHARD_S: Final = STEP_S * WORKERS / SHARDS
_STOP_S: Final = 2.0
_PAUSE_S: Final = (0.5, 1.5)  # between all actors being there and the next fault
_STEPS_PER_EPOCH: Final = 250
_MOST_S: Final = 30.0  # from one fault to the next: beyond it something is wrong
_OFTEN: Final = Supervision(Intensity(10_000, 1.0), Intensity(10_000, 1.0))


class Rows:
    """A shard whose micro-batch is a pure function of the step, and takes a while to come."""

    def __init__(self, number: int, seconds: float) -> None:
        self.number, self.seconds = number, seconds

    def batch(self, step: int) -> Vector:
        until_s = time.perf_counter() + self.seconds
        rows: Vector = np.random.default_rng([self.number, step]).normal(size=2).astype("f4")
        time.sleep(max(0.0, until_s - time.perf_counter()))
        return rows


class Pull:
    """The gradient pulls every parameter towards the rows."""

    def gradient(self, parameters: Vector, batch: Any, out: Vector) -> BatchLoss:
        np.subtract(parameters * len(batch), batch.sum(), out=out)
        return BatchLoss(float(out @ out), len(batch))


class NotingSGD:
    """Gradient descent that notes in a file when each update was done: a finished step."""

    def __init__(self, path: Path | None) -> None:
        self.path = path

    def init(self, parameters: Vector) -> Vector:
        return parameters[:0]

    def update(
        self,
        parameters: Vector,
        gradient_sum: Vector,
        sample_count: int,
        state: Vector,  # noqa: ARG002 - it has none
        out: Vector,
        state_out: Vector,  # noqa: ARG002
    ) -> None:
        np.subtract(parameters, gradient_sum * np.float32(0.1 / sample_count), out=out)
        if self.path is not None:
            with self.path.open("a") as file:
                file.write(f"{time.monotonic()}\n")


def job(seconds: float, path: Path | None) -> Job:
    """The toy; with 0 seconds it is the same mathematics at full speed."""
    parameters = np.linspace(-1, 1, _PARAMETERS, dtype="f4")
    shards = [Rows(number, seconds) for number in range(SHARDS)]
    return Job(Pull(), NotingSGD(path), shards, initial_state(parameters, parameters[:0]))


class Run:
    """A training that goes on for as long as there are faults to come."""

    def __init__(self, cluster: Cluster, seed: int) -> None:
        self.cluster = cluster
        self.done: EpochDone | None = None
        self.repeated: list[int] = []  # steps, one number a fault that cost any
        self.ending = False
        self._dice = random.Random(seed)
        self._alive: dict[str, tuple[int, ...]] = {}
        self._asked_s = 0.0
        self._run_epoch(0)

    def fault(self, kind: str) -> tuple[float, str]:
        """Wait until all are there and some moments more; then send the signal."""
        self.hear_until(self._complete)
        rest_s = time.monotonic() + self._dice.uniform(*_PAUSE_S)
        self.hear_until(lambda: time.monotonic() >= rest_s)
        slot = SERVER if kind == "server killed" else "worker"
        name = self._dice.choice([name for name in self._alive if slot_of(name).startswith(slot)])
        number = signal.SIGSTOP if kind == "worker stopped" else signal.SIGKILL
        at_s = time.monotonic()
        if not self.cluster.signal(name, number):
            raise RuntimeError(f"{name} has no process")
        if number == signal.SIGSTOP:
            self.hear_until(lambda: time.monotonic() >= at_s + _STOP_S)
            self.cluster.signal(name, signal.SIGCONT)
        else:
            self.hear_until(lambda: name not in self._alive)
        return at_s, name

    def _run_epoch(self, number: int) -> None:
        self.cluster.run_epoch(RunEpoch(number, (number + 1) * _STEPS_PER_EPOCH))

    def hear_until(self, condition: Callable[[], bool]) -> None:
        """Go on with the training and take snapshots until the condition holds."""
        until_s = time.monotonic() + _MOST_S
        while not condition():
            if time.monotonic() > until_s:
                raise RuntimeError(f"nothing came of it in {_MOST_S:g} s; there are {self._alive}")
            if time.monotonic() - self._asked_s > SNAPSHOT_EVERY_S:
                self.cluster.take_snapshot()
                self._asked_s = time.monotonic()
            if (heard := self.cluster.receive(0.02)) is not None:
                self._hear(heard.message)

    def end(self) -> EpochDone:
        """The running epoch is the last."""
        self.ending, self.done = True, None
        self.hear_until(lambda: self.done is not None)
        assert self.done is not None
        return self.done

    def _complete(self) -> bool:
        holders = [name for name, shards in self._alive.items() if shards]
        return SERVER in map(slot_of, self._alive) and len(holders) == WORKERS

    def _hear(self, message: DriverMessage) -> None:
        match message:
            case Joined(name):
                self._alive[name] = ()
            case Assigned(name, shards):
                self._alive[name] = shards
            case Died(name):
                del self._alive[name]
            case Repeated(step_count):
                self.repeated.append(step_count)
            case Failed(reason):
                raise RuntimeError(reason)
            case EpochDone(epoch):
                self.done = message
                if not self.ending:
                    self._run_epoch(epoch + 1)
            case _:
                pass


def measure(kind: str, count: int, seed: int) -> dict[str, Any]:
    """So many faults of one kind in one training, on the Ray that is running.

    Returns:
        kind, stalled_s (one number a fault), repeated_steps (one for each fault that cost any),
        steps, and whether the final weights are the undisturbed bytes.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "steps"
        crew = Crew(WORKERS, WORKERS, _OFTEN)
        with RayCluster(job(_SHARD_S, path), crew) as cluster:
            run = Run(cluster, seed)
            faults_s = [run.fault(kind)[0] for _ in range(count)]
            done = run.end()
        times_s = [float(line) for line in path.read_text().splitlines()]
    ends_s = [*faults_s[1:], float("inf")]
    gaps_s = [
        longest_gap([t for t in times_s if t < end_s], at_s)
        for at_s, end_s in zip(faults_s, ends_s, strict=True)
    ]
    return {
        "kind": kind,
        "stalled_s": gaps_s,
        "repeated_steps": run.repeated,
        "steps": done.step,
        "same_bytes": done.parameters.tobytes() == undisturbed(done.step).parameters.tobytes(),
    }


def undisturbed(steps: int) -> EpochDone:
    """The same training in one process, without the waiting."""
    with LocalCluster(job(0.0, None), 1) as cluster:
        for epoch in range(steps // _STEPS_PER_EPOCH):
            cluster.run_epoch(RunEpoch(epoch, (epoch + 1) * _STEPS_PER_EPOCH))
            while not isinstance(message := _heard(cluster), EpochDone):
                pass
    return message


def _heard(cluster: Cluster) -> DriverMessage:
    heard = cluster.receive()
    assert heard is not None
    return heard.message
