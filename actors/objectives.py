"""What the actors train: the protocols that a model, its data and its optimizer fulfil.

The actors never look inside a batch or a parameter vector. `trainer/` fulfils these for
neural networks; anything else that sums a loss over samples can.
"""

from typing import Any, NamedTuple, Protocol

from actors.messages import Vector


class BatchLoss(NamedTuple):
    """The loss summed over the rows of one micro-batch, and how many rows it had."""

    loss_sum: float
    sample_count: int


class Shard(Protocol):
    """One logical piece of the data."""

    def batch(self, step: int) -> Any:
        """The micro-batch of `step`: a pure function of the step, never of what came before.

        The batch may be overwritten by the next call.
        """


class Objective(Protocol):
    """Parameters and a batch in, loss and gradient out."""

    def gradient(self, parameters: Vector, batch: Any, out: Vector) -> BatchLoss:
        """Write the loss gradient, summed over the batch, into ``out``.

        Args:
            parameters: (p,) float; not written.
            batch: what `Shard.batch` gave.
            out: (p,) of the same dtype, written in full.
        """


class Optimizer(Protocol):
    """An elementwise update of the flat parameter vector; its state is a flat vector too."""

    def init(self, parameters: Vector) -> Vector:
        """The state before the first step: (k * p,) of the parameters' dtype; k may be 0."""

    def update(
        self,
        parameters: Vector,
        gradient_sum: Vector,
        sample_count: int,
        state: Vector,
        out: Vector,
        state_out: Vector,
    ) -> None:
        """Write the next parameters into ``out`` and the next state into ``state_out``.

        Args:
            parameters, gradient_sum: (p,); not written, unless ``out`` is `parameters`.
            sample_count: how many samples `gradient_sum` sums over.
            state: as `init` gave it; not written, unless ``state_out`` is `state`.
            out, state_out: may be `parameters` and `state` themselves: then in place.
        """
