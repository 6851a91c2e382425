"""The parameter-server core: weights, optimizer state and step, nothing else.

It sums a step's gradients over the canonical tree, updates, and sends the new weights.
The first gradient of a (step, node) counts, every other one is ignored, so it does not
matter who computes what, how often, or in which order it arrives. It knows no socket, no
clock of its own and no Ray. Next: `reduction.py`, `coordinator.py`.
"""

from actors.buffers import ArrayPool
from actors.errors import ProtocolError
from actors.messages import (
    DRIVER,
    Down,
    Dx,
    Envelope,
    EpochDone,
    Hello,
    Message,
    Progress,
    RunEpoch,
    Stall,
    Tick,
    Vector,
    Weights,
)
from actors.objectives import Optimizer
from actors.reduction import Node, Partial, Reduction, Tree

_PROGRESS_EVERY_S = 0.2


class ParameterServer:
    """Answers `Dx` with the next `Weights` once every shard of the step is in."""

    def __init__(
        self,
        optimizer: Optimizer,
        shard_count: int,
        parameters: Vector,
        optimizer_state: Vector,
        step: int = 0,
    ) -> None:
        """Start from the state after `step` steps. The arrays are read, never written."""
        self._optimizer = optimizer
        self._tree = Tree(shard_count)
        self._parameters = parameters
        self._optimizer_state = optimizer_state
        self._step = step
        self._until_step = step
        self._pool = ArrayPool()
        self._reduction = self._new_reduction()
        self._workers: dict[str, None] = {}  # a set that keeps its order
        self._epoch = -1
        self._sample_count = 0
        self._loss_sum = 0.0
        self._now_s = 0.0
        self._last_step_s = 0.0
        self._progress_s = 0.0
        self._progress_step = step
        self._stalled: dict[str, float] = {}

    def handle(self, message: Message) -> list[Envelope]:
        match message:
            case Dx():
                return self._dx(message)
            case RunEpoch(epoch, until_step):
                return self._run_epoch(epoch, until_step)
            case Hello(name) if name != DRIVER:
                self._workers[name] = None
                return [(name, self._weights())] if self._is_running else []
            case Down(name) if name != DRIVER:
                return self._down(message)
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
        self._epoch, self._until_step = epoch, until_step
        self._sample_count, self._loss_sum = 0, 0.0
        self._last_step_s = self._now_s
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
        ours, theirs = self._parameters, dx.gradient
        if theirs.size != ours.size or theirs.dtype != ours.dtype:
            raise ProtocolError(
                f"server: the gradient of step {dx.step}, shards {dx.start}..{dx.stop - 1} has"
                f" {theirs.size} values of {theirs.dtype}, the parameters {ours.size} of"
                f" {ours.dtype}; all actors must run the same configuration"
            )

    def _finish_step(self, total: Partial) -> list[Envelope]:
        self._update(total)
        self._reduction = self._new_reduction()
        self._step += 1
        self._sample_count += total.sample_count
        self._loss_sum += total.loss_sum
        stalls = self._end_stalls()
        self._last_step_s = self._now_s
        if self._is_running:
            return stalls + self._broadcast()
        return [*stalls, (DRIVER, self._epoch_done())]

    def _update(self, total: Partial) -> None:
        """Write the next state into vectors of its own: the last one may still be on its way."""
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
        self._parameters, self._optimizer_state = parameters, state

    def _down(self, down: Down) -> list[Envelope]:
        """The coordinator must know: its own link to that worker may still stand."""
        self._workers.pop(down.name, None)
        self._stalled[down.name] = self._last_step_s
        return [(DRIVER, down)]

    def _end_stalls(self) -> list[Envelope]:
        """For each death since the last finished step: how long no step was finished."""
        ended: list[Envelope] = [
            (DRIVER, Stall(name, self._step, self._now_s - since_s))
            for name, since_s in self._stalled.items()
        ]
        self._stalled.clear()
        return ended

    def _tick(self, now_s: float) -> list[Envelope]:
        self._now_s = now_s
        due = now_s - self._progress_s >= _PROGRESS_EVERY_S
        moved = self._step != self._progress_step and self._sample_count > 0
        if not (due and moved and self._is_running):
            return []
        self._progress_s, self._progress_step = now_s, self._step
        return [(DRIVER, Progress(self._epoch, self._step, self._sample_count, self._loss_sum))]

    def _new_reduction(self) -> Reduction:
        size, dtype = self._parameters.size, self._parameters.dtype
        return Reduction(self._tree, lambda: self._pool.take(size, dtype))

    def _weights(self) -> Weights:
        return Weights(self._step, self._parameters)

    def _broadcast(self) -> list[Envelope]:
        weights = self._weights()
        return [(name, weights) for name in self._workers]

    def _epoch_done(self) -> EpochDone:
        return EpochDone(
            self._epoch,
            self._step,
            self._sample_count,
            self._loss_sum,
            self._parameters,
            self._optimizer_state,
        )
