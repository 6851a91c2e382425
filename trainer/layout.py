"""Where a network's layers lie in the flat vector, and the memory that a pass needs."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trainer.activations import Matrix, Scratch

Vector = NDArray[np.floating[Any]]


class Layer(NamedTuple):
    """Views into a flat vector: what one layer adds to it."""

    weights: Matrix  # (outputs, inputs)
    biases: Vector  # (outputs,)


class Span(NamedTuple):
    """Where a layer lies in the flat vector: weights start..middle, biases middle..stop."""

    start: int
    middle: int
    stop: int
    shape: tuple[int, int]  # of the weights


def spans_of(sizes: tuple[int, ...]) -> list[Span]:
    """The layers one after the other, each with its weights before its biases."""
    spans, start = [], 0
    for inputs, outputs in pairwise(sizes):
        middle = start + outputs * inputs
        spans.append(Span(start, middle, middle + outputs, (outputs, inputs)))
        start = middle + outputs
    return spans


class Workspace:
    """Every temporary of a pass over n rows, one per layer, allocated once."""

    def __init__(self, row_count: int, widths: Sequence[int], dtype: np.dtype[Any]) -> None:
        def empty(width: int) -> Matrix:
            return np.empty((row_count, width), dtype)

        self.zs = [empty(width) for width in widths]
        self.activations = [empty(width) for width in widths]
        self.deltas = [empty(width) for width in widths]
        column = empty(1)
        # A layer's delta is written only after its forward pass and its loss.
        self.scratches = [_scratch(delta, column) for delta in self.deltas]
        self._spent = [_scratch(z, column) for z in self.zs]

    def spent(self, index: int) -> Scratch:
        """Scratch in place of a z that is not needed any more."""
        return self._spent[index]


def _scratch(like: Matrix, column: Matrix) -> Scratch:
    mask = like.reshape(-1).view(np.bool_)[: like.size].reshape(like.shape)
    return Scratch(like, mask, column)
