"""(seed, step, shard) -> rows: which samples a step uses, as a pure function.

The training rows are cut into logical shards by a seeded permutation, sizes differing by
at most one row. In each epoch a shard's rows are ordered anew; a step takes the next
micro-batch of that order. What the smallest shard can not fill in full is left out of the
epoch, in every shard alike; the next epoch's order leaves out others. Nothing depends on
history, so any step can be computed again, by anyone, alone.

The random streams, told apart by a number behind the seed: 0 held-out rows, 1 shards,
2 the order within an epoch, 3 initial weights.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trainer.activations import Matrix

if TYPE_CHECKING:  # a worker's process needs none
    from trainer.datasets import Dataset


class Batch(NamedTuple):
    """One micro-batch; overwritten by its shard's next one."""

    inputs: Matrix  # (rows, features)
    targets: Matrix  # (rows, classes)


class RowShard:
    """One shard's rows, and the micro-batch of each step."""

    def __init__(
        self,
        inputs: Matrix,
        targets: Matrix,
        seed: int,
        number: int,
        micro_batch: int,
        steps_per_epoch: int,
    ) -> None:
        """`micro_batch` rows a step; `steps_per_epoch` is the same in all shards of a job."""
        self._arguments = (inputs, targets, seed, number, micro_batch, steps_per_epoch)
        self._inputs, self._targets = inputs, targets
        self._seed, self._number = seed, number
        self._steps_per_epoch = steps_per_epoch
        self._micro_batch = micro_batch
        self._order: NDArray[np.intp] | None = None
        self._order_epoch = -1
        self._batch: Batch | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return RowShard, self._arguments

    def __len__(self) -> int:
        return len(self._inputs)

    def rows(self, step: int) -> NDArray[np.intp]:
        """Which of the shard's rows `step` uses: (micro_batch,) indices."""
        epoch, position = divmod(step, self._steps_per_epoch)
        start = position * self._micro_batch
        return self._epoch_order(epoch)[start : start + self._micro_batch]

    def batch(self, step: int) -> Batch:
        """The micro-batch of `step`, in memory that the next call writes again."""
        if self._batch is None:
            self._batch = Batch(
                *(
                    np.empty((self._micro_batch, table.shape[1]), table.dtype)
                    for table in (self._inputs, self._targets)
                )
            )
        rows = self.rows(step)
        # "clip", because NumPy buffers `out` with the default; rows are within bounds.
        self._inputs.take(rows, 0, self._batch.inputs, "clip")
        self._targets.take(rows, 0, self._batch.targets, "clip")
        return self._batch

    def _epoch_order(self, epoch: int) -> NDArray[np.intp]:
        if self._order is None or self._order_epoch != epoch:
            generator = np.random.default_rng([self._seed, 2, epoch, self._number])
            self._order, self._order_epoch = generator.permutation(len(self._inputs)), epoch
        return self._order


def cut(dataset: "Dataset", shard_count: int, batch_size: int, seed: int) -> list[RowShard]:
    """The training rows as `shard_count` shards; a step takes `batch_size` rows of them all."""
    row_count = len(dataset.train_inputs)
    order = np.random.default_rng([seed, 1]).permutation(row_count)
    micro_batch = batch_size // shard_count
    steps = steps_per_epoch(row_count, shard_count, batch_size)
    return [
        RowShard(
            dataset.train_inputs[rows],
            dataset.train_targets[rows],
            seed,
            number,
            micro_batch,
            steps,
        )
        for number, rows in enumerate(np.array_split(order, shard_count))
    ]


def steps_per_epoch(row_count: int, shard_count: int, batch_size: int) -> int:
    """How many whole micro-batches the smallest shard has."""
    return row_count // shard_count // (batch_size // shard_count)
