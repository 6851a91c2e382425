"""What every contestant of the comparison trains: three networks, the same rows in the same order.

Float32, plain gradient descent on the mean of softmax cross-entropy, the batch cut into two
halves. `write_rows` makes the data once, as a file; `load` gives a contestant its rows, the order
in which the steps use them, and the weights to begin with. Nothing here knows a contestant.
"""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trainer.activations import Matrix
from trainer.datasets import Dataset, Scaler
from trainer.layout import Vector
from trainer.network import Network
from trainer.shards import cut

WORKERS: Final = 2
LEARNING_RATE: Final = 0.02  # a greater one makes the first step of relu blow up rounding
SEED: Final = 0
CLASSES: Final = 10
_FEATURES: Final = 784
_TEST_ROWS: Final = 256  # few: they are looked at by the driver while the workers train


@dataclass(frozen=True, slots=True)
class Case:
    """One network, its batch, and how long it is trained."""

    name: str
    sizes: tuple[int, ...]
    activation: str
    batch: int
    row_count: int
    epochs: int

    @property
    def steps_per_epoch(self) -> int:
        """Each shard has as many rows as its steps take."""
        return self.row_count // self.batch

    @property
    def steps(self) -> int:
        """The same number for all contestants."""
        return self.epochs * self.steps_per_epoch

    @property
    def multiplications(self) -> list[tuple[int, int, int]]:
        """(rows, inner, columns) of each matrix product that half a batch takes in one step."""
        rows, layers = self.batch // WORKERS, list(zip(self.sizes, self.sizes[1:], strict=False))
        forward = [(rows, before, after) for before, after in layers]
        weights = [(after, rows, before) for before, after in layers]
        back = [(rows, after, before) for before, after in layers[1:]]
        return [*forward, *weights, *back]

    @property
    def flop(self) -> int:
        """Floating-point operations of one step's matrix products, the whole batch."""
        return WORKERS * sum(2 * n * k * m for n, k, m in self.multiplications)

    def scaled(self, factor: float) -> "Case":
        """The same with about `factor` times the steps: whole epochs, or one that is shorter."""
        steps = max(1, round(self.steps * factor))
        if steps < self.steps_per_epoch:
            return replace(self, row_count=steps * self.batch, epochs=1)
        return replace(self, epochs=round(steps / self.steps_per_epoch))


# Sigmoid as in Nielsen's networks; relu where layers are wide, as everybody has it.
CASES: Final = (
    Case("small", (_FEATURES, 30, CLASSES), "sigmoid", 10, 30_720, 1),
    Case("middle", (_FEATURES, 100, CLASSES), "sigmoid", 128, 30_720, 4),
    Case("large", (_FEATURES, 1024, 1024, CLASSES), "relu", 512, 30_720, 3),
)


class Work(NamedTuple):
    """A case in memory."""

    inputs: Matrix  # (rows, features)
    labels: NDArray[np.int64]  # (rows,)
    order: NDArray[np.int64]  # (steps, batch): which rows a step uses, one half after the other
    parameters: Vector  # to begin with, laid out by `Network.layers`

    @property
    def targets(self) -> Matrix:
        """One-hot."""
        return _one_hot(self.labels)

    def halves(self) -> list[NDArray[np.int64]]:
        """The order, (steps, batch / 2), for each of two workers."""
        return [np.ascontiguousarray(half) for half in np.split(self.order, WORKERS, axis=1)]


def chosen_cases(options: argparse.Namespace) -> list[Case]:
    """Those that `--cases` names, with `--steps` times their steps."""
    return [case.scaled(options.steps) for case in CASES if case.name in options.cases]


def network_of(case: Case) -> Network:
    """Everstep's own network: the initial weights, the test loss, and some peers' gradients."""
    return Network(case.sizes, case.activation, "softmax", "cross_entropy")


def rows_path(case: Case, folder: Path) -> Path:
    """Where `write_rows` puts the case's rows."""
    return folder / f"rows-{case.row_count}.npz"


def write_rows(case: Case, folder: Path) -> Path:
    """Clouds of random points, one cloud a class; unless the file is there already."""
    path = rows_path(case, folder)
    if path.exists():
        return path
    dice = np.random.default_rng(SEED)
    centres = dice.normal(scale=0.2, size=(CLASSES, _FEATURES)).astype("f4")
    arrays: dict[str, Any] = {}
    for prefix, count in (("", case.row_count), ("test_", _TEST_ROWS)):
        labels = dice.integers(0, CLASSES, count)
        rows = dice.standard_normal((count, _FEATURES), np.float32)
        arrays |= {f"{prefix}x": rows + centres[labels], f"{prefix}y": labels}
    np.savez(path, **arrays)
    return path


def load(case: Case, folder: Path) -> Work:
    """The case as every contestant finds it."""
    inputs, labels = _read(case, folder, "x", "y")
    parameters = network_of(case).initial_parameters(SEED)
    return Work(inputs, labels, row_order(case), parameters)


def row_order(case: Case) -> NDArray[np.int64]:
    """Everstep's own order, (steps, batch): its shards cut a table of row numbers."""
    numbers = np.arange(case.row_count, dtype=np.float64)[:, None]
    scaler = Scaler(np.zeros(1), np.ones(1))
    table = Dataset(numbers, numbers, numbers, numbers, (), scaler, None)
    shards = cut(table, WORKERS, case.batch, SEED)
    halves = [
        np.concatenate([shard.batch(step).inputs[:, 0] for shard in shards])
        for step in range(case.steps)
    ]
    return np.array(halves).astype(np.int64)


def loss_on_test_rows(case: Case, folder: Path, parameters: Vector) -> float:
    """The mean loss over the test rows: the same for all who did the same work."""
    inputs, labels = _read(case, folder, "test_x", "test_y")
    return network_of(case).evaluate(parameters, inputs, _one_hot(labels)).loss


def _read(case: Case, folder: Path, *names: str) -> list[Any]:
    with np.load(rows_path(case, folder), allow_pickle=False) as archive:
        return [archive[name] for name in names]


def _one_hot(labels: NDArray[np.int64]) -> Matrix:
    targets: Matrix = np.eye(CLASSES, dtype=np.float32)[labels]
    return targets
