"""The parameter-server core: weights, optimizer state and step, nothing else.

It sums a step's gradients over the canonical tree, updates, and sends the new weights.
The first gradient of a (step, node) counts, every other one is ignored, so it does not
matter who computes what, how often, or in which order it arrives. It knows no socket, no
clock of its own and no Ray. Next: `reduction.py`, `coordinator.py`.
"""

import math

from actors.buffers import ArrayPool
from actors.errors import ProtocolError
from actors.finite import first_not_finite
from actors.messages import (
    DRIVER,
    Dx,
    EpochDone,
    HandOver,
    Hello,
    Late,
    NotFinite,
    Ping,
    Pong,
    Progress,
    Refused,
    Repeated,
    RunEpoch,
    Snapshot,
    Stall,
    Stop,
    TakeSnapshot,
    Vector,
    Weights,
)
from actors.objectives import Optimizer
from actors.orders import CLUSTER, Down, Envelope, Leave, Message, Tick
from actors.pace import Pace
from actors.reduction import Node, Partial, Reduction, Tree

_PROGRESS_EVERY_S = 0.2


class ParameterServer:
    """Answers `Dx` with the next `Weights` once every shard of the step is in."""

    def __init__(
        self,
        name: str,
        optimizer: Optimizer,
        shard_count: int,
        state: Snapshot,
        seen_step: int = 0,
        pool: ArrayPool | None = None,
    ) -> None:
        """Go on from a copy of `state`.

        Args:
            seen_step: the newest step that anybody is known to have heard of.
            pool: leases what is sent: the parameters of each step.
        """
        self._name = name
        self._optimizer = optimizer
        self._tree = Tree(shard_count)
        self._pool = pool or ArrayPool()
        self._scratch = ArrayPool()  # for sums, which stay here
        self._parameters = self._copy(state.parameters)
        self._optimizer_state = self._copy(state.optimizer_state)
        self._step = self._until_step = state.step
        self._epoch = state.epoch
        self._sample_count = state.sample_count
        self._loss_sum = state.loss_sum
        self._reduction = self._new_reduction()
        self._workers: dict[str, None] = {}  # a set that keeps its order
        self._now_s = 0.0
        self._pace = Pace()
        self._stalled_since_s: float | None = None
        self._progress_s = -math.inf
        self._progress_step = state.step
        self._seen_step = max(seen_step, state.step)
        self._repeated = 0

    def handle(self, message: Message) -> list[Envelope]:
        match message:
            case Dx():
                return self._dx(message)
            case RunEpoch(epoch, until_step):
                return self._run_epoch(epoch, until_step)
            case TakeSnapshot():
                # Progress first: what passed until there is not what a snapshot costs.
                return [*self._progress(), (DRIVER, Snapshot(*self._state()))]
            case HandOver():
                return [(DRIVER, Snapshot(*self._state())), (CLUSTER, Leave("left in order"))]
            case Hello(name, step=step):
                self._workers[name] = None
                self._seen_step = max(self._seen_step, step)
                return [(name, self._weights())] if self._is_running else []
            case Down(name, reason) if name == DRIVER:
                return [(CLUSTER, Leave(f"left, because the driver is down: {reason}"))]
            case Down(name):
                self._workers.pop(name, None)
                self._stalled()
                return []
            case Stop():
                return [(CLUSTER, Leave("left in order"))]
            case Ping():
                return [(DRIVER, Pong(self._name))]
            case Refused():
                return [(DRIVER, message)]
            case Tick(now_s):
                return self._tick(now_s)
            case _:
                return []

    @property
    def _is_running(self) -> bool:
        return self._step < self._until_step

    def _run_epoch(self, epoch: int, until_step: int) -> list[Envelope]:
        if until_step <= self._until_step:
            return []  # said twice
        if epoch != self._epoch:  # else a restored server goes on in the middle
            self._sample_count, self._loss_sum = 0, 0.0
        self._epoch, self._until_step = epoch, until_step
        self._pace.begin(self._now_s)
        if self._stalled_since_s is not None:  # who died before it held nothing up
            self._stalled_since_s = self._now_s
        return self._broadcast()

    def _dx(self, dx: Dx) -> list[Envelope]:
        if dx.step != self._step or not self._is_running:
            return []  # late: the step is done
        self._check(dx)
        partial = Partial(dx.sample_count, dx.loss_sum, dx.gradient)
        self._reduction.offer(Node(dx.start, dx.stop), partial)
        total = self._reduction.total
        return [] if total is None else self._finish_step(total)

    def _check(self, dx: Dx) -> None:
        """Who holds this run's key got this run's job: another size is a defect, and may crash."""
        ours, theirs = self._parameters, dx.gradient
        if theirs.size != ours.size or theirs.dtype != ours.dtype:
            raise ProtocolError(
                f"server: the gradient of step {dx.step}, shards {dx.start}..{dx.stop - 1} has"
                f" {theirs.size} values of {theirs.dtype}, the parameters {ours.size} of"
                f" {ours.dtype}; all actors must run the same configuration"
            )

    def _finish_step(self, total: Partial) -> list[Envelope]:
        self._reduction = self._new_reduction()
        if (index := self._update(total)) is not None:
            self._until_step = self._step  # nothing more is done
            return [(DRIVER, NotFinite(self._step, -1, index))]
        self._step += 1
        self._sample_count += total.sample_count
        self._loss_sum += total.loss_sum
        facts = self._end_stall() + self._count_repeated()
        self._pace.step(self._now_s)
        if self._is_running:
            return facts + self._broadcast()
        return [*facts, (DRIVER, EpochDone(*self._state()))]

    def _update(self, total: Partial) -> int | None:
        """Write the next state into vectors of its own: the last one may still be on its way.

        Where the first parameter is that is not finite; then the state stays as it was.
        """
        parameters = self._pool.take(self._parameters.size, self._parameters.dtype)
        state = self._pool.take(self._optimizer_state.size, self._optimizer_state.dtype)
        self._optimizer.update(
            self._parameters,
            total.gradient,
            total.sample_count,
            self._optimizer_state,
            out=parameters,
            state_out=state,
        )
        if (index := first_not_finite(parameters)) is None:
            self._parameters, self._optimizer_state = parameters, state
        return index

    def _stalled(self) -> None:
        """Somebody died or is late: the running step lasts since it began."""
        if self._stalled_since_s is None:
            self._stalled_since_s = self._pace.began_s

    def _end_stall(self) -> list[Envelope]:
        if (since_s := self._stalled_since_s) is None:
            return []
        self._stalled_since_s = None
        return [(DRIVER, Stall(self._step, self._now_s - since_s))]

    def _count_repeated(self) -> list[Envelope]:
        """A restored server tells once how many steps it did that had been done before."""
        if self._step <= self._seen_step:
            self._repeated += 1
            if self._step < self._seen_step and self._is_running:
                return []
        repeated, self._repeated = self._repeated, 0
        return [(DRIVER, Repeated(repeated))] if repeated else []

    def _tick(self, now_s: float) -> list[Envelope]:
        if self._now_s == 0.0:  # the first one: time begins
            self._pace.begin(now_s)
        self._now_s = now_s
        if not self._is_running:
            return []
        is_due = now_s - self._progress_s >= _PROGRESS_EVERY_S and self._step != self._progress_step
        return self._late() + (self._progress() if is_due else [])

    def _late(self) -> list[Envelope]:
        if not self._pace.is_late(self._now_s):
            return []
        self._stalled()
        return [(DRIVER, Late(self._step, self._reduction.missing))]

    def _progress(self) -> list[Envelope]:
        """Where the running epoch stands, once there is something of it."""
        if not (self._is_running and self._sample_count > 0):
            return []
        self._progress_s, self._progress_step = self._now_s, self._step
        facts = (self._epoch, self._step, self._sample_count, self._loss_sum)
        return [(DRIVER, Progress(*facts))]

    def _new_reduction(self) -> Reduction:
        size, dtype = self._parameters.size, self._parameters.dtype
        return Reduction(self._tree, lambda: self._scratch.take(size, dtype))

    def _copy(self, vector: Vector) -> Vector:
        copy = self._pool.take(vector.size, vector.dtype)
        copy[:] = vector
        return copy

    def _weights(self) -> Weights:
        return Weights(self._step, self._parameters)

    def _broadcast(self) -> list[Envelope]:
        weights = self._weights()
        return [(name, weights) for name in self._workers]

    def _state(self) -> tuple[int, int, int, float, Vector, Vector]:
        """The fields of a `Snapshot`."""
        sums = (self._sample_count, self._loss_sum)
        return self._epoch, self._step, *sums, self._parameters, self._optimizer_state
