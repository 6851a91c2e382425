"""Activations: forward on z, and the loss gradient pulled back from a to z.

All write into memory that they are given and allocate nothing; `scratch` is described at
`Scratch`. Notation of Nielsen (2015): z = W a' + b, a = f(z).
"""

from typing import Any, Final, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Matrix: TypeAlias = NDArray[np.floating[Any]]

# exp(87) and exp(709) are the last whole powers that float32 and float64 hold.
_EXP_LIMIT: Final = {np.dtype(np.float32): -87.0, np.dtype(np.float64): -709.0}


class Scratch(NamedTuple):
    """Memory that an operation on (n, k) may use: its content means nothing."""

    like: Matrix  # (n, k)
    mask: NDArray[np.bool_]  # (n, k), in the memory of `like`
    column: Matrix  # (n, 1)


class Activation(Protocol):
    """A function of z, row by row."""

    def forward(self, z: Matrix, out: Matrix, scratch: Scratch) -> None:
        """Write a = f(z) into ``out``; all (n, k). A row of z may move to another of equal a."""

    def pull_back(self, a: Matrix, delta: Matrix, scratch: Scratch) -> None:
        """Turn ``delta`` from dLoss/da into dLoss/dz, in place; all (n, k)."""


class Sigmoid:
    """1 / (1 + exp(-z)), without overflow at any z."""

    def forward(self, z: Matrix, out: Matrix, scratch: Scratch) -> None:
        _at_least(_EXP_LIMIT[z.dtype], z, out)
        np.negative(out, out=out)
        np.exp(out, out=out)
        np.add(out, 1, out=out)
        np.reciprocal(out, out=out)

    def pull_back(self, a: Matrix, delta: Matrix, scratch: Scratch) -> None:
        """f'(z) = a (1 - a)."""
        np.subtract(1, a, out=scratch.like)
        np.multiply(scratch.like, a, out=scratch.like)
        np.multiply(delta, scratch.like, out=delta)


class Tanh:
    """tanh(z)."""

    def forward(self, z: Matrix, out: Matrix, scratch: Scratch) -> None:
        np.tanh(z, out=out)

    def pull_back(self, a: Matrix, delta: Matrix, scratch: Scratch) -> None:
        """f'(z) = 1 - a^2."""
        np.multiply(a, a, out=scratch.like)
        np.subtract(1, scratch.like, out=scratch.like)
        np.multiply(delta, scratch.like, out=delta)


class Relu:
    """max(z, 0); its derivative at 0 is taken as 0."""

    def forward(self, z: Matrix, out: Matrix, scratch: Scratch) -> None:
        _at_least(0, z, out)

    def pull_back(self, a: Matrix, delta: Matrix, scratch: Scratch) -> None:
        """f'(z) = 1 where a > 0, else 0."""
        np.greater(a, 0, out=scratch.mask)
        np.multiply(delta, scratch.mask, out=delta)


class Identity:
    """Z itself."""

    def forward(self, z: Matrix, out: Matrix, scratch: Scratch) -> None:
        np.copyto(out, z)

    def pull_back(self, a: Matrix, delta: Matrix, scratch: Scratch) -> None:
        """f'(z) = 1."""


class Softmax:
    """exp(z_j) / sum_k exp(z_k) in each row, shifted by the row's maximum."""

    def forward(self, z: Matrix, out: Matrix, scratch: Scratch) -> None:
        """Also shifts ``z`` itself, and leaves each row's sum in ``scratch.column``."""
        np.maximum.reduce(z, axis=1, keepdims=True, out=scratch.column)
        np.subtract(z, scratch.column, out=z)
        np.exp(z, out=out)
        np.add.reduce(out, axis=1, keepdims=True, out=scratch.column)
        np.divide(out, scratch.column, out=out)

    def pull_back(self, a: Matrix, delta: Matrix, scratch: Scratch) -> None:
        """dLoss/dz_j = a_j (delta_j - sum_k delta_k a_k)."""
        np.multiply(delta, a, out=scratch.like)
        np.add.reduce(scratch.like, axis=1, keepdims=True, out=scratch.column)
        np.subtract(delta, scratch.column, out=delta)
        np.multiply(delta, a, out=delta)


def _at_least(least: float, z: Matrix, out: Matrix) -> None:
    """Write max(z, least) into ``out``: of two arrays NumPy finds it three times faster."""
    out.fill(least)
    np.maximum(z, out, out=out)


HIDDEN: Final[dict[str, Activation]] = {"sigmoid": Sigmoid(), "tanh": Tanh(), "relu": Relu()}
OUTPUT: Final[dict[str, Activation]] = {
    "sigmoid": Sigmoid(),
    "softmax": Softmax(),
    "identity": Identity(),
}
