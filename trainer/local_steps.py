"""Local steps: each shard goes on alone for a while, then all meet at the mean.

A step of the server is then a round. From the server's parameters every shard takes up to
`training.local_steps` optimizer steps of its own, each on its own next micro-batch, and
sends how far it came; the server moves by the mean of that. To the actors it is a step like
any other: a round's micro-batches and its difference are pure functions of the round and the
server's parameters, so whoever computes them gets the same bits. `docs/local-steps.md` has
the formula and the advice; `optimizers.Average` is the server's part.

Source: Stich (2019), "Local SGD Converges Fast and Communicates Little", algorithm 1.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from actors.objectives import BatchLoss, Objective, Optimizer, Shard
from trainer.layout import Vector
from trainer.shards import steps_per_epoch

if TYPE_CHECKING:  # a worker's process needs none
    from trainer.config import TrainingConfig


class Rounds(NamedTuple):
    """The local steps of each epoch in rounds; an epoch's last round may be shorter."""

    local_steps: int  # of a whole round
    steps_per_epoch: int  # local ones

    @property
    def per_epoch(self) -> int:
        """The server's steps in an epoch."""
        return -(-self.steps_per_epoch // self.local_steps)

    def steps(self, number: int) -> range:
        """The local steps of a round, both counted from the training's first."""
        epoch, position = divmod(number, self.per_epoch)
        start = position * self.local_steps
        stop = min(start + self.local_steps, self.steps_per_epoch)
        before = epoch * self.steps_per_epoch
        return range(before + start, before + stop)


def rounds_of(training: "TrainingConfig", row_count: int) -> Rounds:
    """How `row_count` training rows are trained on; without local steps a round is a step."""
    steps = steps_per_epoch(row_count, training.shards, training.batch_size)
    return Rounds(training.local_steps, steps)


class RoundShard:
    """A shard whose batch is a round's micro-batches."""

    def __init__(self, shard: Shard, rounds: Rounds) -> None:
        self._shard, self._rounds = shard, rounds

    def batch(self, step: int) -> Iterator[Any]:
        """The micro-batches of round `step`, each gathered when it is asked for.

        They are the shard's own for these local steps: the same rows in the same order as
        without rounds. Each may be overwritten by the next.
        """
        return map(self._shard.batch, self._rounds.steps(step))


class LocalSteps:
    """A round of optimizer steps as one `Objective`: its gradient is how far it came."""

    def __init__(self, objective: Objective, optimizer: Optimizer) -> None:
        """`objective` takes one micro-batch, `optimizer` each step."""
        self._objective, self._optimizer = objective, optimizer
        self._local: Vector | None = None  # scratch: the shard's own parameters

    def gradient(self, parameters: Vector, batch: Iterable[Any], out: Vector) -> BatchLoss:
        """Write start - end of a round into ``out``, which holds the gradients until then.

        Args:
            parameters: (p,) where the round starts; not written.
            batch: the micro-batches of its steps, one after the other.
            out: (p,) of the same dtype, written in full; neither a sum nor a mean.

        Returns:
            The losses of all steps, each at the parameters that it was computed with.
        """
        if self._local is None or (self._local.size, self._local.dtype) != (
            parameters.size,
            parameters.dtype,
        ):
            self._local = np.empty_like(parameters)
        local = self._local
        np.copyto(local, parameters)
        state = self._optimizer.init(local)  # a round knows nothing of what came before it
        loss_sum, sample_count = 0.0, 0
        for micro_batch in batch:
            loss = self._objective.gradient(local, micro_batch, out)
            self._optimizer.update(local, out, loss.sample_count, state, out=local, state_out=state)
            loss_sum += loss.loss_sum
            sample_count += loss.sample_count
        np.subtract(parameters, local, out=out)
        return BatchLoss(loss_sum, sample_count)
