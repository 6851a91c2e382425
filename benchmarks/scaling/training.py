"""A training on real actors, measured: how long its steps take and what they cost the server.

The driver's side of `actors.cluster.Cluster`, reduced to what a measurement needs. A first
epoch warms up and tells how fast the steps are, a second one is measured, a third one, if
asked for, is watched for memory: looking at memory takes time.
"""

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from actors.cluster import Cluster, Job
from actors.messages import SERVER, Dx, EpochDone, RunEpoch, Weights
from actors.names import slot_of
from actors.orders import Assigned, Failed, Joined
from actors.ray_cluster import RayCluster
from actors.reduction import Tree
from actors.supervisor import Crew
from actors.wire import encode
from benchmarks.scaling.memory import ProportionalPeaks, forget_peak, peak_bytes
from benchmarks.scaling.quiet import wait_until_quiet
from benchmarks.scaling.step_clock import StepClock
from trainer.checkpoints import digest

_WARM_UP_STEPS: Final = 10
_SECONDS: Final = 1.0
_STEPS: Final = (10, 4000)  # at least and at most
_WATCHED_STEPS: Final = 10
_START_S: Final = 180.0


@dataclass(frozen=True, slots=True)
class Memory:
    """The most that one process held, in bytes."""

    life: int  # VmHWM, its start included
    steps: int  # VmHWM over some steps
    proportional: int  # PSS over the same steps


@dataclass(frozen=True, slots=True)
class Training:
    """What was measured."""

    worker_count: int
    step_s: NDArray[np.float64]  # of each step
    server_cpu_s: float  # a step, mean
    message_count: int  # a step, at the server, in and out
    message_bytes: int  # a step, as they are sent between hosts
    digest: str
    memory: dict[str, Memory] = field(default_factory=dict)  # by the actor's name

    @property
    def median_s(self) -> float:
        """A step's time."""
        return float(np.median(self.step_s))


def ray_cluster(worker_count: int, share_memory: bool = True) -> Callable[[Job], Cluster]:
    """On the Ray that is running; nothing begins before all workers are there.

    Args:
        share_memory: as actors of one host do; else every byte goes over TCP, as between hosts.
    """
    crew = Crew(worker_count, worker_count, start_timeout_s=_START_S)
    return lambda job: RayCluster(job, crew, share_memory=share_memory)


def measure(
    job: Job,
    worker_count: int,
    cluster_of: Callable[[Job], Cluster],
    step_count: int | None = None,
    watch_memory: bool = False,
) -> Training:
    """Train, and read the clock.

    Args:
        step_count: to be measured, after the warm-up; None: about a second's.
        watch_memory: of the actors' processes, where they have processes of their own.

    Raises:
        RuntimeError: the training failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        clock = StepClock(Path(folder) / "clock")
        clocked = replace(job, optimizer=clock.clocked(job.optimizer))
        with cluster_of(clocked) as cluster:
            run = _Run(cluster)
            wait_until_quiet()
            run.epoch(_WARM_UP_STEPS)
            if step_count is None:
                quick_s = float(np.median(clock.steps(1, _WARM_UP_STEPS)[0]))
                step_count = int(np.clip(_SECONDS / quick_s, *_STEPS))
            done = run.epoch(step_count)
            # The first step of an epoch has waited for the driver's word.
            step_s, cpu_s = clock.steps(_WARM_UP_STEPS + 1, run.step)
            memory = run.watched_memory() if watch_memory else {}
    frames = frame_sizes(job, run.assigned.values())
    return Training(
        worker_count,
        step_s,
        float(cpu_s.mean()),
        len(frames),
        sum(frames),
        digest(done.parameters),
        memory,
    )


def frame_sizes(job: Job, assigned: Iterable[tuple[int, ...]]) -> list[int]:
    """The bytes of each message of one step, with all arrays in the frames.

    Args:
        assigned: each worker's shards.
    """
    parameters = job.state.parameters
    tree = Tree(len(job.shards))
    messages: list[Weights | Dx] = []
    for shards in assigned:
        messages.append(Weights(0, parameters))
        messages += [Dx(0, *node, 1, 0.0, parameters) for node in tree.cover(shards)]
    return [sum(memoryview(piece).nbytes for piece in encode(message)) for message in messages]


class _Run:
    """Epochs of so many steps, one after the other."""

    def __init__(self, cluster: Cluster) -> None:
        self.assigned: dict[str, tuple[int, ...]] = {}
        self.step = 0
        self._cluster = cluster
        self._processes: dict[str, int] = {}
        self._epoch = 0

    def epoch(self, step_count: int, with_snapshot: bool = False) -> EpochDone:
        """Run it to its end."""
        self.step += step_count
        self._cluster.run_epoch(RunEpoch(self._epoch, self.step))
        self._epoch += 1
        if with_snapshot:
            self._cluster.take_snapshot()
        while not isinstance(done := self._hear(), EpochDone):
            pass
        return done

    def watched_memory(self) -> dict[str, Memory]:
        """Of all actors: since they started, and over some steps with a snapshot among them."""
        ids = self._processes
        lives = {name: peak_bytes(process_id) for name, process_id in ids.items()}
        for process_id in ids.values():
            forget_peak(process_id)
        with ProportionalPeaks(ids.values()) as peaks:
            self.epoch(_WATCHED_STEPS, with_snapshot=True)
        return {
            name: Memory(
                max(lives[name], peak_bytes(process_id)),
                peak_bytes(process_id),
                peaks.most_bytes[process_id],
            )
            for name, process_id in ids.items()
        }

    def _hear(self) -> object:
        heard = self._cluster.receive()
        assert heard is not None
        match heard.message:
            case Failed(reason):
                raise RuntimeError(reason)
            case Joined(name, process_id=process_id):
                self._processes[name] = process_id
            case Assigned(name, shards):
                self.assigned[name] = shards
            case _:
                pass
        return heard.message


def server_of(memory: dict[str, Memory]) -> Memory:
    """The server's."""
    return next(held for name, held in memory.items() if slot_of(name) == SERVER)


def largest_worker_of(memory: dict[str, Memory]) -> Memory:
    """The worker's that held the most."""
    workers = [held for name, held in memory.items() if slot_of(name) != SERVER]
    return max(workers, key=lambda held: held.life)
