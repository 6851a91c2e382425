"""Losses, summed over the rows of a batch; each with its exact scaling.

    quadratic       1/2 sum_j (a_j - y_j)^2            Nielsen's network.py, the notes in Go
    mean_squared    1/k sum_j (a_j - y_j)^2            the notes in Erlang; k outputs
    cross_entropy   sigmoid output: -sum_j y_j ln a_j + (1 - y_j) ln(1 - a_j)
                    softmax output: -sum_j y_j ln a_j  (nats; the targets of a row sum to 1)

The cross-entropies are computed from z, so that no logarithm of 0 can occur.
"""

from typing import Final, Protocol

import numpy as np

from trainer.activations import Activation, Matrix, Scratch


class Loss(Protocol):
    """A loss over the output layer; every array is (n, k)."""

    def loss_sum(self, z: Matrix, a: Matrix, y: Matrix, scratch: Scratch) -> float:
        """The loss summed over the rows; z and scratch as the output's `forward` left them."""

    def delta(
        self, output: Activation, a: Matrix, y: Matrix, out: Matrix, scratch: Scratch
    ) -> None:
        """Write dLoss/dz into ``out`` (Nielsen's BP1)."""


class SquaredError:
    """factor * sum_j (a_j - y_j)^2, for any output."""

    def __init__(self, factor: float) -> None:
        self._factor = factor

    def loss_sum(self, z: Matrix, a: Matrix, y: Matrix, scratch: Scratch) -> float:
        np.subtract(a, y, out=scratch.like)
        return self._factor * float(np.vdot(scratch.like, scratch.like))

    def delta(
        self, output: Activation, a: Matrix, y: Matrix, out: Matrix, scratch: Scratch
    ) -> None:
        np.subtract(a, y, out=out)
        if self._factor != 0.5:  # noqa: PLR2004 - 2 * 1/2 is 1
            np.multiply(out, 2 * self._factor, out=out)
        output.pull_back(a, out, scratch)


class _CrossEntropy:
    """Both cross-entropies have dLoss/dz = a - y: the output's derivative cancels."""

    def delta(
        self, output: Activation, a: Matrix, y: Matrix, out: Matrix, scratch: Scratch
    ) -> None:
        np.subtract(a, y, out=out)


class SigmoidCrossEntropy(_CrossEntropy):
    """sum_j ln(1 + exp(z_j)) - y_j z_j, for a sigmoid output."""

    def loss_sum(self, z: Matrix, a: Matrix, y: Matrix, scratch: Scratch) -> float:
        """ln(1 + exp(z)) = max(z, 0) + ln(1 + exp(-|z|)), and max(z, 0) - y z = z ([z > 0] - y)."""
        part = scratch.like
        np.greater(z, 0, out=part)
        np.subtract(part, y, out=part)
        np.multiply(part, z, out=part)
        linear = float(np.add.reduce(part, axis=None))
        np.abs(z, out=part)
        np.negative(part, out=part)
        np.exp(part, out=part)
        np.log1p(part, out=part)
        return linear + float(np.add.reduce(part, axis=None))


class SoftmaxCrossEntropy(_CrossEntropy):
    """ln(sum_k exp(z_k)) - sum_j y_j z_j, for a softmax output."""

    def loss_sum(self, z: Matrix, a: Matrix, y: Matrix, scratch: Scratch) -> float:
        """Of what `activations.Softmax` leaves: the shifted z, the rows' sums in the column."""
        sums = scratch.column
        np.log(sums, out=sums)
        return float(np.add.reduce(sums, axis=None)) - float(np.vdot(y, z))


LOSSES: Final = ("quadratic", "mean_squared", "cross_entropy")


def loss_for(name: str, output: str, output_count: int) -> Loss | None:
    """The loss of that name for that output; None when there is no such pair."""
    match name, output:
        case "quadratic", _:
            return SquaredError(0.5)
        case "mean_squared", _:
            return SquaredError(1 / output_count)
        case "cross_entropy", "sigmoid":
            return SigmoidCrossEntropy()
        case "cross_entropy", "softmax":
            return SoftmaxCrossEntropy()
        case _:
            return None
