"""Backpropagation sample by sample in NumPy, the way of Nielsen's `network.py`: one process.

A list of weight matrices and one of bias columns; for each sample of a batch its gradient by two
passes of matrix-vector products, added up; then one update. Written anew, with two differences
that only make it faster: float32, and sums in place.

A wide network takes it many seconds a step. So it takes only as many of the case's steps as it
has time for, one at least, and the turn says how many.
"""

import sys
import time
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks import turn
from benchmarks.cases import LEARNING_RATE, Case, Work, load, network_of

_MOST: Final = 1e9  # samples times parameters: some seconds
_Arrays = list[NDArray[np.float32]]


def main() -> int:
    """The turn; its exit status."""
    return turn.main(__doc__, train)


def train(case: Case, folder: Path) -> turn.Trained:
    """As many steps as it has time for."""
    work = load(case, folder)
    fitting = int(_MOST / case.batch / work.parameters.size)
    steps = min(case.steps, max(1, fitting))
    network = PerSample(case, work)
    targets = work.targets
    first_s = time.monotonic()
    for rows in work.order[:steps]:
        # Columns, as in the book.
        network.update(work.inputs[rows][:, :, None], targets[rows][:, :, None])
    last_s = time.monotonic()
    return turn.Trained(first_s, last_s, network.parameters(), steps)


class PerSample:
    """Weights and biases of fully connected layers, and gradient descent on them."""

    def __init__(self, case: Case, work: Work) -> None:
        layers = network_of(case).layers(work.parameters)
        self.weights: _Arrays = [np.array(layer.weights) for layer in layers]
        self.biases: _Arrays = [np.array(layer.biases)[:, None] for layer in layers]
        self._relu = case.activation == "relu"

    def parameters(self) -> NDArray[np.float32]:
        """All of them as one vector, layer by layer."""
        pairs = zip(self.weights, self.biases, strict=True)
        return np.concatenate([part.ravel() for pair in pairs for part in pair])

    def update(self, xs: NDArray[np.float32], ys: NDArray[np.float32]) -> None:
        """One step of gradient descent.

        Args:
            xs: (n, inputs, 1), ys: (n, outputs, 1).
        """
        nabla_w = [np.zeros_like(w) for w in self.weights]
        nabla_b = [np.zeros_like(b) for b in self.biases]
        for x, y in zip(xs, ys, strict=True):
            delta_w, delta_b = self.backprop(x, y)
            for sums, one in ((nabla_w, delta_w), (nabla_b, delta_b)):
                for nabla, delta in zip(sums, one, strict=True):
                    np.add(nabla, delta, out=nabla)
        rate = np.float32(LEARNING_RATE / len(xs))
        for parameters, nablas in ((self.weights, nabla_w), (self.biases, nabla_b)):
            for parameter, nabla in zip(parameters, nablas, strict=True):
                np.subtract(parameter, rate * nabla, out=parameter)

    def backprop(self, x: NDArray[np.float32], y: NDArray[np.float32]) -> tuple[_Arrays, _Arrays]:
        """The gradient of one sample's loss, for the weights and for the biases.

        Source: Nielsen (2015), chapter 2, BP1 to BP4; softmax with cross-entropy: chapter 3.
        """
        activations = [x]
        for w, b in zip(self.weights[:-1], self.biases[:-1], strict=True):
            activations.append(self._hidden(w @ activations[-1] + b))
        z = self.weights[-1] @ activations[-1] + self.biases[-1]
        e = np.exp(z - z.max())
        delta = e / e.sum() - y
        nabla_b, nabla_w = [delta], [delta @ activations[-1].T]
        for a, before, w in zip(
            activations[:0:-1], activations[-2::-1], self.weights[:0:-1], strict=True
        ):
            delta = (w.T @ delta) * ((a > 0) if self._relu else a * (1 - a))
            nabla_b.append(delta)
            nabla_w.append(delta @ before.T)
        return nabla_w[::-1], nabla_b[::-1]

    def _hidden(self, z: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.maximum(z, 0) if self._relu else 1 / (1 + np.exp(-z))


if __name__ == "__main__":
    sys.exit(main())
