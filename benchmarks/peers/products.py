"""The floor under every trainer: matrix products alone, on both cores at once.

Two processes with one BLAS thread each compute, at the same time, just the products of a case's
step, each for half of the batch: no activation, no bias, no loss, no update, no exchange. That is
the two-core matrix-product limit of the case. Besides: the rate of large square products, and how
long the step's operations would take at that rate; no shape reaches more.
"""

import sys
import time
from collections.abc import Callable
from typing import Final

import numpy as np

from benchmarks import turn
from benchmarks.cases import SEED, WORKERS, Case
from benchmarks.peers.pair import InTwo, meet, two_processes

_SQUARE: Final = 2048
_FOR_S: Final = 1.0


def main() -> int:
    """The turn; its exit status."""
    options = turn.begin(turn.arguments(__doc__))
    with two_processes() as in_two:
        gflops = sum(in_two(_square_gflops))
        turn.write(options, turn.take(options, lambda case, _: _measure(case, in_two, gflops)))
    return 0


def _measure(case: Case, in_two: InTwo, gflops: float) -> turn.Trained:
    times = in_two(_step_products, case)
    first_s = min(first for first, _, _ in times)
    steps = min(steps for _, _, steps in times)
    step_s = max((last - first) / steps for first, last, steps in times)
    more = {"square_gflops": gflops, "step_s_at_square_rate": case.flop / gflops / 1e9}
    return turn.Trained(first_s, first_s + step_s * steps, steps=steps, more=more)


def _step_products(_rank: int, case: Case) -> tuple[float, float, int]:
    """As many steps' products as fit a second: (first_s, last_s, steps)."""
    dice = np.random.default_rng(SEED)
    triples = []
    for rows, inner, columns in case.multiplications:
        left, right = (
            dice.standard_normal(shape, np.float32) for shape in ((rows, inner), (inner, columns))
        )
        triples.append((left, right, np.empty((rows, columns), np.float32)))

    def step() -> None:
        for left, right, out in triples:
            np.matmul(left, right, out=out)

    return _repeat(step)


def _square_gflops(_rank: int) -> float:
    """Of one process, while the other does the same."""
    dice = np.random.default_rng(SEED)
    left, right = (dice.standard_normal((_SQUARE, _SQUARE), np.float32) for _ in range(WORKERS))
    out = np.empty_like(left)
    first_s, last_s, count = _repeat(lambda: np.matmul(left, right, out=out))
    return 2 * _SQUARE**3 * count / (last_s - first_s) / 1e9


def _repeat(work: Callable[[], object]) -> tuple[float, float, int]:
    """Together with the other process, for a second: (first_s, last_s, how often)."""
    work()
    meet()
    first_s, count = time.monotonic(), 0
    while (last_s := time.monotonic()) < first_s + _FOR_S:
        work()
        count += 1
    return first_s, last_s, count


if __name__ == "__main__":
    sys.exit(main())
