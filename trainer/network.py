"""A fully connected network over one flat parameter vector.

It holds the architecture and some scratch memory, never the parameters: they come in as an
argument, so that a server can hold them and a message carry them. Read `feedforward` and
`backprop` beside Nielsen (2015), chapters 1 and 2; his column of one sample is a row here.
"""

from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import DTypeLike, NDArray

from trainer.activations import HIDDEN, OUTPUT, Matrix
from trainer.errors import ShapeError
from trainer.layout import Layer, Vector, Workspace, spans_of
from trainer.losses import LOSSES, loss_for

InitialWeights = Literal["scaled", "gaussian"]

_EVALUATION_ROWS: Final = 512


class Evaluation(NamedTuple):
    """How well parameters do on labelled rows."""

    accuracy: float  # the share of rows whose largest output is their class
    loss: float  # the mean over the rows
    confusion: NDArray[np.int64]  # (classes, classes): [true, predicted]


class Network:
    """Sizes, activation, output and loss; every method takes the parameters."""

    def __init__(
        self,
        sizes: Sequence[int],
        activation: str = "sigmoid",
        output: str = "sigmoid",
        loss: str = "quadratic",
        dtype: DTypeLike = np.float32,
    ) -> None:
        """Describe a network.

        Args:
            sizes: inputs, each hidden layer, outputs.
            activation: of the hidden layers: sigmoid, tanh, relu.
            output: of the last layer: sigmoid, softmax, identity.
            loss: quadratic, mean_squared, cross_entropy; `losses.py` has their scaling.
            dtype: float32 or float64, of parameters, inputs and outputs.

        Raises:
            ShapeError: there is no such network.
        """
        self.sizes = tuple(int(size) for size in sizes)
        self.dtype = np.dtype(dtype)
        self._arguments = (self.sizes, activation, output, loss, self.dtype)
        _check_architecture(*self._arguments)
        self._hidden, self._output = HIDDEN[activation], OUTPUT[output]
        chosen = loss_for(loss, output, self.sizes[-1])
        if chosen is None:
            raise ShapeError(
                f"network: loss {loss} does not go with output {output};"
                " use output sigmoid or softmax, or loss quadratic"
            )
        self._loss = chosen
        self._spans = spans_of(self.sizes)
        self._workspaces: dict[int, Workspace] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return Network, self._arguments

    @property
    def parameter_count(self) -> int:
        """The length of the flat vector: all weights and biases."""
        return self._spans[-1].stop

    def layers(self, vector: Vector) -> list[Layer]:
        """Views per layer of parameters, or of a gradient, in the order of the layers.

        Args:
            vector: (parameter_count,); weights then biases, layer by layer.

        Raises:
            ShapeError: the vector has another length.
        """
        self._check("parameters", vector.shape, (self.parameter_count,))
        return [
            Layer(vector[start:middle].reshape(shape), vector[middle:stop])
            for start, middle, stop, shape in self._spans
        ]

    def initial_parameters(self, seed: int, scheme: InitialWeights = "scaled") -> Vector:
        """Weights and biases from a normal distribution of mean 0.

        `gaussian` has variance 1, as Nielsen's network.py; `scaled` divides the weights
        into a neuron by the square root of their number (Nielsen 2015, chapter 3).
        """
        generator = np.random.default_rng([seed, 3])  # 3: see shards.py for the other uses
        parameters = generator.standard_normal(self.parameter_count, np.float64)
        if scheme not in get_args(InitialWeights):
            raise ShapeError(f"network: initial weights {scheme!r}; allowed: scaled, gaussian")
        if scheme == "scaled":
            for weights, _ in self.layers(parameters):
                np.divide(weights, np.sqrt(weights.shape[1]), out=weights)
        return parameters.astype(self.dtype)

    def feedforward(self, parameters: Vector, inputs: Matrix) -> Matrix:
        """The outputs (n, outputs) for inputs (n, inputs), in an array of the caller's own.

        Raises:
            ShapeError: a width does not fit the sizes.
        """
        layers = self.layers(parameters)
        outputs = np.empty((len(inputs), self.sizes[-1]), self.dtype)
        for rows in _chunks(len(inputs)):
            outputs[rows] = self._forward(layers, inputs[rows]).activations[-1]
        return outputs

    def backprop(self, parameters: Vector, inputs: Matrix, targets: Matrix, out: Vector) -> float:
        """Write the loss gradient, summed over the rows, into ``out``.

        Args:
            parameters: (p,) as `layers` divides it.
            inputs: (n, inputs) of the network's dtype; targets: (n, outputs).
            out: (p,) written in full; the sum over the n rows, not the mean.

        Returns:
            The summed loss (nats for cross-entropy).

        Raises:
            ShapeError: a row count or a width does not fit the sizes.

        Source: Nielsen (2015), chapter 2, equations BP1 to BP4.
        """
        self._check("targets", targets.shape, (len(inputs), self.sizes[-1]))
        self._check("out", out.shape, (self.parameter_count,))
        nablas, layers = self.layers(out), self.layers(parameters)
        work = self._forward(layers, inputs)
        zs, activations, delta = work.zs, work.activations, work.deltas[-1]
        loss_sum = self._loss.loss_sum(zs[-1], activations[-1], targets, work.scratches[-1])
        # From here on no z is needed any more: their memory is the scratch.
        self._loss.delta(self._output, activations[-1], targets, delta, work.spent(-1))
        for index in range(len(layers) - 1, -1, -1):
            before = activations[index - 1] if index > 0 else inputs
            np.dot(delta.T, before, out=nablas[index].weights)
            np.add.reduce(delta, axis=0, out=nablas[index].biases)
            if index > 0:
                np.dot(delta, layers[index].weights, out=work.deltas[index - 1])
                delta = work.deltas[index - 1]
                self._hidden.pull_back(before, delta, work.spent(index - 1))
        return loss_sum

    def evaluate(self, parameters: Vector, inputs: Matrix, targets: Matrix) -> Evaluation:
        """Accuracy, mean loss and confusion over rows with one-hot targets.

        Args:
            inputs: (n, inputs), n > 0; targets: (n, outputs).

        Raises:
            ShapeError: a row count or a width does not fit the sizes.
        """
        self._check("targets", targets.shape, (len(inputs), self.sizes[-1]))
        layers, class_count, loss_sum = self.layers(parameters), self.sizes[-1], 0.0
        counts = np.zeros(class_count * class_count, np.int64)
        for rows in _chunks(len(inputs)):
            work = self._forward(layers, inputs[rows])
            a, y = work.activations[-1], targets[rows]
            loss_sum += self._loss.loss_sum(work.zs[-1], a, y, work.scratches[-1])
            pairs = np.argmax(y, axis=1) * class_count + np.argmax(a, axis=1)
            counts += np.bincount(pairs, minlength=counts.size)
        confusion = counts.reshape(class_count, class_count)
        row_count = len(inputs)
        return Evaluation(np.trace(confusion).item() / row_count, loss_sum / row_count, confusion)

    def _forward(self, layers: list[Layer], inputs: Matrix) -> Workspace:
        """Fill zs and activations of the workspace for that many rows."""
        self._check("inputs", inputs.shape, (len(inputs), self.sizes[0]))
        work = self._workspace(len(inputs))
        a = inputs
        for index, (weights, biases) in enumerate(layers):
            z = np.dot(a, weights.T, out=work.zs[index])
            np.add(z, biases, out=z)
            function = self._output if index == len(layers) - 1 else self._hidden
            a = work.activations[index]
            function.forward(z, a, work.scratches[index])
        return work

    def _workspace(self, row_count: int) -> Workspace:
        if row_count not in self._workspaces:
            self._workspaces[row_count] = Workspace(row_count, self.sizes[1:], self.dtype)
        return self._workspaces[row_count]

    def _check(self, what: str, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
        if shape != expected:
            sizes = "-".join(map(str, self.sizes))
            raise ShapeError(f"network {sizes}: {what} have shape {shape}, expected {expected}")


def _chunks(row_count: int) -> list[slice]:
    """Pieces of at most so many rows that the activations stay in the cache."""
    return [
        slice(start, min(start + _EVALUATION_ROWS, row_count))
        for start in range(0, row_count, _EVALUATION_ROWS)
    ]


def _check_architecture(
    sizes: tuple[int, ...], activation: str, output: str, loss: str, dtype: np.dtype[Any]
) -> None:
    if len(sizes) < 2 or min(sizes) < 1:  # noqa: PLR2004 - an input and an output layer
        raise ShapeError(f"network: sizes {list(sizes)}; at least two layers of 1 or more")
    for what, given, allowed in (
        ("activation", activation, tuple(HIDDEN)),
        ("output", output, tuple(OUTPUT)),
        ("loss", loss, LOSSES),
        ("dtype", dtype.name, ("float32", "float64")),
    ):
        if given not in allowed:
            raise ShapeError(f"network: {what} {given!r}; allowed: {', '.join(allowed)}")
