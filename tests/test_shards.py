"""(seed, step, shard) -> rows: every row in one shard, none twice an epoch, no history."""

import pickle
import random
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.datasets import Dataset, Scaler
from trainer.shards import cut, steps_per_epoch


class Cut(NamedTuple):
    """A way to cut rows up that has at least one step an epoch."""

    row_count: int
    shard_count: int
    micro_batch: int
    seed: int

    @property
    def batch_size(self):
        return self.shard_count * self.micro_batch

    @property
    def steps(self):
        """By definition: how often the smallest shard fills a micro-batch."""
        return (self.row_count // self.shard_count) // self.micro_batch

    def shards(self):
        return cut(numbered(self.row_count), self.shard_count, self.batch_size, self.seed)


@st.composite
def cuts(draw):
    shard_count, micro_batch = draw(st.integers(1, 17)), draw(st.integers(1, 9))
    spare = draw(st.integers(0, 150))
    return Cut(shard_count * micro_batch + spare, shard_count, micro_batch, draw(st.integers(0, 9)))


def numbered(row_count):
    """A dataset whose inputs are the rows' numbers, its targets their negatives."""
    inputs = np.arange(row_count, dtype=np.float64)[:, None]
    scaler = Scaler(np.zeros(1), np.ones(1))
    return Dataset(inputs, -inputs, inputs[:1], inputs[:1], (0,), scaler, None)


def numbers(shard, step):
    """Which rows of the whole dataset a step uses."""
    return shard.batch(step).inputs[:, 0].tolist()


def all_numbers(shard):
    """Every row a shard has, in its own order: the first thing it is made of."""
    return shard.__reduce__()[1][0][:, 0].tolist()


@given(cuts())
def test_every_row_is_in_exactly_one_shard_and_sizes_differ_by_at_most_one(a_cut):
    shards = a_cut.shards()
    sizes = [len(shard) for shard in shards]
    assert len(shards) == a_cut.shard_count
    assert max(sizes) - min(sizes) <= 1
    rows = [number for shard in shards for number in all_numbers(shard)]
    assert sorted(rows) == list(range(a_cut.row_count))


@given(cuts(), st.integers(0, 3))
def test_within_an_epoch_no_row_is_used_twice_and_each_step_is_full(a_cut, epoch):
    assert steps_per_epoch(a_cut.row_count, a_cut.shard_count, a_cut.batch_size) == a_cut.steps
    shards, used = a_cut.shards(), []
    for step in range(epoch * a_cut.steps, (epoch + 1) * a_cut.steps):
        for shard in shards:
            rows = numbers(shard, step)
            assert len(rows) == a_cut.micro_batch
            used += rows
    assert len(set(used)) == len(used) == a_cut.steps * a_cut.batch_size


@given(cuts(), st.randoms(use_true_random=False))
def test_a_step_has_the_same_rows_on_fresh_shards_in_any_order(a_cut, shuffler):
    steps, one = list(range(3 * a_cut.steps)), a_cut.shards()
    in_order = [[numbers(shard, step) for shard in one] for step in steps]
    shuffler.shuffle(steps)
    other = a_cut.shards()
    for step in steps:
        assert [numbers(shard, step) for shard in other] == in_order[step]
    alone = [numbers(shard, steps[0]) for shard in a_cut.shards()]
    assert alone == in_order[steps[0]]


@given(cuts(), st.integers(0, 1000))
def test_pickling_a_shard_keeps_its_rows(a_cut, step):
    shard = a_cut.shards()[-1]
    shard.batch(0)  # a used shard has memory that must not matter
    copy = pickle.loads(pickle.dumps(shard))
    assert len(copy) == len(shard)
    assert copy.rows(step).tolist() == shard.rows(step).tolist()
    assert numbers(copy, step) == numbers(shard, step)


def test_inputs_and_targets_of_a_batch_are_the_same_rows():
    shard = Cut(50, 3, 4, 0).shards()[1]
    batch = shard.batch(2)
    assert (batch.inputs + batch.targets).tolist() == [[0], [0], [0], [0]]
    mine = np.array(all_numbers(shard))
    assert batch.inputs[:, 0].tolist() == mine[shard.rows(2)].tolist()


def test_micro_batches_of_one_row_use_each_row_of_a_shard_once_an_epoch():
    shard = Cut(20, 4, 1, 0).shards()[0]
    used = [numbers(shard, step) for step in range(5)]
    assert sorted(used) == sorted([number] for number in all_numbers(shard))


def test_epochs_shards_and_seeds_have_orders_of_their_own():
    one, other = (Cut(400, 2, 20, seed).shards() for seed in (0, 1))
    first = one[0].rows(0).tolist()
    assert first == one[0].rows(0).tolist()
    assert first != one[0].rows(10).tolist()  # ten steps an epoch: the next epoch's first
    assert first != one[1].rows(0).tolist()
    assert first != other[0].rows(0).tolist()
    assert sorted(all_numbers(one[0])) != sorted(all_numbers(other[0]))


def test_what_one_epoch_leaves_out_another_uses():
    a_cut = Cut(23, 2, 4, 0)  # shards of 12 and 11 rows, two steps of 4: three or four left out
    shard, used = a_cut.shards()[0], set()
    for step in random.Random(0).sample(range(40), 40):
        used.update(numbers(shard, step))
    assert used == set(all_numbers(shard))


@pytest.mark.parametrize(
    ("row_count", "shard_count", "batch_size", "expected"),
    # By hand: the smallest shard has 179, 3, 4 rows, its micro-batch 4, 3, 5.
    [(1438, 8, 32, 44), (10, 3, 9, 1), (12, 3, 15, 0)],
)
def test_steps_per_epoch_equal_values_worked_out_by_hand(
    row_count, shard_count, batch_size, expected
):
    assert steps_per_epoch(row_count, shard_count, batch_size) == expected
